"""A blocking connection whose extensions are written in Python: they have each frame, one after the other."""

from __future__ import annotations

import contextlib
import functools
import time
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NoReturn

from fastws.compat.websockets._policy import closed, no_room, not_sendable
from fastws.compat.websockets.exceptions import (
    ConnectionClosedOK,
    PayloadTooBig,
    ProtocolError,
)
from fastws.compat.websockets.extensions._frames import Message, Through, joined
from fastws.compat.websockets.frames import BINARY, CONT, CTRL_OPCODES, TEXT, CloseCode, Frame, Opcode
from fastws.compat.websockets.typing import BytesLike, Data, DataLike

from ._modes import Sending
from ._policy import concurrent
from .connection import Connection

__all__ = ["ExtendedConnection", "extended"]


class ExtendedConnection(Connection):
    """See ``Connection``. Frames are native, messages are put together here; Pings, Pongs and Close stay native."""

    __slots__ = ("_frames", "_is_reading", "_through")

    _is_extended = True
    _through: Through
    _frames: list[Frame]
    """Those of a message that a ``recv`` has begun to wait for."""
    _is_reading: bool

    def _extend(self, through: Through) -> None:
        """The extensions were agreed on."""
        self._through, self._frames, self._is_reading = through, [], False

    # Receiving.

    def recv(self, timeout: float | None = None, decode: bool | None = None) -> Any:  # type: ignore[override]
        """The next message; see ``fastws.sync.Connection.recv``."""
        deadline = None if timeout is None else time.monotonic() + timeout
        with self._reader():
            while not (self._frames and self._frames[-1].fin):
                left = None if deadline is None else max(0.0, deadline - time.monotonic())
                if (frame := self._next_frame(left)) is not None:
                    self._frames.append(frame)
            frames, self._frames = self._frames, []
            message = Message(decode)
            try:
                return joined(message.piece(frame) for frame in frames)
            except UnicodeDecodeError as error:
                self._fail(CloseCode.INVALID_DATA, f"{error.reason} at position {error.start}", error)

    def __iter__(self) -> Iterator[Data]:  # type: ignore[override]
        return self

    def __next__(self) -> Data:
        try:
            message: Data = self.recv()
        except ConnectionClosedOK:
            raise StopIteration from None
        return message

    def batches(self, *_: Any, **__: Any) -> NoReturn:
        """Messages of Python's making come one by one."""
        raise RuntimeError("batches() are native, and this connection has extensions in Python; iterate over messages")

    def _next_piece(self) -> tuple[int, bool, int, bytes]:
        frame = self._frames.pop(0) if self._frames else None
        while frame is None:
            frame = self._next_frame(None)
        return frame.opcode, frame.fin, 0, bytes(frame.data)

    def _next_frame(self, timeout: float | None) -> Frame | None:
        """What the extensions make of the next frame; None for a control frame, which is dealt with already."""
        received: Any = super().recv(timeout)
        try:
            return self._through.received(*received) if received[0] not in CTRL_OPCODES else None
        except PayloadTooBig as error:
            self._fail(CloseCode.MESSAGE_TOO_BIG, str(error), error)
        except ProtocolError as error:
            self._fail(CloseCode.PROTOCOL_ERROR, str(error), error)

    def _fail(self, code: CloseCode, reason: str, error: Exception) -> NoReturn:
        """The peer sent what cannot be."""
        self._close(code, reason.encode()[:123].decode(errors="ignore"))
        self._wait_closed()
        raise closed(self) from error

    @contextlib.contextmanager
    def _reader(self) -> Iterator[None]:
        if self._is_reading:
            raise concurrent()
        self._is_reading = True
        try:
            yield
        finally:
            self._is_reading = False

    # Sending.

    def send(  # type: ignore[override]
        self,
        message: DataLike | Iterable[DataLike],
        text: bool | None = None,
        *,
        timeout: float | None = None,
        compress: bool | None = None,  # noqa: ARG002 - the extension's affair
    ) -> None:
        """Sends a message; see ``fastws.sync.Connection.send``."""
        if isinstance(message, str | BytesLike):
            self._send_one(*_opcode_and_bytes(message, text), fin=True, timeout=timeout)
        elif isinstance(message, Mapping) or not isinstance(message, Iterable):
            raise not_sendable(message)
        else:
            self._send_fragments(message, text, timeout)

    def _send_fragments(self, pieces: Iterable[object], text: bool | None, timeout: float | None) -> None:
        kind: type[Any] | tuple[type[Any], ...] | None = None
        is_whole = False
        self._enter(Sending)
        try:
            for piece in pieces:
                is_first = kind is None
                if kind is None:
                    kind = str if isinstance(piece, str) else (bytes, bytearray, memoryview)
                if not isinstance(piece, kind):
                    raise TypeError("iterable must contain uniform types, bytes or str")
                opcode, data = _opcode_and_bytes(piece, text)
                self._send_one(opcode if is_first else CONT, data, fin=False, timeout=timeout)
            if kind is not None:
                self._send_one(CONT, b"", fin=True, timeout=timeout)
            is_whole = True
        finally:
            self._leave(Sending)
            if not is_whole:
                with contextlib.suppress(Exception):
                    self._close(CloseCode.INTERNAL_ERROR, "error in fragmented message")

    def _send_one(self, opcode: Opcode, payload: BytesLike, *, fin: bool, timeout: float | None) -> None:
        frame = self._through.to_send(opcode, payload, fin=fin)
        if not self._send_frame(*frame, timeout):
            raise no_room(self, timeout or 0.0)


@functools.cache
def extended(kind: Any) -> Any:
    """``kind`` as an ``ExtendedConnection``; what it redefines itself stays in front."""
    names = {"__slots__": (), "__module__": kind.__module__, "__qualname__": kind.__qualname__, "__doc__": kind.__doc__}
    return type(kind.__name__, (kind, ExtendedConnection), names)


def _opcode_and_bytes(message: str | BytesLike, text: bool | None) -> tuple[Opcode, BytesLike]:
    is_text = isinstance(message, str) if text is None else text
    return TEXT if is_text else BINARY, message.encode() if isinstance(message, str) else message
