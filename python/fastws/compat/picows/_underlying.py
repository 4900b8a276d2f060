"""What stands in for the asyncio transport of a connection: the native driver has the socket itself."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fastws._core import FrameTransport
    from fastws.connection import Connection

__all__ = ["Underlying"]


class Underlying(asyncio.Transport):
    """Tells and does what asyncio's transports do.

    Args:
        transport: Sends.
        conn: The connection.
    """

    def __init__(self, transport: FrameTransport, conn: Connection) -> None:
        self._transport = transport
        self._conn = conn
        super().__init__(
            {
                "socket": _Socket(conn.fileno),
                "sockname": conn.local_address,
                "peername": conn.remote_address,
            }
        )
        self._is_reading = True

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """``socket``, ``sockname`` and ``peername``, as asyncio's transports have them; else ``default``."""
        return super().get_extra_info(name, default)

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Writes bytes between frames, as they are: what they are is the caller's business."""
        self._transport._write(data)

    def writelines(self, list_of_data: Iterable[bytes | bytearray | memoryview]) -> None:
        """Writes bytes one after the other."""
        self.write(b"".join(list_of_data))

    def is_closing(self) -> bool:
        """Whether it is closed, or closes as soon as everything is written."""
        return self._conn._state in ("closing", "closed")

    def close(self) -> None:
        """Closes the connection when everything is written."""
        self._transport.disconnect()

    def abort(self) -> None:
        """Closes the connection at once."""
        self._transport.disconnect(graceful=False)

    def is_reading(self) -> bool:
        """Whether it reads."""
        return self._is_reading and not self.is_closing()

    def pause_reading(self) -> None:
        """Reads no more; what was read is still delivered."""
        self._is_reading = False
        self._transport._hold_reading(True)

    def resume_reading(self) -> None:
        """Reads again."""
        self._is_reading = True
        self._transport._hold_reading(False)

    def can_write_eof(self) -> bool:
        """False: a WebSocket connection has no half that ends."""
        return False

    def get_write_buffer_size(self) -> int:
        """Bytes that wait for the kernel."""
        return self._transport._unsent_bytes

    def get_write_buffer_limits(self) -> tuple[int, int]:
        """(low, high): ``pause_writing`` is called above the second, ``resume_writing`` below the first."""
        high, low = self._transport._limits
        return low, high

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Sets these limits, in bytes.

        Raises:
            ValueError: They are not 0 ≤ low ≤ high.
        """
        if high is None:
            high = 64 * 1024 if low is None else 4 * low
        if low is None:
            low = high // 4
        if not 0 <= low <= high:
            raise ValueError(f"high ({high!r}) must be >= low ({low!r}) must be >= 0")
        self._transport._set_limits(high, low)


class _Socket:
    """The socket, for its options and addresses: it is the connection's to read, write and close."""

    def __init__(self, fileno: Callable[[], int]) -> None:
        self._fileno = fileno
        with self._borrowed() as sock:
            self.family = sock.family
            self.type = sock.type
            self.proto = sock.proto

    def _borrowed(self) -> socket.socket:
        fd = self._fileno()
        if fd < 0:
            raise OSError("the socket is closed")
        return socket.socket(fileno=os.dup(fd))

    def fileno(self) -> int:
        return self._fileno()

    def getsockname(self) -> Any:
        with self._borrowed() as sock:
            return sock.getsockname()

    def getpeername(self) -> Any:
        with self._borrowed() as sock:
            return sock.getpeername()

    def getsockopt(self, *arguments: int) -> Any:
        with self._borrowed() as sock:
            return sock.getsockopt(*arguments)

    def setsockopt(self, *arguments: Any) -> None:
        with self._borrowed() as sock:
            sock.setsockopt(*arguments)

    def __repr__(self) -> str:
        return f"<the socket of a connection, fd={self._fileno()}>"
