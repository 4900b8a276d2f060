"""``WebSocket``: a connection whose calls block."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from types import TracebackType
from typing import Any, Self

from . import _handshake, _logging
from ._abnf import ABNF, STATUS_NORMAL, continuous_frame, frame_buffer
from ._exceptions import (
    WebSocketConnectionClosedException,
    WebSocketException,
    WebSocketProtocolException,
    WebSocketTimeoutException,
)
from ._handshake import SUPPORTED_REDIRECT_STATUSES, handshake, handshake_response
from ._http import connect, proxy_info
from ._line import Line
from ._logging import debug, error, isEnabledForError, isEnabledForTrace, trace
from ._socket import Timeout, checked_timeout, getdefaulttimeout, recv, send, sock_opt
from ._ssl_compat import ssl
from ._utils import NoLock

__all__ = ["WebSocket", "create_connection"]


class WebSocket:
    """A WebSocket connection, made by ``connect`` or ``create_connection``.

    Args:
        get_mask_key: A function that makes mask keys, see ``set_mask_key``.
        sockopt: What is set on the socket, tuples as ``socket.setsockopt`` takes them.
        sslopt: Options of TLS: ``cert_reqs``, ``check_hostname``, ``ca_certs``, ``certfile``, ``context`` and so on.
        fire_cont_frame: ``recv_data_frame`` gives fragments one by one.
        enable_multithread: Threads that receive, and those that send, wait for each other.
        skip_utf8_validation: Text need not be UTF-8. A native connection checks it nevertheless: it costs nothing.
        dispatcher: What writes to a socket that is not native.

    Attributes:
        sock: The socket, None while there is none. One that is set is used as it is.
        connected: Whether messages can be sent.
        handshake_response: The server's answer, with ``status``, ``headers`` and ``subprotocol``; None before.
        close_frame: The peer's Close frame that answered ``close``, or None.
    """

    def __init__(
        self,
        get_mask_key: Callable[[int], str | bytes] | None = None,
        sockopt: Sequence[tuple[Any, ...]] | None = None,
        sslopt: dict[str, Any] | None = None,
        fire_cont_frame: bool = False,
        enable_multithread: bool = True,
        skip_utf8_validation: bool = False,
        dispatcher: Any = None,
        **_: Any,
    ) -> None:
        self.sock_opt = sock_opt(sockopt, sslopt)
        self.handshake_response: handshake_response | None = None
        self.sock: Any = None
        self.connected = False
        self.close_frame: ABNF | None = None
        self.get_mask_key = get_mask_key
        self.frame_buffer = frame_buffer(self._recv, skip_utf8_validation)
        self.cont_frame = continuous_frame(fire_cont_frame, skip_utf8_validation)
        self.dispatcher = dispatcher
        self.lock: Any = threading.Lock() if enable_multithread else NoLock()
        self.readlock: Any = threading.Lock() if enable_multithread else NoLock()
        kind = type(self)
        self._is_plain = not fire_cont_frame and all(
            getattr(kind, name) is getattr(WebSocket, name) for name in ("recv_data", "recv_data_frame", "recv_frame")
        )

    # ---- what it is ------------------------------------------------------------------------------------------------

    def fileno(self) -> int:
        """The socket's descriptor, for ``select`` and the like.

        Raises:
            WebSocketException: There is no connection.
        """
        if self.sock is None:
            raise WebSocketException("Connection not established")
        return int(self.sock.fileno())

    def set_mask_key(self, func: Callable[[int], str | bytes] | None) -> None:
        """Sets a function that gets 4 and returns a mask key of 4 bytes, for tests.

        It counts if it is set before ``connect``, and makes a connection that is not native.
        """
        self.get_mask_key = func

    def gettimeout(self) -> Timeout:
        """Seconds that a call may wait; None for no limit."""
        return self.sock_opt.timeout

    def settimeout(self, timeout: Timeout) -> None:
        """Sets how many seconds a call may wait; None for no limit. Raises TypeError and ValueError."""
        self.sock_opt.timeout = checked_timeout(timeout)
        if self.sock:
            self.sock.settimeout(timeout)

    timeout = property(gettimeout, settimeout)

    def getsubprotocol(self) -> str | None:
        """The subprotocol that the server chose, in lower case; None if there is none, or no connection."""
        return self.handshake_response.subprotocol if self.handshake_response else None

    subprotocol = property(getsubprotocol)

    def getstatus(self) -> int | None:
        """The status of the server's answer; None before it."""
        return self.handshake_response.status if self.handshake_response else None

    status = property(getstatus)

    def getheaders(self) -> dict[str, str] | None:
        """The header fields of the server's answer, names in lower case; None before it."""
        return self.handshake_response.headers if self.handshake_response else None

    headers = property(getheaders)

    def is_ssl(self) -> bool:
        """Whether the connection is by TLS."""
        return self.sock.is_secure if isinstance(self.sock, Line) else isinstance(self.sock, ssl.SSLSocket)

    # ---- opening ---------------------------------------------------------------------------------------------------

    def connect(self, url: str, **options: Any) -> None:
        """Opens the connection.

        Args:
            url: ``ws://`` or ``wss://``.
            **options: ``header`` (a mapping, or lines), ``cookie``, ``origin``, ``host``, ``connection`` (header
                lines and values of the request), ``suppress_origin``, ``suppress_host``, ``subprotocols``, ``timeout``
                (seconds), ``redirect_limit`` (3), ``socket`` (one that is connected), ``http_proxy_host``,
                ``http_proxy_port``, ``http_proxy_auth`` (user and password), ``http_no_proxy``,
                ``http_proxy_timeout``, ``proxy_type``.

        Raises:
            WebSocketBadStatusException: The server refused.
            WebSocketException: Its answer is none, it redirects too far, or to no WebSocket URL.
            WebSocketAddressException: A host was not found.
            WebSocketTimeoutException, TimeoutError: The server did not answer in time, or could not be connected to.
            ValueError, TypeError: The URL cannot be used, or another argument.
            OSError: The server could not be connected to, or TLS failed.
        """
        self.sock_opt.timeout = checked_timeout(options.get("timeout", self.sock_opt.timeout))
        self.sock_opt.native = self.get_mask_key is None and _handshake.is_native(options)
        self.sock_opt.frames = not self._is_plain
        left = options.pop("redirect_limit", 3)
        try:
            answer = self._ask(url, options)
            while answer is not None and answer.status in SUPPORTED_REDIRECT_STATUSES:
                if left <= 0:
                    raise WebSocketException("Redirect limit exhausted")
                left -= 1
                answer = self._follow(answer, options)
            self.connected = True
        except BaseException:
            if self.sock:
                self.sock.close()
                self.sock = None
            raise

    def _ask(self, url: str, options: dict[str, Any]) -> handshake_response | None:
        self.sock, place = connect(url, self.sock_opt, proxy_info(**options), options.pop("socket", None))
        self.handshake_response = handshake(self.sock, url, *place, **options)
        return self.handshake_response

    def _follow(self, answer: handshake_response, options: dict[str, Any]) -> handshake_response | None:
        url = answer.headers.get("location")
        if url is None:
            raise WebSocketException(f"Redirect response without Location header, status {answer.status}")
        self.sock.close()
        self.sock = None
        try:
            return self._ask(url, options)
        except ValueError as wrong:
            raise WebSocketException(f"Invalid redirect target {url!r}: {wrong}") from wrong

    # ---- sending ---------------------------------------------------------------------------------------------------

    def send(self, payload: str | bytes | bytearray | memoryview, opcode: int = ABNF.OPCODE_TEXT) -> int:
        """Sends a frame; returns its size in bytes, the header too.

        Args:
            payload: Text, or bytes.
            opcode: What it is.

        Raises:
            WebSocketConnectionClosedException: There is no connection, or no more.
            WebSocketTimeoutException: It could not be sent within the timeout.
            TypeError: The payload is neither text nor bytes.
        """
        line = self.sock
        if type(line) is Line and opcode in _MESSAGES and not _logging._traces:
            return line.message(payload, opcode)
        return self.send_frame(ABNF.create_frame(payload, opcode))

    def send_text(self, text_data: str) -> int:
        """Sends text."""
        return self.send(text_data, ABNF.OPCODE_TEXT)

    def send_bytes(self, data: bytes | bytearray | memoryview) -> int:
        """Sends bytes."""
        return self.send(data, ABNF.OPCODE_BINARY)

    def send_binary(self, payload: bytes | bytearray | memoryview) -> int:
        """Sends bytes."""
        return self.send(payload, ABNF.OPCODE_BINARY)

    def send_frame(self, frame: ABNF) -> int:
        """Sends a frame that was made by hand, such as a fragment; returns its size in bytes, the header too."""
        if isinstance(self.sock, Line):
            if isEnabledForTrace() and not self.sock.is_traced:
                trace(f"++Sent decoded: {frame}")
            return self.sock.frame(frame)
        if self.get_mask_key:
            frame.get_mask_key = self.get_mask_key
        data = frame.format()
        length = len(data)
        if isEnabledForTrace():
            trace(f"++Sent raw: {data!r}")
            trace(f"++Sent decoded: {frame}")
        with self.lock:
            while data:
                sent = self._send(data)
                if sent == 0:
                    raise WebSocketTimeoutException("timed out")
                data = data[sent:]
        return length

    def ping(self, payload: str | bytes = "") -> None:
        """Sends a Ping with up to 125 bytes."""
        self.send(payload.encode() if isinstance(payload, str) else payload, ABNF.OPCODE_PING)

    def pong(self, payload: str | bytes = "") -> None:
        """Sends a Pong with up to 125 bytes. On a native connection pings are answered without this."""
        self.send(payload.encode() if isinstance(payload, str) else payload, ABNF.OPCODE_PONG)

    # ---- receiving -------------------------------------------------------------------------------------------------

    def recv(self) -> str | bytes:
        """Waits for the next message: text as ``str``, bytes as ``bytes``; ``""`` if the peer closes the connection.

        Raises:
            WebSocketConnectionClosedException: There is no connection, or it ended.
            WebSocketTimeoutException: No message came within the timeout.
            WebSocketProtocolException, WebSocketPayloadException: The peer does not keep to RFC 6455.
        """
        line = self.sock
        if type(line) is Line and self._is_plain and not _logging._traces:
            while True:
                try:
                    item = line.take()
                except WebSocketConnectionClosedException:
                    self._lose()
                    raise
                if not isinstance(item, tuple):
                    return item
                if item[0] == ABNF.OPCODE_CLOSE:
                    self.connected = False
                    return ""
        with self.readlock:
            opcode, data = self.recv_data()
        if opcode == ABNF.OPCODE_TEXT:
            return data if isinstance(data, str) else bytes(data).decode()
        return data if opcode == ABNF.OPCODE_BINARY else ""

    def recv_data(self, control_frame: bool = False) -> tuple[int, Any]:
        """Waits for the next message; returns its opcode and its bytes.

        Args:
            control_frame: Pings and Pongs are given, too.
        """
        opcode, frame = self.recv_data_frame(control_frame)
        return opcode, frame.data

    def recv_data_frame(self, control_frame: bool = False) -> tuple[int, ABNF]:
        """Waits for the next message, or fragment if ``fire_cont_frame``; returns opcode and a frame with its bytes.

        Pings are answered. The peer's Close frame is answered and given.

        Args:
            control_frame: Pings and Pongs are given, too.
        """
        while True:
            frame = self.recv_frame()
            if isEnabledForTrace():
                trace(f"++Rcv raw: {frame.format()!r}")
                trace(f"++Rcv decoded: {frame}")
            opcode = frame.opcode
            if opcode <= ABNF.OPCODE_BINARY:
                if frame.fin and opcode and self.cont_frame.cont_data is None and isinstance(self.sock, Line):
                    return opcode, frame  # a message of one frame, as most are; it was checked
                self.cont_frame.validate(frame)
                self.cont_frame.add(frame)
                if self.cont_frame.is_fire(frame):
                    return self.cont_frame.extract(frame)
            elif opcode == ABNF.OPCODE_CLOSE:
                self._answer_close()
                return opcode, frame
            else:
                if opcode == ABNF.OPCODE_PING:
                    self._answer_ping(frame)
                if control_frame:
                    return opcode, frame

    def _answer_close(self) -> None:
        if isinstance(self.sock, Line):
            self.connected = False  # it is answered
        else:
            self.send_close()

    def _answer_ping(self, frame: ABNF) -> None:
        if isinstance(self.sock, Line):
            return  # it is answered
        if len(frame.data) > 125:
            raise WebSocketProtocolException("Ping message is too long")
        self.pong(frame.data)

    def recv_frame(self) -> ABNF:
        """Waits for the next frame. On a native connection Ping and Close are answered already."""
        line = self.sock
        if type(line) is not Line:
            return self.frame_buffer.recv_frame()
        with self._giving_up():
            opcode, fin, rsv, payload = line.piece()
        return ABNF(int(fin), rsv >> 2, rsv >> 1 & 1, rsv & 1, opcode, 0, payload)

    def __iter__(self) -> Iterator[str | bytes]:
        """What ``recv`` gives, again and again."""
        while True:
            yield self.recv()

    def __next__(self) -> str | bytes:
        return self.recv()

    def next(self) -> str | bytes:
        """What ``recv`` gives."""
        return self.__next__()

    # ---- the end ---------------------------------------------------------------------------------------------------

    def send_close(self, status: int = STATUS_NORMAL, reason: str | bytes = b"") -> None:
        """Sends a Close frame and does not wait for the peer's.

        Raises:
            ValueError: The code is none, or none that may be sent.
        """
        payload = _close_payload(status, reason)
        self.connected = False
        self.send(payload, ABNF.OPCODE_CLOSE)

    def close(self, status: int = STATUS_NORMAL, reason: str | bytes = b"", timeout: float | None = 3) -> None:
        """Closes the connection: sends a Close frame, waits for the peer's and closes the socket.

        Args:
            status: The close code. One that may not be sent is 1000 on a native connection.
            reason: The reason. One of more than 123 bytes, or that is no UTF-8, is left out on a native connection.
            timeout: Seconds to wait for the peer's Close frame; None for no limit.

        Raises:
            ValueError: The code is none.
        """
        if not self.connected:
            self.shutdown()
            return
        payload = _close_payload(status, reason)
        self.close_frame = None
        self.connected = False
        with contextlib.suppress(Exception):
            if isinstance(self.sock, Line):
                self.close_frame = self.sock.goodbye(payload, timeout)
            else:
                self._close_slowly(payload, timeout)
        if self.close_frame is not None:
            _log_close(self.close_frame)
        self.shutdown()

    def _close_slowly(self, payload: bytes, timeout: float | None) -> None:
        self.send(payload, ABNF.OPCODE_CLOSE)
        if self.sock is None:
            return
        usual = self.sock.gettimeout()
        self.sock.settimeout(timeout)
        end = None if timeout is None else time.monotonic() + timeout
        with contextlib.suppress(WebSocketConnectionClosedException, WebSocketTimeoutException):
            while end is None or time.monotonic() < end:
                frame = self.recv_frame()
                if frame.opcode == ABNF.OPCODE_CLOSE:
                    self.close_frame = frame
                    break
        if self.sock is not None:
            self.sock.settimeout(usual)
            self.sock.shutdown(socket.SHUT_RDWR)

    def abort(self) -> None:
        """Ends the connection without a word; other threads' calls that wait for a message end."""
        if self.connected and self.sock is not None:
            try:
                self.sock.shutdown(socket.SHUT_RDWR)
            except (OSError, AttributeError):
                debug("Socket already closed during abort")

    def shutdown(self) -> None:
        """Closes the socket at once. One that is closed, or is broken, is let go."""
        if not self.sock:
            return
        if getattr(self.sock, "_closed", True):
            self.sock = None
        try:
            self._lose()
        except (OSError, AttributeError) as broken:
            debug(f"the socket could not be closed: {broken!r}")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        self.close()

    # ---- bytes of a socket that is not native ----------------------------------------------------------------------

    def _send(self, data: bytes) -> int:
        if self.sock is None:
            raise WebSocketConnectionClosedException("socket is already closed.")
        return int(self.dispatcher.send(self.sock, data) if self.dispatcher else send(self.sock, data))

    def _recv(self, bufsize: int) -> bytes:
        with self._giving_up():
            if self.sock is not None:
                return recv(self.sock, bufsize)
        raise WebSocketConnectionClosedException("Connection is closed")

    @contextlib.contextmanager
    def _giving_up(self) -> Iterator[None]:
        """Whoever finds out that the connection is closed lets the socket go."""
        try:
            yield
        except WebSocketConnectionClosedException:
            self._lose()
            raise

    def _lose(self) -> None:
        sock, self.sock, self.connected = self.sock, None, False
        if sock:
            sock.close()


def create_connection(url: str, timeout: Timeout = None, class_: type[Any] = WebSocket, **options: Any) -> Any:
    """Opens a connection.

    Args:
        url: ``ws://`` or ``wss://``.
        timeout: Seconds that a call may wait, the opening's too; None for ``getdefaulttimeout()``.
        class_: What it is to be: a class with the arguments of ``WebSocket``, ``settimeout`` and ``connect``.
        **options: Those of ``WebSocket`` and of ``WebSocket.connect``.

    Raises:
        WebSocketException, ValueError, OSError: What ``WebSocket.connect`` raises.
    """
    made = {name: options.pop(name, usual) for name, usual in _OF_CLASS.items()}
    ws = class_(**made, **options)
    ws.settimeout(getdefaulttimeout() if timeout is None else timeout)
    ws.connect(url, **options)
    return ws


def _close_payload(status: int, reason: str | bytes | None) -> bytes:
    if not 0 <= status < ABNF.LENGTH_16:
        raise ValueError("code is invalid range")
    return struct.pack("!H", status) + (reason.encode() if isinstance(reason, str) else bytes(reason or b""))


def _log_close(frame: ABNF) -> None:
    data = bytes(frame.data)
    code = int.from_bytes(data[:2], "big")
    if len(data) < 2 or code == STATUS_NORMAL or not isEnabledForError():
        return
    (debug if 3000 <= code < 5000 else error)(f"close status: {code!r}")


_MESSAGES = (ABNF.OPCODE_TEXT, ABNF.OPCODE_BINARY)

_OF_CLASS: dict[str, Any] = {
    "sockopt": (),
    "sslopt": None,
    "fire_cont_frame": False,
    "enable_multithread": True,
    "skip_utf8_validation": False,
}
"""Options of ``create_connection`` that the class is made with, and what they are by default."""
