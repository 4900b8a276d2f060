"""The root of them, and how they are pickled."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from ._sending import Unsent

__all__ = ["FastwsError"]


class FastwsError(Exception):
    """Base of every exception of fastws.

    Attributes:
        unsent: The messages that a client which ended so did not, or maybe not, send.
    """

    unsent: tuple[Unsent, ...] = ()

    def context(self, text: str) -> Self:
        """Adds a note that says what was under way, shown below the message in a traceback; returns the exception."""
        self.add_note(text)
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        # A process pool sends exceptions back pickled; the arguments of __init__ are not those of Exception.
        return _restored, (type(self), self.args), self.__dict__


def _restored(kind: type[FastwsError], args: tuple[Any, ...]) -> FastwsError:
    error = kind.__new__(kind)
    error.args = args
    return error
