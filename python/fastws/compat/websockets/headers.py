"""The grammar of the handshake's headers (RFC 6455 §4.3, RFC 9110 §5.6)."""

from __future__ import annotations

import base64
import binascii
import ipaddress
import re
from collections.abc import Callable, Sequence
from typing import TypeVar

from ._adopt import adopted
from .exceptions import InvalidHeaderFormat, InvalidHeaderValue
from .typing import ConnectionOption, ExtensionHeader, ExtensionName, ExtensionParameter, Subprotocol, UpgradeProtocol

__all__ = [
    "build_authorization_basic",
    "build_extension",
    "build_host",
    "build_subprotocol",
    "build_www_authenticate_basic",
    "parse_authorization_basic",
    "parse_connection",
    "parse_extension",
    "parse_subprotocol",
    "parse_upgrade",
    "validate_subprotocols",
]

T = TypeVar("T")


@adopted
def build_host(host: str, port: int, secure: bool, *, always_include_port: bool = False) -> str:
    """The value of a ``Host`` header; the port is left out where it is the scheme's own."""
    try:
        if ipaddress.ip_address(host).version == 6:
            host = f"[{host}]"
    except ValueError:
        pass  # a name
    return f"{host}:{port}" if always_include_port or port != (443 if secure else 80) else host


@adopted
def parse_connection(header: str) -> list[ConnectionOption]:
    """The options of a ``Connection`` header. Raises InvalidHeaderFormat."""
    return _Reader(header, "Connection").list_of(lambda reader: ConnectionOption(reader.token()))


@adopted
def parse_upgrade(header: str) -> list[UpgradeProtocol]:
    """The protocols of an ``Upgrade`` header. Raises InvalidHeaderFormat."""
    return _Reader(header, "Upgrade").list_of(lambda reader: UpgradeProtocol(reader.take(_PROTOCOL, "protocol")))


@adopted
def parse_extension(header: str) -> list[ExtensionHeader]:
    """The extensions of a ``Sec-WebSocket-Extensions`` header: name, and pairs of name and value (None: it has none).

    Raises:
        InvalidHeaderFormat: It is not of its grammar.
    """
    return _Reader(header, "Sec-WebSocket-Extensions").list_of(_Reader.extension)


@adopted
def build_extension(extensions: Sequence[ExtensionHeader]) -> str:
    """The value of a ``Sec-WebSocket-Extensions`` header."""
    return ", ".join(
        "; ".join([name, *(key if value is None else f"{key}={value}" for key, value in parameters)])
        for name, parameters in extensions
    )


@adopted
def parse_subprotocol(header: str) -> list[Subprotocol]:
    """The subprotocols of a ``Sec-WebSocket-Protocol`` header. Raises InvalidHeaderFormat."""
    return _Reader(header, "Sec-WebSocket-Protocol").list_of(lambda reader: Subprotocol(reader.token()))


@adopted
def build_subprotocol(subprotocols: Sequence[Subprotocol]) -> str:
    """The value of a ``Sec-WebSocket-Protocol`` header."""
    return ", ".join(subprotocols)


@adopted
def validate_subprotocols(subprotocols: Sequence[Subprotocol]) -> None:
    """Raises TypeError for what is no list, and ValueError for what is no subprotocol."""
    if isinstance(subprotocols, str):
        raise TypeError("subprotocols must be a list, not a str")
    if not isinstance(subprotocols, Sequence):
        raise TypeError("subprotocols must be a list")
    for subprotocol in subprotocols:
        if not _TOKEN.fullmatch(subprotocol):
            raise ValueError(f"invalid subprotocol: {subprotocol}")


@adopted
def build_www_authenticate_basic(realm: str) -> str:
    """The value of a ``WWW-Authenticate`` header that asks for user and password (RFC 7617 §2)."""
    if not _QUOTABLE.fullmatch(realm):
        raise ValueError("invalid characters for quoted-string encoding")
    escaped = re.sub(r'(["\\])', r"\\\1", realm)
    return f'Basic realm="{escaped}", charset="UTF-8"'


@adopted
def parse_authorization_basic(header: str) -> tuple[str, str]:
    """User and password of an ``Authorization`` header (RFC 7617 §2); bytes that are not UTF-8 are surrogates.

    Raises:
        InvalidHeaderFormat: It is not of its grammar.
        InvalidHeaderValue: It is of another scheme, or says no user and password.
    """
    name = "Authorization"
    reader = _Reader(header, name)
    scheme = reader.token()
    if scheme.lower() != "basic":
        raise InvalidHeaderValue(name, f"unsupported scheme: {scheme}")
    reader.take(_SPACE, "space after scheme")
    credentials = reader.take(_TOKEN68, "token68")
    reader.end()
    try:
        user, colon, password = base64.b64decode(credentials).decode(errors="surrogateescape").partition(":")
    except binascii.Error:
        raise InvalidHeaderValue(name, "expected base64-encoded credentials") from None
    if not colon:
        raise InvalidHeaderValue(name, "expected username:password credentials")
    return user, password


@adopted
def build_authorization_basic(username: str, password: str) -> str:
    """The value of an ``Authorization`` header with user and password (RFC 7617 §2)."""
    assert ":" not in username
    return "Basic " + base64.b64encode(f"{username}:{password}".encode(errors="surrogateescape")).decode()


class _Reader:
    """A header's value that is read from left to right."""

    def __init__(self, header: str, name: str) -> None:
        self._header = header
        self._name = name
        self._position = 0

    def take(self, pattern: re.Pattern[str], what: str) -> str:
        match = pattern.match(self._header, self._position)
        if match is None:
            raise InvalidHeaderFormat(self._name, f"expected {what}", self._header, self._position)
        self._position = match.end()
        return match.group()

    def token(self) -> str:
        return self.take(_TOKEN, "token")

    def skipped(self, delimiter: str) -> bool:
        """Whether ``delimiter`` came next, behind white space; both are behind us then."""
        self.take(_WHITE, "white space")
        if not self._header.startswith(delimiter, self._position):
            return False
        self._position += len(delimiter)
        self.take(_WHITE, "white space")
        return True

    def end(self) -> None:
        if self._position < len(self._header):
            raise InvalidHeaderFormat(self._name, "trailing data", self._header, self._position)

    def list_of(self, item: Callable[[_Reader], T]) -> list[T]:
        """Items with commas between them, of which some may be too many (RFC 9110 §5.6.1)."""
        while self.skipped(","):
            pass
        items = [item(self)]
        while self.skipped(","):
            while self.skipped(","):
                pass
            if self._position == len(self._header):
                return items
            items.append(item(self))
        if self._position < len(self._header):
            raise InvalidHeaderFormat(self._name, "expected comma", self._header, self._position)
        return items

    def extension(self) -> ExtensionHeader:
        name, parameters = ExtensionName(self.token()), []
        while self.skipped(";"):
            parameters.append(self._parameter())
        return name, parameters

    def _parameter(self) -> ExtensionParameter:
        name = self.token()
        if not self.skipped("="):
            return name, None
        if not self._header.startswith('"', self._position):
            return name, self.token()
        begin = self._position
        value = re.sub(r"\\(.)", r"\1", self.take(_QUOTED, "quoted string")[1:-1])
        if not _TOKEN.fullmatch(value):  # RFC 6455 §9.1
            raise InvalidHeaderFormat(self._name, "invalid quoted header content", self._header, begin)
        return name, value


_TOKEN = re.compile(r"[-!#$%&'*+.^_`|~0-9A-Za-z]+")
_PROTOCOL = re.compile(rf"{_TOKEN.pattern}(?:/{_TOKEN.pattern})?")
_TOKEN68 = re.compile(r"[-._~+/0-9A-Za-z]+=*")
_QUOTED = re.compile(r'"(?:[\t !#-\[\]-~]|\\[\t -~\x80-\xff])*"')
_QUOTABLE = re.compile(r"[\t -~\x80-\xff]*")
_WHITE = re.compile(r"[\t ]*")
_SPACE = re.compile(r" ")
