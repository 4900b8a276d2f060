"""HTTP header fields as ``websockets`` has them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, MutableMapping
from typing import Any, Protocol

from ._adopt import adopted
from .exceptions import InvalidHeaderValue

__all__ = ["Headers", "HeadersLike", "MultipleValuesError"]


@adopted
class MultipleValuesError(LookupError):
    """``headers[name]`` for a name with several values."""

    def __str__(self) -> str:
        return repr(self.args[0]) if len(self.args) == 1 else super().__str__()


@adopted
class Headers(MutableMapping[str, str]):
    """HTTP header fields: order and duplicates are kept, names are compared without case.

    ``headers[name]`` is the only value of a name: MultipleValuesError if it has several (use ``get_all``), KeyError if
    none. Setting a name adds a field; delete it first to replace it.
    """

    __slots__ = ("_fields", "_values")

    def __init__(self, *args: HeadersLike, **kwargs: str) -> None:
        self._fields: list[tuple[str, str]] = []
        self._values: dict[str, list[str]] = {}
        self.update(*args, **kwargs)

    def __str__(self) -> str:
        return "".join(f"{name}: {value}\r\n" for name, value in self._fields) + "\r\n"

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._fields!r})"

    def copy(self) -> Headers:
        """A copy."""
        copy = type(self)()
        for name, value in self._fields:
            copy.set_insecure(name, value)
        return copy

    def serialize(self) -> bytes:
        """The fields as they are sent, with the empty line."""
        return str(self).encode("iso-8859-1")

    def __contains__(self, key: object) -> bool:
        return isinstance(key, str) and key.lower() in self._values

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __getitem__(self, key: str) -> str:
        values = self._values[key.lower()]
        if len(values) > 1:
            raise MultipleValuesError(key)
        return values[0]

    def __setitem__(self, key: str, value: str) -> None:
        if not _is_valid_value(str(value)):
            raise InvalidHeaderValue(key, value)
        self.set_insecure(key, value)

    def __delitem__(self, key: str) -> None:
        name = key.lower()
        del self._values[name]
        self._fields = [field for field in self._fields if field[0].lower() != name]

    def __eq__(self, other: object) -> bool:
        return self._values == other._values if isinstance(other, Headers) else NotImplemented

    __hash__ = None  # type: ignore[assignment]

    def clear(self) -> None:
        """Removes all fields."""
        self._fields, self._values = [], {}

    def update(self, *args: Any, **kwargs: str) -> None:
        """Adds fields from other headers, a mapping, pairs or keyword arguments."""
        super().update(*(arg.raw_items() if isinstance(arg, Headers) else arg for arg in args), **kwargs)

    def get_all(self, key: str) -> list[str]:
        """All values of a name, in order."""
        return self._values.get(key.lower(), [])

    def raw_items(self) -> Iterator[tuple[str, str]]:
        """All fields, in order."""
        return iter(self._fields)

    def set_insecure(self, key: str, value: str) -> None:
        """Adds a field whose value is not checked."""
        self._values.setdefault(key.lower(), []).append(value)
        self._fields.append((key, value))


class SupportsKeysAndGetItem(Protocol):
    """What is like a mapping: it has ``keys()`` and ``[]``."""

    def keys(self) -> Iterable[str]: ...

    def __getitem__(self, key: str, /) -> str: ...


HeadersLike = Headers | Mapping[str, str] | Iterable[tuple[str, str]] | SupportsKeysAndGetItem
"""What is taken where ``Headers`` are expected."""

# RFC 9110 §5.5: tab, space, visible characters, and what older servers send beyond ASCII.
_is_valid_value = re.compile(r"[\x09\x20-\x7e\x80-\xff]*").fullmatch
