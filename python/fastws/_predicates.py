"""Whether two functions of the user's are one."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from types import FunctionType, MethodType
from typing import Any

__all__ = ["is_same"]


def is_same(one: Callable[..., Any], other: Callable[..., Any]) -> bool:
    """Whether two predicates are one: functions of the same text that refer to the same things are, too."""
    if isinstance(one, FunctionType) and isinstance(other, FunctionType):
        return one.__code__ is other.__code__ and _refers_to(one) == _refers_to(other)
    return one is other or (isinstance(one, MethodType) and one == other)


def _refers_to(function: FunctionType) -> list[int]:
    """What a function has of those around it, and as its defaults: which objects."""
    values = [*(function.__defaults__ or ()), *(function.__kwdefaults__ or {}).values()]
    for cell in function.__closure__ or ():
        with contextlib.suppress(ValueError):  # it is empty yet
            values.append(cell.cell_contents)
    return [id(value) for value in values]
