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

    def __init__(self, fd: int) -> None:
        self._is_set = False
        self._read, self._write = os.pipe()
        os.set_blocking(self._read, False)
        os.set_blocking(self._write, False)
        if sys.platform == "linux":
            self._poll = select.epoll()
            for each in (fd, self._read):
                self._poll.register(each, select.EPOLLIN)
        else:
            self._poll = select.kqueue()
            events = [select.kevent(each, select.KQ_FILTER_READ, select.KQ_EV_ADD) for each in (fd, self._read)]
            self._poll.control(events, 0)

    def fileno(self) -> int:
        """The descriptor; -1 when it is closed."""
        return -1 if self._poll.closed else self._poll.fileno()

    def set(self, is_set: bool) -> None:
        """Sets it, or sets it back."""
        if is_set is self._is_set or self._poll.closed:
            return
        self._is_set = is_set
        if is_set:
            os.write(self._write, b"\0")
        else:
            os.read(self._read, 1)

    def close(self) -> None:
        """Closes it."""
        if not self._poll.closed:
            self._poll.close()
            os.close(self._read)
            os.close(self._write)
