"""What an opening needs of the world, however it is waited for."""

from __future__ import annotations

import socket
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

if TYPE_CHECKING:
    from ._aside import Call
    from ._opening import Progress, Upgrade
    from .dial import Address, Dialling
    from .proxy import Proxy

__all__ = ["Io"]

T = TypeVar("T")


class Io(Protocol):
    """On an event loop these wait. Without one they block and never suspend: ``sync._io.finish`` runs them.

    The time that all of them have together is the implementation's to keep: it raises TimeoutError.
    """

    @property
    def takes_connecting(self) -> bool:
        """Whether ``upgrade`` takes a socket that is still connecting."""
        ...

    async def wait(self, call: Call[T], within: float | None = None) -> T:
        """What a call returns that blocks; TooLate if it takes longer than ``within`` seconds."""
        ...

    async def race(
        self,
        addresses: Sequence[Address],
        dialling: Dialling,
        made: Callable[[Address], socket.socket],
        failed: Callable[[Address, OSError | str], None],
    ) -> socket.socket:
        """A socket of ``made`` that is connected to the address which answers first (Happy Eyeballs, RFC 8305).

        Raises:
            OSError: None did; ``failed`` was told of each.
        """
        ...

    async def send(self, sock: socket.socket, data: bytes) -> None:
        """Sends all of it."""
        ...

    async def receive(self, sock: socket.socket, most: int) -> bytes:
        """What has come, or comes next; nothing at the end. The socket does not block afterwards."""
        ...

    async def socks(self, proxy: Proxy, sock: socket.socket, host: str, port: int) -> None:
        """Has a SOCKS proxy that ``sock`` is connected to connect us. Raises what python-socks does."""
        ...

    async def answer(self, value: Any, whose: str) -> Any:
        """What a user's function returned, awaited where it is to be."""
        ...

    async def upgrade(self, upgrade: Upgrade, progress: Progress) -> Any:
        """The connection, when it is open. ``progress`` knows it meanwhile."""
        ...
