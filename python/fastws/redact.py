"""Secrets out of sight: in URIs, header fields, messages and logs.

What is masked becomes ``***``. Masking is for people who read logs; the full values stay where they are, as attributes.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable
from dataclasses import replace
from typing import TYPE_CHECKING, Final
from urllib.parse import quote, quote_plus

import orjson

from .http import Headers, HeadersLike, is_secret

if TYPE_CHECKING:
    from .errors import CloseInfo

__all__ = ["MASK", "RedactingFilter", "Redactor", "printable", "redact_headers", "redact_uri"]

MASK: Final = "***"


def redact_uri(uri: str) -> str:
    """``uri`` without its userinfo, query and fragment: ``wss://***@host/path?***``. It need not be a valid one."""
    match = _URI.fullmatch(uri)
    if match is None:
        # No authority: a path, or nothing that is known. What could be secret of it is behind the first ? or #.
        path, mark, _ = _partition(uri)
        return path + (mark and f"{mark}{MASK}")
    scheme, authority, rest = match.groups()
    _, at, host = authority.rpartition("@")
    path, mark, _ = _partition(rest)
    return f"{scheme}://{f'{MASK}@' if at else ''}{host}{path}{mark and f'{mark}{MASK}'}"


def redact_headers(headers: HeadersLike) -> list[tuple[str, str]]:
    """The fields in order, with ``***`` for the values of those that hold secrets.

    They are Authorization, Cookie and all whose name speaks of a token, a secret, a password, a signature or a key to
    an API.
    """
    return [(name, MASK if is_secret(name) else value) for name, value in Headers(headers).raw_items()]


class Redactor:
    """Masks secrets in texts. Immutable.

    Always masked: userinfo, query and fragment of URIs with an authority; the values of Authorization, Cookie and their
    kin; what follows ``Bearer`` and ``Basic``; the strings of JSON members that are called like a secret, such as
    ``"token"``, ``"apiKey"``, ``"passphrase"``, ``"signature"`` or ``"listenKey"``.

    Args:
        secrets: Texts to mask wherever they are, as they stand and as JSON or a URI would write them.
        patterns: Regular expressions. Where one has groups, what they match is masked, else all of it:
            ``r"/stream/([^/]+)"`` masks a token in a path.

    Raises:
        ValueError: A secret is empty, or a pattern is no regular expression.
    """

    __slots__ = ("_patterns", "_secrets")

    def __init__(self, *secrets: str, patterns: Iterable[str | re.Pattern[str]] = ()) -> None:
        if isinstance(patterns, str | re.Pattern):
            patterns = (patterns,)
        written = {form for secret in secrets for form in _forms(secret)}
        # The longest first: a short one may be a part of it.
        self._secrets = (
            re.compile("|".join(map(re.escape, sorted(written, key=len, reverse=True)))) if written else None
        )
        self._patterns = tuple(_compiled(pattern) for pattern in patterns)

    def filter(self, text: str) -> str:
        """``text`` with ``***`` for each secret."""
        if self._secrets is not None:
            text = self._secrets.sub(MASK, text)
        for pattern in self._patterns:
            text = pattern.sub(_without_groups, text)
        if "://" in text:
            text = _URI_IN_TEXT.sub(lambda match: redact_uri(match[0]), text)
        text = _FIELD_IN_TEXT.sub(rf"\1{MASK}", text)
        text = _CREDENTIALS.sub(rf"\1 {MASK}", text)
        return _JSON_MEMBER.sub(rf'\1"{MASK}"', text)

    def uri(self, uri: str) -> str:
        """As ``redact_uri``, without the secrets in its path."""
        return self.filter(redact_uri(uri))

    def headers(self, headers: HeadersLike) -> list[tuple[str, str]]:
        """As ``redact_headers``, without the secrets in other fields."""
        return [(name, self.filter(value)) for name, value in redact_headers(headers)]

    def error(self, error: BaseException) -> None:
        """Masks what an exception says, its notes, and those of its causes. Attributes but ``uri`` stay as they are."""
        seen: set[int] = set()
        todo: list[BaseException | None] = [error]
        while todo:
            each = todo.pop()
            if each is None or id(each) in seen:
                continue
            seen.add(id(each))
            each.args = tuple(self.filter(part) if isinstance(part, str) else part for part in each.args)
            if isinstance(each, OSError) and isinstance(each.strerror, str):
                each.strerror = self.filter(each.strerror)
            if isinstance(uri := getattr(each, "uri", None), str):
                each.uri = self.uri(uri)  # type: ignore[attr-defined]
            if notes := getattr(each, "__notes__", None):
                each.__notes__ = [self.filter(note) for note in notes]
            todo += (each.__cause__, each.__context__)

    def close_info(self, info: CloseInfo) -> CloseInfo:
        """How a connection ended, without secrets in what was said."""
        received, sent = info.rcvd, info.sent
        if info.cause is not None:
            self.error(info.cause)
        return replace(
            info,
            reason=self.filter(info.reason),
            rcvd=None if received is None else replace(received, reason=self.filter(received.reason)),
            sent=None if sent is None else replace(sent, reason=self.filter(sent.reason)),
        )

    def __repr__(self) -> str:
        return "Redactor(***)"


class RedactingFilter(logging.Filter):
    """A filter for ``logging`` that masks secrets in messages, tracebacks and stacks. It lets every record through.

    Put it on a handler, so that it sees the records of all loggers::

        handler.addFilter(fastws.RedactingFilter(fastws.Redactor(token)))

    Args:
        redactor: What to mask; by default what every ``Redactor`` masks.
    """

    def __init__(self, redactor: Redactor | None = None) -> None:
        super().__init__()
        self._redactor = redactor or Redactor()

    def filter(self, record: logging.LogRecord) -> bool:
        """Masks what ``record`` says; always True."""
        mask = self._redactor.filter
        record.msg, record.args = mask(record.getMessage()), None
        if record.exc_info and record.exc_info[0] is not None and not record.exc_text:
            record.exc_text = _TRACEBACKS.formatException(record.exc_info)
        if record.exc_text:
            record.exc_text = mask(record.exc_text)
        if record.stack_info:
            record.stack_info = mask(record.stack_info)
        return True


def printable(text: str) -> str:
    """``text`` with what would move a terminal's cursor or begin a line of a log escaped."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


def _partition(text: str) -> tuple[str, str, str]:
    found = re.search(r"[?#]", text)
    return (text[: found.start()], found[0], text[found.end() :]) if found else (text, "", "")


def _forms(secret: str) -> set[str]:
    """How a secret may be written."""
    if not secret:
        raise ValueError("an empty text is no secret")
    return {secret, orjson.dumps(secret)[1:-1].decode(), quote(secret, safe=""), quote(secret), quote_plus(secret)}


def _compiled(pattern: str | re.Pattern[str]) -> re.Pattern[str]:
    try:
        return re.compile(pattern)
    except re.error as error:
        raise ValueError(f"redact: {pattern!r} is no regular expression: {error}") from error


def _without_groups(match: re.Match[str]) -> str:
    if match.re.groups == 0:
        return MASK
    text, at = "", match.start()
    for group in range(1, match.re.groups + 1):
        begin, end = match.span(group)
        if begin >= at:
            text += match.string[at:begin] + MASK
            at = end
    return text + match.string[at : match.end()]


_URI: Final = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://([^/?#]*)(.*)", re.DOTALL)

_URI_IN_TEXT: Final = re.compile(r"""\b[A-Za-z][A-Za-z0-9+.-]*://[^\s"'<>\\]+""")

_FIELD_IN_TEXT: Final = re.compile(r"\b((?:proxy-)?authorization:\s*|(?:set-)?cookie:\s*)[^\r\n]+", re.IGNORECASE)

_CREDENTIALS: Final = re.compile(r"\b(Bearer|Basic)\s+(?=[a-z]*[A-Z0-9=])[A-Za-z0-9._~+/=-]{4,}")

_JSON_MEMBER: Final = re.compile(
    r'("(?:[a-z_-]*(?:token|secret|passw(?:or)?d|passphrase|signature)|sign?|jwt|api_?-?key|access_?key|listen_?key|'
    r'authorization)"\s*:\s*)"(?:[^"\\]|\\.)*"',
    re.IGNORECASE,
)

_TRACEBACKS: Final = logging.Formatter()
