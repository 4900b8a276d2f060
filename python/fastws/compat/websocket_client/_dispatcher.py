"""Who waits for a ``WebSocketApp``'s socket: the thread that runs it, or an event loop such as ``rel``."""

from __future__ import annotations

import selectors
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ._line import Line
from ._logging import info
from ._socket import Timeout, send

if TYPE_CHECKING:
    from ._app import WebSocketApp

__all__ = ["Dispatcher", "DispatcherBase", "SSLDispatcher", "WrappedDispatcher"]

Read = Callable[[], bool]


class DispatcherBase:
    """What all that wait in the thread have.

    Args:
        app: Whose socket it is.
        ping_timeout: Seconds between two looks whether a Pong is missing.
    """

    def __init__(self, app: WebSocketApp, ping_timeout: Timeout) -> None:
        self.app = app
        self.ping_timeout = ping_timeout

    def timeout(self, seconds: Timeout, callback: Callable[[], object]) -> None:
        """Calls ``callback`` after so many seconds."""
        if seconds is not None:
            time.sleep(seconds)
        callback()

    def reconnect(self, seconds: float, reconnector: Callable[..., object]) -> None:
        """Calls ``reconnector(reconnecting=True)`` after so many seconds."""
        info(f"reconnect() - retrying in {seconds} seconds")
        time.sleep(seconds)
        reconnector(reconnecting=True)

    def send(self, sock: Any, data: str | bytes) -> int:
        """Writes to a socket that is not native."""
        return send(sock, data)


class Dispatcher(DispatcherBase):
    """Waits for a socket in the thread."""

    def read(self, sock: Any, read_callback: Read, check_callback: Read) -> None:
        """Calls ``read_callback`` when there is something to receive, until it returns False, or the app ends.

        Args:
            sock: The socket; that of the app is used.
            read_callback: Receives.
            check_callback: Called after each wait; raises if a Pong is missing.
        """
        if self.app.sock is None or self.app.sock.sock is None:
            return
        sock = self.app.sock.sock
        if isinstance(sock, Line):
            while self.app.keep_running:
                if sock.is_closed and self.app.ping_timeout and (stop := self.app.stop_ping) is not None:
                    stop.wait(self.ping_timeout)  # a callback shut it down: the Pong that is missing tells of it
                elif sock.ready(self.ping_timeout) and not read_callback():
                    return
                check_callback()
            return
        selector = selectors.DefaultSelector()
        try:
            selector.register(sock, selectors.EVENT_READ)
            while self.app.keep_running:
                if self.select(sock, selector) and not read_callback():
                    return
                check_callback()
        finally:
            selector.close()

    def select(self, sock: Any, sel: selectors.BaseSelector) -> Any:
        """Waits for the socket; false if the time is over."""
        return sel.select(self.ping_timeout)


class SSLDispatcher(Dispatcher):
    """The same for one of TLS, which may have something read already."""

    def select(self, sock: Any, sel: selectors.BaseSelector) -> Any:
        """Waits for the socket; None if the time is over."""
        if self.app.sock is None:
            return None
        sock = self.app.sock.sock
        if sock.pending():
            return [sock]
        ready = super().select(sock, sel)
        return ready[0][0] if ready else None


class WrappedDispatcher:
    """An event loop that waits, such as ``rel``.

    Args:
        app: Whose socket it is.
        ping_timeout: Seconds after which is looked whether a Pong is missing.
        dispatcher: The event loop: ``read``, ``buffwrite``, ``timeout``, ``signal``, ``abort``.
        handleDisconnect: Called with an exception if writing fails.
    """

    def __init__(
        self,
        app: WebSocketApp,
        ping_timeout: Timeout,
        dispatcher: Any,
        handleDisconnect: Callable[..., Any] | None,  # noqa: N803
    ) -> None:
        self.app = app
        self.ping_timeout = ping_timeout
        self.dispatcher = dispatcher
        self.handleDisconnect = handleDisconnect
        dispatcher.signal(2, dispatcher.abort)  # SIGINT

    def read(self, sock: Any, read_callback: Read, check_callback: Read) -> None:
        """Has ``read_callback`` called when there is something to receive."""
        self.dispatcher.read(sock, read_callback)
        if self.ping_timeout:
            self.timeout(self.ping_timeout, check_callback)

    def send(self, sock: Any, data: str | bytes) -> int:
        """Has something written to a socket that is not native; returns how long it is."""
        self.dispatcher.buffwrite(sock, data, send, self.handleDisconnect)
        return len(data)

    def timeout(self, seconds: float, callback: Callable[..., object], *args: Any) -> None:
        """Has ``callback`` called after so many seconds."""
        self.dispatcher.timeout(seconds, callback, *args)

    def reconnect(self, seconds: float, reconnector: Callable[..., object]) -> None:
        """Has ``reconnector(True)`` called after so many seconds."""
        self.timeout(seconds, reconnector, True)
