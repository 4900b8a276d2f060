"""What ``enableTrace`` shows of a native connection: its bytes, as they pass."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ._abnf import ABNF
from ._logging import dump, trace

__all__ = ["Tracer"]

_RULE = "-" * 23


class Tracer:
    """Is told of the bytes of one connection, and logs the heads of the handshake and the frames that are sent.

    Those that are received are logged when they are given to who receives, as websocket-client has it.
    """

    def __init__(self) -> None:
        self._sent = self._received = b""
        self._has_asked = False
        self._lines = 0
        self._is_answered = False

    def __call__(self, _: Any, spans: Iterable[tuple[bool, bytes]]) -> None:
        """Bytes passed, received ones or sent ones."""
        for is_received, data in spans:
            if not is_received:
                self._sent += data
                self._say()
            elif not self._is_answered:
                self._received += data
                self._hear()

    def _say(self) -> None:
        if not self._has_asked:
            head, end, rest = self._sent.partition(b"\r\n\r\n")
            if not end:
                return
            dump("request header", (head + end).decode(errors="replace"))
            self._has_asked, self._sent = True, rest
        while (length := _length(self._sent)) is not None:
            raw, self._sent = self._sent[:length], self._sent[length:]
            trace(f"++Sent raw: {raw!r}")
            trace(f"++Sent decoded: {_frame(raw)}")

    def _hear(self) -> None:
        while not self._is_answered and b"\n" in self._received:
            line, _, self._received = self._received.partition(b"\n")
            if not self._lines:
                trace("--- response header ---")
            self._lines += 1
            shown = line.decode(errors="replace").strip()
            trace(shown or _RULE)
            self._is_answered = not shown


def _length(sent: bytes) -> int | None:
    """Of the first frame, all of it; None while it is not there whole. It is masked, as all are that a client sends."""
    if len(sent) < 2:
        return None
    length, header = sent[1] & 0x7F, 6
    if length >= 126:
        size = 2 if length == 126 else 8
        length, header = int.from_bytes(sent[2 : 2 + size], "big"), 6 + size
    return header + length if len(sent) >= header + length else None


def _frame(raw: bytes) -> ABNF:
    first, size = raw[0], {126: 2, 127: 8}.get(raw[1] & 0x7F, 0)
    key, payload = raw[2 + size : 6 + size], raw[6 + size :]
    return ABNF(first >> 7, first >> 6 & 1, first >> 5 & 1, first >> 4 & 1, first & 0x0F, 1, ABNF.mask(key, payload))
