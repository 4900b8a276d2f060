"""What ``websockets`` logs at level DEBUG, read off a connection's bytes: the handshake, each frame, the states."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Sequence
from typing import Literal

from fastws.compat._tapped import field, request_line, take_frame

from .extensions import Extension
from .extensions.permessage_deflate import PerMessageDeflate
from .frames import CLOSE, Frame, Opcode
from .typing import LoggerLike

__all__ = ["Narrator"]

Lines = Generator[None, bytes, None]


class Narrator:
    """Tells a logger of what passes on one connection.

    Args:
        extensions: What was agreed on, asked for when the first frame is told of.
        end: What is said of TCP in the end; ``websockets`` says nothing of that of a socket whose calls block.
    """

    def __init__(self, extensions: Callable[[], Sequence[Extension]], end: str | None) -> None:
        self._extensions = extensions
        self._end = end
        self._lines = {True: self._received(), False: self._sent()}
        for lines in self._lines.values():
            next(lines)
        self._log: LoggerLike
        self._is_closed_by_peer = False
        self._stage: Literal["before", "asked", "refused", "open", "over"] = "before"
        self._body = 0

    def tell(self, log: LoggerLike, spans: Iterable[tuple[bool, bytes]]) -> None:
        """Tells of bytes in their order: whether they were received, and they. None, received or sent, are an end."""
        self._log = log
        for received, data in spans:
            try:
                self._lines[received].send(data)
            except StopIteration:
                pass
            except EOFError:  # of a handshake
                self._ended()
            except Exception:
                log.debug("! what is %s cannot be shown any more", "received" if received else "sent", exc_info=True)

    def _says(self, text: str, *args: object) -> None:
        self._log.debug(text, *args)

    # ---- the two directions: fed with bytes, they say lines ---------------------------------------------------------

    def _sent(self) -> Lines:
        data = bytearray((yield))
        if not data:
            raise EOFError
        self._says("= connection is CONNECTING")
        self._stage = "asked"
        head = yield from _head(data)
        start, *lines = head.split("\r\n")
        self._says("> %s", request_line(start))
        self._tell_fields(">", lines)
        yield from self._frames(data, received=False)

    def _received(self) -> Lines:
        data = bytearray((yield))
        while True:
            head = yield from _head(data)
            start, *lines = head.split("\r\n")
            self._says("< %s", start)
            self._tell_fields("<", lines)
            status = start.split(" ")[1]
            if status == "101":
                break
            if not status.startswith("1"):
                self._stage, self._body = "refused", len(data)
                while more := (yield):
                    self._body += len(more)
                raise EOFError
        self._stage = "open"
        self._says("= connection is OPEN")
        yield from self._frames(data, received=True)

    def _frames(self, data: bytearray, *, received: bool) -> Lines:
        sign = "<" if received else ">"
        decoders: list[PerMessageDeflate] | None = None
        while True:
            while (frame := _frame(data)) is None:
                more = yield
                if not more:
                    if received and self._stage == "open" and not self._is_closed_by_peer:
                        self._says("< EOF")
                    self._ended()
                    return
                data += more
            if decoders is None:
                decoders = _decoders(self._extensions(), received=received)
            for decoder in decoders:
                frame = decoder.decode(frame)
            self._says(f"{sign} %s", frame)
            if frame.opcode is CLOSE:
                if received:
                    self._is_closed_by_peer = True
                else:
                    self._says("= connection is CLOSING")

    def _ended(self) -> None:
        if self._stage == "refused":
            self._says("< [body] (%d bytes)", self._body)
        lines = [self._end, "= connection is CLOSED"]
        if self._stage == "open":
            lines.reverse()
        if self._stage not in ("before", "over"):
            for line in ("> EOF", *filter(None, lines)):
                self._says(line)
        self._stage = "over"

    def _tell_fields(self, sign: str, lines: list[str]) -> None:
        """Values of header fields that are secrets stay so."""
        for line in lines:
            self._says(f"{sign} %s: %s", *field(line))


def _head(data: bytearray) -> Generator[None, bytes, str]:
    """Waits for all of an HTTP header block, and takes it."""
    while (end := data.find(b"\r\n\r\n")) < 0:
        more = yield
        if not more:
            raise EOFError
        data += more
    head = data[:end].decode("iso-8859-1")
    del data[: end + 4]
    return head


def _frame(data: bytearray) -> Frame | None:
    """Takes a frame; None where it is not all there."""
    taken = take_frame(data)
    if taken is None:
        return None
    return Frame(Opcode(taken.opcode), taken.payload, taken.fin, taken.rsv1, taken.rsv2, taken.rsv3)


def _decoders(extensions: Sequence[Extension], *, received: bool) -> list[PerMessageDeflate]:
    """What undoes permessage-deflate; what other extensions did is shown as it is on the wire."""
    if not extensions or not all(isinstance(extension, PerMessageDeflate) for extension in extensions):
        return []
    (terms,) = extensions
    assert isinstance(terms, PerMessageDeflate)
    peer = terms.remote_no_context_takeover, terms.local_no_context_takeover
    bits = terms.remote_max_window_bits, terms.local_max_window_bits
    if not received:
        peer, bits = peer[::-1], bits[::-1]
    return [PerMessageDeflate(*peer, bits[0], max(bits[1], 9))]
