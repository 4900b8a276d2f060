"""What is sent: the opcode and bytes of messages, and messages in fragments (RFC 6455 §5.4)."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterable, AsyncIterator, Iterable
from types import TracebackType
from typing import Any, Self

from .frames import BINARY, TEXT, CloseCode, Opcode
from .typing import BytesLike

__all__ = ["Fragments", "as_async", "opcode_and_bytes"]


class Fragments:
    """A message whose pieces leave as they come; an empty one ends it, as nobody knows before which is the last.

    As a context manager it closes the connection where the message cannot be finished: no other may begin then.

    Args:
        ws: The connection.
        what: What gives the pieces, in words.
    """

    __slots__ = ("_is_wrong", "_kind", "_what", "_ws", "has_begun", "has_failed")

    def __init__(self, ws: Any, what: str = "iterable") -> None:
        self._ws = ws
        self._what = what
        self._kind: Any = None
        self._is_wrong = False
        self.has_begun = False
        """A piece was accepted, and the last was not."""
        self.has_failed = False
        """The connection is being closed for it."""

    def check(self, piece: object) -> None:
        """Raises TypeError for what is no piece of this message."""
        wanted = "bytes or str" if self._kind is None else "uniform types"
        if self._kind is None:
            self._kind = str if isinstance(piece, str) else BytesLike
        if not isinstance(piece, self._kind):
            self._is_wrong = True
            raise TypeError(f"{self._what} must contain {wanted}")

    @property
    def last(self) -> str | bytes:
        """What ends the message."""
        return "" if self._kind is str else b""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        if exc is not None and (self.has_begun or self._is_wrong):
            self.has_failed = True
            with contextlib.suppress(Exception):
                if self._ws._state == "open":
                    self._ws._give_up(CloseCode.INTERNAL_ERROR, "error in fragmented message")


def opcode_and_bytes(message: str | BytesLike, text: bool | None) -> tuple[Opcode, BytesLike]:
    """How a message that is not native leaves; ``text`` is that of ``send``."""
    is_text = isinstance(message, str) if text is None else text
    return TEXT if is_text else BINARY, message.encode() if isinstance(message, str) else message


async def as_async(items: Iterable[object] | AsyncIterable[object]) -> AsyncIterator[object]:
    """The items of either."""
    if isinstance(items, Iterable):
        for item in items:
            yield item
    else:
        async for item in items:
            yield item
