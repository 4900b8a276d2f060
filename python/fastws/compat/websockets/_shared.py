"""What connections on an event loop and those whose calls block have in common."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

from . import _policy
from .exceptions import ConnectionClosed, ProtocolError
from .frames import Close, CloseCode
from .http11 import Request, Response
from .protocol import CLOSED, State
from .typing import BytesLike, Subprotocol

if TYPE_CHECKING:
    from ._facade import Facade

__all__ = ["Agreed", "check_close", "control_payload", "derived", "extended", "negotiate"]


class Agreed:
    """What the opening handshake came to."""

    __slots__ = ()

    if TYPE_CHECKING:

        @property
        def protocol(self) -> Facade: ...

        @property
        def state(self) -> State: ...

    @property
    def request(self) -> Request | None:
        """The upgrade request as it was sent."""
        seen: Request | None = self.protocol.once(_policy.request, self)
        return seen

    @property
    def response(self) -> Response | None:
        """The server's answer to the upgrade."""
        seen: Response | None = self.protocol.once(_policy.response, self)
        return seen

    @property
    def subprotocol(self) -> Subprotocol | None:
        """The subprotocol that the server chose (RFC 6455 §1.9); None if it chose none."""
        answer = self.response
        chosen = None if answer is None else answer.headers.get("Sec-WebSocket-Protocol")
        return None if chosen is None else Subprotocol(chosen)

    # The end.

    @property
    def close_code(self) -> int | None:
        """The close code received, 1006 if there was none; None while the connection is not closed."""
        if self.state is not CLOSED:
            return None
        rcvd = _policy.received(self)
        return CloseCode.ABNORMAL_CLOSURE if rcvd is None else rcvd.code

    @property
    def close_reason(self) -> str | None:
        """The close reason received, or ``""``; None while the connection is not closed."""
        if self.state is not CLOSED:
            return None
        rcvd = _policy.received(self)
        return "" if rcvd is None else rcvd.reason

    @property
    def close_exc(self) -> ConnectionClosed:
        """What reading from the closed connection raises."""
        assert self.state is CLOSED, "connection isn't closed yet"
        return _policy.closed(self)

    def _give_up(self: Any, code: CloseCode | None, reason: str = "", error: Exception | None = None) -> None:
        """Fails the connection (RFC 6455 §7.1.7) by a Close frame, without a code at once; ``error`` is why."""
        if self.protocol.given_up is None:
            self.protocol.given_up = None if code is None else Close(code, reason), error
        if code is None:
            self._abort("it was given up")
        else:
            self._close(code, reason)


def negotiate(connection: Any) -> None:
    """What Python's extensions say to the server's answer. Raises NegotiationError."""
    try:
        connection._extend(connection.protocol.negotiate(connection.response.headers))
    except BaseException:
        connection._abort("the extensions were not agreed on")
        raise


@functools.cache
def extended(kind: Any, base: Any) -> Any:
    """``kind`` as the ``base`` that its instances are of; what it redefines itself stays in front."""
    return derived(kind, kind, base)


def derived(kind: Any, *bases: Any) -> Any:
    """A class of these bases that is called as ``kind`` is."""
    names = {"__slots__": (), "__module__": kind.__module__, "__qualname__": kind.__qualname__, "__doc__": kind.__doc__}
    return type(kind.__name__, bases, names)


def control_payload(data: object) -> bytes:
    """The payload of a Ping or Pong. Raises TypeError and ProtocolError."""
    if isinstance(data, str):
        data = data.encode()
    elif not isinstance(data, BytesLike):
        raise TypeError("data must be str or bytes-like")
    return _checked(bytes(data))


def check_close(code: int | None, reason: str) -> None:
    """Raises TypeError, and ProtocolError for what a Close frame may not say (RFC 6455 §7.4). None is an empty one."""
    if isinstance(code, bool) or not isinstance(code, int | None):
        raise TypeError(f"code is a close code (int) such as 1000, or None, not {code!r}")
    if not isinstance(reason, str):
        raise TypeError(f"reason is a str, not {reason!r}")
    if code is not None:
        _checked(Close(code, reason).serialize())
    elif reason:
        raise ProtocolError("cannot send a reason without a code")


def _checked(payload: bytes) -> bytes:
    """RFC 6455 §5.5. Raises ProtocolError."""
    if len(payload) > 125:
        raise ProtocolError("control frame too long")
    return payload
