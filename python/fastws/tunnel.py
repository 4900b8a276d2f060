"""A way through a proxy: its handshake, on a socket that goes to the native side when it is done."""

from __future__ import annotations

import base64
import contextlib
import io
import re
import socket
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, cast

from . import _core, dial
from ._openssl import Context, Secured, Stream
from ._tls_words import told
from .errors import CertificateError, DialError, InvalidURI, ProxyError, TlsError
from .http import Headers, Response
from .proxy import Proxy
from .redact import printable

if TYPE_CHECKING:
    from ._io import Io

__all__ = ["Tunnel"]


class Tunnel:
    """Opens ways through one proxy.

    Args:
        io: Who waits.
        proxy: The proxy.
        dialling: How it is connected to.
        headers: Header fields for an HTTP proxy; they replace ours of the same name.
        uri: What messages call the connection.
        tell: Is told what is under way, for a message that begins with the proxy.
        tls: For an ``https://`` proxy: the context of its TLS, and the name that its certificate must have.
        sock: A socket that is connected to the proxy already, for the first way; it is taken over.
    """

    __slots__ = ("_dialling", "_headers", "_io", "_proxy", "_sock", "_tell", "_tls", "_uri")

    def __init__(
        self,
        io: Io,
        proxy: Proxy,
        dialling: dial.Dialling,
        headers: Sequence[tuple[str, str]],
        uri: str,
        tell: Callable[[str], None],
        tls: tuple[_core.TlsContext | Context, str] | None = None,
        sock: socket.socket | None = None,
    ) -> None:
        self._proxy = proxy
        self._dialling = dialling
        self._headers = headers
        self._uri = uri
        self._tell = tell
        self._io = io
        self._tls = tls
        self._sock = sock

    async def open(self, host: str, port: int) -> tuple[socket.socket, Secured | None]:
        """A non-blocking socket whose other end is ``host``, by way of the proxy, and the proxy's TLS on it, if any.

        Raises:
            ProxyError: The proxy was not reached, or opened no way.
            DialError: The host was not found, where the proxy wants an address.
        """
        hosts = [host]
        if not self._proxy.finds_hosts:
            family = socket.AF_INET if self._proxy.scheme == "socks4" else socket.AF_UNSPEC
            self._tell("wants an address, and the host's name was being looked up")
            wanted = self._dialling._replace(family=family)
            found = await dial.resolve(self._io, host, port, self._uri, wanted)
            hosts = [cast("tuple[str, int]", address.sockaddr)[0] for address in found]
        failed: ProxyError | None = None
        for each in hosts:
            sock = await self._connected()
            try:
                self._tell("had not answered")
                outer = await self._ask(sock, each, port)
            except ProxyError as error:
                sock.close()
                if error.denied or each == hosts[-1]:
                    raise
                failed = error
            except BaseException:
                sock.close()
                raise
            else:
                return sock, outer
        raise failed if failed is not None else AssertionError("no address")

    async def _connected(self) -> socket.socket:
        """A socket that is connected to the proxy."""
        if self._sock is not None:
            sock, self._sock = self._sock, None
            return sock
        proxy, tried = self._proxy, dict[str, dial.Tried]()
        self._tell("was being looked up")
        try:
            local = await dial.local_addresses(self._io, self._dialling, self._uri)
            addresses = await dial.resolve(self._io, proxy.host, proxy.port, self._uri, self._dialling)
            self._tell("was being connected to")
            return await dial.connect(self._io, addresses, self._dialling, self._uri, local=local, tried=tried)
        except DialError as error:
            why = str(error).removeprefix(f"{self._uri}: ")
            raise self._failed(f"cannot be reached: {why}", attempts=error.attempts, errno=error.errno) from error

    async def _ask(self, sock: socket.socket, host: str, port: int) -> Secured | None:
        try:
            if self._tls is not None:
                tls = await self._secured(sock, *self._tls)
                await self._ask_http(_Sealed(self._io, sock, tls), host, port)
                return tls
            if self._proxy.scheme == "http":
                await self._ask_http(_Plain(self._io, sock), host, port)
            else:
                await self._ask_socks(sock, host, port)
        except ProxyError:
            raise
        except UnicodeError as error:
            raise InvalidURI(f"{self._uri}: the host {host!r} cannot be written for a proxy: {error}") from error
        except OSError as error:
            raise self._failed(
                f"dropped the connection before it was a way to the server: {dial.reason(error)}"
            ) from error
        return None

    async def _secured(self, sock: socket.socket, context: _core.TlsContext | Context, name: str) -> Secured:
        """TLS to the proxy itself."""
        self._tell("was making the TLS connection to itself")
        tls: Secured
        try:
            tls = _core.TlsTunnel(context, name) if isinstance(context, _core.TlsContext) else Stream(context, name)
        except ValueError as error:
            raise self._failed(f"cannot be spoken to by TLS: {error}", denied=True) from error
        received, records, established, end = tls.work(b"", b"", False)
        while True:
            if end:
                with contextlib.suppress(OSError):
                    sock.send(records)  # the alert that tells it why; it is small, or is not waited for
                raise self._not_secured(end)
            if received:
                raise self._failed("sent something before it was asked")
            if records:
                await self._io.send(sock, records)
            if established:
                self._tell("had not answered")
                return tls
            data = await self._io.receive(sock, _CHUNK)
            if not data:
                raise self._failed("ended the connection in the middle of the TLS handshake")
            received, records, established, end = tls.work(data, b"", False)

    def _not_secured(self, why: str) -> ProxyError:
        reason, fault, _ = told(why)
        why = reason.replace("the server's certificate", "its certificate").replace("the server ", "it ")
        why = why.replace("TlsConfig(", "proxy_tls=TlsConfig(").replace("use ws://", "use http://")
        made: TlsError = TlsError(why, uri=self._uri, phase="proxy")
        if fault is not None:
            made = CertificateError(why, uri=self._uri, phase="proxy", fault=fault)
        return self._failed(f"made no TLS connection to itself: {why}", denied=fault is not None, tls=made)

    # ---- HTTP CONNECT (RFC 9110 §9.3.6) ----------------------------------------------------------------------------

    async def _ask_http(self, wire: _Plain | _Sealed, host: str, port: int) -> None:
        try:
            await wire.send(self._request(host, port))
            response = _parsed(await self._head(wire))
        except UnicodeError:
            raise
        except ValueError as error:
            why = str(error)
            if told(why).fault is not None:
                # With TLS 1.3 it judges ours when our part of the handshake is over.
                raise self._not_secured(why) from error
            raise self._failed(f"sent what is not TLS any more: {why}") from error
        if response is None:
            raise self._failed("answered something that is not HTTP: is it a proxy of this kind, on this port?")
        if not 200 <= response.status_code < 300:
            raise self._refused(response, f"{_authority(host)}:{port}")

    def _request(self, host: str, port: int) -> bytes:
        place = f"{_authority(host)}:{port}"
        fields = [("Host", place)]
        if self._proxy.username is not None:
            credentials = f"{self._proxy.username}:{self._proxy.password or ''}".encode()
            fields.append(("Proxy-Authorization", f"Basic {base64.b64encode(credentials).decode()}"))
        given = {name.lower() for name, _ in self._headers}
        fields = [(name, value) for name, value in fields if name.lower() not in given]
        lines = [f"CONNECT {place} HTTP/1.1", *(f"{name}: {value}" for name, value in [*fields, *self._headers])]
        return "\r\n".join([*lines, "", ""]).encode()

    async def _head(self, wire: _Plain | _Sealed) -> bytes:
        """The head of the answer. What is behind it is the server's and stays in the socket."""
        head = b""
        while True:
            more = await wire.receive(head)
            if not more:
                raise self._failed(
                    "ended the connection in the middle of its answer" if head else "ended the connection unanswered"
                )
            head += more
            if not head.startswith(_HTTP[: len(head)]):
                return head
            end = _END_OF_HEAD.search(head)
            if end is not None and end.end() < len(head):
                raise self._failed("sent more than its answer, though the server has nothing to answer yet")
            if end is not None:
                return head
            if len(head) >= _MAX_HEAD:
                raise self._failed(f"answered with a head of more than {_MAX_HEAD // 1024} KiB")

    def _refused(self, response: Response, place: str) -> ProxyError:
        line = f"HTTP {response.status_code} {response.reason_phrase}".rstrip()
        hint = _HINTS.get(response.status_code, "")
        if response.status_code in (401, 407):  # tinyproxy says the first
            kinds = [value.split()[0] for value in response.headers.get_all("Proxy-Authenticate") if value.strip()]
            hint = _REFUSED_CREDENTIALS if self._proxy.username is not None else _NO_CREDENTIALS
            if kinds and not any(kind.lower() == "basic" for kind in kinds):
                hint = f"it takes credentials by {printable(', '.join(kinds))} only, and here they are given by Basic"
        what = f"did not connect us to {place}: {printable(line)}"
        return self._failed(f"{what}; {hint}" if hint else what, response=response)

    # ---- SOCKS -----------------------------------------------------------------------------------------------------

    async def _ask_socks(self, sock: socket.socket, host: str, port: int) -> None:
        import python_socks

        if self._proxy.scheme.startswith("socks4") and ":" in host:
            raise self._failed(f"cannot connect us to {host}: SOCKS4 has no IPv6; use socks5://", denied=True)
        try:
            await self._io.socks(self._proxy, sock, host, port)
        except python_socks.ProxyError as error:
            reply = printable(str(error))
            raise self._failed(
                f"did not connect us to {_authority(host)}:{port}: {reply}{_socks_hint(reply, error.error_code)}",
                reply=reply,
                denied=any(sign in reply for sign in _SOCKS_WANTS) or error.error_code in _SOCKS_DENIALS,
            ) from error
        except UnicodeError:
            raise
        except ValueError as error:
            raise self._failed(f"answered something that is not SOCKS: {error}") from error

    def _failed(self, what: str, **attributes: Any) -> ProxyError:
        shown = self._proxy.shown
        return ProxyError(f"{self._uri}: the proxy {shown} {what}", uri=self._uri, proxy=shown, **attributes)


class _Plain:
    """Bytes to and from a proxy as they are."""

    def __init__(self, io: Io, sock: socket.socket) -> None:
        self._io = io
        self._sock = sock

    async def send(self, data: bytes) -> None:
        await self._io.send(self._sock, data)

    async def receive(self, head: bytes) -> bytes:
        """What has come and belongs to the head of an answer that begins with ``head``; nothing at the end."""
        more = await self._io.receive(self._sock, 1)
        if more:
            with contextlib.suppress(BlockingIOError):
                seen = self._sock.recv(_MAX_HEAD, socket.MSG_PEEK)
                end = _END_OF_HEAD.search(head + more + seen)
                more += self._sock.recv(len(seen) if end is None else end.end() - len(head) - 1)
        return more


class _Sealed:
    """The same by TLS. What comes in one piece is taken in one piece.

    Raises:
        ValueError: It is not TLS any more.
    """

    def __init__(self, io: Io, sock: socket.socket, tls: Secured) -> None:
        self._io = io
        self._sock = sock
        self._tls = tls

    async def send(self, data: bytes) -> None:
        try:
            await self._io.send(self._sock, self._worked(b"", data)[1])
        except OSError:
            # It may have said why, with an alert, before it reset the connection.
            with contextlib.suppress(OSError):
                self._worked(self._sock.recv(_CHUNK), b"")
            raise

    async def receive(self, _: bytes) -> bytes:
        while data := await self._io.receive(self._sock, _CHUNK):
            received, records, is_over = self._worked(data, b"")
            if records:
                await self._io.send(self._sock, records)
            if received or is_over:
                return received
        return b""

    def _worked(self, cipher: bytes, plain: bytes) -> tuple[bytes, bytes, bool]:
        received, records, _, end = self._tls.work(cipher, plain, False)
        if end:
            raise ValueError(end)
        return received, records, end is not None


def _parsed(head: bytes) -> Response | None:
    """The answer; None if it is not one of HTTP/1."""
    from http.client import HTTPException, parse_headers

    line, _, rest = head.partition(b"\n")
    match = _STATUS_LINE.fullmatch(line.rstrip(b"\r"))
    if match is None:
        return None
    try:
        fields = parse_headers(io.BytesIO(rest)).items()
    except HTTPException:
        return None
    return Response(int(match[1]), (match[2] or b"").decode("latin-1").strip(), Headers(list(fields)))


def _authority(host: str) -> str:
    """A host as a request line has it."""
    if ":" in host:
        return f"[{host}]"
    return host if host.isascii() else host.encode("idna").decode("ascii")


def _socks_hint(reply: str, code: int | None) -> str:
    if code == _NOT_ALLOWED:
        return "; its rules forbid this server: ask who runs it"
    return next((f"; {hint}" for sign, hint in _SOCKS_WANTS.items() if sign in reply), "")


_CHUNK = 2**14

_MAX_HEAD = 2**14
"""Bytes; nginx and Squid send a few hundred, with cookies and traces a few thousand."""

_END_OF_HEAD = re.compile(rb"\r?\n\r?\n")

_HTTP = b"HTTP/1."

_STATUS_LINE = re.compile(rb"HTTP/1\.[01] (\d{3})(?: (.*))?")

_NOT_ALLOWED = 2
"""RFC 1928 §6."""

_SOCKS_DENIALS = frozenset({_NOT_ALLOWED, 7, 8, 92, 93})
"""Besides: a command and a kind of address that it does not know; SOCKS 4's two ways to doubt the user."""

_SOCKS_WANTS = {
    "No acceptable auth": "it wants credentials: put them into its URL, socks5h://user:password@host:1080",
    "authentication failure": "user and password of its URL are not right",
}
"""What python-socks says of credentials, without a code of its own, and what to do."""

_NO_CREDENTIALS = "it wants credentials: put them into its URL, http://user:password@host:port"
_REFUSED_CREDENTIALS = "it refused the user and password of its URL"

_NO_CONNECT = "it does not understand CONNECT: is it a proxy?"

_HINTS = {
    400: _NO_CONNECT,
    403: "its rules forbid this server or its port: ask who runs it",
    404: _NO_CONNECT,
    405: "it does not open ways (CONNECT): is it a proxy?",
    426: "a WebSocket server listens there: is it a proxy?",
    502: "it cannot reach the server, or does not find its name",
    503: "it cannot reach the server, or is overloaded",
    504: "the server did not answer it",
}
