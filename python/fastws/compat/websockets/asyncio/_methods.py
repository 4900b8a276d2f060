"""``recv`` and ``send`` as the class of a connection shows them, and as its instances have them.

``unittest.mock`` and others look at a class for coroutine functions, which native methods are not.
"""

from __future__ import annotations

from collections.abc import AsyncIterable, Iterable
from typing import TYPE_CHECKING, Literal, overload

import fastws
from fastws.compat.websockets.typing import Data, DataLike

if TYPE_CHECKING:
    from datetime import timedelta

    from fastws import _core

__all__ = ["Native", "Shown"]


class Shown(fastws.Connection):
    """What the class of a connection is looked at for. No instance is only that, see ``Native``."""

    @overload
    async def recv(self, decode: Literal[True]) -> str: ...

    @overload
    async def recv(self, decode: Literal[False]) -> bytes: ...

    @overload
    async def recv(self, decode: bool | None = None) -> Data: ...

    async def recv(self, decode: bool | None = None) -> Data:
        """Waits for the next message, see ``fastws.Connection.recv``."""
        message: Data = await fastws.Connection.recv(self, decode)
        return message

    async def send(
        self,
        message: DataLike | Iterable[DataLike] | AsyncIterable[DataLike],
        text: bool | None = None,
        *,
        timeout: float | timedelta | None = None,  # noqa: ASYNC109 - that of the native one
        compress: bool | None = None,
    ) -> None:
        """Sends a message, see ``fastws.Connection.send``."""
        await fastws.Connection.send(self, message, text, timeout=timeout, compress=compress)

    if TYPE_CHECKING:

        def __aiter__(self) -> _core._Iteration[Data]: ...


class Native(Shown):
    """What instances are of besides: the native methods again, behind what a subclass redefines."""

    if not TYPE_CHECKING:
        recv = fastws.Connection.recv
        send = fastws.Connection.send
