"""The older name of ``protocol``."""

from __future__ import annotations

import warnings
from typing import Any

from fastws.compat._installed import AbsentError, unavailable

from . import protocol
from .protocol import SEND_EOF, Side, State

__all__ = ["SEND_EOF", "Side", "State"]

warnings.warn(
    f"{__name__} was renamed to {protocol.__name__} and Connection was renamed to Protocol",
    DeprecationWarning,
    stacklevel=2,
)


def __getattr__(name: str) -> Any:
    try:
        return getattr(protocol, "Protocol" if name == "Connection" else name)
    except AbsentError as error:
        raise unavailable(error, name) from None
