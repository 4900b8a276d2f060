"""The answer to a Ping, as an event."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .connection import Connection

__all__ = ["PongReceived"]


class PongReceived(threading.Event):
    """What ``Connection.ping`` returns: it is set when the Pong arrives.

    ``wait`` does the connection's work meanwhile, so it needs no other thread.

    Args:
        ws: The connection.
        payload: What was sent.
        waiting: The pings that wait, by payload.
        ack_on_close: It is also set when the connection ends.
    """

    def __init__(
        self, ws: Connection, payload: bytes, waiting: dict[bytes, PongReceived], *, ack_on_close: bool
    ) -> None:
        super().__init__()
        self._ws: Connection | None = ws
        self._payload = payload
        self._waiting = waiting
        self._ack_on_close = ack_on_close

    def wait(self, timeout: float | None = None) -> bool:
        """Waits for the Pong, ``timeout`` seconds at most. False: it did not come; at the connection's end, never."""
        ws = self._ws
        if ws is not None:
            ws._wait_for(self, None if timeout is None else max(0.0, timeout))
        return self.is_set()

    # What the native side asks of who waits for a Pong.

    def done(self) -> bool:
        """Whether it waits no more."""
        return self._ws is None

    def set_result(self, latency: float) -> None:  # noqa: ARG002 - ``Connection.latency`` has it
        """The Pong arrived."""
        self._over()
        self.set()

    def set_exception(self, error: BaseException) -> None:  # noqa: ARG002 - the next call raises its like
        """The connection ended."""
        self._over()
        if self._ack_on_close:
            self.set()

    def exception(self) -> None:
        """None: nobody is to be told."""

    def _over(self) -> None:
        self._ws = None
        if self._waiting.get(self._payload) is self:
            del self._waiting[self._payload]
