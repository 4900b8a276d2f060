"""Header fields as ``multidict.CIMultiDict`` has them, where that is not installed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Generic, TypeVar

__all__ = ["Fields"]

V = TypeVar("V")


class Fields(Generic[V]):
    """Fields in order, by names whose case does not matter; a name may have several.

    ``fields[name]`` is the first value, KeyError if there is none. Setting a name replaces all that it has.
    """

    __slots__ = ("_pairs",)

    def __init__(self, fields: Mapping[str, V] | Iterable[tuple[str, V]] = ()) -> None:
        self._pairs = list(fields.items() if isinstance(fields, Mapping) else fields)

    def getall(self, name: str, *default: Any) -> list[V]:
        """All values of ``name``. Raises KeyError if there is none, and no default."""
        found = [value for key, value in self._pairs if key.lower() == name.lower()]
        if not found and default:
            return default[0]  # type: ignore[no-any-return]
        if not found:
            raise KeyError(name)
        return found

    def getone(self, name: str, *default: Any) -> V:
        """The first value of ``name``. Raises KeyError if there is none, and no default."""
        return self.getall(name, *([default] if default else []))[0]

    def get(self, name: str, default: Any = None) -> Any:
        """The first value of ``name``, or ``default``."""
        return self.getall(name, [default])[0]

    def add(self, name: str, value: V) -> None:
        """Adds a field behind all others."""
        self._pairs.append((name, value))

    def extend(self, fields: Mapping[str, V] | Iterable[tuple[str, V]] = ()) -> None:
        """Adds fields behind all others."""
        self._pairs.extend(fields.items() if isinstance(fields, Mapping) else fields)

    def items(self) -> list[tuple[str, V]]:
        """All fields."""
        return list(self._pairs)

    def keys(self) -> list[str]:
        """Their names, each as often as it is there."""
        return [name for name, _ in self._pairs]

    def values(self) -> list[V]:
        """Their values."""
        return [value for _, value in self._pairs]

    def copy(self) -> Fields[V]:
        """A copy."""
        return Fields(self._pairs)

    def __getitem__(self, name: str) -> V:
        return self.getall(name)[0]

    def __setitem__(self, name: str, value: V) -> None:
        kept = [(key, old) for key, old in self._pairs if key.lower() != name.lower()]
        self._pairs = [*kept, (name, value)]

    def __delitem__(self, name: str) -> None:
        self.getall(name)
        self._pairs = [(key, value) for key, value in self._pairs if key.lower() != name.lower()]

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and bool(self.getall(name, []))

    def __iter__(self) -> Iterator[str]:
        return iter(self.keys())

    def __len__(self) -> int:
        return len(self._pairs)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Fields | Mapping):
            return NotImplemented
        return sorted((n.lower(), v) for n, v in self.items()) == sorted((n.lower(), v) for n, v in other.items())

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"Fields({self._pairs!r})"
