"""The client of picows 2.3, by the same names, on fastws: ``from fastws.compat.picows import ws_connect``.

Where picows is installed, exceptions, enumerations and the classes of the HTTP upgrade are picows' own, and its server
(``ws_create_server``) and ``picows.websockets`` are at hand here, too. Where it is not, ours stand alone.
"""

from .api import ws_connect, ws_create_server
from .common import (
    PICOWS_DEBUG_LL,
    WSError,
    WSHandshakeError,
    WSInvalidHeaderError,
    WSInvalidMessageError,
    WSInvalidStatusError,
    WSInvalidUpgradeError,
    WSProtocolError,
    WSUpgradeRequest,
    WSUpgradeResponse,
    WSUpgradeResponseWithListener,
)
from .picows import WSAutoPingStrategy, WSCloseCode, WSFrame, WSListener, WSMsgType, WSTransport
from .url import WSInvalidURL, WSParsedURL

__all__ = [
    "PICOWS_DEBUG_LL",
    "WSAutoPingStrategy",
    "WSCloseCode",
    "WSError",
    "WSFrame",
    "WSHandshakeError",
    "WSInvalidHeaderError",
    "WSInvalidMessageError",
    "WSInvalidStatusError",
    "WSInvalidURL",
    "WSInvalidUpgradeError",
    "WSListener",
    "WSMsgType",
    "WSParsedURL",
    "WSProtocolError",
    "WSTransport",
    "WSUpgradeRequest",
    "WSUpgradeResponse",
    "WSUpgradeResponseWithListener",
    "ws_connect",
    "ws_create_server",
]

__version__ = "2.3.1"
"""The release of picows whose names and meanings these are."""
