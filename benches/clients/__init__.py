"""The clients under measurement, each driven the way its documentation shows for speed.

An entry says with ``kinds`` what it can do, or does otherwise than another entry of the same library; its methods start
the meter after a warm-up and stop it at the last operation. What a consumer does with a message is the same
everywhere: count it, add its length (or decode it, or read its clock). All callbacks count in variables of the
function around them, whether they are methods of a listener or plain functions, so that none pays for attributes.
"""

from __future__ import annotations

from .aiohttp_client import Aiohttp
from .base import Client, Counter, decoded
from .ours import (
    FastwsBatches,
    FastwsBusyPoll,
    FastwsGathered,
    FastwsIterate,
    FastwsListener,
    FastwsSendMany,
    FastwsSendNowait,
    FastwsSpin,
    FastwsSync,
)
from .picows_callback import Picows
from .streams import FastwsStream, FastwsStreamMarkers, FastwsStreams
from .websocket_client import WebsocketClient
from .websocket_rs_clients import WebsocketRs, WebsocketRsIterate, WebsocketRsSync
from .websockets_style import FastwsDropIn, PicowsWebsockets, Websockets, WebsocketsSync

__all__ = [
    "ALL",
    "Aiohttp",
    "Client",
    "Counter",
    "FastwsBatches",
    "FastwsBusyPoll",
    "FastwsDropIn",
    "FastwsGathered",
    "FastwsIterate",
    "FastwsListener",
    "FastwsSendMany",
    "FastwsSendNowait",
    "FastwsSpin",
    "FastwsStream",
    "FastwsStreamMarkers",
    "FastwsStreams",
    "FastwsSync",
    "Picows",
    "PicowsWebsockets",
    "WebsocketClient",
    "WebsocketRs",
    "WebsocketRsIterate",
    "WebsocketRsSync",
    "Websockets",
    "WebsocketsSync",
    "decoded",
    "installed",
    "named",
]

ALL: tuple[type[Client], ...] = (
    FastwsIterate,
    FastwsListener,
    FastwsBatches,
    FastwsBusyPoll,
    FastwsSpin,
    FastwsSendNowait,
    FastwsSendMany,
    FastwsGathered,
    FastwsStream,
    FastwsStreamMarkers,
    FastwsStreams,
    FastwsSync,
    FastwsDropIn,
    Picows,
    PicowsWebsockets,
    WebsocketRs,
    WebsocketRsIterate,
    WebsocketRsSync,
    Aiohttp,
    Websockets,
    WebsocketsSync,
    WebsocketClient,
)


def installed() -> list[type[Client]]:
    """The clients that can be measured here, ours first."""
    return [client for client in ALL if client.is_installed()]


def named(name: str) -> type[Client]:
    return next(client for client in ALL if client.name == name)
