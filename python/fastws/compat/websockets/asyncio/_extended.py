"""A connection on an event loop whose extensions are written in Python: they have each frame, one after the other."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterable, AsyncIterator, Iterable
from datetime import timedelta
from typing import Any, NoReturn

from fastws.compat.websockets import _policy
from fastws.compat.websockets._fragments import opcode_and_bytes
from fastws.compat.websockets.exceptions import ConcurrencyError, ConnectionClosedOK, ProtocolError, TooManyFragments
from fastws.compat.websockets.extensions._frames import Message, Through, encoded, joined, verdict
from fastws.compat.websockets.frames import CONT, CTRL_OPCODES, Frame
from fastws.compat.websockets.protocol import OPEN
from fastws.compat.websockets.typing import BytesLike, Data, DataLike

from ._methods import Native
from .connection import Connection

__all__ = ["ExtendedConnection"]


class ExtendedConnection(Connection, Native):  # type: ignore[misc]  # see Connection
    """See ``Connection``. Frames are native, messages are put together here; Pings, Pongs and Close stay native."""

    _through: Through
    _frames: list[Frame]
    """Those of a message that a ``recv`` has begun to wait for."""
    _is_reading: bool
    _has_failed: bool
    """By what was received: what is behind it is not read."""

    def _extend(self, through: Through) -> None:
        """The extensions were agreed on."""
        self._through, self._frames = through, []
        self._is_reading = self._has_failed = False
        self._may_send_next = asyncio.Lock()

    # Receiving.

    async def recv(self, decode: bool | None = None) -> Any:
        """The next message; see ``fastws.Connection.recv``."""
        with self._reader(_policy.concurrent()):
            while not (self._frames and self._frames[-1].fin):
                frame = await self._next_frame()
                try:
                    self._through.gather(self._frames, frame)
                except TooManyFragments as error:
                    await self._fail(error)
            frames, self._frames = self._frames, []
            message = Message(decode)
            try:
                return joined(message.piece(frame) for frame in frames)
            except (ProtocolError, UnicodeDecodeError) as error:
                await self._fail(error)

    def __aiter__(self) -> Any:
        return self

    async def __anext__(self) -> Data:
        try:
            message: Data = await self.recv()
        except ConnectionClosedOK:
            raise StopAsyncIteration from None
        return message

    async def recv_streaming(self, decode: bool | None = None) -> AsyncIterator[Any]:
        """The next message in the fragments in which it comes; see ``Connection.recv_streaming``."""
        with self._reader(_policy.concurrent_streaming()):
            message, fin = Message(decode), False
            while not fin:
                frame = self._frames.pop(0) if self._frames else await self._next_frame()
                fin = frame.fin
                self._is_in_pieces = not fin
                try:
                    piece = message.piece(frame)
                except (ProtocolError, UnicodeDecodeError) as error:
                    await self._fail(error)
                yield piece

    def batches(self, *_: Any, **__: Any) -> NoReturn:
        """Messages of Python's making come one by one."""
        raise RuntimeError("batches() are native, and this connection has extensions in Python; iterate over messages")

    async def _next_frame(self) -> Frame:
        if self._has_failed:
            raise _policy.closed(self)
        received: Any = await super().recv()
        while received[0] in CTRL_OPCODES:  # they are dealt with already
            received = await super().recv()
        try:
            return self._through.received(*received)
        except Exception as error:  # noqa: BLE001 - an extension's
            await self._fail(error)

    async def _fail(self, error: Exception) -> NoReturn:
        """The peer sent what cannot be, or what breaks an extension."""
        self._frames, self._has_failed = [], True
        self._give_up(*verdict(error, self.logger), error)
        await self._closed()
        raise _policy.closed(self) from error

    @contextlib.contextmanager
    def _reader(self, otherwise: Exception) -> Any:
        if self._is_reading or self._is_in_pieces:
            raise otherwise
        self._is_reading = True
        try:
            yield
        finally:
            self._is_reading = False

    # Sending.

    async def send(
        self,
        message: DataLike | Iterable[DataLike] | AsyncIterable[DataLike],
        text: bool | None = None,
        *,
        timeout: float | timedelta | None = None,  # noqa: ASYNC109 - that of the native one
        compress: bool | None = None,  # noqa: ARG002 - the extension's affair
    ) -> None:
        """Sends a message; see ``fastws.Connection.send``. One waits for the other, whole."""
        seconds = timeout.total_seconds() if isinstance(timeout, timedelta) else timeout
        async with contextlib.AsyncExitStack() as turn:

            async def accept(piece: str | BytesLike, *, begins: bool, fin: bool) -> None:
                if begins:
                    await turn.enter_async_context(self._may_send_next)
                    if self.state is not OPEN:
                        raise await _policy.ended(self)
                opcode, data = opcode_and_bytes(piece, text)
                frame = encoded(self, opcode if begins else CONT, data, fin=fin)
                while not self._try_send_frame(*frame):
                    await self._drain_future(again=True)

            if not isinstance(message, str | BytesLike):
                await _policy.send_fragments(self, message, seconds, accept)
                return
            async with asyncio.timeout(seconds) as limit:
                await accept(message, begins=True, fin=True)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout_at(limit.when()):
                    await _policy.drain(self)

    def send_nowait(self, message: Any, text: bool | None = None, *, compress: bool | None = None) -> None:  # noqa: ARG002
        """Sends a ``str`` or bytes-like message, or raises at once; see ``fastws.Connection.send_nowait``."""
        if not isinstance(message, str | BytesLike):
            raise _policy.not_sendable(message)
        if self._is_sending_fragments():
            raise ConcurrencyError("sending a fragmented message")
        self._try_send_frame(*encoded(self, *opcode_and_bytes(message, text)))
