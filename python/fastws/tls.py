"""TLS: which certificates are trusted, which name the server's must have, and what is shown to it."""

from __future__ import annotations

import base64
import binascii
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any, Literal, NamedTuple, Self

from . import _core, _openssl, _tls_files
from ._aside import Calls, Wait, on_loop
from ._openssl import Context
from ._tls_files import Material

__all__ = ["TlsConfig"]

Backend = Literal["system", "webpki", "openssl"]

Version = Literal["TLSv1.2", "TLSv1.3"]

Data = str | os.PathLike[str] | bytes
"""A path, or what a file of that kind holds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TlsConfig:
    """How a ``wss://`` connection is secured.

    Files are read when a connection is made, so that one that was renewed is taken with the next. Connections with
    equal settings and equal files share a context, and with it their sessions.

    Args:
        backend: Who does TLS, and whose certificate authorities (roots) are trusted: ``"system"`` is rustls and the
            platform's store, or that of the environment's SSL_CERT_FILE and SSL_CERT_DIR; ``"webpki"`` is rustls and
            Mozilla's roots, bundled; ``"openssl"`` is Python's ``ssl`` and the roots that its OpenSSL was built for, or
            SSL_CERT_FILE and SSL_CERT_DIR.
        ca: Certificate authorities to trust besides those roots: a path to a PEM file or to a directory of them, or PEM
            as ``bytes``.
        ca_only: Trust only ``ca``, and none of the roots.
        verify: False accepts any certificate, and warns: whoever is on the way can read and change everything.
        server_hostname: The name to ask for (SNI) and to find in the certificate, instead of the URI's host.
        certificate: The client's certificate, for servers that ask for one: a path to a file or its ``bytes``, PEM (its
            own first, then those of the authorities between it and the root) or PKCS#12.
        key: The key of ``certificate``, a path or ``bytes``, PEM; by default it is in ``certificate``.
        password: What decrypts an encrypted key or PKCS#12. Encrypted keys and PKCS#12 need the package
            ``cryptography``.
        minimum_version: The oldest TLS version to speak, ``"TLSv1.2"`` (the default) or ``"TLSv1.3"``.
        maximum_version: The newest, ``"TLSv1.3"`` by default.
        alpn: Protocols to offer (ALPN), in order of preference; WebSocket over HTTP/1.1 is all that is spoken on top.
            Empty offers nothing.
        pins: Keys of which the server's chain must have one, besides being valid: base64 of the SHA-256 of its
            SubjectPublicKeyInfo (RFC 7469), with or without a ``"sha256/"`` before it. Of what the server sends only
            the certificates of the verified chain count.
        crls: Certificate revocation lists, paths or ``bytes``, PEM. With any given, there must be a current one of the
            issuer of the server's certificate.
        keylog: A file that the secrets of connections are appended to, as Wireshark reads them; by default that of the
            environment's SSLKEYLOGFILE. Who has it can read all that is sent.
        resumption: Resume sessions of earlier connections where the server gives tickets.

    Raises:
        TypeError, ValueError: A setting is wrong; the text names it. Of what is in files, and in PEM, that is said when
            a connection is made.
    """

    backend: Backend = "system"
    ca: Data | None = field(default=None, repr=False)
    ca_only: bool = False
    verify: bool = True
    server_hostname: str | None = None
    certificate: Data | None = field(default=None, repr=False)
    key: Data | None = field(default=None, repr=False)
    password: str | bytes | None = field(default=None, repr=False)
    minimum_version: Version = "TLSv1.2"
    maximum_version: Version = "TLSv1.3"
    alpn: Sequence[str] = ("http/1.1",)
    pins: Sequence[str] = ()
    crls: Sequence[Data] = field(default=(), repr=False)
    keylog: str | os.PathLike[str] | None = None
    resumption: bool = True

    def __post_init__(self) -> None:
        if self.backend not in _BACKENDS:
            raise ValueError(f"TlsConfig.backend must be {_named(_BACKENDS)}, not {self.backend!r}")
        for name in ("verify", "ca_only", "resumption"):
            if not isinstance(getattr(self, name), bool):
                raise TypeError(f"TlsConfig.{name} is True or False, not {getattr(self, name)!r}")
        for name in ("ca", "certificate", "key"):
            if getattr(self, name) is not None:
                self._set(name, _data(name, getattr(self, name)))
        self._check_trust()
        self._check_identity()
        _check_hostname(self.server_hostname)
        for name in ("minimum_version", "maximum_version"):
            if getattr(self, name) not in _VERSIONS:
                raise ValueError(f"TlsConfig.{name} must be {_named(_VERSIONS)}, not {getattr(self, name)!r}")
        if self.minimum_version > self.maximum_version:
            raise ValueError(
                f"TlsConfig.minimum_version {self.minimum_version!r} is above maximum_version {self.maximum_version!r}"
            )
        self._set("alpn", tuple(_protocol(protocol) for protocol in _each("alpn", self.alpn, str)))
        self._set("pins", tuple(_pin(pin) for pin in _each("pins", self.pins, str)))
        if self.keylog is not None:
            if not isinstance(self.keylog, str | os.PathLike):
                raise TypeError(f"TlsConfig.keylog is a path, not {self.keylog!r}")
            self._set("keylog", _path("keylog", self.keylog))

    def __repr__(self) -> str:
        given = {each: getattr(self, each.name) for each in fields(self) if each.name != "password"}
        # Of those that are files only what there is.
        shown = [f"{each.name}={_shown(value)}" for each, value in given.items() if each.repr or value]
        return f"TlsConfig({', '.join(shown)})"

    def _set(self, name: str, value: object) -> None:
        object.__setattr__(self, name, value)

    def _check_trust(self) -> None:
        self._set("crls", tuple(_data("crls", crl) for crl in _each("crls", self.crls, object)))
        if not self.verify:
            given = [name for name in ("ca", "ca_only", "pins", "crls") if getattr(self, name)]
            if given:
                raise ValueError(
                    f"TlsConfig(verify=False) trusts any certificate; leave out {given[0]}, or leave out verify=False"
                )
        if self.ca_only and self.ca is None:
            raise ValueError("TlsConfig.ca_only trusts nothing but ca: give ca")

    def _check_identity(self) -> None:
        for name in ("key", "password"):
            if getattr(self, name) is not None and self.certificate is None:
                raise ValueError(f"TlsConfig.{name} is for a client certificate: give certificate, or leave out {name}")
        if self.password is not None and not isinstance(self.password, str | bytes):
            raise TypeError(f"TlsConfig.password is str or bytes, not {type(self.password).__name__}")


def _check_hostname(name: str | None) -> None:
    if name is None:
        return
    if not isinstance(name, str):
        raise TypeError(f"TlsConfig.server_hostname is a name or an address (str), not {name!r}")
    if not name or any(character.isspace() for character in name):
        raise ValueError(f"TlsConfig.server_hostname must be a name or an address, not {name!r}")


def _data(name: str, given: Any) -> str | bytes:
    """A path as ``str``, or what such a file holds as ``bytes``. Bytes are not shown: they may be a key."""
    if isinstance(given, bytes | bytearray | memoryview):
        return bytes(given)
    if not isinstance(given, str | os.PathLike):
        raise TypeError(f"TlsConfig.{name} is a path, or what such a file holds as bytes, not {type(given).__name__}")
    return _path(name, given)


def _shown(setting: object) -> str:
    """A setting for people: of what a file holds, which may be a key, only its length."""
    if isinstance(setting, bytes):
        return f"<{len(setting)} bytes>"
    if isinstance(setting, tuple) and any(isinstance(one, bytes) for one in setting):
        return f"({', '.join(map(_shown, setting))})"
    return repr(setting)


def _path(name: str, given: str | os.PathLike[str]) -> str:
    path = os.fsdecode(given)
    if "-----BEGIN" in path:
        raise ValueError(f"TlsConfig.{name} is a path if it is a str; give PEM itself as bytes: {name}=pem.encode()")
    if not path or "\0" in path:
        raise ValueError(f"TlsConfig.{name} is a path, and a path is not empty and has no null characters")
    return path


def _each(name: str, given: Any, kind: type) -> Iterable[Any]:
    is_many = isinstance(given, Iterable) and not isinstance(given, str | bytes | bytearray | memoryview | os.PathLike)
    found = list(given) if is_many else []
    if not is_many or not all(isinstance(one, kind) for one in found):
        raise TypeError(f"TlsConfig.{name} is a sequence, such as [one, another], not {type(given).__name__}")
    return found


def _protocol(name: str) -> str:
    # RFC 7301 §3.1: one to 255 bytes.
    if not 0 < len(name) < 256 or not name.isascii():
        raise ValueError(f'TlsConfig.alpn has names of protocols such as "http/1.1", not {name!r}')
    return name


def _pin(pin: str) -> str:
    try:
        digest = base64.b64decode(pin.removeprefix("sha256/"), validate=True)
    except (binascii.Error, ValueError):
        digest = b""
    if len(digest) != 32:
        raise ValueError(f"TlsConfig.pins has SHA-256 digests in base64, 44 characters each; {pin!r} is none")
    return base64.b64encode(digest).decode()


def _named(names: Sequence[str]) -> str:
    *others, last = (f'"{name}"' for name in names)
    return f"{', '.join(others)} or {last}"


_BACKENDS = ("system", "webpki", "openssl")

_VERSIONS = ("TLSv1.2", "TLSv1.3")


class Security(NamedTuple):
    """How an end is secured: by these settings, or by a context of the user's own that stands for them."""

    config: TlsConfig
    own: Context | None = None

    def name(self, host: str) -> str:
        """The name that the certificate of ``host`` must have."""
        return self.config.server_hostname or host

    async def context(self, wait: Wait) -> _core.TlsContext | Context:
        """What makes its connections."""
        return self.own or await context_for(self.config, wait)

    def elsewhere(self) -> Self:
        """The same for another server: what is trusted stays, what we show and what it is called do not.

        An ``SSLContext`` is used as it is, also there.
        """
        return self._replace(
            config=replace(self.config, server_hostname=None, certificate=None, key=None, password=None)
        )


async def context_for(config: TlsConfig, wait: Wait = on_loop) -> _core.TlsContext | Context:
    """The context of ``config``: made once, in another thread, and shared (with its session tickets)."""
    if _tls_files.needs_files(config):
        material = await wait(_reading.ask(config, lambda: _tls_files.gather(config)))
    else:
        material = _tls_files.gather(config)
    known = _contexts.get(material)
    return known if known is not None else await wait(_making.ask(material, lambda: _make(material)))


def _make(material: Material) -> _core.TlsContext | Context:
    """The context of this material. Takes long the first time: those who need the same wait for that one."""
    context: _core.TlsContext | Context | None = _contexts.get(material)
    if context is None:
        if material.backend == "openssl":
            context = _openssl.context_of(material)
        else:
            context = _core.TlsContext(_tls_files.native_options(material))
        for oldest in list(_contexts)[: max(0, len(_contexts) + 1 - _MAX_CONTEXTS)]:  # several threads may be here
            _contexts.pop(oldest, None)
        _contexts[material] = context
    return context


_MAX_CONTEXTS = 64
_contexts: dict[Material, _core.TlsContext | Context] = {}

_reading = Calls("fastws-tls-files", most=8)
_making = Calls("fastws-tls", most=4)

if hasattr(os, "register_at_fork"):
    # A ticket is used once, and two processes with the same ones would use each twice.
    os.register_at_fork(after_in_child=_contexts.clear)
