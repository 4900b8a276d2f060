"""The states of a connection. ``Protocol``, the Sans-I/O layer, is that of the installed ``websockets``."""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING, Any

from fastws.compat._installed import unavailable

from ._adopt import adopted, original, without_sockets

if TYPE_CHECKING:
    from websockets.protocol import Event, Protocol  # noqa: F401

__all__ = ["SEND_EOF", "Protocol", "Side", "State"]


@adopted
class Side(enum.IntEnum):
    """Which end of a connection."""

    SERVER, CLIENT = range(2)


SERVER = Side.SERVER
CLIENT = Side.CLIENT


@adopted
class State(enum.IntEnum):
    """The state of a connection (RFC 6455 §4.1, §7.1)."""

    CONNECTING, OPEN, CLOSING, CLOSED = range(4)


CONNECTING = State.CONNECTING
OPEN = State.OPEN
CLOSING = State.CLOSING
CLOSED = State.CLOSED

SEND_EOF = b""

_original = original(__name__)
if _original is None:
    __all__ = [name for name in __all__ if name != "Protocol"]


def __getattr__(name: str) -> Any:
    if _original is not None:
        return getattr(_original, name)
    if name in ("Protocol", "Event"):
        raise unavailable(without_sockets(__name__, name), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
