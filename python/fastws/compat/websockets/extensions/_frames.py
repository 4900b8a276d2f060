"""Frames on their way through extensions that are written in Python, and messages that are made of them."""

from __future__ import annotations

import codecs
from collections.abc import Iterator, Sequence
from typing import Any

from fastws.compat.websockets._policy import too_big
from fastws.compat.websockets.datastructures import Headers
from fastws.compat.websockets.exceptions import NegotiationError, PayloadTooBig, ProtocolError, TooManyFragments
from fastws.compat.websockets.frames import CONT, TEXT, CloseCode, Frame, Opcode
from fastws.compat.websockets.headers import build_extension, parse_extension
from fastws.compat.websockets.typing import BytesLike, Data, LoggerLike

from .base import ClientExtensionFactory, Extension

__all__ = ["Message", "Through", "encoded", "joined", "negotiated", "offers", "verdict"]


def offers(factories: Sequence[ClientExtensionFactory]) -> list[str]:
    """What is offered, an element of ``Sec-WebSocket-Extensions`` each."""
    return [build_extension([(factory.name, list(factory.get_request_params()))]) for factory in factories]


def negotiated(factories: Sequence[ClientExtensionFactory], headers: Headers) -> list[Extension]:
    """The extensions that a server's answer names, in its order (RFC 6455 §9.1).

    Raises:
        NegotiationError: It names one that was not offered, or not on these terms.
    """
    accepted: list[Extension] = []
    for value in headers.get_all("Sec-WebSocket-Extensions"):
        for name, params in parse_extension(value):
            for factory in factories:
                if factory.name != name:
                    continue
                try:
                    accepted.append(factory.process_response_params(params, accepted))
                except NegotiationError:
                    continue
                break
            else:
                raise NegotiationError(f"Unsupported extension: name = {name}, params = {params}")
    return accepted


class Through:
    """Frames through the extensions of one connection.

    Args:
        extensions: In the order in which what is sent goes through them.
        max_size: Bytes of a message; None for no limit.
        max_fragment_size: Bytes of a fragment; None for no limit.
        max_fragments: Fragments of a message that is received as a whole; None for no limit.
    """

    def __init__(
        self,
        extensions: Sequence[Extension],
        max_size: int | None,
        max_fragment_size: int | None = None,
        max_fragments: int | None = None,
    ) -> None:
        self._extensions = list(extensions)
        self._max_size = max_size
        self._max_fragment_size = max_fragment_size
        self._max_fragments = max_fragments
        self._received = 0
        """Bytes of the message that is being received."""

    def received(self, opcode: int, fin: bool, rsv: int, payload: bytes) -> Frame:
        """A data frame of the peer's, after the extensions.

        Raises:
            ProtocolError: An extension refuses it, or leaves reserved bits.
            PayloadTooBig: The message, or this fragment, is over its limit.
        """
        frame = Frame(Opcode(opcode), payload, fin, bool(rsv & 4), bool(rsv & 2), bool(rsv & 1))
        left = None if self._max_size is None else self._max_size - self._received
        limits = [limit for limit in (left, self._max_fragment_size) if limit is not None]
        limit = min(limits, default=None)
        try:
            for extension in reversed(self._extensions):
                frame = extension.decode(frame, max_size=limit)
        except PayloadTooBig as error:
            if self._received and getattr(error, "current_size", 0) is None:
                error.set_current_size(self._received)
            raise
        frame.check()
        if limit is not None and (size := len(frame.data)) > limit:
            raise too_big(size, limit + self._received, self._received, f"a frame of {size} bytes is over the limit")
        self._received = 0 if frame.fin else self._received + len(frame.data)
        return frame

    def gather(self, frames: list[Frame], frame: Frame) -> None:
        """Adds a frame to those of a message. Raises TooManyFragments."""
        if self._max_fragments is not None and len(frames) >= self._max_fragments:
            raise TooManyFragments(self._max_fragments)
        frames.append(frame)

    def to_send(self, opcode: Opcode, payload: BytesLike, *, fin: bool = True) -> tuple[int, bool, int, bytes]:
        """A frame of ours as it is sent: opcode, FIN, RSV bits (RSV1 is 4), payload."""
        frame = Frame(opcode, payload, fin)
        for extension in self._extensions:
            frame = extension.encode(frame)
        return frame.opcode, frame.fin, frame.rsv1 << 2 | frame.rsv2 << 1 | frame.rsv3, bytes(frame.data)


class Message:
    """A message that is being received: its frames, and what they come to.

    Args:
        decode: None gives text as ``str`` and binary as ``bytes``; True and False give ``str`` and ``bytes`` for both.
    """

    def __init__(self, decode: bool | None) -> None:
        self._decode = decode
        self._decoder: codecs.IncrementalDecoder | None = None
        self._has_begun = False

    def piece(self, frame: Frame) -> Data:
        """What a frame adds.

        Raises:
            ProtocolError: It does not go on where the one before it ended (RFC 6455 §5.4).
            UnicodeDecodeError: It is not UTF-8, and is to be ``str``.
        """
        if self._has_begun is not (frame.opcode is CONT):
            raise ProtocolError(
                "unexpected continuation frame" if frame.opcode is CONT else "expected a continuation frame"
            )
        if not self._has_begun:
            self._has_begun = True
            is_text = frame.opcode is TEXT if self._decode is None else self._decode
            self._decoder = codecs.getincrementaldecoder("utf-8")() if is_text else None
        data = bytes(frame.data)
        return data if self._decoder is None else self._decoder.decode(data, frame.fin)


def verdict(error: Exception, logger: LoggerLike) -> tuple[CloseCode, str]:
    """What our Close frame says of what was wrong with a frame of the peer's, or of an extension that it broke."""
    match error:
        case TooManyFragments():
            return CloseCode.MESSAGE_TOO_BIG, "too many fragments"
        case PayloadTooBig():
            return CloseCode.MESSAGE_TOO_BIG, _shortened(str(error))
        case UnicodeDecodeError():
            return CloseCode.INVALID_DATA, f"{error.reason} at position {error.start}"
        case ProtocolError():
            return CloseCode.PROTOCOL_ERROR, _shortened(str(error))
    logger.error("parser failed", exc_info=error)
    return CloseCode.INTERNAL_ERROR, ""  # the peer is not to know


def encoded(ws: Any, opcode: Opcode, payload: BytesLike, *, fin: bool = True) -> tuple[int, bool, int, bytes]:
    """A frame of ours as it is sent. Where an extension breaks, in which state it is nobody knows: the end.

    Raises:
        ProtocolError: An extension refuses it.
        ConnectionClosedError: An extension raised something else, which is the cause.
    """
    try:
        frame: tuple[int, bool, int, bytes] = ws._through.to_send(opcode, payload, fin=fin)
    except ProtocolError:
        raise
    except Exception as error:
        ws.logger.exception("unexpected internal error")
        ws._give_up(None, error=error)
        raise ws.close_exc from error
    return frame


def _shortened(reason: str) -> str:
    return reason.encode()[:123].decode(errors="ignore")


def joined(pieces: Iterator[Data]) -> Data:
    """The message of these pieces, of which there is one at least."""
    parts = list(pieces)
    return "".join(parts) if isinstance(parts[0], str) else b"".join(parts)  # type: ignore[arg-type]
