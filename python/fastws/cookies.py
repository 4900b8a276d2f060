"""Cookies that an answer sets, for the requests that follow it in the same opening (RFC 6265 §5)."""

from __future__ import annotations

import contextlib
import time
from email.utils import mktime_tz, parsedate_tz
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from .http import Response
    from .target import Origin, Target

__all__ = ["Cookies"]


class Cookies:
    """What was set on the way. An origin's own alone: browsers, who do not tell ports apart, are less strict."""

    __slots__ = ("_known",)

    def __init__(self) -> None:
        self._known: dict[tuple[Origin, str, str], str | None] = {}
        """By origin, path and name; None for one that was taken back."""

    def take(self, target: Target, answer: Response) -> None:
        """Keeps what the answer of ``target`` sets. What is not for it, or is no cookie, is passed over."""
        for field in answer.headers.get_all("Set-Cookie"):
            # http.cookies gives up the whole field for one character that servers do send.
            pair, *attributes = field.split(";")
            name, is_pair, value = (part.strip() for part in pair.partition("="))
            told = {key.strip().lower(): said.strip() for key, _, said in (each.partition("=") for each in attributes)}
            is_sendable = name and is_pair and len(pair) <= _MAX_SIZE and pair.isascii() and pair.isprintable()
            if is_sendable and _is_for(target, told):
                path = told.get("path", "")
                path = path if path.startswith("/") else _path(target).rpartition("/")[0] or "/"
                self._known[target.origin, path, name] = None if _is_over(told) else value

    def added_to(self, fields: list[tuple[str, str]], target: Target, *, given_hold: bool) -> list[tuple[str, str]]:
        """The header fields of a request to ``target``, with what was set for it.

        Of the same name, what was set is sent instead of what is in ``fields``, unless ``given_hold``.
        """
        found = self._found(target)
        if not found:
            return fields
        headers = ";".join(value for name, value in fields if name.lower() == "cookie")
        given = [pair for each in headers.split(";") if (pair := each.strip())]
        if given_hold:
            found = {name: value for name, value in found.items() if name not in map(_name, given)}
        pairs = [pair for pair in given if _name(pair) not in found]
        pairs += [f"{name}={value}" for name, value in found.items() if value is not None]
        others = [(name, value) for name, value in fields if name.lower() != "cookie"]
        return [*others, ("Cookie", "; ".join(pairs))] if pairs else others

    def _found(self, target: Target) -> dict[str, str | None]:
        asked = _path(target)
        found: dict[str, str | None] = {}
        # Longer paths come first, as servers expect; of two with the same name the nearer one is sent.
        for (origin, path, name), value in sorted(self._known.items(), key=lambda item: -len(item[0][1])):
            below = path if path.endswith("/") else f"{path}/"
            if origin == target.origin and (asked == path or asked.startswith(below)):
                found.setdefault(name, value)
        return found


def _name(pair: str) -> str:
    return pair.partition("=")[0].rstrip()


def _path(target: Target) -> str:
    return urlsplit(target.uri).path or "/"


def _is_for(target: Target, told: dict[str, str]) -> bool:
    """Whether ``target`` may set a cookie with these attributes."""
    domain = told.get("domain", "").removeprefix(".").lower()
    is_its_own = not domain or f".{target.host.lower()}".endswith(f".{domain}")
    return is_its_own and (target.secure or "secure" not in told)


def _is_over(told: dict[str, str]) -> bool:
    """Whether a cookie is taken back. Max-Age comes before Expires."""
    age = told.get("max-age", "")
    if age.removeprefix("-").isdecimal():
        return age.startswith("-") or not age.strip("0")
    with contextlib.suppress(ValueError, OverflowError):  # a date that there is not
        date = parsedate_tz(told.get("expires", ""))
        return date is not None and mktime_tz(date) <= time.time()
    return False


_MAX_SIZE = 4096
"""Of a cookie that browsers take."""
