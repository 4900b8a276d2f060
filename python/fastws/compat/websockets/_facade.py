"""What ``ws.protocol`` is here: what live code reads of the Sans-I/O protocol, told by the native connection."""

from __future__ import annotations

import logging
import os
import uuid
import weakref
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Self

from fastws import _core, _options
from fastws._options import Special
from fastws.compression import Compression, Deflate

from ._debug import Narrator
from .datastructures import Headers
from .exceptions import ConnectionClosed, InvalidState
from .extensions import Extension
from .extensions._frames import Through, negotiated, offers
from .extensions._native import agreed, is_native
from .frames import Close
from .protocol import CLIENT, CLOSED, CONNECTING, Side, State
from .typing import BytesLike, LoggerLike, Origin, Subprotocol
from .uri import WebSocketURI

if TYPE_CHECKING:
    from fastws._core import _Native

__all__ = ["Facade", "MaxQueue", "MaxSize", "WriteLimit", "pair"]

MaxSize = int | Sequence[int | None] | None

MaxQueue = int | Sequence[int | None] | None

WriteLimit = int | Sequence[int | None] | None


class Facade:
    """The terms of a connection before it is open, and what became of them: ``ws.protocol``.

    Args:
        uri: Where to.
        origin: The ``Origin`` header.
        extensions: What ``connect`` was given, with permessage-deflate.
        subprotocols: What is offered.
        max_size: Largest message in bytes, or a pair (message, fragment); None for no limit.
        logger: The connection's logger.
        compression: How messages are compressed natively.
        blocks: Whether its calls block.
    """

    side: Side = CLIENT
    handshake_exc: Exception | None = None
    given_up: tuple[Close | None, Exception | None] | None = None
    """What failed the connection from this side: the Close frame that says so, if there is one, and the error."""

    def __init__(
        self,
        uri: WebSocketURI,
        *,
        origin: Origin | None = None,
        extensions: Sequence[Any] | None = None,
        subprotocols: Sequence[Subprotocol] | None = None,
        max_size: MaxSize = 2**20,
        logger: LoggerLike | None = None,
        compression: Compression | Deflate = None,
        blocks: bool = False,
    ) -> None:
        self.id = uuid.uuid4()
        self.uri = self.wsuri = uri
        self.origin = origin
        self.available_extensions = extensions
        self.available_subprotocols = subprotocols
        self.max_message_size, self.max_fragment_size = pair("max_size", max_size)
        self.logger: LoggerLike = logger if logger is not None else logging.getLogger("websockets.client")
        self.debug = self.logger.isEnabledFor(logging.DEBUG)
        self.compression = compression
        self.is_native = is_native(extensions)
        """Whether frames need no Python."""
        end = None if blocks else "x closing TCP connection" if uri.secure else "x half-closing TCP connection"
        self.narrator = Narrator(lambda: self.extensions, end) if self.debug else None
        self._agreed: list[Extension] | None = None
        self._tell: Callable[[], _Native | None] = lambda: None
        self._seen: dict[object, Any] = {}

    @classmethod
    def of(cls, protocol: Any) -> Self:
        """The terms that a protocol of the installed ``websockets`` has, or another one of these."""
        if isinstance(protocol, cls):
            return protocol
        uri = getattr(protocol, "uri", None) or getattr(protocol, "wsuri", None)
        size = getattr(protocol, "max_message_size", None), getattr(protocol, "max_fragment_size", None)
        made = cls(uri or WebSocketURI(False, "localhost", 80, "/", ""), max_size=size, logger=protocol.logger)
        made.id = protocol.id
        return made

    def settings(
        self,
        *,
        ping_interval: float | None,
        ping_timeout: float | None,
        close_timeout: float | None,
        max_queue: MaxQueue,
        write_limit: WriteLimit,
    ) -> _core.Settings:
        """The settings of a native connection with these terms."""
        arguments = self.arguments(ping_interval, ping_timeout, close_timeout, max_queue, write_limit)
        return _options.settings(special=arguments.pop("_special"), **arguments)

    def arguments(
        self,
        ping_interval: float | None,
        ping_timeout: float | None,
        close_timeout: float | None,
        max_queue: MaxQueue,
        write_limit: WriteLimit,
    ) -> dict[str, Any]:
        """The same by the names of ``fastws.connect``."""
        size, fragment = self.max_message_size, self.max_fragment_size
        return {
            "max_size": _at_least(0, size),
            "max_frame_size": _at_least(0, fragment),
            # Where frames go through Python, that is what counts them.
            "max_fragments": self._max_fragments if self.is_native else None,
            "max_queue": _marks(max_queue),
            "max_queue_bytes": None,
            "write_limit": _write_marks(write_limit),
            # The marks are all that bounds what waits to be sent, as in websockets.
            "max_send_queue": UNBOUNDED,
            "max_send_bytes": UNBOUNDED,
            "ping_interval": _seconds(ping_interval, 1e-3),
            "ping_timeout": _seconds(ping_timeout),
            "close_timeout": _seconds(close_timeout),
            "messages": "auto",
            "busy_poll": None,
            "busy_poll_max": 0.001,
            "quickack": False,
            "kernel_timestamps": False,
            "compression": self.compression,
            "_special": self._special,
        }

    @property
    def _max_fragments(self) -> int | None:
        return MAX_FRAGMENTS or (None if self.max_message_size is None else OUR_MAX_FRAGMENTS)

    @property
    def _special(self) -> Special:
        if self.is_native:
            return Special("mixed", echo_reason=True, tapped=self.debug, least_size=0)
        return Special("frames", rsv=7, echo_reason=True, tapped=self.debug, least_size=0)

    def tells_of(self, ws: _Native) -> None:
        """From now on it tells of ``ws``."""
        self._tell = weakref.ref(ws)

    def once(self, look: Callable[[Any], Any], ws: object) -> Any:
        """What ``look`` finds at the connection. It does not change once it is there, and is one object."""
        if self._seen.get(look) is None:
            self._seen[look] = look(ws)
        return self._seen[look]

    @property
    def state(self) -> State:
        """The connection's state."""
        ws: Any = self._tell()
        return CONNECTING if ws is None else ws.state

    @property
    def subprotocol(self) -> Subprotocol | None:
        """The subprotocol that the server chose."""
        ws: Any = self._tell()
        return None if ws is None else ws.subprotocol

    @property
    def extensions(self) -> list[Extension]:
        """The extensions agreed on. That of a native permessage-deflate tells its terms, and is not at work."""
        if self._agreed is None:
            ws = self._tell()
            terms = None if ws is None else ws._compression
            if terms is None:
                return []
            self._agreed = [agreed(terms, self.available_extensions)]
        return self._agreed

    def offers(self) -> list[str] | None:
        """What is offered by extensions in Python, as in the header; None where what is offered is native."""
        return None if self.is_native else offers(self.available_extensions or ())

    def negotiate(self, headers: Headers) -> Through:
        """Frames through the extensions in Python that the server's answer names. Raises NegotiationError."""
        self._agreed = negotiated(self.available_extensions or (), headers)
        return Through(self._agreed, self.max_message_size, self.max_fragment_size, self._max_fragments)

    @property
    def close_code(self) -> int | None:
        """The close code received, 1006 if there was none; None while the connection is not closed."""
        ws: Any = self._tell()
        return None if ws is None else ws.close_code

    @property
    def close_reason(self) -> str | None:
        """The close reason received; None while the connection is not closed."""
        ws: Any = self._tell()
        return None if ws is None else ws.close_reason

    @property
    def close_rcvd(self) -> Close | None:
        """The Close frame received."""
        return self._closed().rcvd

    @property
    def close_sent(self) -> Close | None:
        """The Close frame sent."""
        return self._closed().sent

    @property
    def close_rcvd_then_sent(self) -> bool | None:
        """Whether the peer's Close frame came first; None unless there are both."""
        return self._closed().rcvd_then_sent

    @property
    def close_exc(self) -> ConnectionClosed:
        """What reading and sending raise."""
        assert self.state is CLOSED, "connection isn't closed yet"
        return self._closed()

    def send_text(self, data: BytesLike) -> None:
        """Sends UTF-8 as text, without waiting: what ``broadcast`` of the installed ``websockets`` calls."""
        self._open().send_nowait(data, text=True)

    def send_binary(self, data: BytesLike) -> None:
        """The same for binary."""
        self._open().send_nowait(data, text=False)

    def _open(self) -> Any:
        ws = self._tell()
        if ws is None:
            raise InvalidState(f"connection is {self.state.name.lower()}")
        return ws

    def _closed(self) -> ConnectionClosed:
        from ._policy import closed

        ws = self._tell()
        return ConnectionClosed(None, None) if ws is None else closed(ws)


def pair(name: str, value: int | Sequence[int | None] | None) -> tuple[int | None, int | None]:
    """Both numbers of an argument that is one or two; None for the second where there is one."""
    if value is None or isinstance(value, int):
        return value, None
    if isinstance(value, str) or not isinstance(value, Sequence) or len(value) != 2:
        raise TypeError(f"{name} is a number (int), a pair of them, or None, not {value!r}")
    first, second = value
    return first, second


# What is no number is told so by the settings, under the argument's name.


def _at_least(least: int, value: int | None) -> int | None:
    return max(least, value) if isinstance(value, int) else value


def _seconds(value: float | None, least: float = 1e-6) -> float | None:
    """A duration; what is none or less is a very short one."""
    return max(least, value) if isinstance(value, int | float) else value


def _marks(value: MaxQueue) -> int | tuple[int, int] | None:
    """High and low water of ``max_queue``."""
    high, low = pair("max_queue", value)
    if high is None:
        if low is None:
            return None
        high = 4 * low
    if low is None:
        low = high // 4
    if low < 0:
        raise ValueError("low must be positive or equal to zero")
    if high < low:
        raise ValueError("high must be greater than or equal to low")
    return max(1, high), low


def _write_marks(value: WriteLimit) -> int | tuple[int, int]:
    """High and low water of ``write_limit``, as transports of asyncio's have it."""
    high, low = pair("write_limit", value)
    if high is None:
        high = 64 * 1024 if low is None else 4 * low
    if low is None:
        low = high // 4
    if not 0 <= low <= high:
        raise ValueError(f"high ({high!r}) must be >= low ({low!r}) must be >= 0")
    return max(1, high), low


UNBOUNDED = 2**62

MAX_FRAGMENTS = int(os.environ.get("WEBSOCKETS_MAX_FRAGMENTS", "0"))
"""Of a message, if the environment says so."""

OUR_MAX_FRAGMENTS = 131_072
"""Else, of a message whose size is limited: what its parts cost each. That of ``websockets`` is of ``recv`` alone."""
