"""What stands in for classes of picows where it is not installed: the same names, fields and text."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, MutableMapping
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, NewType

if TYPE_CHECKING:
    from multidict import CIMultiDict as Fields
else:
    try:
        from multidict import CIMultiDict as Fields
    except ImportError:
        from ._fields import Fields

__all__ = [
    "Fields",
    "WSBuffer",
    "WSError",
    "WSHandshakeError",
    "WSHeadersLike",
    "WSHost",
    "WSInvalidHeaderError",
    "WSInvalidMessageError",
    "WSInvalidStatusError",
    "WSInvalidUpgradeError",
    "WSPort",
    "WSProtocolError",
    "WSUpgradeRequest",
    "WSUpgradeResponse",
    "WSUpgradeResponseWithListener",
    "add_extra_headers",
]

WSHeadersLike = Mapping[str, str] | Iterable[tuple[str, str]]
WSBuffer = str | bytes | bytearray | memoryview
WSHost = NewType("WSHost", str)
WSPort = NewType("WSPort", int)


class WSError(Exception):
    """The base of picows' exceptions."""


class WSHandshakeError(WSError):
    """The upgrade failed.

    Attributes:
        raw_header: The head of the server's answer, without the empty line behind it; None if there is none.
        raw_body: What came of its body.
        response: The answer; None if it cannot be read.
    """

    def __init__(
        self,
        description: str,
        raw_header: bytes | None = None,
        raw_body: bytes | None = None,
        response: WSUpgradeResponse | None = None,
    ) -> None:
        super().__init__(description)
        self.raw_header = raw_header
        self.raw_body = raw_body
        self.response = response


class WSInvalidMessageError(WSHandshakeError):
    """The server's answer is no HTTP response, or none that is well formed."""


class WSInvalidStatusError(WSHandshakeError):
    """The server's answer has another status than 101."""


class WSInvalidHeaderError(WSHandshakeError):
    """A header field of the server's answer is wrong.

    Attributes:
        name: The field.
        value: Its value; None if there is no such field.
    """

    def __init__(
        self,
        description: str,
        name: str,
        value: str | None = None,
        raw_header: bytes | None = None,
        raw_body: bytes | None = None,
        response: WSUpgradeResponse | None = None,
    ) -> None:
        super().__init__(description, raw_header, raw_body, response)
        self.name = name
        self.value = value


class WSInvalidUpgradeError(WSInvalidHeaderError):
    """``Upgrade`` or ``Connection`` of the server's answer is wrong."""


class WSProtocolError(WSError):
    """A frame breaks the protocol or a limit; raised in a callback, it says how the connection is to be closed.

    Attributes:
        code: The close code.
    """

    def __init__(self, code: Any, message: Any) -> None:
        super().__init__(code, message)
        self.code = code

    def __str__(self) -> str:
        return str(self.args[1])


class WSUpgradeRequest:
    """The client's request."""

    __slots__ = ("headers", "method", "path", "version")

    method: bytes
    path: bytes
    version: bytes
    headers: Fields[str]


class WSUpgradeResponse:
    """The server's answer."""

    __slots__ = ("body", "headers", "status", "version")

    version: bytes
    status: HTTPStatus
    headers: Fields[str]
    body: bytes | None

    @staticmethod
    def create_ok_response(body: bytes | None = None, extra_headers: WSHeadersLike | None = None) -> Any:
        """An answer 200, which upgrades nothing."""
        response = _response(HTTPStatus.OK, body, extra_headers)
        if "Content-Type" not in response.headers:
            response.headers["Content-Type"] = "text/plain; charset=utf-8"
        return response

    @staticmethod
    def create_error_response(
        status: int | HTTPStatus, body: bytes | None = None, extra_headers: WSHeadersLike | None = None
    ) -> Any:
        """A refusal. Raises ValueError for a status below 400."""
        if status < 400:
            raise ValueError(f"an error response has a status from 400 on, not {status}")
        return _response(status, body, extra_headers)

    @staticmethod
    def create_redirect_response(
        status: int | HTTPStatus, location: str, extra_headers: WSHeadersLike | None = None
    ) -> Any:
        """A redirect. Raises ValueError for a status that is none."""
        if not 300 <= status <= 399:
            raise ValueError(f"a redirect has a status from 300 to 399, not {status}")
        response = _response(status, None, extra_headers)
        response.headers["Location"] = location
        return response

    @staticmethod
    def create_101_response(extra_headers: WSHeadersLike | None = None) -> Any:
        """The answer that upgrades."""
        response = _response(HTTPStatus.SWITCHING_PROTOCOLS, None, extra_headers)
        response.headers["Connection"] = "upgrade"
        response.headers["Upgrade"] = "websocket"
        return response

    def to_bytes(self) -> bytearray:
        """What goes over the wire."""
        headers = self.headers.copy()
        if self.body:
            if "Content-Type" not in headers:
                headers.add("Content-Type", "text/plain")
            headers.add("Content-Length", str(len(self.body)))
        status = HTTPStatus(self.status)
        lines = [f"{self.version.decode()} {status.value} {status.phrase}"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        return bytearray("\r\n".join([*lines, "", ""]).encode() + (self.body or b""))


def _response(status: int | HTTPStatus, body: bytes | None, extra_headers: WSHeadersLike | None) -> WSUpgradeResponse:
    response = WSUpgradeResponse()
    response.version = b"HTTP/1.1"
    response.status = HTTPStatus(status)
    response.headers = Fields()
    add_extra_headers(response.headers, extra_headers)
    response.body = body
    return response


class WSUpgradeResponseWithListener:
    """An answer of a server, and the listener of the connection if it upgrades.

    Raises:
        ValueError: One of them does not go with the other.
    """

    __slots__ = ("listener", "response")

    def __init__(self, response: WSUpgradeResponse, listener: Any) -> None:
        if response.status == 101 and listener is None:
            raise ValueError("a response that upgrades needs a listener")
        if response.status >= 400 and listener is not None:
            raise ValueError("a response that refuses has no listener")
        self.response = response
        self.listener = listener


def add_extra_headers(headers: Fields[str], extra_headers: WSHeadersLike | None) -> None:
    """Adds fields to ``headers``; ``Host`` replaces the one that is there. Raises TypeError."""
    for name, value in pairs(extra_headers):
        if name.lower() == "host":
            headers[name] = value
        else:
            headers.add(name, value)


def pairs(headers: WSHeadersLike | None) -> Iterator[tuple[str, str]]:
    """Header fields as pairs. Raises TypeError where one is not of strings."""
    items = headers.items() if isinstance(headers, Mapping | MutableMapping) else headers or ()
    for name, value in items:
        if not isinstance(name, str) or not isinstance(value, str):
            raise TypeError("extra_headers key/value must be str types")
        yield name, value
