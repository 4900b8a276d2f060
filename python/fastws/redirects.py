"""Where an answer sends us, and what may be said there."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Literal
from urllib.parse import urljoin, urlsplit

from .errors import RedirectError
from .http import Response, is_secret
from .redact import printable, redact_uri
from .target import Target

__all__ = ["MAX_REDIRECTS", "follow", "is_redirect", "without_secrets"]

MAX_REDIRECTS = 10
"""As in ``websockets``; browsers follow 20."""


def is_redirect(response: Response) -> bool:
    """Whether it names another place to ask (RFC 9110 §15.4). An upgrade is a GET, so all of these mean the same."""
    return response.status_code in _REDIRECTS and "Location" in response.headers


def follow(target: Target, response: Response, chain: Sequence[Target], most: int) -> Target:
    """The place that ``response``, the answer of ``target``, names.

    Args:
        target: Who answered.
        response: The answer.
        chain: All that were asked so far; the last one is ``target``.
        most: Redirects that are followed at most.

    Raises:
        RedirectError: It is no place to go to: too far, without TLS after TLS, or no WebSocket URI.
    """
    location = response.headers.get_all("Location")[0].strip()
    found, unusable = None, ""
    try:
        location = _as_websocket(urljoin(_as_http(target.uri), location))
        found = Target.parse(location)
    except ValueError as error:  # as InvalidURI is
        unusable = str(error)
    ways = (*(each.shown for each in chain), printable(redact_uri(location)))

    def refused(why: str, fault: Literal["redirects", "location", "answer"] = "answer") -> RedirectError:
        return RedirectError(
            f"{ways[0]}: HTTP {response.status_code}: {why}: {' → '.join(ways)}",
            uri=ways[0],
            chain=ways,
            response=response,
            fault=fault,
        )

    if len(chain) > most:
        raise refused(f"more than {most} redirects, which is max_redirects", "redirects")
    if found is None:
        raise refused(f"the redirect is not to a WebSocket URI ({printable(unusable)})", "location")
    if target.secure and not found.secure:
        raise refused("the redirect leaves TLS, and is not followed; dial the last place yourself if that is meant")
    if found.unix is not None:
        raise refused("the redirect is to a Unix socket, and is not followed")
    if target.unix is None:
        return _with_userinfo(found, target) if found.origin == target.origin else found
    if found.origin[:3] != target.origin[:3]:
        raise refused("the redirect leaves the Unix socket, and is not followed")
    return found._replace(unix=target.unix)


def without_secrets(fields: Iterable[tuple[str, str]], others: frozenset[str]) -> list[tuple[str, str]]:
    """The header fields that another origin may see: not Host, what speaks of a secret, and ``others`` (lower case)."""
    return [
        (name, value)
        for name, value in fields
        if not (is_secret(name) or name.lower() == "host" or name.lower() in others)
    ]


def _with_userinfo(found: Target, target: Target) -> Target:
    """``found`` with the credentials of ``target``, whose origin it has, unless it names others."""
    userinfo, at, _ = urlsplit(target.uri).netloc.rpartition("@")
    if not at or "@" in urlsplit(found.uri).netloc:
        return found
    return Target.parse(found.uri.replace("://", f"://{userinfo}@", 1))


def _as_http(uri: str) -> str:
    """``urljoin`` knows what is relative for the schemes that it knows."""
    return "http" + uri[2:] if uri[:2].lower() == "ws" else uri


def _as_websocket(uri: str) -> str:
    """The scheme of WebSocket for that of HTTP: servers redirect the port, and know nothing of the upgrade."""
    uri = uri.partition("#")[0]
    return "ws" + uri[4:] if uri[:4].lower() == "http" else uri


_REDIRECTS = frozenset({301, 302, 303, 307, 308})
