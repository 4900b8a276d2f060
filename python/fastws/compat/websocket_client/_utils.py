"""Small things."""

from __future__ import annotations

from types import TracebackType

__all__ = ["NoLock", "extract_err_message", "extract_error_code", "validate_utf8"]


class NoLock:
    """Stands for a lock where ``enable_multithread`` is off."""

    def __enter__(self) -> None:
        """Takes nothing."""

    def __exit__(
        self, exc_type: type[BaseException] | None, exc_value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Gives nothing back."""


def validate_utf8(utfbytes: str | bytes) -> bool:
    """Whether it is UTF-8; of a ``str``, whether it can be written as UTF-8."""
    try:
        if isinstance(utfbytes, str):
            utfbytes.encode()
        else:
            bytes(utfbytes).decode()
    except UnicodeError:
        return False
    return True


def extract_err_message(exception: BaseException) -> str | None:
    """The exception's first argument as text; None if it has none."""
    return str(exception.args[0]) if exception.args else None


def extract_error_code(exception: BaseException) -> int | None:
    """The exception's first argument if it is a number and not the only one, as ``OSError`` has it."""
    match exception.args:
        case (int(code), _, *_):
            return code
    return None
