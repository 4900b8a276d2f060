"""A blocking connection whose extensions are written in Python: they have each frame, one after the other."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterable, Iterator
from datetime import timedelta
from typing import Any, NoReturn

from fastws.compat.websockets._fragments import opcode_and_bytes
from fastws.compat.websockets._policy import no_room
from fastws.compat.websockets.exceptions import ConnectionClosedOK, ProtocolError, TooManyFragments
from fastws.compat.websockets.extensions._frames import Message, Through, encoded, joined, verdict
from fastws.compat.websockets.frames import CONT, CTRL_OPCODES, Frame, Opcode
from fastws.compat.websockets.typing import BytesLike, Data, DataLike

from ._modes import concurrent_send
from ._policy import concurrent, send_fragments
from .connection import Connection

__all__ = ["ExtendedConnection"]


class ExtendedConnection(Connection):
    """See ``Connection``. Frames are native, messages are put together here; Pings, Pongs and Close stay native."""

    __slots__ = ("_frames", "_has_failed", "_is_in_fragments", "_is_reading", "_may_send_next", "_through")

    _is_extended = True
    _through: Through
    _frames: list[Frame]
    """Those of a message that a ``recv`` has begun to wait for."""
    _has_failed: bool
    """By what was received: what is behind it is not read."""
    _is_reading: bool
    _is_in_fragments: bool
    """A message is being sent in fragments."""

    def _extend(self, through: Through) -> None:
        """The extensions were agreed on."""
        self._through, self._frames = through, []
        self._has_failed = self._is_reading = self._is_in_fragments = False
        self._may_send_next = threading.Lock()

    # Receiving.

    def recv(self, timeout: float | None = None, decode: bool | None = None) -> Any:  # type: ignore[override]
        """The next message; see ``fastws.sync.Connection.recv``."""
        deadline = None if timeout is None else time.monotonic() + timeout
        with self._reader():
            while not (self._frames and self._frames[-1].fin):
                left = None if deadline is None else max(0.0, deadline - time.monotonic())
                if (frame := self._next_frame(left)) is None:
                    continue
                try:
                    self._through.gather(self._frames, frame)
                except TooManyFragments as error:
                    self._fail(error)
            frames, self._frames = self._frames, []
            message = Message(decode)
            try:
                return joined(message.piece(frame) for frame in frames)
            except (ProtocolError, UnicodeDecodeError) as error:
                self._fail(error)

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
        if self._has_failed:
            raise self.close_exc
        received: Any = super().recv(timeout)
        try:
            return self._through.received(*received) if received[0] not in CTRL_OPCODES else None
        except Exception as error:  # noqa: BLE001 - an extension's
            self._fail(error)

    def _fail(self, error: Exception) -> NoReturn:
        """The peer sent what cannot be, or what breaks an extension."""
        self._frames, self._has_failed = [], True
        self._give_up(*verdict(error, self.logger), error)
        self._wait_closed()
        raise self.close_exc from error

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

    def send(
        self,
        message: DataLike | Iterable[DataLike],
        text: bool | None = None,
        *,
        timeout: float | timedelta | None = None,
        compress: bool | None = None,  # noqa: ARG002 - the extension's affair
    ) -> None:
        """Sends a message; see ``fastws.sync.Connection.send``."""
        seconds = timeout.total_seconds() if isinstance(timeout, timedelta) else timeout

        def accept(piece: Any, left: float | None, *, begins: bool, fin: bool) -> bool:
            opcode, data = opcode_and_bytes(piece, text)
            return self._accept(opcode if begins else CONT, data, left, fin=fin)

        if not isinstance(message, str | BytesLike):
            send_fragments(self, message, seconds, accept)
        elif not accept(message, seconds, begins=True, fin=True):
            raise no_room(self, seconds)

    def _accept(self, opcode: Opcode, payload: BytesLike, left: float | None, *, fin: bool) -> bool:
        """Sends a frame, in the order of encoding. False: it had to wait for longer than what is ``left``."""
        deadline = None if left is None else time.monotonic() + left
        if not self._may_send_next.acquire(timeout=-1 if left is None else left):
            return False
        try:
            if opcode is not CONT and self._is_in_fragments and self._state == "open":
                raise concurrent_send()
            frame = encoded(self, opcode, payload, fin=fin)
            if not self._send_frame(*frame, None if deadline is None else max(0.0, deadline - time.monotonic())):
                return False
            self._is_in_fragments = not fin
        finally:
            self._may_send_next.release()
        return True
