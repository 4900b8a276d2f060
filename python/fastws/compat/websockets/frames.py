"""Frames, opcodes and close codes (RFC 6455 §5, §7.4)."""

from __future__ import annotations

import codecs
import contextlib
import enum
import os
import struct
from dataclasses import dataclass
from typing import Self

from ._adopt import adopted
from .exceptions import ProtocolError
from .typing import BytesLike

__all__ = ["Close", "CloseCode", "Frame", "Opcode"]


@adopted
class Opcode(enum.IntEnum):
    """Opcodes of frames."""

    CONT, TEXT, BINARY = 0x00, 0x01, 0x02
    CLOSE, PING, PONG = 0x08, 0x09, 0x0A


CONT = Opcode.CONT
TEXT = Opcode.TEXT
BINARY = Opcode.BINARY
CLOSE = Opcode.CLOSE
PING = Opcode.PING
PONG = Opcode.PONG

DATA_OPCODES = CONT, TEXT, BINARY
CTRL_OPCODES = CLOSE, PING, PONG


@adopted
class CloseCode(enum.IntEnum):
    """Close codes."""

    NORMAL_CLOSURE = 1000
    GOING_AWAY = 1001
    PROTOCOL_ERROR = 1002
    UNSUPPORTED_DATA = 1003
    NO_STATUS_RCVD = 1005
    ABNORMAL_CLOSURE = 1006
    INVALID_DATA = 1007
    POLICY_VIOLATION = 1008
    MESSAGE_TOO_BIG = 1009
    MANDATORY_EXTENSION = 1010
    INTERNAL_ERROR = 1011
    SERVICE_RESTART = 1012
    TRY_AGAIN_LATER = 1013
    BAD_GATEWAY = 1014
    TLS_HANDSHAKE = 1015


CLOSE_CODE_EXPLANATIONS: dict[int, str] = {
    CloseCode.NORMAL_CLOSURE: "OK",
    CloseCode.GOING_AWAY: "going away",
    CloseCode.PROTOCOL_ERROR: "protocol error",
    CloseCode.UNSUPPORTED_DATA: "unsupported data",
    CloseCode.NO_STATUS_RCVD: "no status received [internal]",
    CloseCode.ABNORMAL_CLOSURE: "abnormal closure [internal]",
    CloseCode.INVALID_DATA: "invalid frame payload data",
    CloseCode.POLICY_VIOLATION: "policy violation",
    CloseCode.MESSAGE_TOO_BIG: "message too big",
    CloseCode.MANDATORY_EXTENSION: "mandatory extension",
    CloseCode.INTERNAL_ERROR: "internal error",
    CloseCode.SERVICE_RESTART: "service restart",
    CloseCode.TRY_AGAIN_LATER: "try again later",
    CloseCode.BAD_GATEWAY: "bad gateway",
    CloseCode.TLS_HANDSHAKE: "TLS handshake failure [internal]",
}

# What may be in a Close frame (RFC 6455 §7.4.1), of the codes that are registered.
EXTERNAL_CLOSE_CODES = set(CloseCode) - {
    CloseCode.NO_STATUS_RCVD,
    CloseCode.ABNORMAL_CLOSURE,
    CloseCode.TLS_HANDSHAKE,
}

OK_CLOSE_CODES = {CloseCode.NORMAL_CLOSURE, CloseCode.GOING_AWAY, CloseCode.NO_STATUS_RCVD}


@adopted
@dataclass
class Frame:
    """A frame, as an extension sees it. Mask and length are not its."""

    opcode: Opcode
    data: BytesLike
    fin: bool = True
    rsv1: bool = False
    rsv2: bool = False
    rsv3: bool = False

    def __str__(self) -> str:
        """For logs: the opcode, the payload or its two ends, and what of it is out of the ordinary."""
        data = bytes(self.data)
        shown, kind = _shown(self.opcode, data, fin=self.fin)
        notes = [f"{len(data)} byte{'s' * (len(data) != 1)}"]
        if kind and kind != _USUAL.get(self.opcode):
            notes.insert(0, kind)
        if not self.fin:
            notes.append("continued")
        return f"{self.opcode.name} {shown} [{', '.join(notes)}]"

    def check(self) -> None:
        """Raises ProtocolError if reserved bits are set, or for a control frame that is long or a fragment (§5.5)."""
        is_control = self.opcode in CTRL_OPCODES
        for is_wrong, what in (
            (self.rsv1 or self.rsv2 or self.rsv3, "reserved bits must be 0"),
            (is_control and len(self.data) > 125, "control frame too long"),
            (is_control and not self.fin, "fragmented control frame"),
        ):
            if is_wrong:
                raise ProtocolError(what)


# What a payload of each opcode is where nothing is said.
_USUAL = {TEXT: "text", BINARY: "binary", CLOSE: "text"}

_MOST_SHOWN = int(os.environ.get("WEBSOCKETS_MAX_LOG_SIZE", "75"))
"""Characters of a payload in a log: the variable is that of websockets."""


def _shown(opcode: Opcode, data: bytes, *, fin: bool) -> tuple[str, str]:
    """A payload for people, and whether that is ``"text"`` or ``"binary"``; ``""`` where it could be both."""
    if not data:
        return "''", ""
    if opcode is CLOSE:
        with contextlib.suppress(ProtocolError, UnicodeDecodeError):
            return _ends(str(Close.parse(data))), "text"
    elif _is_text(opcode, data, fin=fin):
        return _ends(repr(data.decode(errors="replace"))), "text"
    return _ends(data.hex(" ")), "binary"


def _is_text(opcode: Opcode, data: bytes, *, fin: bool) -> bool:
    """Whether it reads as text; of a fragment, characters may be cut in two. Pings often are four random bytes."""
    if opcode in CTRL_OPCODES:
        return all(32 <= byte < 127 or 9 <= byte <= 13 for byte in data)
    start = 0
    while opcode is CONT and start < min(3, len(data)) and data[start] & 0xC0 == 0x80:
        start += 1
    try:
        text = codecs.getincrementaldecoder("utf-8")().decode(data[start:], fin)
    except UnicodeDecodeError:
        return False
    return "\\x" not in repr(text)  # control characters are of binary


def _ends(text: str) -> str:
    """``text``, or two thirds of its beginning and one of its end of what is to be seen."""
    part = _MOST_SHOWN // 3 - 1
    return text if len(text) <= _MOST_SHOWN else f"{text[: 2 * part]}...{text[-part:]}"


@adopted
@dataclass
class Close:
    """What a Close frame says: ``code`` and ``reason`` (RFC 6455 §5.5.1)."""

    code: CloseCode | int
    reason: str

    def __str__(self) -> str:
        if 3000 <= self.code < 4000:
            explanation = "registered"
        elif 4000 <= self.code < 5000:
            explanation = "private use"
        else:
            explanation = CLOSE_CODE_EXPLANATIONS.get(self.code, "unknown")
        return f"{self.code:d} ({explanation})" + (f" {self.reason}" if self.reason else "")

    @classmethod
    def parse(cls, data: BytesLike) -> Self:
        """Reads the payload of a Close frame; 1005 stands for none.

        Raises:
            ProtocolError: It is one byte, or its code may not be sent.
            UnicodeDecodeError: Its reason is not UTF-8.
        """
        if len(data) == 1:
            raise ProtocolError("close frame too short")
        if not data:
            return cls(CloseCode.NO_STATUS_RCVD, "")
        close = cls(struct.unpack("!H", data[:2])[0], bytes(data[2:]).decode())
        close.check()
        return close

    def serialize(self) -> bytes:
        """The payload of a Close frame. Raises ProtocolError if its code may not be sent."""
        self.check()
        return struct.pack("!H", self.code) + self.reason.encode()

    def check(self) -> None:
        """Raises ProtocolError if the code may not be sent (RFC 6455 §7.4)."""
        if not (self.code in EXTERNAL_CLOSE_CODES or 3000 <= self.code < 5000):
            raise ProtocolError("invalid status code")
