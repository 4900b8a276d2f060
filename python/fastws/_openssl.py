"""TLS by Python's ``ssl``: contexts as a ``TlsConfig`` describes them, and the stream that the native driver asks."""

from __future__ import annotations

import contextlib
import os
import ssl
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

from . import _core
from ._tls_files import Material, identity
from ._tls_words import tagged, untagged

__all__ = ["CUT_OFF", "Context", "Layered", "Secured", "Stream", "ToProxy", "context_of", "stream_of"]


class Context:
    """An ``ssl.SSLContext``, and what is to be done with it besides what it does itself.

    Args:
        ssl_context: Makes the connections.
        pins: See ``TlsConfig.pins``.
        resumption: Whether sessions are kept and resumed.
        shows_certificate: Whether it has a client certificate, if that is known.
    """

    def __init__(
        self,
        ssl_context: ssl.SSLContext,
        *,
        pins: frozenset[str] = frozenset(),
        resumption: bool = False,
        shows_certificate: bool | None = None,
    ) -> None:
        self.ssl_context = ssl_context
        self.pins = pins
        self.shows_certificate = shows_certificate
        self._sessions: dict[str, ssl.SSLSession] | None = {} if resumption else None

    def session(self, name: str) -> ssl.SSLSession | None:
        """The session to resume. Each is used once (RFC 8446 appendix C.4)."""
        return self._sessions.pop(name, None) if self._sessions is not None else None

    def keep(self, name: str, session: ssl.SSLSession | None) -> None:
        """Keeps the session of a connection for the next one."""
        if self._sessions is None or session is None or not session.has_ticket:
            return
        self._sessions.pop(name, None)
        if len(self._sessions) >= _MAX_SESSIONS:
            del self._sessions[next(iter(self._sessions))]
        self._sessions[name] = session


class Stream:
    """TLS between bytes, as ``rust/py``'s ``tls::python`` asks for it.

    Raises:
        ValueError: The context cannot make a client's connection, or the name cannot be in a certificate.
    """

    __slots__ = ("_context", "_established", "_incoming", "_name", "_object", "_outgoing")

    def __init__(self, context: Context, server_name: str) -> None:
        self._context = context
        self._name = server_name
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._established = False
        self._object = context.ssl_context.wrap_bio(
            self._incoming, self._outgoing, server_hostname=server_name, session=context.session(server_name)
        )

    @property
    def ssl_context(self) -> ssl.SSLContext:
        """The context that it was made with."""
        return self._context.ssl_context

    @property
    def ssl_object(self) -> ssl.SSLObject:
        """Python's own of the connection."""
        return self._object

    def work(self, cipher: bytes, plain: bytes, close: bool) -> tuple[bytes, bytes, bool, str | None]:
        """Works through received records, encrypts ``plain``, and says that nothing more comes if ``close``.

        Returns what was received, the records to send, whether the handshake is over, and how the receiving half ended:
        None if it has not, ``""`` by close_notify, or an error's text.
        """
        received: list[bytes] = []
        try:
            end = self._work(cipher, plain, close, received)
        except ssl.SSLCertVerificationError as error:
            end = self._refusal(error)
        except Exception as error:  # noqa: BLE001 - also what the context's own callbacks raise
            end = _words(error, self._context.shows_certificate)
        return b"".join(received), self._outgoing.read(), self._established, end

    def _work(self, cipher: bytes, plain: bytes, close: bool, received: list[bytes]) -> str | None:
        if cipher:
            self._incoming.write(cipher)
        if not self._established:
            try:
                self._object.do_handshake()
            except ssl.SSLWantReadError:
                return None
            self._check_pins()
            self._established = True
        if plain:
            # Into memory: all of it.
            self._object.write(plain)
        end = self._read(received) if cipher else None
        if close:
            self._context.keep(self._name, self._object.session)
            # The other side's is not waited for here.
            with contextlib.suppress(ssl.SSLError):
                self._object.unwrap()
        return end

    def _refusal(self, error: ssl.SSLCertVerificationError) -> str:
        """Why the server's certificate was not accepted."""
        code = error.verify_code
        fault, said = _core.certificate_fault(code, self._name, _unverified_chain(self._object))
        if said is None:
            why = error.verify_message.rstrip(".") or "the verification failed"
            hint = _CLOCK if code in _OF_TIME else _STRICTLY if code in _OF_FORM else ""
            return tagged(fault, f"the server's certificate is not accepted: {why}{hint}")
        return tagged(fault, f"{said}{_OR_LOAD_IT if code in _OF_TRUST else ''}")

    def _read(self, received: list[bytes]) -> str | None:
        try:
            while data := self._object.read(_CHUNK):
                received.append(data)
                # Where nothing is left of what came, asking for more costs an exception. An end is a record of its own.
                if not (self._incoming.pending or self._object.pending()):
                    return None
        except ssl.SSLWantReadError:
            return None
        except ssl.SSLZeroReturnError:
            pass
        return ""

    def _check_pins(self) -> None:
        # A session is resumed only where its certificates met the same pins.
        if not self._context.pins or self._object.session_reused:
            return
        seen = [_core.certificate_pin(certificate) for certificate in _verified_chain(self._object)]
        if self._context.pins.isdisjoint(seen):
            raise _NotPinned(seen)


def stream_of(tls: object) -> Stream | None:
    """Python's own stream of a connection's TLS, that to the server if there are two; None where rustls does it."""
    if isinstance(tls, ToProxy):
        tls = tls.stream
    elif isinstance(tls, Layered):
        tls = tls.inner
    return tls if isinstance(tls, Stream) else None


class Secured(Protocol):
    """TLS between bytes: a ``Stream``, a ``Layered``, or a native ``TlsTunnel``."""

    def work(self, cipher: bytes, plain: bytes, close: bool, /) -> tuple[bytes, bytes, bool, str | None]: ...


class ToProxy:
    """Established TLS to a proxy, with none inside of it: its errors say so."""

    __slots__ = ("stream",)

    def __init__(self, stream: Stream) -> None:
        self.stream = stream

    def work(self, cipher: bytes, plain: bytes, close: bool) -> tuple[bytes, bytes, bool, str | None]:
        """See ``Stream.work``."""
        received, records, established, end = self.stream.work(cipher, plain, close)
        return received, records, established, end and _to_proxy(end)


class Layered:
    """TLS inside of TLS: ``inner`` to the server, inside of ``outer`` to a proxy, which is established."""

    __slots__ = ("_outer", "inner")

    def __init__(self, outer: Secured, inner: Secured) -> None:
        self._outer = outer
        self.inner = inner

    def work(self, cipher: bytes, plain: bytes, close: bool) -> tuple[bytes, bytes, bool, str | None]:
        """See ``Stream.work``. Where the proxy ends its TLS before the server does, that is ``CUT_OFF``."""
        records, answer, _, outer_end = self._outer.work(cipher, b"", False)
        received, sealed, established, end = self.inner.work(records, plain, close)
        _, more, _, failed = self._outer.work(b"", sealed, close)
        outer_end = outer_end or failed or outer_end
        if end is None and outer_end is not None:
            end = _to_proxy(outer_end) if outer_end else CUT_OFF
        return received, answer + more, established, end


def _to_proxy(error: str) -> str:
    return f"to the proxy: {untagged(error)}"


class _NotPinned(Exception):
    def __init__(self, seen: list[str]) -> None:
        behind = f", those behind it {', '.join(seen[1:])}" if seen[1:] else ""
        super().__init__(
            "the server's certificate is valid, but no key of its chain is among TlsConfig(pins=...): the pin of its "
            f"own key is {seen[0]}{behind}"
        )


def _verified_chain(connection: ssl.SSLObject) -> list[bytes]:
    """The certificates of the chain that was verified, in DER, the server's own first."""
    if hasattr(connection, "get_verified_chain"):  # CPython 3.13
        return list(connection.get_verified_chain())
    return _in_der(_inside(connection).get_verified_chain())


def _unverified_chain(connection: ssl.SSLObject) -> list[bytes]:
    """The certificates that the server showed, in DER, its own first."""
    if hasattr(connection, "get_unverified_chain"):  # CPython 3.13
        return list(connection.get_unverified_chain())
    return _in_der(_inside(connection).get_unverified_chain())


def _inside(connection: ssl.SSLObject) -> Any:
    """What is private, and needed up to CPython 3.12 only."""
    return connection._sslobj  # type: ignore[attr-defined]  # noqa: SLF001


def _in_der(chain: Any) -> list[bytes]:
    import _ssl  # private, as above

    return [certificate.public_bytes(_ssl.ENCODING_DER) for certificate in chain or ()]


def context_of(material: Material) -> Context:
    """The context that ``material`` describes.

    Raises:
        ValueError: A part of it cannot be used; the text names the setting.
    """
    authorities = None if material.ca is None else _text("ca", material.ca)
    context = _new_context()
    if not material.verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    elif not material.ca_only:
        context.load_default_certs()
    if authorities is not None:
        with _naming("ca"):
            context.load_verify_locations(cadata=authorities)
    context.minimum_version = _VERSIONS[material.minimum_version]
    context.maximum_version = _VERSIONS[material.maximum_version]
    if material.alpn:
        context.set_alpn_protocols(list(material.alpn))
    _add_identity(context, material)
    _add_revocation_lists(context, material)
    if material.keylog is not None:
        _log_keys(context, material.keylog)
    return Context(
        context,
        pins=frozenset(material.pins),
        resumption=material.resumption,
        shows_certificate=material.certificate is not None,
    )


def _new_context() -> ssl.SSLContext:
    """What ``ssl.create_default_context()`` makes, but for roots, and what it does about SSLKEYLOGFILE by itself."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if sys.version_info >= (3, 13):
        context.verify_flags |= ssl.VerifyFlags.VERIFY_X509_PARTIAL_CHAIN | ssl.VerifyFlags.VERIFY_X509_STRICT
    return context


def _log_keys(context: ssl.SSLContext, path: str) -> None:
    try:
        # Its owner's alone, if it is new: OpenSSL would make it as the umask has it.
        os.close(os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600))
        context.keylog_filename = path
    except OSError as error:
        raise ValueError(f"the key log {path!r} cannot be written: {error.strerror}") from error


def _add_identity(context: ssl.SSLContext, material: Material) -> None:
    pair = identity(material)
    if pair is None:
        return
    if b"-----BEGIN CERTIFICATE-----" not in pair[0]:
        raise ValueError("TlsConfig.certificate holds no certificate in PEM form (-----BEGIN CERTIFICATE-----)")
    if b"PRIVATE KEY-----" not in pair[1]:
        raise ValueError("TlsConfig.key holds no private key in PEM form (-----BEGIN PRIVATE KEY-----)")
    with _file(pair[0]) as certificate, _file(pair[1]) as key:
        try:
            context.load_cert_chain(certificate, key, password=_no_password)
        except ssl.SSLError as error:
            if error.reason == "KEY_VALUES_MISMATCH":
                raise ValueError("TlsConfig.key is not the key of TlsConfig.certificate") from None
            raise ValueError(f"TlsConfig.certificate or TlsConfig.key cannot be used: {error}") from None


def _no_password() -> str:
    raise ValueError("TlsConfig.key is encrypted: give TlsConfig.password")


def _add_revocation_lists(context: ssl.SSLContext, material: Material) -> None:
    if not material.crls:
        return
    lists = b"\n".join(material.crls)
    if b"-----BEGIN X509 CRL-----" not in lists:
        raise ValueError("TlsConfig.crls holds no revocation list in PEM form (-----BEGIN X509 CRL-----)")
    with _naming("crls"), _file(lists) as path:
        context.load_verify_locations(path)
    context.verify_flags |= ssl.VerifyFlags.VERIFY_CRL_CHECK_LEAF


def _text(name: str, pem: bytes) -> str:
    # What stands between certificates may be of any encoding; OpenSSL passes over it.
    if b"-----BEGIN CERTIFICATE-----" not in pem:
        raise ValueError(f"TlsConfig.{name} holds no certificate in PEM form (-----BEGIN CERTIFICATE-----)")
    return pem.decode("ascii", "replace").replace("\ufffd", "?")


@contextlib.contextmanager
def _naming(name: str) -> Iterator[None]:
    try:
        yield
    except (ssl.SSLError, ValueError) as error:
        raise ValueError(f"TlsConfig.{name} cannot be used: {error}") from None


@contextlib.contextmanager
def _file(content: bytes) -> Iterator[str]:
    """``content`` as a file, which is all that OpenSSL takes some things from. In memory where that can be."""
    if hasattr(os, "memfd_create"):
        fd = os.memfd_create("fastws", os.MFD_CLOEXEC)
        try:
            with open(fd, "wb", closefd=False) as file:
                file.write(content)
            yield f"/proc/self/fd/{fd}"
        finally:
            os.close(fd)
        return
    with tempfile.TemporaryDirectory() as folder:  # its owner's alone
        path = Path(folder, "pem")
        path.write_bytes(content)
        yield str(path)


def _words(error: Exception, shows_certificate: bool | None) -> str:
    """What went wrong. What is tagged is a ``CertificateError``."""
    if isinstance(error, _NotPinned):
        return tagged("pin", str(error))
    if not isinstance(error, ssl.SSLError):
        return f"the context's own code raised {error!r}"
    reason = (error.reason or str(error)).lower().replace("_", " ")
    alert = reason.partition(" alert ")[2]
    if alert == "certificate required" and not shows_certificate:
        give = "none was given: use TlsConfig(certificate=..., key=...)"
        return tagged("client", f"the server wants a client certificate, and {give} (alert {alert})")
    if alert in _ABOUT_OURS and shows_certificate is not False:
        why = _WHY.get(alert, "it does not say why")
        maybe = ", if the SSLContext has one" if shows_certificate is None else ""
        return tagged("client", f"the server refused the client certificate{maybe}: {why} (alert {alert})")
    return _REASONS.get(reason, reason)


CUT_OFF = "cut off"
"""How the receiving half ended where TLS outside of it did first; ``tls::python`` knows it by this."""

_ABOUT_OURS = frozenset(
    {
        "bad certificate",
        "unsupported certificate",
        "certificate revoked",
        "certificate expired",
        "certificate unknown",
        "unknown ca",
        "access denied",
        "certificate required",
    }
)

_WHY = {
    "unknown ca": "it does not know its issuer",
    "certificate expired": "it has expired",
    "certificate revoked": "it is revoked",
    "unsupported certificate": "it is of a kind or for a use that it does not take",
    "access denied": "it is valid, and has no access",
}

_OR_LOAD_IT = ", or load it into the SSLContext"
_CLOCK = ", or this machine's clock is wrong"

# X509_V_ERR_* of OpenSSL's x509_vfy.h.
_OF_TIME = frozenset({9, 10, 11, 12})
_OF_TRUST = frozenset({2, 18, 19, 20, 21})
_OF_FORM = frozenset(range(80, 95))

_STRICTLY = (
    ": Python 3.13 and later ask for all that RFC 5280 does (ssl.VERIFY_X509_STRICT); make the certificate anew with "
    'it, or use tls="system", which does not'
)

_NOT_OFFERED = (
    "alert handshake failure; the server wants what is not offered: a client certificate (TlsConfig(certificate=...)), "
    "or other cipher suites"
)

_WRONG_VERSION = "the server speaks none of the TLS versions offered"

_REASONS = {
    "wrong version number": "wrong version number; the port does not seem to speak TLS: use ws://",
    "unsupported protocol": f"unsupported protocol; {_WRONG_VERSION}",
    "tlsv1 alert protocol version": f"alert protocol version; {_WRONG_VERSION}",
    # As OpenSSL calls it up to 3.1, and from 3.2 on.
    "sslv3 alert handshake failure": _NOT_OFFERED,
    "ssl/tls alert handshake failure": _NOT_OFFERED,
    "tlsv1 alert no application protocol": "the server speaks none of the protocols offered (ALPN)",
}

_VERSIONS = {"TLSv1.2": ssl.TLSVersion.TLSv1_2, "TLSv1.3": ssl.TLSVersion.TLSv1_3}

# A record's plaintext (RFC 8446 §5.1): what a read gives at most.
_CHUNK = 16_384

# Server names whose session is kept, as many as rustls keeps tickets of.
_MAX_SESSIONS = 32
