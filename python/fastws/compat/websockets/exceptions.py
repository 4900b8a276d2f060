"""The exceptions of ``websockets``: its own classes where it is installed, else these.

So ``except websockets.ConnectionClosed`` catches what this shim raises, whichever of the two was imported.
"""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

from ._adopt import adopted, lazily

if TYPE_CHECKING:
    from .frames import Close
    from .http11 import Response

__all__ = [
    "ConcurrencyError",
    "ConnectionClosed",
    "ConnectionClosedError",
    "ConnectionClosedOK",
    "DuplicateParameter",
    "HeaderLineTooLong",
    "InvalidHandshake",
    "InvalidHeader",
    "InvalidHeaderFormat",
    "InvalidHeaderValue",
    "InvalidMessage",
    "InvalidMethod",
    "InvalidOrigin",
    "InvalidParameterName",
    "InvalidParameterValue",
    "InvalidProtocol",
    "InvalidProxy",
    "InvalidProxyMessage",
    "InvalidProxyStatus",
    "InvalidState",
    "InvalidStatus",
    "InvalidURI",
    "InvalidUpgrade",
    "NegotiationError",
    "PayloadTooBig",
    "ProtocolError",
    "ProxyError",
    "RequestLineTooLong",
    "SecurityError",
    "StatusLineTooLong",
    "TooManyFragments",
    "TooManyHeaders",
    "WebSocketException",
]


@adopted
class WebSocketException(Exception):
    """Base of all exceptions."""


@adopted
class ConnectionClosed(WebSocketException):
    """The connection is closed, or closing.

    Args:
        rcvd: The Close frame received, or None.
        sent: The Close frame sent, or None.
        rcvd_then_sent: Whether the peer's came first; None unless there are both.

    Attributes: the arguments. ``__cause__`` is what went wrong, where there is more to say.
    """

    def __init__(self, rcvd: Close | None, sent: Close | None, rcvd_then_sent: bool | None = None) -> None:
        assert (rcvd_then_sent is None) == (rcvd is None or sent is None)
        self.rcvd = rcvd
        self.sent = sent
        self.rcvd_then_sent = rcvd_then_sent

    def __str__(self) -> str:
        received, sent = f"received {self.rcvd}", f"sent {self.sent}"
        match self.rcvd, self.sent:
            case None, None:
                return "no close frame received or sent"
            case None, _:
                return f"{sent}; no close frame received"
            case _, None:
                return f"{received}; no close frame sent"
        return f"{received}; then {sent}" if self.rcvd_then_sent else f"{sent}; then {received}"

    @property
    def code(self) -> int:
        """The close code received, or 1006. Deprecated: use ``rcvd.code``."""
        warnings.warn(
            "ConnectionClosed.code is deprecated; use Protocol.close_code or ConnectionClosed.rcvd.code",
            DeprecationWarning,
            stacklevel=2,
        )
        return 1006 if self.rcvd is None else self.rcvd.code

    @property
    def reason(self) -> str:
        """The close reason received, or ``""``. Deprecated: use ``rcvd.reason``."""
        warnings.warn(
            "ConnectionClosed.reason is deprecated; use Protocol.close_reason or ConnectionClosed.rcvd.reason",
            DeprecationWarning,
            stacklevel=2,
        )
        return "" if self.rcvd is None else self.rcvd.reason


@adopted
class ConnectionClosedOK(ConnectionClosed):
    """It ended by a closing handshake with 1000, 1001 or no code."""


@adopted
class ConnectionClosedError(ConnectionClosed):
    """It ended in any other way."""


@adopted
class InvalidURI(WebSocketException):
    """The URI is no WebSocket URI (RFC 6455 §3). Attributes: ``uri`` and ``msg``, the arguments."""

    def __init__(self, uri: str, msg: str) -> None:
        self.uri = uri
        self.msg = msg

    def __str__(self) -> str:
        return f"{self.uri} isn't a valid URI: {self.msg}"


@adopted
class InvalidProxy(WebSocketException):
    """The proxy's URL cannot be used. Attributes: ``proxy`` and ``msg``, the arguments."""

    def __init__(self, proxy: str, msg: str) -> None:
        self.proxy = proxy
        self.msg = msg

    def __str__(self) -> str:
        return f"{self.proxy} isn't a valid proxy: {self.msg}"


@adopted
class InvalidHandshake(WebSocketException):
    """The opening handshake failed; base of the ways in which it can."""


@adopted
class SecurityError(InvalidHandshake):
    """The handshake broke a rule of security, such as a redirect from ``wss://`` to ``ws://``."""


@adopted
class RequestLineTooLong(SecurityError):
    """The request line is too long."""


@adopted
class StatusLineTooLong(SecurityError):
    """The status line is too long."""


@adopted
class HeaderLineTooLong(SecurityError):
    """A header line is too long."""


@adopted
class TooManyHeaders(SecurityError):
    """There are too many headers."""


@adopted
class ProxyError(InvalidHandshake):
    """The proxy did not open a way to the server."""


@adopted
class InvalidProxyMessage(ProxyError):
    """The answer of an HTTP proxy cannot be read."""


@adopted
class InvalidProxyStatus(ProxyError):
    """An HTTP proxy refused; ``response`` is its answer."""

    def __init__(self, response: Response) -> None:
        self.response = response

    def __str__(self) -> str:
        return f"proxy rejected connection: HTTP {self.response.status_code:d}"


@adopted
class InvalidMessage(InvalidHandshake):
    """A request or a response cannot be read."""


@adopted
class InvalidMethod(InvalidHandshake):
    """A request is no GET; ``method`` is what it is."""

    def __init__(self, method: str) -> None:
        self.method = method

    def __str__(self) -> str:
        return f"unsupported HTTP method: {self.method}"


@adopted
class InvalidProtocol(InvalidHandshake):
    """A request is not of HTTP/1.1; ``protocol`` is what it is of."""

    def __init__(self, protocol: str) -> None:
        self.protocol = protocol

    def __str__(self) -> str:
        return f"unsupported HTTP version: {self.protocol}"


@adopted
class InvalidStatus(InvalidHandshake):
    """The server refused the upgrade; ``response`` is its answer."""

    def __init__(self, response: Response) -> None:
        self.response = response

    def __str__(self) -> str:
        return f"server rejected WebSocket connection: HTTP {self.response.status_code:d}"


@adopted
class InvalidHeader(InvalidHandshake):
    """A header is missing or wrong. Attributes: ``name`` and ``value``, None if it is missing."""

    def __init__(self, name: str, value: str | None = None) -> None:
        self.name = name
        self.value = value

    def __str__(self) -> str:
        match self.value:
            case None:
                return f"missing {self.name} header"
            case "":
                return f"empty {self.name} header"
        return f"invalid {self.name} header: {self.value}"


@adopted
class InvalidHeaderFormat(InvalidHeader):
    """A header is not of its grammar.

    Args:
        name: Its name.
        error: What is wrong.
        header: Its value.
        pos: Where, in characters.
    """

    def __init__(self, name: str, error: str, header: str, pos: int) -> None:
        super().__init__(name, f"{error} at {pos} in {header}")


@adopted
class InvalidHeaderValue(InvalidHeader):
    """A header is of its grammar, and says what it may not."""


@adopted
class InvalidOrigin(InvalidHeader):
    """The Origin header of a request is not allowed."""

    def __init__(self, origin: str | None) -> None:
        super().__init__("Origin", origin)


@adopted
class InvalidUpgrade(InvalidHeader):
    """The Upgrade or the Connection header is wrong."""


@adopted
class NegotiationError(InvalidHandshake):
    """An extension or a subprotocol could not be negotiated."""


@adopted
class DuplicateParameter(NegotiationError):
    """A parameter of an extension is there twice; ``name`` is its name."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __str__(self) -> str:
        return f"duplicate parameter: {self.name}"


@adopted
class InvalidParameterName(NegotiationError):
    """An extension has no such parameter; ``name`` is its name."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __str__(self) -> str:
        return f"invalid parameter name: {self.name}"


@adopted
class InvalidParameterValue(NegotiationError):
    """A parameter of an extension has a wrong value. Attributes: ``name`` and ``value``, None if it is missing."""

    def __init__(self, name: str, value: str | None) -> None:
        self.name = name
        self.value = value

    def __str__(self) -> str:
        match self.value:
            case None:
                return f"missing value for parameter {self.name}"
            case "":
                return f"empty value for parameter {self.name}"
        return f"invalid value for parameter {self.name}: {self.value}"


@adopted
class ProtocolError(WebSocketException):
    """A frame breaks the protocol."""


@adopted
class PayloadTooBig(WebSocketException):
    """A frame or message is larger than allowed.

    Args:
        size_or_message: The frame's bytes, if they are known. A text is deprecated.
        max_size: Bytes allowed for the rest of the message.
        current_size: Bytes of the message that were received before.

    Attributes: ``size``, ``max_size`` (of the message) and ``current_size``; ``message`` if it was given.
    """

    def __init__(
        self, size_or_message: int | str | None, max_size: int | None = None, current_size: int | None = None
    ) -> None:
        self.message: str | None = None
        if isinstance(size_or_message, str):
            assert max_size is None
            assert current_size is None
            warnings.warn(
                "PayloadTooBig(message) is deprecated; change to PayloadTooBig(size, max_size)",
                DeprecationWarning,
                stacklevel=2,
            )
            self.message = size_or_message
            return
        assert max_size is not None
        self.size: int | None = size_or_message
        self.max_size = max_size
        self.current_size: int | None = None
        self.set_current_size(current_size)

    def __str__(self) -> str:
        if self.message is not None:
            return self.message
        size = "" if self.size is None else f"with {self.size} bytes "
        before = "" if self.current_size is None else f"after reading {self.current_size} bytes "
        return f"frame {size}{before}exceeds limit of {self.max_size} bytes"

    def set_current_size(self, current_size: int | None) -> None:
        """Says how much of the message was received before, in bytes."""
        assert self.current_size is None
        if current_size is not None:
            self.max_size += current_size
            self.current_size = current_size


@adopted
class TooManyFragments(WebSocketException):
    """A message has too many fragments."""

    def __init__(self, max_fragments: int) -> None:
        super().__init__(f"fragmented message exceeds limit of {max_fragments} frames")


@adopted
class InvalidState(WebSocketException, AssertionError):
    """A frame may not be sent in the connection's state."""


@adopted
class ConcurrencyError(WebSocketException, RuntimeError):
    """Two calls at a time of which there may be one."""


__getattr__, __dir__ = lazily(
    globals(),
    {},
    {
        "AbortHandshake": ".legacy.exceptions",
        "InvalidStatusCode": ".legacy.exceptions",
        "RedirectHandshake": ".legacy.exceptions",
        "WebSocketProtocolError": ".legacy.exceptions",
    },
)
