"""Native keys: what a message is about, found in its payload without decoding it.

::

    client.stream(policy=Conflate(keys.json("product_id")), capacity=1000)
    WebSocketClient(uri, message_key=keys.json("sequence"))

Each is a callable that takes the payload, ``bytes`` or ``str``, and returns the key, or None if the message has none.
What it finds is the same for text and for its UTF-8 bytes.
"""

from __future__ import annotations

import re
from typing import SupportsIndex

from . import _core

__all__ = ["json", "regex", "slice"]

Key = _core.Key


def json(path: str) -> Key:
    """A member of a JSON object, such as ``"product_id"``, or ``"data.symbol"`` of an object in it.

    The key is a string, a number or a truth value. A message that is no JSON object has none, nor one whose member is
    missing, null, an object or an array. What is behind the member is not read. Of members with the same name the first
    counts.

    Raises:
        TypeError: ``path`` is no ``str``.
        ValueError: A name in it is empty.
    """
    if not isinstance(path, str):
        raise TypeError(f'path is a name such as "product_id" or "data.symbol", not {path!r}')
    names = path.split(".")
    if not all(names):
        raise ValueError(f"path must be names with a dot between each two, not {path!r}")
    return Key.json(names, f"fastws.keys.json({path!r})")


def slice(start: SupportsIndex, stop: SupportsIndex) -> Key:  # noqa: A001 - keys.slice is read as what it is
    """The bytes from ``start`` to before ``stop``; negative numbers count from the end.

    A message that has no byte there has no key.

    Raises:
        TypeError: An argument is no number.
    """
    first, last = start.__index__(), stop.__index__()
    return Key.slice(first, last, f"fastws.keys.slice({first}, {last})")


def regex(pattern: bytes | re.Pattern[bytes]) -> Key:
    """What the first group of a regular expression matches, or all of it if it has no group; the first match counts.

    The expressions are those of Rust's ``regex``, which has neither look-around nor back-references and takes time in
    proportion to the message, whatever the expression.

    Raises:
        TypeError: ``pattern`` is not ``bytes``.
        ValueError: It is no such expression; the text says where.
    """
    source = pattern.pattern if isinstance(pattern, re.Pattern) else pattern
    if not isinstance(source, bytes):
        raise TypeError(f"pattern is bytes such as rb'\"id\":(\\d+)', not {pattern!r}")
    if isinstance(pattern, re.Pattern) and pattern.flags & ~re.DOTALL:
        raise ValueError("flags are written in the pattern, such as (?i)")
    # Bytes that are no ASCII are written as what they are; the expression is about bytes, not characters.
    text = "".join(chr(byte) if byte < 128 else f"\\x{byte:02x}" for byte in source)
    return Key.regex(f"(?-u){text}", f"fastws.keys.regex({source!r})")
