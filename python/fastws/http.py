"""The HTTP messages of the opening handshake."""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Iterator, Mapping, MutableMapping
from dataclasses import dataclass, field
from datetime import UTC
from typing import Protocol, runtime_checkable

__all__ = ["Headers", "HeadersLike", "Request", "Response"]


@runtime_checkable
class _SupportsKeysAndGetItem(Protocol):
    def keys(self) -> Iterable[str]: ...
    def __getitem__(self, key: str, /) -> str: ...


HeadersLike = Mapping[str, str] | Iterable[tuple[str, str]] | _SupportsKeysAndGetItem


class Headers(MutableMapping[str, str]):
    """HTTP header fields: order and duplicates are kept, names are compared without case.

    ``headers[name]`` is the only value of a name: LookupError if it has several (use ``get_all``), KeyError if
    none. Setting a name adds a field, as in ``websockets``; delete it first to replace it.
    """

    __slots__ = ("_fields",)

    def __init__(self, fields: HeadersLike = (), /) -> None:
        self._fields: list[tuple[str, str]] = []
        self.update(fields)

    def raw_items(self) -> Iterator[tuple[str, str]]:
        """All fields, in order."""
        return iter(self._fields)

    def get_all(self, name: str) -> list[str]:
        """All values of ``name``, in order."""
        wanted = name.lower()
        return [value for key, value in self._fields if key.lower() == wanted]

    def __getitem__(self, name: str) -> str:
        values = self.get_all(name)
        if not values:
            raise KeyError(name)
        if len(values) > 1:
            raise LookupError(f"{name} has {len(values)} values; use get_all({name!r})")
        return values[0]

    def __setitem__(self, name: str, value: str) -> None:
        self._fields.append((name, value))

    def __delitem__(self, name: str) -> None:
        wanted = name.lower()
        kept = [(key, value) for key, value in self._fields if key.lower() != wanted]
        if len(kept) == len(self._fields):
            raise KeyError(name)
        self._fields = kept

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and any(key.lower() == name.lower() for key, _ in self._fields)

    def __iter__(self) -> Iterator[str]:
        return iter(dict.fromkeys(key.lower() for key, _ in self._fields))

    def __len__(self) -> int:
        return len({key.lower() for key, _ in self._fields})

    def update(self, other: HeadersLike = (), /, **more: str) -> None:
        """Adds fields from a mapping, from pairs, or from keyword arguments."""
        if isinstance(other, Headers):
            pairs: Iterable[tuple[str, str]] = other.raw_items()
        elif isinstance(other, Mapping):
            pairs = other.items()
        elif isinstance(other, _SupportsKeysAndGetItem):
            pairs = [(key, other[key]) for key in other.keys()]  # noqa: SIM118 - it is no mapping
        else:
            pairs = other
        for name, value in [*pairs, *more.items()]:
            if not isinstance(name, str) or not isinstance(value, str):
                raise TypeError(f"a header is two strings, not {name!r}: {value!r}")
            self[name] = value

    def copy(self) -> Headers:
        """A copy."""
        return Headers(self._fields)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Headers):
            return NotImplemented
        return [(k.lower(), v) for k, v in self._fields] == [(k.lower(), v) for k, v in other._fields]

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"Headers({[(k, '***' if is_secret(k) else v) for k, v in self._fields]!r})"


@dataclass(frozen=True, slots=True)
class Request:
    """The upgrade request as it was sent: path with query, and header fields."""

    path: str = field(repr=False)
    headers: Headers


@dataclass(frozen=True, slots=True)
class Response:
    """The server's answer to the upgrade. ``body`` holds up to 64 KiB of a refusal's body."""

    status_code: int
    reason_phrase: str
    headers: Headers
    body: bytes = b""

    @property
    def retry_after(self) -> float | None:
        """Seconds that the server asks to be left alone (Retry-After, RFC 9110 §10.2.3); None if it does not say.

        A date counts from the answer's own ``Date`` if it has one, as the clocks of two machines differ.
        """
        value = next(iter(self.headers.get_all("Retry-After")), "").strip()
        if value.isascii() and value.isdigit():
            return min(float(value), _MAX_DELTA_SECONDS)
        until = _http_date(value)
        if until is None:
            return None
        answered = _http_date(next(iter(self.headers.get_all("Date")), ""))
        return max(0.0, until - (time.time() if answered is None else answered))


# What a cache takes for a number that is too large (RFC 9111 §1.2.2).
_MAX_DELTA_SECONDS = float(2**31)

_SECRET = re.compile(
    r"authorization|\bauth\b|cookie|token|secret|passw|passphrase|signature|-sign\b|api-?key|access-key|jwt|session|csrf"
    r"|credential|bearer",
    re.IGNORECASE,
)


def _http_date(value: str) -> float | None:
    """An HTTP date of any of the three formats (RFC 9110 §5.6.7), as seconds since the epoch; None if it is none."""
    from email.utils import parsedate_to_datetime

    try:
        date = parsedate_to_datetime(value)
    except (TypeError, ValueError, OverflowError):
        return None
    return (date if date.tzinfo is not None else date.replace(tzinfo=UTC)).timestamp()


def is_secret(name: str) -> bool:
    """Whether a field's value is not for logs: Authorization, Cookie, and what speaks of a token, key or secret."""
    return _SECRET.search(name) is not None


def parse_request(data: bytes) -> Request:
    """Reads back a request that we made."""
    start, *lines = data.decode("utf-8").split("\r\n")
    fields = [(name, value.strip()) for name, _, value in (line.partition(":") for line in lines if line)]
    return Request(path=start.split(" ")[1], headers=Headers(fields))
