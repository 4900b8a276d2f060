"""Frames as objects, made and read by hand. Those of a native connection are only given this form."""

from __future__ import annotations

import os
import struct
from collections.abc import Callable
from threading import Lock
from typing import Any

from ._exceptions import WebSocketPayloadException, WebSocketProtocolException
from ._utils import validate_utf8

__all__ = [
    "ABNF",
    "STATUS_ABNORMAL_CLOSED",
    "STATUS_BAD_GATEWAY",
    "STATUS_GOING_AWAY",
    "STATUS_INVALID_EXTENSION",
    "STATUS_INVALID_PAYLOAD",
    "STATUS_MESSAGE_TOO_BIG",
    "STATUS_NORMAL",
    "STATUS_POLICY_VIOLATION",
    "STATUS_PROTOCOL_ERROR",
    "STATUS_SERVICE_RESTART",
    "STATUS_STATUS_NOT_AVAILABLE",
    "STATUS_TLS_HANDSHAKE_ERROR",
    "STATUS_TRY_AGAIN_LATER",
    "STATUS_UNEXPECTED_CONDITION",
    "STATUS_UNSUPPORTED_DATA_TYPE",
    "continuous_frame",
    "frame_buffer",
]

# RFC 6455 §7.4.1, and the registry that it set up.
STATUS_NORMAL = 1000
STATUS_GOING_AWAY = 1001
STATUS_PROTOCOL_ERROR = 1002
STATUS_UNSUPPORTED_DATA_TYPE = 1003
STATUS_STATUS_NOT_AVAILABLE = 1005
STATUS_ABNORMAL_CLOSED = 1006
STATUS_INVALID_PAYLOAD = 1007
STATUS_POLICY_VIOLATION = 1008
STATUS_MESSAGE_TOO_BIG = 1009
STATUS_INVALID_EXTENSION = 1010
STATUS_UNEXPECTED_CONDITION = 1011
STATUS_SERVICE_RESTART = 1012
STATUS_TRY_AGAIN_LATER = 1013
STATUS_BAD_GATEWAY = 1014
STATUS_TLS_HANDSHAKE_ERROR = 1015

VALID_CLOSE_STATUS = tuple(code for code in range(1000, 1015) if code not in (1004, 1005, 1006))
"""Registered codes that a Close frame may have; those from 3000 to 4999 besides."""


class ABNF:
    """A frame (RFC 6455 §5.2).

    Attributes:
        fin: 1 if it is the last one of its message.
        rsv1: A reserved bit, as ``rsv2`` and ``rsv3``.
        opcode: What it is, one of ``OPCODES``.
        mask_value: 1 if it is masked on the wire.
        data: The payload, not masked.
        get_mask_key: A function that gets 4 and returns a mask key of 4 bytes.
    """

    OPCODE_CONT = 0x0
    OPCODE_TEXT = 0x1
    OPCODE_BINARY = 0x2
    OPCODE_CLOSE = 0x8
    OPCODE_PING = 0x9
    OPCODE_PONG = 0xA

    OPCODES = (OPCODE_CONT, OPCODE_TEXT, OPCODE_BINARY, OPCODE_CLOSE, OPCODE_PING, OPCODE_PONG)

    OPCODE_MAP = {  # noqa: RUF012 - the name and the type that others use
        OPCODE_CONT: "cont",
        OPCODE_TEXT: "text",
        OPCODE_BINARY: "binary",
        OPCODE_CLOSE: "close",
        OPCODE_PING: "ping",
        OPCODE_PONG: "pong",
    }

    LENGTH_7 = 126
    LENGTH_16 = 1 << 16
    LENGTH_63 = 1 << 63

    get_mask_key: Callable[[int], str | bytes] = staticmethod(os.urandom)

    def __init__(
        self,
        fin: int = 0,
        rsv1: int = 0,
        rsv2: int = 0,
        rsv3: int = 0,
        opcode: int = OPCODE_TEXT,
        mask_value: int = 1,
        data: Any = "",
    ) -> None:
        self.fin = fin
        self.rsv1 = rsv1
        self.rsv2 = rsv2
        self.rsv3 = rsv3
        self.opcode = opcode
        self.mask_value = mask_value
        self.data: Any = "" if data is None else data

    def validate(self, skip_utf8_validation: bool = False) -> None:
        """Checks it as one that was received.

        Args:
            skip_utf8_validation: A close reason need not be UTF-8.

        Raises:
            WebSocketProtocolException: A reserved bit is set, the opcode is none, or a control frame has another form
                than it may have.
        """
        if self.rsv1 or self.rsv2 or self.rsv3:
            raise WebSocketProtocolException("rsv is not implemented, yet")
        if self.opcode not in self.OPCODES:
            raise WebSocketProtocolException(f"Invalid opcode {self.opcode!r}")
        if self.opcode == self.OPCODE_PING and not self.fin:
            raise WebSocketProtocolException("Invalid ping frame.")
        if self.opcode == self.OPCODE_CLOSE and self.data:
            self._validate_close(skip_utf8_validation)

    def _validate_close(self, skip_utf8_validation: bool) -> None:
        data = self.data.encode() if isinstance(self.data, str) else bytes(self.data)
        if not 2 <= len(data) <= 125 or not (skip_utf8_validation or validate_utf8(data[2:])):
            raise WebSocketProtocolException("Invalid close frame.")
        code = int.from_bytes(data[:2], "big")
        if not self._is_valid_close_status(code):
            raise WebSocketProtocolException(f"Invalid close opcode {code!r}")

    @staticmethod
    def _is_valid_close_status(code: int) -> bool:
        return code in VALID_CLOSE_STATUS or 3000 <= code < 5000

    def __str__(self) -> str:
        data = self.data if isinstance(self.data, str) else repr(self.data)
        return f"fin={self.fin} opcode={self.opcode} data={data}"

    @staticmethod
    def create_frame(data: str | bytes | bytearray | memoryview, opcode: int, fin: int = 1) -> ABNF:
        """A frame to send.

        Args:
            data: The payload; text is written as UTF-8.
            opcode: What it is.
            fin: 0 if more frames of the message follow.
        """
        if opcode == ABNF.OPCODE_TEXT and isinstance(data, str):
            data = data.encode()
        return ABNF(fin, 0, 0, 0, opcode, 1, data)

    def format(self) -> bytes:
        """The frame as it is sent.

        Raises:
            ValueError: A bit is neither 0 nor 1, the opcode is none, or the payload is too long.
        """
        bits = (self.fin, self.rsv1, self.rsv2, self.rsv3)
        if any(bit not in (0, 1) for bit in bits):
            raise ValueError("not 0 or 1")
        if self.opcode not in self.OPCODES:
            raise ValueError("Invalid OPCODE")
        length = len(self.data)
        if length >= self.LENGTH_63:
            raise ValueError("data is too long")
        first = self.fin << 7 | self.rsv1 << 6 | self.rsv2 << 5 | self.rsv3 << 4 | self.opcode
        mask = self.mask_value << 7
        if length < self.LENGTH_7:
            header = struct.pack("!BB", first, mask | length)
        elif length < self.LENGTH_16:
            header = struct.pack("!BBH", first, mask | 126, length)
        else:
            header = struct.pack("!BBQ", first, mask | 127, length)
        if self.mask_value:
            return header + self._get_masked(self.get_mask_key(4))
        return header + (self.data.encode() if isinstance(self.data, str) else bytes(self.data))

    def _get_masked(self, mask_key: str | bytes) -> bytes:
        masked = self.mask(mask_key, self.data)
        return (mask_key.encode() if isinstance(mask_key, str) else mask_key) + masked

    @staticmethod
    def mask(mask_key: str | bytes, data: Any) -> bytes:
        """Masks, or unmasks, ``data`` (RFC 6455 §5.3); of a ``str`` each character is a byte."""
        key = mask_key.encode("latin-1") if isinstance(mask_key, str) else bytes(mask_key)
        plain = data.encode("latin-1") if isinstance(data, str) else bytes(data or b"")
        repeated = (key * (len(plain) // 4 + 1))[: len(plain)]
        number = int.from_bytes(plain, "little") ^ int.from_bytes(repeated, "little")
        return number.to_bytes(len(plain), "little")


class frame_buffer:  # noqa: N801
    """Reads frames of a byte stream. What has come of one stays when reading is given up in the middle of it.

    Args:
        recv_fn: Returns what has come, so many bytes at most.
        skip_utf8_validation: Close reasons need not be UTF-8.
    """

    def __init__(self, recv_fn: Callable[[int], Any], skip_utf8_validation: bool) -> None:
        self.recv = recv_fn
        self.skip_utf8_validation = skip_utf8_validation
        self.recv_buffer: list[bytes] = []
        self.lock = Lock()
        self.clear()

    def clear(self) -> None:
        """Forgets what is known of the frame that is read."""
        self.header: tuple[int, int, int, int, int, int, int] | None = None
        self.length: int | None = None
        self.mask_value: bytes | None = None

    def has_mask(self) -> bool:
        """Whether the frame that is read is masked."""
        return self.header is not None and bool(self.header[5])

    def recv_header(self) -> None:
        """Reads the first two bytes."""
        first, second = self.recv_strict(2)
        bits = (first >> 7, first >> 6 & 1, first >> 5 & 1, first >> 4 & 1)
        self.header = (*bits, first & 0x0F, second >> 7, second & 0x7F)

    def recv_length(self) -> None:
        """Reads the rest of the length, if there is one."""
        assert self.header is not None, "the length comes behind the header"
        size = {126: 2, 127: 8}.get(self.header[6], 0)
        self.length = int.from_bytes(self.recv_strict(size), "big") if size else self.header[6]

    def recv_mask(self) -> None:
        """Reads the mask key, if there is one."""
        self.mask_value = self.recv_strict(4) if self.has_mask() else b""

    def recv_frame(self) -> ABNF:
        """Reads a frame.

        Raises:
            WebSocketProtocolException: It is not what a frame may be.
        """
        with self.lock:
            if self.header is None:
                self.recv_header()
            if self.length is None:
                self.recv_length()
            if self.mask_value is None:
                self.recv_mask()
            assert self.header is not None, "it was read"
            assert self.length is not None, "it was read"
            payload = self.recv_strict(self.length)
            if self.mask_value:
                payload = ABNF.mask(self.mask_value, payload)
            fin, rsv1, rsv2, rsv3, opcode, has_mask, _ = self.header
            self.clear()
            frame = ABNF(fin, rsv1, rsv2, rsv3, opcode, has_mask, payload)
            frame.validate(self.skip_utf8_validation)
        return frame

    def recv_strict(self, bufsize: int) -> bytes:
        """Reads ``bufsize`` bytes; fewer only where ``recv`` gives something that is no bytes."""
        if not isinstance(bufsize, int):
            raise ValueError("bufsize must be an integer")  # noqa: TRY004 - what websocket-client raises
        missing = bufsize - sum(map(len, self.recv_buffer))
        while missing > 0:
            data = self.recv(min(_CHUNK, missing))
            if not isinstance(data, bytes):
                break
            self.recv_buffer.append(data)
            missing -= len(data)
        data = b"".join(self.recv_buffer)
        rest = data[bufsize:]
        self.recv_buffer = [rest] if rest else []
        return data[:bufsize]


class continuous_frame:  # noqa: N801
    """Makes messages of frames.

    Args:
        fire_cont_frame: Fragments are given one by one.
        skip_utf8_validation: Text need not be UTF-8.
    """

    def __init__(self, fire_cont_frame: bool, skip_utf8_validation: bool) -> None:
        self.fire_cont_frame = fire_cont_frame
        self.skip_utf8_validation = skip_utf8_validation
        self.cont_data: tuple[int, list[Any]] | None = None
        self.recving_frames: int | None = None

    def validate(self, frame: ABNF) -> None:
        """Raises WebSocketProtocolException if ``frame`` cannot be the next one (RFC 6455 §5.4)."""
        is_next = frame.opcode == ABNF.OPCODE_CONT
        if is_next is not bool(self.recving_frames) and frame.opcode in (0, ABNF.OPCODE_TEXT, ABNF.OPCODE_BINARY):
            raise WebSocketProtocolException("Illegal frame")

    def add(self, frame: ABNF) -> None:
        """Takes the next frame."""
        if frame.opcode != ABNF.OPCODE_CONT:
            self.recving_frames = frame.opcode
        if self.cont_data is None:
            self.cont_data = (frame.opcode, [])
        self.cont_data[1].append(frame.data)
        if frame.fin:
            self.recving_frames = None

    def is_fire(self, frame: ABNF) -> bool:
        """Whether there is something to give once ``frame`` was added."""
        return bool(frame.fin or self.fire_cont_frame)

    def extract(self, frame: ABNF) -> tuple[int, ABNF]:
        """What there is to give: its opcode, and ``frame`` with all of its payload.

        Raises:
            WebSocketPayloadException: It is text and not UTF-8.
            WebSocketProtocolException: There is nothing.
        """
        if self.cont_data is None:
            raise WebSocketProtocolException("No continuation data available")
        opcode, parts = self.cont_data
        self.cont_data = None
        frame.data = parts[0] if len(parts) == 1 else b"".join(parts)
        checks = opcode == ABNF.OPCODE_TEXT and not (self.fire_cont_frame or self.skip_utf8_validation)
        if checks and not validate_utf8(frame.data):
            raise WebSocketPayloadException(f"cannot decode: {frame.data!r}")
        return opcode, frame


_CHUNK = 16_384
"""Bytes that are asked for at once."""
