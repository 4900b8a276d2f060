"""What the bytes that a connection's tap is told of mean, for the logs of drop-ins: secrets are masked."""

from __future__ import annotations

import struct
from typing import NamedTuple

from fastws.http import is_secret
from fastws.redact import MASK, redact_uri

__all__ = ["WireFrame", "field", "request_line", "take_frame"]


class WireFrame(NamedTuple):
    """A frame, and the bytes that it was."""

    fin: bool
    rsv1: bool
    rsv2: bool
    rsv3: bool
    opcode: int
    payload: bytes
    raw: bytes


def request_line(line: str) -> str:
    """The first line of a request, without what may be secret of its target."""
    method, _, rest = line.partition(" ")
    target, _, version = rest.rpartition(" ")
    return f"{method} {redact_uri(target)} {version}"


def field(line: str) -> tuple[str, str]:
    """The name and the value of a header line; a value that is a secret is masked."""
    name, _, value = line.partition(":")
    return name, MASK if is_secret(name) else value.strip()


def take_frame(data: bytearray) -> WireFrame | None:
    """Takes a frame off the front; None where it is not all there (RFC 6455 §5.2)."""
    if len(data) < 2:
        return None
    first, second = data[0], data[1]
    at, size = 2, second & 127
    if size > 125:
        at = 4 if size == 126 else 10
        if len(data) < at:
            return None
        (size,) = struct.unpack_from("!H" if at == 4 else "!Q", data, 2)
    key = at if second & 128 else None
    if key is not None:
        at += 4
    if len(data) < at + size:
        return None
    raw = bytes(data[: at + size])
    del data[: at + size]
    payload = raw[at:] if key is None else _unmasked(raw[at:], raw[key:at])
    fin, rsv1, rsv2, rsv3 = (bool(first & bit) for bit in (128, 64, 32, 16))
    return WireFrame(fin, rsv1, rsv2, rsv3, first & 15, payload, raw)


def _unmasked(payload: bytes, key: bytes) -> bytes:
    size = len(payload)
    mask = int.from_bytes((key * (size // 4 + 1))[:size])
    return (int.from_bytes(payload) ^ mask).to_bytes(size)
