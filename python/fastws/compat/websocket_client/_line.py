"""The native connection under a ``WebSocket``, in the form of the socket that programs expect there."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import string
import threading
import warnings
from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, NoReturn, Self, cast
from urllib.parse import quote

from fastws._openssl import Context
from fastws._options import Special
from fastws.connect import connect as _connect  # what a connection is to be; awaited, it would open one
from fastws.errors import InvalidURI, OpenTimeout
from fastws.sync._io import open_in_thread
from fastws.sync.connection import Connection

from . import _policy, _tls
from ._abnf import ABNF
from ._exceptions import (
    WebSocketAddressException,
    WebSocketConnectionClosedException,
    WebSocketTimeoutException,
)
from ._logging import isEnabledForTrace
from ._readiness import Signal
from ._ssl_compat import SSLWantReadError, ssl
from ._trace import Tracer

if TYPE_CHECKING:
    from fastws._opening import Upgrade

__all__ = ["Line", "adopt", "made"]

Piece = tuple[int, bool, int, bytes]
"""A frame: opcode, fin, reserved bits, payload."""

Item = str | bytes | Piece

Timeout = float | None


class Line(socket.socket):
    """A socket that fastws reads and writes. Its timeout is that of ``WebSocket.recv`` and ``send``.

    Options, addresses, ``shutdown`` and ``close`` are the socket's. Its descriptor, as ``fileno`` gives it, is for
    ``select`` and the like: it is readable while there is something to receive, also what was read from the socket
    already. What goes over the socket are frames, so ``recv`` and ``send`` of bytes raise OSError.
    """

    _ws: Connection | None = None
    _user: socket.socket | None = None
    _sslopt: dict[str, Any] | None = None
    _seconds: Timeout = None
    _ahead: Item | Exception | None = None
    _signal: Signal | None = None
    _is_unfinished = False
    _wants_frames = False
    is_traced = False
    """Whether what it sends is logged as it leaves."""
    _tls: Seen | None = None

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._reading = reading = threading.Lock()
        self._acquire, self._release = reading.acquire, reading.release
        self._looks_ahead = False
        self._receive: Callable[[Timeout], Item] = _not_open

    @classmethod
    def of(cls, sock: socket.socket, timeout: Timeout, sslopt: dict[str, Any] | None, *, wants_frames: bool) -> Self:
        """Takes over a socket that is connected.

        Args:
            sock: The socket.
            timeout: Seconds that a call may wait; None for no limit.
            sslopt: The options of TLS, complete; None for none.
            wants_frames: Messages in fragments are given as they are; else they are put together natively.
        """
        line = cls(sock.family, sock.type, sock.proto, fileno=sock.detach())
        socket.socket.setblocking(line, False)
        line._sslopt = sslopt
        line._wants_frames = wants_frames
        line.settimeout(timeout)
        return line

    # ---- the upgrade -----------------------------------------------------------------------------------------------

    def upgrade(self, host: str, port: int, resource: str, headers: Sequence[str]) -> tuple[int, dict[str, str]]:
        """Does TLS, if it is wanted, and asks for the upgrade; returns the answer's status and header fields.

        Args:
            host: The server's name.
            port: Its port.
            resource: The request target.
            headers: The request's lines, its first one too. Another key is drawn.

        Raises:
            WebSocketException: It was not granted.
            WebSocketAddressException: The host is none.
            OSError: TLS failed.
            ValueError: A header cannot be sent.
        """
        _warn_where_greenlets_stop()
        sock = socket.socket(self.family, self.type, self.proto, fileno=os.dup(socket.socket.fileno(self)))
        try:
            self.is_traced = isEnabledForTrace()
            planned = self._planned(sock, host, port, resource, headers)
            self._ws = ws = open_in_thread(planned._plan, planned._prepared, background=False, make=self._made)
            self._receive = ws.recv
        except OpenTimeout as error:
            raise WebSocketTimeoutException("Connection timed out") from error
        except InvalidURI as error:
            raise WebSocketAddressException(str(error)) from error
        finally:
            sock.close()  # unless it was taken
        answer = ws._response
        assert answer is not None, "it is open"
        status, _, fields, _ = answer
        return status, _policy.headers_of(fields)

    def _made(self, upgrade: Upgrade) -> Connection:
        """The native connection."""
        if not self.is_traced:
            return made(upgrade)
        told = {name: getattr(_policy, name) for name in _policy.__all__}
        return Connection(SimpleNamespace(**told, tapped=Tracer()), upgrade.plan.settings, False)

    def _planned(self, sock: socket.socket, host: str, port: int, resource: str, headers: Sequence[str]) -> _connect:
        fields: dict[str, tuple[str, str]] = {}
        others, subprotocols = list[tuple[str, str]](), list[str]()
        for line in headers[1:]:
            name, _, value = (part.strip() for part in line.partition(":"))
            match name.lower():
                case "upgrade" | "connection" | "sec-websocket-key" | "sec-websocket-version" | "":
                    pass
                case "sec-websocket-protocol":
                    subprotocols += [each.strip() for each in value.split(",")]
                case "host" | "origin" | "user-agent" | "authorization" as single:
                    fields[single] = name, value
                case _:
                    others.append((name, value))
        sslopt = self._sslopt
        planned = _connect(
            f"{'ws' if sslopt is None else 'wss'}://{f'[{host}]' if ':' in host else host}:{port}"
            f"{quote(resource, safe=_SAID)}",
            sock=sock,
            tls=None if sslopt is None else _tls.chosen(sslopt),
            server_hostname=None if sslopt is None else _tls.name_of(sslopt, host),
            additional_headers=[*fields.values(), *others],
            subprotocols=list(dict.fromkeys(subprotocols)),
            user_agent_header=None,
            _order=[line.partition(":")[0].strip() for line in headers[1:] if line],
            max_redirects=0,
            open_timeout=self._seconds or None,
            ping_interval=None,
            close_timeout=None,
            max_size=None,
            max_fragments=None,
            nodelay=False,  # it is among what was set already
            _special=Special(
                delivery="frames" if self._wants_frames else "messages and controls", tapped=self.is_traced
            ),
        )
        security = planned._plan.tls
        if security is not None and security.own is not None:
            self._tls = Seen(security.own.ssl_context)
            planned._plan.tls = security._replace(own=Context(self._tls.as_context))
        return planned

    # ---- receiving -------------------------------------------------------------------------------------------------

    def take(self) -> Item:
        """Waits for what is next: a message as ``str`` or ``bytes``, or a frame.

        Raises:
            WebSocketTimeoutException: Nothing came within the timeout.
            BlockingIOError, SSLWantReadError: Nothing is here, and the timeout is 0.
            WebSocketConnectionClosedException: The connection ended.
            WebSocketProtocolException, WebSocketPayloadException: It ended since the peer's next frame cannot be one.
        """
        self._acquire()  # half the time of a `with`
        try:
            return self._take_ahead() if self._looks_ahead else self._receive(self._seconds)
        except TimeoutError:
            raise self._timed_out() from None
        except WebSocketConnectionClosedException:
            if self._ws is not None and self._ws._close_info[0] is not None:
                # The peer's Close frame was given before: for who receives it is over, whatever we may still say.
                raise WebSocketConnectionClosedException(_policy.LOST) from None
            raise
        finally:
            self._release()

    def piece(self) -> Piece:
        """The same, always as a frame."""
        item = self.take()
        if isinstance(item, str):
            return ABNF.OPCODE_TEXT, True, 0, item.encode()
        return (ABNF.OPCODE_BINARY, True, 0, item) if isinstance(item, bytes) else item

    def ready(self, timeout: Timeout) -> bool:
        """Waits until ``take`` has something to give or to raise. False: it has not, ``timeout`` seconds later."""
        self._acquire()
        try:
            if self._ahead is not None:
                return True
            self._looks_ahead = True
            return self._look(timeout)
        finally:
            self._release()

    def pending(self) -> int:
        """Whether there is something to receive now, as ``SSLSocket.pending`` says it: bytes, and not 0."""
        return int(self.ready(0))

    def _take_ahead(self) -> Item:
        if self._ahead is None and not self._look(self._seconds):
            raise self._timed_out()
        item = self._ahead
        if isinstance(item, Exception):
            raise item.with_traceback(None)  # it ended, whoever asks
        self._ahead = None
        if self._signal is not None:
            self._look(0)
        else:
            self._looks_ahead = False
        return cast("Item", item)

    def _look(self, timeout: Timeout) -> bool:
        """Whether there is something ahead, ``timeout`` seconds later at the latest. The signal says so."""
        if self._ahead is None:
            try:
                self._ahead = self._receive(timeout)
            except TimeoutError:
                pass
            except Exception as error:  # noqa: BLE001 - it is raised to who receives
                self._ahead = error
        if self._signal is not None:
            self._signal.set(self._ahead is not None)
        return self._ahead is not None

    def _timed_out(self) -> Exception:
        if self._seconds != 0:
            return WebSocketTimeoutException("Connection timed out")
        if self._sslopt is not None:
            return SSLWantReadError(ssl.SSL_ERROR_WANT_READ, "The operation did not complete (read)")
        return BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))

    @property
    def _native(self) -> Connection:
        if self._ws is None:
            raise WebSocketConnectionClosedException("Connection is closed")
        return self._ws

    # ---- sending ---------------------------------------------------------------------------------------------------

    def message(self, payload: Any, opcode: int) -> int:
        """Sends a message of one frame; returns how many bytes that is.

        Raises:
            WebSocketConnectionClosedException: The connection is closed or closing.
            WebSocketTimeoutException: There was no room for it within the timeout.
            TypeError: The payload is neither text nor bytes.
        """
        if isinstance(payload, str):
            if opcode != ABNF.OPCODE_TEXT:
                payload = payload.encode("latin-1")
                length = len(payload)
            else:
                length = len(payload) if payload.isascii() else len(payload.encode())
        else:
            try:
                length = memoryview(payload).nbytes
            except TypeError:
                raise _no_payload(payload) from None
        if self._is_unfinished:
            self._begin()
        self._native.send(payload, opcode == ABNF.OPCODE_TEXT, timeout=self._seconds)
        if self._signal is not None:
            self._look_again()
        return length + (6 if length < ABNF.LENGTH_7 else 8 if length < ABNF.LENGTH_16 else 14)

    def frame(self, frame: ABNF) -> int:
        """Sends a frame; returns how many bytes that is. What it raises is what ``message`` does.

        Raises:
            ValueError: It is none that may be sent.
        """
        if any(bit not in (0, 1) for bit in (frame.fin, frame.rsv1, frame.rsv2, frame.rsv3)):
            raise ValueError("not 0 or 1")
        if frame.opcode not in ABNF.OPCODES:
            raise ValueError("Invalid OPCODE")
        payload = _bytes_of(frame.data)
        opcode, length, fin = frame.opcode, len(payload), bool(frame.fin)
        if opcode == ABNF.OPCODE_CLOSE:
            self.say_goodbye(payload)
        else:
            if opcode in (ABNF.OPCODE_TEXT, ABNF.OPCODE_BINARY):
                self._begin()
            rsv = frame.rsv1 << 2 | frame.rsv2 << 1 | frame.rsv3
            if not self._native._send_frame(opcode, fin, rsv, payload, self._seconds):
                raise WebSocketTimeoutException("timed out")
            if opcode <= ABNF.OPCODE_BINARY:
                self._is_unfinished = not fin
        if self._signal is not None:
            self._look_again()
        return length + (6 if length < ABNF.LENGTH_7 else 8 if length < ABNF.LENGTH_16 else 14)

    def _begin(self) -> None:
        """A message begins. It would wait for the end of another one, which nobody else can send."""
        if self._is_unfinished:
            raise ValueError("the fragments of a message were begun: send its last one, which has fin, first")

    def say_goodbye(self, payload: bytes) -> None:
        """Sends a Close frame, behind all that was sent, unless one was sent."""
        code = int.from_bytes(payload[:2], "big") if payload else _NO_CODE
        self._native._close(None if code == _NO_CODE else code, payload[2:].decode())

    def goodbye(self, payload: bytes, timeout: Timeout) -> ABNF | None:
        """Sends a Close frame and waits for the peer's, which is returned; None if it did not come in time.

        Of one that may not be sent the reason is left out, and if the code may not be sent, it is 1000.
        """
        for allowed in (payload, payload[:2], _NORMAL):
            with contextlib.suppress(ValueError):
                self.say_goodbye(allowed)
                break
        self._native._wait_for(Answer(self._native), timeout)
        code, reason, *_ = self._native._close_info
        if code is None:
            return None
        data = b"" if code == _NO_CODE else code.to_bytes(2, "big") + (reason or "").encode()
        return ABNF(1, 0, 0, 0, ABNF.OPCODE_CLOSE, 0, data)

    def _look_again(self) -> None:
        """A call that sent may have read what came meanwhile. Who receives at the moment looks for itself."""
        if self._reading.acquire(blocking=False):
            try:
                self._look(0)
            finally:
                self._reading.release()

    # ---- what a socket has -----------------------------------------------------------------------------------------

    def __repr__(self) -> str:
        # A socket's finalizer asks for it: not by `fileno`, which opens descriptors.
        own = super().fileno()
        kind = f"{type(self).__module__}.{type(self).__qualname__}{' [closed]' if own < 0 else ''}"
        shown = f"{kind} fd={own}, family={self.family}, type={self.type}, proto={self.proto}"
        for name, address in (("laddr", self.getsockname), ("raddr", self.getpeername)):
            with contextlib.suppress(OSError):
                shown += f", {name}={said}" if (said := address()) else ""
        return f"<{shown}>"

    def fileno(self) -> int:
        """A descriptor that is readable while there is something to receive; -1 once it is closed. Do not read it."""
        own = super().fileno()
        if own < 0 or self._ws is None:
            return own
        if self._signal is None:
            with self._reading:
                if self._signal is None:
                    self._signal = Signal(own)
                    self._looks_ahead = True
                    self._look(0)
        return self._signal.fileno()

    @property
    def is_closed(self) -> bool:
        """Whether it was closed by ourselves."""
        return super().fileno() < 0

    def gettimeout(self) -> Timeout:
        """Seconds that a call may wait; None for no limit."""
        return self._seconds

    def settimeout(self, value: Timeout, /) -> None:
        """Sets how many seconds a call may wait; None for no limit."""
        if value is not None and value < 0:
            raise ValueError("Timeout value out of range")
        self._seconds = None if value is None else float(value)

    def getblocking(self) -> bool:
        """Whether calls wait at all."""
        return self._seconds != 0

    def setblocking(self, flag: bool, /) -> None:
        """``settimeout(None)``, or ``settimeout(0)``."""
        self.settimeout(None if flag else 0.0)

    @property
    def timeout(self) -> Timeout:
        """What ``gettimeout`` gives."""
        return self._seconds

    def close(self) -> None:
        """Ends the connection at once, without a word."""
        if self._ws is not None:
            if self._ws._state == "closing":
                self._ws._wait_closed(0)  # an answer to the peer's Close frame may be on its way
            self._ws._abort("closed")
        super().close()
        if self._user is not None:
            self._user.close()
        if self._signal is not None and self._reading.acquire(timeout=1):  # who receives is woken by the above
            self._signal.close()
            self._reading.release()

    def _refuse(self, *_: Any, **__: Any) -> NoReturn:
        raise OSError(
            errno.EOPNOTSUPP, "frames go over this socket: use recv_frame() and send_frame() of the WebSocket"
        )

    recv = recv_into = recvfrom = recvfrom_into = recvmsg = recvmsg_into = _refuse
    send = sendall = sendto = sendmsg = sendfile = makefile = _refuse

    # ---- what a socket of TLS has ----------------------------------------------------------------------------------

    @property
    def is_secure(self) -> bool:
        """Whether the connection is by TLS."""
        return self._sslopt is not None

    def getpeercert(self, binary_form: bool = False) -> Any:
        """The server's certificate, as ``SSLSocket.getpeercert`` gives it."""
        return self._tls_object.getpeercert(binary_form)

    def cipher(self) -> tuple[str, str, int] | None:
        """The cipher suite, as ``SSLSocket.cipher`` gives it."""
        return self._tls_object.cipher()

    def version(self) -> str | None:
        """The version of TLS, as ``SSLSocket.version`` gives it."""
        return self._tls_object.version()

    def selected_alpn_protocol(self) -> str | None:
        """The protocol that was chosen (ALPN), as ``SSLSocket.selected_alpn_protocol`` gives it."""
        return self._tls_object.selected_alpn_protocol()

    @property
    def _tls_object(self) -> ssl.SSLObject:
        found = self._tls.object if self._tls is not None else None
        if found is None:
            raise ValueError(
                "TLS is rustls' here, or there is none; give sslopt={'context': ssl.create_default_context()} to have "
                "what Python's ssl tells"
            )
        return found


def made(upgrade: Upgrade) -> Connection:
    """A native connection whose exceptions are ours. No thread reads while no call waits, as in websocket-client."""
    return Connection(_policy, upgrade.plan.settings, False)


def _warn_where_greenlets_stop() -> None:
    global _has_warned  # noqa: PLW0603 - once a process
    package = socket.socket.__module__.partition(".")[0]
    if package not in _COOPERATIVE or _has_warned:
        return
    _has_warned = True
    warnings.warn(
        f"{package} has patched socket.socket, and fastws waits natively: a call that waits for a message, or for room "
        "to send, stops all greenlets of its thread. Programs of this kind are better left to websocket-client",
        RuntimeWarning,
        stacklevel=2,
    )


def _bytes_of(payload: Any) -> bytes:
    if isinstance(payload, str):
        return payload.encode("latin-1")
    try:
        if not isinstance(payload, int):  # of which ``bytes`` makes so many zeros
            return bytes(payload)
    except TypeError:
        pass
    raise _no_payload(payload)


def _no_payload(given: object) -> TypeError:
    return TypeError(f"a payload is str or bytes-like, not {type(given).__name__}")


def _not_open(_: Timeout) -> NoReturn:
    raise WebSocketConnectionClosedException("Connection is closed")


class Answer:
    """The peer's Close frame, as what a native connection can wait for.

    Args:
        ws: Whose peer.
    """

    def __init__(self, ws: Connection) -> None:
        self._ws = ws

    def done(self) -> bool:
        """Whether it came, or never will."""
        return self._ws._close_info[0] is not None or self._ws._state == "closed"


class Seen:
    """An ``ssl.SSLContext`` whose last connection's ``SSLObject`` stays known."""

    def __init__(self, context: ssl.SSLContext) -> None:
        self._context = context
        self.object: ssl.SSLObject | None = None

    @property
    def as_context(self) -> ssl.SSLContext:
        """It stands for the context."""
        return cast("ssl.SSLContext", self)

    def wrap_bio(self, *args: Any, **kwargs: Any) -> ssl.SSLObject:
        """See ``SSLContext.wrap_bio``."""
        self.object = self._context.wrap_bio(*args, **kwargs)
        return self.object

    def __getattr__(self, name: str) -> Any:
        return getattr(self._context, name)


def adopt(sock: Any, timeout: Timeout, *, wants_frames: bool) -> Any:
    """A ``Line`` on the socket of the user's own, if it is a plain one; else the socket."""
    if type(sock) is not socket.socket or sock.type != socket.SOCK_STREAM:
        return sock
    seconds = sock.gettimeout()
    line = Line.of(sock.dup(), timeout if seconds is None else seconds, None, wants_frames=wants_frames)
    line._user = sock
    return line


_SAID = string.punctuation.replace("\\", "")
"""What of a request target is sent as it is, besides letters and digits, or left to fastws; ``%`` too."""

_NO_CODE = 1005
"""RFC 6455 §7.1.5."""

_NORMAL = (1000).to_bytes(2, "big")
"""RFC 6455 §7.4.1."""

_COOPERATIVE = ("gevent", "eventlet")
"""Packages that put a socket of theirs in the place of ``socket.socket``, whose waits let others run."""

_has_warned = False
