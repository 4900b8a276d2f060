"""What ``enableTrace`` shows of a native connection: its bytes, as they pass."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from fastws.compat._tapped import field, request_line, take_frame

from ._abnf import ABNF
from ._logging import dump, trace

__all__ = ["Tracer"]

_RULE = "-" * 23


class Tracer:
    """Is told of the bytes of one connection, and logs the heads of the handshake and the frames that are sent.

    Those that are received are logged when they are given to who receives, as websocket-client has it. Of the
    handshake secrets are masked.
    """

    def __init__(self) -> None:
        self._sent, self._received = bytearray(), bytearray()
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
            start, *lines = head.decode(errors="replace").split("\r\n")
            shown = [request_line(start), *(": ".join(field(line)) for line in lines)]
            dump("request header", "\r\n".join([*shown, "", ""]))
            self._has_asked, self._sent = True, rest
        while (frame := take_frame(self._sent)) is not None:
            trace(f"++Sent raw: {frame.raw!r}")
            fin, rsv1, rsv2, rsv3 = map(int, frame[:4])
            trace(f"++Sent decoded: {ABNF(fin, rsv1, rsv2, rsv3, frame.opcode, 1, frame.payload)}")

    def _hear(self) -> None:
        while not self._is_answered and b"\n" in self._received:
            line, _, self._received = self._received.partition(b"\n")
            if not self._lines:
                trace("--- response header ---")
            shown = line.decode(errors="replace").strip()
            trace((": ".join(field(shown)) if self._lines else shown) if shown else _RULE)
            self._lines += 1
            self._is_answered = not shown
