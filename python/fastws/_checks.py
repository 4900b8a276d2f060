"""What the settings of a client may be: an error is a ConfigError that names the setting, its value, and the rule."""

from __future__ import annotations

import inspect
import math
from collections.abc import Iterable
from datetime import timedelta
from typing import Any

from .errors import ConfigError


def wrong(field: str, value: object, allowed: str) -> ConfigError:
    """The error of a setting: ``allowed`` says what it is, such as "seconds, more than 0"."""
    return ConfigError(f"{field} is {allowed}; not {value!r}", field=field)


def duration(field: str, value: Any, *, zero: bool = False, unit: str = "seconds") -> float:
    """Seconds, as a number or a timedelta: finite, and more than nothing unless ``zero``."""
    allowed = f"{unit} (float) or a timedelta, {'0 or more' if zero else 'more than 0'}"
    number = value.total_seconds() if isinstance(value, timedelta) else value
    if isinstance(number, bool) or not isinstance(number, int | float):
        raise wrong(field, value, allowed)
    number = _as_float(field, number, allowed)
    if not math.isfinite(number) or number < 0 or (number == 0 and not zero):
        raise wrong(field, value, allowed)
    return number


def optional_duration(field: str, value: Any, otherwise: str, *, zero: bool = False) -> float | None:
    """The same, or None, which means ``otherwise``."""
    return None if value is None else duration(field, value, zero=zero, unit=f"None ({otherwise}) or seconds")


def is_async(value: object) -> bool:
    """Whether calling it gives a coroutine."""
    return inspect.iscoroutinefunction(value) or inspect.iscoroutinefunction(getattr(value, "__call__", None))  # noqa: B004 - of an instance


def plain_function(field: str, value: object, does: str) -> None:
    """Refuses what cannot be called, and what gives a coroutine, which would be taken for its result."""
    if not callable(value) or is_async(value):
        raise wrong(field, value, f"a plain function, not async, that {does}")


def number(field: str, value: Any, least: float, most: float = math.inf) -> float:
    """A finite number in these bounds."""
    allowed = f"a number from {least:g} on" if most == math.inf else f"a number from {least:g} to {most:g}"
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise wrong(field, value, allowed)
    checked = _as_float(field, value, allowed)
    if not math.isfinite(checked) or not least <= checked <= most:
        raise wrong(field, value, allowed)
    return checked


def count(field: str, value: Any, unit: str = "", least: int = 1) -> int:
    """A whole number from ``least`` on."""
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise wrong(field, value, f"a number{f' of {unit}' if unit else ''} (int) from {least} on")
    return value


def optional_count(field: str, value: Any, otherwise: str) -> int | None:
    """The same, or None, which means ``otherwise``."""
    if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
        raise wrong(field, value, f"None ({otherwise}) or a number (int) from 1 on")
    return None if value is None else int(value)


def switch(field: str, value: Any) -> bool:
    """True or False."""
    if not isinstance(value, bool):
        raise wrong(field, value, "True or False")
    return value


def choice(field: str, value: Any, choices: Iterable[str]) -> Any:
    """One of some words."""
    words = tuple(choices)
    if not isinstance(value, str) or value not in words:
        quoted = [f'"{word}"' for word in words]
        raise wrong(field, value, f"{', '.join(quoted[:-1])} or {quoted[-1]}")
    return value


def codes(field: str, value: Any) -> frozenset[int]:
    """Close codes that a peer can send (RFC 6455 §7.4.2)."""
    allowed = "a set of close codes (int) from 1000 to 4999"
    if isinstance(value, str | bytes) or not isinstance(value, Iterable):
        raise wrong(field, value, allowed)
    found = list(value)
    if not all(isinstance(code, int) and not isinstance(code, bool) and 1000 <= code <= 4999 for code in found):
        raise wrong(field, value, allowed)
    return frozenset(found)


def _as_float(field: str, value: float, allowed: str) -> float:
    try:
        return float(value)
    except OverflowError:
        raise wrong(field, value, allowed) from None
