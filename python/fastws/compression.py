"""Compression of messages: permessage-deflate (RFC 7692)."""

from __future__ import annotations

from dataclasses import astuple, dataclass, fields
from typing import Any, Literal, NamedTuple

__all__ = ["AgreedCompression", "Compression", "Deflate"]


class AgreedCompression(NamedTuple):
    """The terms of permessage-deflate that a server has agreed to (RFC 7692 §7.1); ``Connection.compression``."""

    server_no_context_takeover: bool
    client_no_context_takeover: bool
    server_max_window_bits: int
    client_max_window_bits: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Deflate:
    """How messages are compressed: ``connect(uri, compression=Deflate(level=1))``; ``"deflate"`` is ``Deflate()``.

    The first four are negotiated; a server may choose less, and ``Connection.compression`` tells what was agreed. The
    others are our own affair.

    Args:
        server_no_context_takeover: Ask the server to forget its window after each message: we need no memory between
            them then, and it compresses worse. False.
        client_no_context_takeover: Forget ours after each message. False.
        server_max_window_bits: The largest window that the server is to use, 8 to 15 bits. 12, a window of 4 KiB:
            nearly the ratio of 15 at an eighth of the memory.
        client_max_window_bits: The largest window that we use. 12.
        level: From 0 (nothing) over 1 (fast) to 9 (small). 6.
        memory_level: Of the compressor, 1 to 9. 5.
        threshold: Messages of fewer bytes are sent as they are. 32: with a window that lasts, short messages become a
            few bytes too.
        max_ratio: A message may be so many times as large as what came for it, above 1 MiB; 1032 is the most that the
            format can say. More closes the connection with 1009, before memory is taken for it. 256.
        offload: Frames of at least so many bytes are worked on in another thread, without the interpreter's lock, while
            pings are answered. 262,144.

    Raises:
        TypeError, ValueError: A setting is wrong; the text names it.
    """

    server_no_context_takeover: bool = False
    client_no_context_takeover: bool = False
    server_max_window_bits: int = 12
    client_max_window_bits: int = 12
    level: int = 6
    memory_level: int = 5
    threshold: int = 32
    max_ratio: int = 256
    offload: int = 256 * 1024

    def __post_init__(self) -> None:
        for each in fields(self):
            name, value = each.name, getattr(self, each.name)
            if each.type == "bool":
                if not isinstance(value, bool):
                    raise TypeError(f"{name} is True or False, not {value!r}")
                continue
            if isinstance(value, bool) or not isinstance(value, int):
                raise TypeError(f"{name} is a number (int), not {value!r}")
            least, most = _RANGES[name]
            if not least <= value <= most:
                limits = f"from {least} to {most}" if most < _MOST else f"at least {least}"
                raise ValueError(f"{name} must be {limits}, not {value!r}")


Compression = Literal["deflate"] | Deflate | None
"""What ``connect(compression=)`` takes."""

_MOST = 2**62

_RANGES = {
    "server_max_window_bits": (8, 15),
    "client_max_window_bits": (8, 15),
    "level": (0, 9),
    "memory_level": (1, 9),
    "threshold": (0, _MOST),
    "max_ratio": (1, _MOST),
    "offload": (1, _MOST),
}


def deflate_options(compression: object) -> tuple[Any, ...] | None:
    """``compression=`` of ``connect``, checked, as the native side takes it."""
    match compression:
        case None:
            return None
        case Deflate():
            return astuple(compression)
        case "deflate":
            return astuple(Deflate())
    kind = ValueError if isinstance(compression, str) else TypeError
    raise kind(f'compression is "deflate", a fastws.Deflate, or None, not {compression!r}')
