"""What can be sent: said in one place, for every way to send, before a message waits for anything."""

from __future__ import annotations

from ._account import Message
from ._policy import not_sendable
from .connection import BytesLike

__all__ = ["check", "plain"]

MAX_HEADER = 14
"""Bytes of a client's frame before its payload, at most (RFC 6455 §5.2)."""


def plain(message: str | BytesLike) -> Message:
    """A message that nobody can change any more. Raises TypeError of what is none."""
    if isinstance(message, str | bytes):
        return message
    try:
        return memoryview(message).tobytes()
    except TypeError:
        raise not_sendable(message) from None


def check(message: Message, text: bool | None, max_bytes: int | None) -> None:
    """Raises what a connection would say of a message that none can send: it is not to wait for one first.

    Args:
        message: The message.
        text: As for ``send``.
        max_bytes: What fits a connection's send queue, where that is known.

    Raises:
        ValueError: It is too large, or no UTF-8.
    """
    if isinstance(message, str):
        size = len(message.encode())
    else:
        size = len(message)
        if text:
            str(message, "utf-8")
    if max_bytes is not None and size + MAX_HEADER > max_bytes:
        raise ValueError(f"a message of {size + MAX_HEADER} bytes can never fit a send queue of {max_bytes} bytes")
