"""A descriptor that says whether a connection has something to give: in its socket, or read from it already."""

from __future__ import annotations

import os
import select
import sys

__all__ = ["Signal"]


class Signal:
    """A descriptor to wait for with ``select`` and the like: readable while ``fd`` is, or while this is set.

    Args:
        fd: The socket's descriptor.
    """

    _ends: tuple[int, ...] = ()
    """The pipe's descriptors, while it is open."""

    def __init__(self, fd: int) -> None:
        self._is_set = False
        if sys.platform == "linux":
            self._poll = select.epoll()
        else:
            self._poll = select.kqueue()
        self._read, self._write = self._ends = os.pipe()
        os.set_blocking(self._read, False)
        os.set_blocking(self._write, False)
        if sys.platform == "linux":
            for each in (fd, self._read):
                self._poll.register(each, select.EPOLLIN)
        else:
            events = [select.kevent(each, select.KQ_FILTER_READ, select.KQ_EV_ADD) for each in (fd, self._read)]
            self._poll.control(events, 0)

    def __del__(self) -> None:
        self.close()

    def fileno(self) -> int:
        """The descriptor; -1 when it is closed."""
        return self._poll.fileno() if self._ends else -1

    def set(self, is_set: bool) -> None:
        """Sets it, or sets it back."""
        if is_set is self._is_set or not self._ends:
            return
        self._is_set = is_set
        if is_set:
            os.write(self._write, b"\0")
        else:
            os.read(self._read, 1)

    def close(self) -> None:
        """Closes it."""
        ends, self._ends = self._ends, ()
        if ends:
            self._poll.close()
        for each in ends:
            os.close(each)
