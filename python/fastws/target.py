"""What a URI says of the place that is asked for the upgrade."""

from __future__ import annotations

import os
from typing import NamedTuple, Self
from urllib.parse import unquote

from . import _core
from .errors import InvalidURI

__all__ = ["Origin", "Target", "UnixPath", "check_unix_path"]

UnixPath = str | bytes | os.PathLike[str] | os.PathLike[bytes]

Origin = tuple[bool, str, int, str | bytes | None]


def check_unix_path(path: UnixPath) -> None:
    """That it is one. Raises TypeError."""
    if not isinstance(path, str | bytes | os.PathLike) or not os.fspath(path):
        raise TypeError(f"path is the path of a Unix socket (str, bytes or path-like), not {path!r}")


class Target(NamedTuple):
    """A place that is asked for the upgrade.

    ``ws+unix:///run/feed.sock:/request`` asks for ``/request`` at the Unix socket ``/run/feed.sock``, ``wss+unix://``
    by TLS. The host is ``localhost`` then. A colon or a question mark in the socket's own path is percent-encoded.
    """

    uri: str
    """``ws://`` or ``wss://``, with everything that is secret."""
    secure: bool
    host: str
    port: int
    shown: str
    """The URI for people, without userinfo and query."""
    unix: str | bytes | None = None
    """The Unix socket to connect to instead of ``host`` and ``port``."""

    @classmethod
    def parse(cls, uri: str, unix: UnixPath | None = None) -> Self:
        """The target of ``uri``, by the Unix socket ``unix`` if one is given. Raises InvalidURI."""
        scheme, separator, rest = uri.partition("://")
        suffix = scheme[-5:].lower()
        if not separator or suffix != "+unix":
            return cls(*_parsed(uri), None if unix is None else os.fspath(unix))
        if unix is not None:
            raise InvalidURI("the URI names a Unix socket, and so does path; give a ws:// or wss:// URI with it")
        path, _, request = rest.partition(":")
        if not path.startswith("/") or "?" in path or "\0" in unquote(path):
            raise InvalidURI(
                "a URI of a Unix socket is ws+unix:///path/of/socket:/request, with three slashes and a colon behind "
                "the socket's path"
            )
        if not request.startswith("/"):
            request = "/" + request
        plain, secure, host, port, shown = _parsed(f"{scheme[:-5]}://localhost{request}")
        shown = f"{scheme}://{path}:{shown.partition('://localhost')[2]}"
        return cls(plain, secure, host, port, shown, unquote(path))

    @property
    def origin(self) -> Origin:
        """What secrets are given to: where it is another one, they are not sent along."""
        return self.secure, self.host.lower(), self.port, self.unix


def _parsed(uri: str) -> tuple[str, bool, str, int, str]:
    try:
        secure, host, port, _, shown = _core.parse_uri(uri)
    except ValueError as error:
        raise InvalidURI(str(error)) from None
    return uri, secure, host, port, shown
