"""Texts with ``{}`` for a value that is known later."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import orjson

__all__ = ["Filler", "template"]

Filler = Callable[[str], Any]
"""Makes a message of a value."""


def template(text: str) -> Filler:
    """A function that fills a value into ``text`` for every ``{}``.

    If ``text`` is JSON, ``{}`` in its strings is replaced there; where none has it, an empty object becomes the value
    as a JSON string. The message is JSON, whatever the value is. Otherwise the value is put in as it is.

    Raises:
        TypeError: ``text`` is not a str.
        ValueError: There is no ``{}`` in it.
    """
    if not isinstance(text, str):
        raise TypeError(f"a format is a str with {{}} in it, or a callable, not {type(text).__name__}")
    if "{}" not in text:
        raise ValueError("a format needs {} where the value goes")
    try:
        parsed = orjson.loads(text)
    except orjson.JSONDecodeError:
        return lambda value: text.replace("{}", value)
    quoted = "{}" in "".join(_strings(parsed))
    return lambda value: orjson.dumps(_filled(parsed, value, quoted)).decode()


def _strings(part: Any) -> Iterator[str]:
    match part:
        case str():
            yield part
        case list():
            for item in part:
                yield from _strings(item)
        case dict():
            for name, item in part.items():
                yield name
                yield from _strings(item)


def _filled(part: Any, value: str, quoted: bool) -> Any:
    match part:
        case str():
            return part.replace("{}", value)
        case list():
            return [_filled(item, value, quoted) for item in part]
        case dict() if part or quoted:
            return {_filled(name, value, quoted): _filled(item, value, quoted) for name, item in part.items()}
        case dict():
            return value
        case _:
            return part
