"""A connection on an event loop whose extensions are written in Python: they have each frame, one after the other."""

from __future__ import annotations

import asyncio
import contextlib
import functools
from collections.abc import AsyncIterable, AsyncIterator, Iterable, Mapping
from datetime import timedelta
from typing import Any, NoReturn

from fastws.compat.websockets import _policy
from fastws.compat.websockets.exceptions import ConnectionClosedOK, PayloadTooBig, ProtocolError
from fastws.compat.websockets.extensions._frames import Message, Through, joined
from fastws.compat.websockets.frames import BINARY, CONT, CTRL_OPCODES, TEXT, CloseCode, Frame, Opcode
from fastws.compat.websockets.typing import BytesLike, Data, DataLike

from .connection import Connection

__all__ = ["ExtendedConnection", "extended"]


class ExtendedConnection(Connection):
    """See ``Connection``. Frames are native, messages are put together here; Pings, Pongs and Close stay native."""

    _is_extended = True
    _through: Through
    _frames: list[Frame]
    """Those of a message that a ``recv`` has begun to wait for."""
    _is_reading: bool

    def _extend(self, through: Through) -> None:
        """The extensions were agreed on."""
        self._through, self._frames, self._is_reading = through, [], False
        self._may_send_next = asyncio.Lock()

    # Receiving.

    async def recv(self, decode: bool | None = None) -> Any:
        """The next message; see ``fastws.Connection.recv``."""
        with self._reader(_policy.concurrent()):
            while not (self._frames and self._frames[-1].fin):
                self._frames.append(await self._next_frame())
            frames, self._frames = self._frames, []
            message = Message(decode)
            try:
                return joined(message.piece(frame) for frame in frames)
            except UnicodeDecodeError as error:
                await self._fail(CloseCode.INVALID_DATA, f"{error.reason} at position {error.start}", error)

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
                try:
                    piece = message.piece(frame)
                except UnicodeDecodeError as error:
                    await self._fail(CloseCode.INVALID_DATA, f"{error.reason} at position {error.start}", error)
                yield piece

    def batches(self, *_: Any, **__: Any) -> NoReturn:
        """Messages of Python's making come one by one."""
        raise RuntimeError("batches() are native, and this connection has extensions in Python; iterate over messages")

    async def _next_frame(self) -> Frame:
        received: Any = await super().recv()
        while received[0] in CTRL_OPCODES:  # they are dealt with already
            received = await super().recv()
        try:
            return self._through.received(*received)
        except PayloadTooBig as error:
            await self._fail(CloseCode.MESSAGE_TOO_BIG, str(error), error)
        except ProtocolError as error:
            await self._fail(CloseCode.PROTOCOL_ERROR, str(error), error)

    async def _fail(self, code: CloseCode, reason: str, error: Exception) -> NoReturn:
        """The peer sent what cannot be."""
        self._close(code, reason.encode()[:123].decode(errors="ignore"))
        await self._closed()
        raise _policy.closed(self) from error

    @contextlib.contextmanager
    def _reader(self, otherwise: Exception) -> Any:
        if self._is_reading:
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
        async with asyncio.timeout(seconds):
            async with self._may_send_next:
                if isinstance(message, str | BytesLike):
                    await self._send_frame(*_opcode_and_bytes(message, text), fin=True)
                elif isinstance(message, Mapping):
                    raise TypeError("data is a dict-like object")
                elif isinstance(message, Iterable):
                    await self._send_fragments(_as_async(message), text)
                elif isinstance(message, AsyncIterable):
                    await self._send_fragments(message, text)
                else:
                    raise TypeError("data must be str, bytes, iterable, or async iterable")

    async def _send_fragments(self, pieces: AsyncIterable[object], text: bool | None) -> None:
        kind: type[Any] | tuple[type[Any], ...] | None = None
        is_whole = False
        try:
            async for piece in pieces:
                is_first = kind is None
                if kind is None:
                    kind = str if isinstance(piece, str) else (bytes, bytearray, memoryview)
                if not isinstance(piece, kind):
                    raise TypeError("iterable must contain uniform types, bytes or str")
                opcode, data = _opcode_and_bytes(piece, text)
                await self._send_frame(opcode if is_first else CONT, data, fin=False)
            if kind is not None:
                await self._send_frame(CONT, b"", fin=True)
            is_whole = True
        finally:
            if not is_whole:
                with contextlib.suppress(Exception):
                    self._close(CloseCode.INTERNAL_ERROR, "error in fragmented message")

    async def _send_frame(self, opcode: Opcode, payload: BytesLike, *, fin: bool) -> None:
        frame = self._through.to_send(opcode, payload, fin=fin)
        while not self._try_send_frame(*frame):
            await self._drain_future(again=True)
        if self._is_above_write_limit:
            await self._drain_future()


@functools.cache
def extended(kind: Any) -> Any:
    """``kind`` as an ``ExtendedConnection``; what it redefines itself stays in front."""
    names = {"__module__": kind.__module__, "__qualname__": kind.__qualname__, "__doc__": kind.__doc__}
    return type(kind.__name__, (kind, ExtendedConnection), names)


async def _as_async(items: Iterable[object]) -> AsyncIterator[object]:
    for item in items:
        yield item


def _opcode_and_bytes(message: str | BytesLike, text: bool | None) -> tuple[Opcode, BytesLike]:
    is_text = isinstance(message, str) if text is None else text
    return TEXT if is_text else BINARY, message.encode() if isinstance(message, str) else message
