"""What goes wrong: where websocket-client is installed, subclasses of its classes, so that its names catch them too."""

from __future__ import annotations

from typing import Any, TypeVar

from fastws.compat import _installed

__all__ = [
    "WebSocketAddressException",
    "WebSocketBadStatusException",
    "WebSocketConnectionClosedException",
    "WebSocketException",
    "WebSocketPayloadException",
    "WebSocketProtocolException",
    "WebSocketProxyException",
    "WebSocketTimeoutException",
]

T = TypeVar("T", bound=type[Exception])

_original = _installed.find("websocket._exceptions")


def _adopted(ours: T) -> T:
    """A subclass of the installed class of that name, too, behind all that is ours."""
    theirs = getattr(_original, ours.__name__, None)
    if theirs is None:
        return ours
    bases = (*(base for base in ours.__bases__ if base is not Exception), theirs)
    body = {name: value for name, value in vars(ours).items() if name not in ("__dict__", "__weakref__")}
    made: Any = type(ours.__name__, bases, body)
    return made  # type: ignore[no-any-return]


@_adopted
class WebSocketException(Exception):
    """What all others are."""


@_adopted
class WebSocketProtocolException(WebSocketException):
    """The peer, or a frame that was made by hand, does not keep to RFC 6455."""


@_adopted
class WebSocketPayloadException(WebSocketException):
    """Text that is not UTF-8."""


@_adopted
class WebSocketConnectionClosedException(WebSocketException):
    """The connection ended, or was never made.

    Attributes:
        status_code: Of what ``WebSocketApp.on_error`` gets for a Close frame: its close code, or None.
        reason: Its reason, or None.
    """

    status_code: int | None
    reason: str | None


@_adopted
class WebSocketTimeoutException(WebSocketException):
    """Nothing came, or could be sent, within the timeout; or no Pong within ``ping_timeout``."""


@_adopted
class WebSocketProxyException(WebSocketException):
    """A proxy was not reached, or did not open a way."""


@_adopted
class WebSocketBadStatusException(WebSocketException):
    """The server answered the upgrade with another status than 101.

    Attributes:
        status_code: The status.
        status_message: Its reason phrase, or None.
        resp_headers: The answer's header fields, names in lower case, or None.
        resp_body: What it says, or None.
    """

    def __init__(
        self,
        message: str,
        status_code: int,
        status_message: str | None = None,
        resp_headers: dict[str, str] | None = None,
        resp_body: bytes | None = None,
    ) -> None:
        Exception.__init__(self, message)
        self.status_code = status_code
        self.status_message = status_message
        self.resp_headers = resp_headers
        self.resp_body = resp_body

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (*self.args, self.status_code, self.status_message, self.resp_headers, self.resp_body)


@_adopted
class WebSocketAddressException(WebSocketException):
    """The server's, or the proxy's, address was not found."""
