"""``WebSocketApp``: a connection whose messages go to callbacks."""

from __future__ import annotations

import functools
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

from . import _logging
from ._abnf import ABNF
from ._core import WebSocket
from ._dispatcher import Dispatcher, SSLDispatcher, WrappedDispatcher
from ._exceptions import WebSocketConnectionClosedException, WebSocketException, WebSocketTimeoutException
from ._line import Line
from ._logging import debug, error, info, warning
from ._socket import Timeout, getdefaulttimeout
from ._ssl_compat import SSLError
from ._url import parse_url

__all__ = ["WebSocketApp"]

Header = Sequence[str] | dict[str, str] | None

RECONNECT: float = 0
"""Seconds before another attempt where ``run_forever`` is not told; 0 for none."""


def set_reconnect(reconnectInterval: float) -> None:  # noqa: N803
    """Sets how many seconds ``run_forever`` waits before it connects again, unless it is told; 0: it does not."""
    global RECONNECT  # noqa: PLW0603 - it is the process' setting
    RECONNECT = reconnectInterval


setReconnect = set_reconnect  # noqa: N816 - its name before 1.9


class WebSocketApp:
    """A connection that ``run_forever`` opens, keeps up and reads. All callbacks get this object first.

    Args:
        url: ``ws://`` or ``wss://``.
        header: Header fields of the request: a mapping, lines, or a function that returns them for each attempt.
        on_open: Called when the connection is open.
        on_reconnect: Called instead when it is open again.
        on_message: Called with each message: ``str``, or ``bytes``.
        on_error: Called with an exception: of the connection, or of a callback.
        on_close: Called at the end with the peer's close code and reason, each None if there was none.
        on_ping: Called with the payload of each Ping, which is answered.
        on_pong: Called with the payload of each Pong.
        on_cont_message: Called with each fragment behind the first of its message, and whether it is the last.
        keep_running: Nothing depends on it.
        get_mask_key: See ``WebSocket.set_mask_key``.
        cookie: The request's ``Cookie``.
        subprotocols: Subprotocols to ask for.
        on_data: Called before ``on_message`` and ``on_cont_message``: with the payload, the opcode, and whether it is
            the last of its message.
        socket: A socket that is connected, to be used.

    Attributes:
        sock: The ``WebSocket``, or None.
        keep_running: Whether ``run_forever`` goes on.
        last_ping_tm: When the last Ping was sent, by ``time.time()``; 0 before.
        last_pong_tm: When the last Pong came.
        has_errored: Whether the connection, or an attempt, failed.
    """

    def __init__(
        self,
        url: str,
        header: Header | Callable[[], Header] = None,
        on_open: Callable[[Any], Any] | None = None,
        on_reconnect: Callable[[Any], Any] | None = None,
        on_message: Callable[[Any, Any], Any] | None = None,
        on_error: Callable[[Any, Any], Any] | None = None,
        on_close: Callable[[Any, Any, Any], Any] | None = None,
        on_ping: Callable[[Any, Any], Any] | None = None,
        on_pong: Callable[[Any, Any], Any] | None = None,
        on_cont_message: Callable[[Any, Any, Any], Any] | None = None,
        keep_running: bool = True,
        get_mask_key: Callable[[int], str | bytes] | None = None,
        cookie: str | None = None,
        subprotocols: Sequence[str] | None = None,
        on_data: Callable[[Any, Any, Any, Any], Any] | None = None,
        socket: Any = None,
    ) -> None:
        self.url = url
        self.header = [] if header is None else header
        self.cookie = cookie
        self.on_open = on_open
        self.on_reconnect = on_reconnect
        self.on_message = on_message
        self.on_data = on_data
        self.on_error = on_error
        self.on_close = on_close
        self.on_ping = on_ping
        self.on_pong = on_pong
        self.on_cont_message = on_cont_message
        self.keep_running = False
        self.get_mask_key = get_mask_key
        self.sock: WebSocket | None = None
        self.last_ping_tm = 0.0
        self.last_pong_tm = 0.0
        self.ping_thread: threading.Thread | None = None
        self.stop_ping: threading.Event | None = None
        self.ping_interval: float = 0.0
        self.ping_timeout: Timeout = None
        self.ping_payload: str | bytes = ""
        self.subprotocols = subprotocols
        self.prepared_socket = socket
        self.has_errored = False
        self.has_done_teardown = False
        self.has_done_teardown_lock = threading.Lock()
        self.last_close_frame: ABNF | None = None
        self._close_lock = threading.RLock()  # held while `close` waits for the peer's Close frame

    # ---- what other threads and callbacks call ---------------------------------------------------------------------

    def send(self, data: str | bytes | bytearray | memoryview, opcode: int = ABNF.OPCODE_TEXT) -> None:
        """Sends a message.

        Raises:
            WebSocketConnectionClosedException: There is no connection.
            WebSocketTimeoutException: It could not be sent within the timeout.
        """
        if not self.sock or self.sock.send(data, opcode) == 0:
            raise WebSocketConnectionClosedException("Connection is already closed.")

    def send_text(self, text_data: str) -> None:
        """Sends text."""
        self.send(text_data, ABNF.OPCODE_TEXT)

    def send_bytes(self, data: bytes | bytearray | memoryview) -> None:
        """Sends bytes."""
        self.send(data, ABNF.OPCODE_BINARY)

    def close(self, **kwargs: Any) -> None:
        """Closes the connection and ends ``run_forever``.

        Args:
            **kwargs: ``status``, ``reason`` and ``timeout``, as for ``WebSocket.close``.
        """
        self.keep_running = False
        with self._close_lock:
            sock = self.sock
            if sock:
                sock.close(**kwargs)
                if sock.close_frame is not None:
                    self.last_close_frame = sock.close_frame
                self.sock = None

    def ready(self) -> bool:
        """Whether there is an open connection."""
        return bool(self.sock and self.sock.connected)

    # ---- running ---------------------------------------------------------------------------------------------------

    def run_forever(
        self,
        sockopt: Sequence[tuple[Any, ...]] | None = None,
        sslopt: dict[str, Any] | None = None,
        ping_interval: float = 0,
        ping_timeout: Timeout = None,
        ping_payload: str | bytes = "",
        http_proxy_host: str | None = None,
        http_proxy_port: int | str | None = None,
        http_no_proxy: Sequence[str] | None = None,
        http_proxy_auth: tuple[str, str] | None = None,
        http_proxy_timeout: float | None = None,
        skip_utf8_validation: bool = False,
        host: str | None = None,
        origin: str | None = None,
        dispatcher: Any = None,
        suppress_origin: bool = False,
        suppress_host: bool = False,
        proxy_type: str | None = None,
        reconnect: float | None = None,
    ) -> bool:
        """Opens the connection and calls the callbacks until it ends; with ``dispatcher`` it returns at once.

        Args:
            sockopt: What is set on the socket, as ``WebSocket`` takes it.
            sslopt: Options of TLS.
            ping_interval: Seconds between Pings; 0 for none.
            ping_timeout: Seconds to wait for a Pong; None: it is not missed.
            ping_payload: What Pings carry.
            http_proxy_host: As for ``WebSocket.connect``, like all below that are not named here.
            http_proxy_port: Of the proxy.
            http_no_proxy: Where no proxy is for.
            http_proxy_auth: For the proxy.
            http_proxy_timeout: Seconds that a SOCKS proxy may take; None for 60.
            skip_utf8_validation: ``on_message`` gets text as ``bytes``.
            host: The ``Host`` header.
            origin: The ``Origin`` header.
            dispatcher: An event loop that calls, such as ``rel``; by default this thread waits.
            suppress_origin: There is no ``Origin``.
            suppress_host: There is no ``Host``.
            proxy_type: What kind of proxy.
            reconnect: Seconds before another attempt when the connection ended; 0 for none, None for that of
                ``set_reconnect``.

        Returns whether the connection, or an attempt, failed.

        Raises:
            WebSocketException: An argument is wrong, or it runs already.
            SystemExit: It was raised meanwhile; ``on_error`` and ``on_close`` were called. A KeyboardInterrupt ends the
                call, too, and is not raised.
        """
        if ping_timeout is not None and ping_timeout <= 0:
            raise WebSocketException("Ensure ping_timeout > 0")
        if ping_interval is not None and ping_interval < 0:
            raise WebSocketException("Ensure ping_interval >= 0")
        if ping_timeout and ping_interval and ping_interval <= ping_timeout:
            raise WebSocketException("Ensure ping_interval > ping_timeout")
        if self.sock:
            raise WebSocketException("socket is already opened")
        self.ping_interval = ping_interval
        self.ping_timeout = ping_timeout
        self.ping_payload = ping_payload
        self.has_done_teardown = False
        self.has_errored = False
        self.keep_running = True
        made = {
            "sockopt": sockopt or [],
            "sslopt": sslopt or {},
            "skip_utf8_validation": skip_utf8_validation,
            "enable_multithread": True,
        }
        asked = {
            "http_proxy_host": http_proxy_host,
            "http_proxy_port": http_proxy_port,
            "http_no_proxy": http_no_proxy,
            "http_proxy_auth": http_proxy_auth,
            "http_proxy_timeout": http_proxy_timeout,
            "host": host,
            "origin": origin,
            "suppress_origin": suppress_origin,
            "suppress_host": suppress_host,
            "proxy_type": proxy_type,
        }
        return _Run(self, made, asked, RECONNECT if reconnect is None else reconnect, dispatcher).run()

    def create_dispatcher(
        self,
        ping_timeout: Timeout,
        dispatcher: Any = None,
        is_ssl: bool = False,
        handleDisconnect: Callable[..., Any] | None = None,  # noqa: N803
    ) -> Any:
        """Who waits for the socket: ``dispatcher``, if there is one, or this thread."""
        if dispatcher:
            return WrappedDispatcher(self, ping_timeout, dispatcher, handleDisconnect)
        return (SSLDispatcher if is_ssl else Dispatcher)(self, ping_timeout or 10)

    # ---- pings -----------------------------------------------------------------------------------------------------

    def _start_ping_thread(self) -> None:
        self.stop_ping = threading.Event()
        self.ping_thread = threading.Thread(target=self._send_ping, daemon=True)
        self.ping_thread.start()

    def _stop_ping_thread(self) -> None:
        if self.stop_ping:
            self.stop_ping.set()
        thread = self.ping_thread
        if thread and thread.is_alive() and thread is not threading.current_thread():
            thread.join(3)
            if thread.is_alive():
                warning("the thread that sends pings has not ended within 3 seconds; it is left to itself")
        self.ping_thread = self.stop_ping = None
        self.last_ping_tm = self.last_pong_tm = 0.0

    def _send_ping(self) -> None:
        """What the thread does: it pings until it is told to stop, or nothing runs any more."""
        stop = self.stop_ping
        while stop is not None:
            if stop.wait(self.ping_interval) or not self.keep_running:
                return
            if self.sock is not None:
                self._ping(self.sock)

    def _ping(self, sock: WebSocket) -> None:
        self.last_ping_tm = time.time()
        try:
            sock.ping(self.ping_payload)
        except Exception as failed:  # noqa: BLE001 - who reads finds out
            debug(f"a ping was not sent: {failed!r}")
        else:
            debug("a ping was sent")

    # ---- callbacks -------------------------------------------------------------------------------------------------

    def _callback(self, callback: Callable[..., Any] | None, *args: Any) -> None:
        """Calls ``callback``, if there is one. What it raises goes to ``on_error``, but what that raises to nobody."""
        try:
            if callback:
                callback(self, *args)
        except Exception as raised:  # noqa: BLE001 - the user's
            error(f"error from callback {callback}: {raised}")
            told = None if callback is self.on_error else self.on_error
            if told:
                told(self, raised)

    def _get_close_args(self, close_frame: ABNF | None) -> list[Any]:
        """What ``on_close`` gets."""
        return list(self._parse_close_frame(close_frame)) if self.on_close else [None, None]

    def _parse_close_frame(self, close_frame: ABNF | None) -> tuple[int | None, str | None]:
        """Code and reason of a Close frame; None for what it has not."""
        data = getattr(close_frame, "data", None) or b""
        data = data.encode() if isinstance(data, str) else bytes(data)
        if len(data) < 2:
            return None, None
        return int.from_bytes(data[:2], "big"), data[2:].decode(errors="replace") or None


class _Run:
    """One call of ``run_forever``."""

    def __init__(
        self, app: WebSocketApp, made: dict[str, Any], asked: dict[str, Any], reconnect: float, dispatcher: Any
    ) -> None:
        self._app = app
        self._made = made
        self._asked = asked
        self._reconnect = reconnect
        self._is_called = bool(dispatcher)
        self._is_over = False  # the connection, and all that is to be done about it
        self._dispatcher = app.create_dispatcher(app.ping_timeout, dispatcher, parse_url(app.url)[3], self._closed)

    def run(self) -> bool:
        """Until the end, or until an event loop of the user's goes on."""
        app = self._app
        try:
            self._open()
            while not self._is_called and self._reconnect and app.keep_running:
                self._dispatcher.reconnect(self._reconnect, self._open)
        except (KeyboardInterrupt, Exception) as raised:  # noqa: BLE001 - on_error has it
            info(f"tearing down on exception {raised}")
            self._tear_down()
        finally:
            if not self._is_called:
                self._tear_down()
        return app.has_errored

    def _open(self, reconnecting: bool = False) -> None:
        """An attempt, and what comes over its connection."""
        app = self._app
        if reconnecting and not app.keep_running:
            self._tear_down()  # `close` was called in between
            return
        if reconnecting and app.sock:
            app.sock.shutdown()
        self._is_over = False
        app.last_close_frame = None
        app.sock = sock = WebSocket(
            app.get_mask_key,
            fire_cont_frame=app.on_cont_message is not None,
            dispatcher=self._dispatcher,
            **self._made,
        )
        sock.settimeout(getdefaulttimeout())
        try:
            header = app.header() if callable(app.header) else app.header
            sock.connect(
                app.url,
                header=header,
                cookie=app.cookie,
                subprotocols=app.subprotocols,
                socket=app.prepared_socket,
                **self._asked,
            )
            info("Websocket connected")
            if app.ping_interval:
                app._start_ping_thread()
            app._callback(app.on_reconnect if reconnecting and app.on_reconnect else app.on_open)
            line = getattr(app.sock, "sock", None)
            if line is None and self._is_called:
                self._read()  # on_open has closed it, or lost it
            else:
                check = functools.partial(self._check_of, line) if self._is_called else self._check
                self._dispatcher.read(line, self._read, check)
        except (KeyboardInterrupt, SystemExit, Exception) as raised:  # noqa: BLE001 - on_error gets it
            self._disconnected(raised, reconnecting=reconnecting)

    def _read(self) -> bool:
        """There is something to receive. False: nothing more will be."""
        if self._is_over:
            return False  # an event loop may still look at its descriptor
        app = self._app
        sock = app.sock if app.keep_running else None
        if sock is None:
            return self._stopped()
        try:
            opcode, data, frame = _taken(sock)
        except _ENDS as raised:
            if app.keep_running and not self._is_called:
                raise
            return self._closed(raised) if app.keep_running else self._stopped()
        if frame is None:  # a message, as most are
            if app.on_data is not None:
                app._callback(app.on_data, data, opcode, True)
            app._callback(app.on_message, data)
            return True
        return self._give(opcode, data, frame)

    def _give(self, opcode: int, data: Any, frame: ABNF) -> bool:
        """Calls whom a frame, or a message in fragments, is for. False: it was the last one."""
        app = self._app
        match opcode:
            case ABNF.OPCODE_CLOSE:
                return self._closed(frame)
            case ABNF.OPCODE_PING:
                app._callback(app.on_ping, data)
            case ABNF.OPCODE_PONG:
                app.last_pong_tm = time.time()
                app._callback(app.on_pong, data)
            case ABNF.OPCODE_CONT if app.on_cont_message:
                app._callback(app.on_data, data, frame.opcode, frame.fin)
                app._callback(app.on_cont_message, data, frame.fin)
            case _:
                if opcode == ABNF.OPCODE_TEXT and not self._made["skip_utf8_validation"]:
                    data = data.decode()
                app._callback(app.on_data, data, opcode, True)
                app._callback(app.on_message, data)
        return True

    def _stopped(self) -> bool:
        """``close`` was called, by a callback or another thread. Always False."""
        if not self._app.keep_running:
            self._tear_down()
        return False

    def _check(self) -> bool:
        """Raises WebSocketTimeoutException if a Pong is missing."""
        app = self._app
        if app.ping_timeout and app.last_ping_tm and time.time() - app.last_ping_tm > app.ping_timeout:
            delay = app.last_pong_tm - app.last_ping_tm
            if delay < 0 or delay > app.ping_timeout:
                raise WebSocketTimeoutException("ping/pong timed out")
        return True

    def _check_of(self, line: Any) -> bool:
        """The same for an event loop, which calls again what returns True: until ``line`` is the app's no more."""
        return getattr(self._app.sock, "sock", None) is line and self._check()

    def _closed(self, end: Any = "closed unexpectedly") -> bool:
        """The connection ended: with a Close frame, an exception, or for a reason.

        Event loops go on looking if it failed, as websocket-client has it; then ``_read`` has nothing for them.
        """
        if self._is_over:
            return False
        if isinstance(end, ABNF):
            code, reason = self._app._parse_close_frame(end)
            text = "Connection closed"
            if code is not None:
                text += " normally (code 1000)" if code == 1000 else f" (code {code})"
            said = WebSocketConnectionClosedException(f"{text}: {reason}" if reason else text)
            said.status_code, said.reason = code, reason
            self._disconnected(said, reconnecting=bool(self._reconnect), close_frame=end)
        else:
            if isinstance(end, str):
                end = WebSocketConnectionClosedException(end)
            self._disconnected(end, reconnecting=bool(self._reconnect))
        return self._is_called and self._app.has_errored

    def _disconnected(
        self, raised: BaseException, *, reconnecting: bool = False, close_frame: ABNF | None = None
    ) -> None:
        """What becomes of the app. Exceptions that end the program are raised."""
        app = self._app
        self._is_over = True
        if close_frame is None:
            app.has_errored = True
        app._stop_ping_thread()
        if not reconnecting:
            app._callback(app.on_error, raised)
        if isinstance(raised, KeyboardInterrupt | SystemExit):
            self._tear_down(close_frame)
            raise raised
        if not self._reconnect:
            error(f"{raised} - goodbye")
            self._tear_down(close_frame)
        else:
            info(f"{raised} - reconnect")
            if self._is_called:
                self._dispatcher.reconnect(self._reconnect, self._open)

    def _tear_down(self, close_frame: ABNF | None = None) -> None:
        """The end, once: ``on_close`` is called when all else is done."""
        app = self._app
        with app._close_lock:
            pass  # another thread's `close` has had its answer
        with app.has_done_teardown_lock:
            if app.has_done_teardown:
                return
            app.has_done_teardown = True
        app._stop_ping_thread()
        app.keep_running = False
        if app.sock:
            # on_close may call run_forever.
            sock, app.sock = app.sock, None
            sock.close()
        app._callback(app.on_close, *app._get_close_args(close_frame or app.last_close_frame))


_ENDS = (
    WebSocketConnectionClosedException,
    WebSocketTimeoutException,
    KeyboardInterrupt,
    SSLError,
    ConnectionResetError,
)
"""What receiving raises where the connection, or the program, ends."""


def _taken(sock: Any) -> tuple[int, Any, ABNF | None]:
    """What ``recv_data_frame(True)`` gives: opcode, payload, frame.

    A message of a native connection has no frame, and is what ``on_message`` gets.
    """
    line = getattr(sock, "sock", None)
    if type(line) is Line and sock._is_plain and not _logging._traces:
        try:
            item = line.take()
        except WebSocketConnectionClosedException:
            sock._lose()
            raise
        if isinstance(item, bytes):
            return ABNF.OPCODE_BINARY, item, None
        if isinstance(item, str):
            return ABNF.OPCODE_TEXT, item.encode() if sock.frame_buffer.skip_utf8_validation else item, None
        if item[0] == ABNF.OPCODE_CLOSE:
            sock.connected = False
        frame = ABNF(1, 0, 0, 0, item[0], 0, item[3])
        return frame.opcode, frame.data, frame
    opcode, frame = sock.recv_data_frame(True)
    return opcode, frame.data, frame
