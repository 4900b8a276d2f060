"""Exceptions and the HTTP messages of the upgrade: picows' own classes where it is installed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fastws.compat import _installed

from . import _alone

__all__ = [
    "PICOWS_DEBUG_LL",
    "WSBuffer",
    "WSError",
    "WSHandshakeError",
    "WSHeadersLike",
    "WSHost",
    "WSInvalidHeaderError",
    "WSInvalidMessageError",
    "WSInvalidStatusError",
    "WSInvalidUpgradeError",
    "WSPort",
    "WSProtocolError",
    "WSUpgradeRequest",
    "WSUpgradeResponse",
    "WSUpgradeResponseWithListener",
    "add_extra_headers",
]

PICOWS_DEBUG_LL = 9
"""The level of picows' most detailed log records."""

if TYPE_CHECKING:
    from ._alone import (
        WSBuffer,
        WSError,
        WSHandshakeError,
        WSHeadersLike,
        WSHost,
        WSInvalidHeaderError,
        WSInvalidMessageError,
        WSInvalidStatusError,
        WSInvalidUpgradeError,
        WSPort,
        WSProtocolError,
        WSUpgradeRequest,
        WSUpgradeResponse,
        WSUpgradeResponseWithListener,
        add_extra_headers,
    )
else:
    _original = _installed.find("picows.common")
    for _name in __all__:
        if _name != "PICOWS_DEBUG_LL":
            # A release older than the name has ours.
            globals()[_name] = getattr(_original, _name, None) or getattr(_alone, _name)
