"""A connection in memory: what a handshaker, or a client with a connector of its own, sees of one."""

from __future__ import annotations

import asyncio
from collections import deque

from fastws.errors import Close, CloseInfo, ConnectionClosedError, ConnectionClosedOK


def closed(code: int, reason: str = ""):
    """The exception of a connection that the server closed."""
    kind = ConnectionClosedOK if code in (1000, 1001) else ConnectionClosedError
    frame = Close(code, reason)
    return kind(CloseInfo(code, reason, "remote", None, frame, frame))


class FakeConnection:
    """Has `recv`, `send` and `close`.

    `messages` wait to be received; an exception among them is raised there, and again by every later call. `answer` is
    called with each message sent and returns what the server then sends. Message n is received at n seconds.
    """

    def __init__(self, *messages, answer=None):
        self.sent = []
        self.closed_with = None
        self.received_ns = 0
        self.received_mono_ns = 0
        self.kernel_ns = None
        self._answer = answer
        self._waiting = deque(messages)
        self._arrived = asyncio.Event()

    def give(self, *messages):
        """The server sends."""
        self._waiting.extend(messages)
        self._arrived.set()

    def end(self, code, reason=""):
        """The server closes."""
        self.give(closed(code, reason))

    async def recv(self):
        while not self._waiting:
            self._arrived.clear()
            await self._arrived.wait()
        if isinstance(self._waiting[0], BaseException):
            raise self._waiting[0]
        self.received_ns += 10**9
        self.received_mono_ns += 10**9
        return self._waiting.popleft()

    async def send(self, message):
        if self._waiting and isinstance(self._waiting[0], BaseException):
            raise self._waiting[0]
        self.sent.append(message)
        if self._answer is not None:
            answer = self._answer(message)
            self.give(*(answer if isinstance(answer, list | tuple) else [answer]))

    async def close(self, code=1000, reason=""):
        if self.closed_with is None:
            self.closed_with = code
            self.end(code, reason)
