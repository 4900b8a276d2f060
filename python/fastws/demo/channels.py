"""Which channel a message belongs to, for the live view: our simulator's messages and those of the recorded exchanges.

Every function here takes whatever a peer sent: a message that nobody recognises is `OTHER`, and nothing raises.
"""

from __future__ import annotations

import zlib
from typing import Any, Final

import orjson

OTHER: Final = "other"
"""The channel of a message that is not recognised."""


def decode(payload: str | bytes) -> Any:
    """Decode one message from JSON; a binary one is inflated first if it is gzip (at most 16 MiB of text).

    Returns:
        What the JSON says, or None for a payload that is not JSON (``null`` is nobody's market data either).
    """
    try:
        if isinstance(payload, bytes) and payload.startswith(_GZIP_MAGIC):
            inflater = zlib.decompressobj(wbits=zlib.MAX_WBITS | 16)
            payload = inflater.decompress(payload, _MAX_INFLATED)
            if inflater.unconsumed_tail:
                return None
        return orjson.loads(payload)
    except (orjson.JSONDecodeError, zlib.error):
        return None


def channel_of(decoded: object) -> str:
    """Name the channel of a decoded message in one short word; `OTHER` when it is not recognised."""
    if isinstance(decoded, dict):
        kind = decoded.get("type")  # ours and coinbase, first because the demo asks once for every message
        if isinstance(kind, str):
            return _TYPES.get(kind, kind) or OTHER
        return _of_object(decoded)
    if isinstance(decoded, list) and len(decoded) > _KRAKEN_NAME and isinstance(name := decoded[-2], str):
        return name.partition("-")[0] or OTHER  # kraken: [id, data, …, "book-1000", "XBT/USD"]
    return OTHER


def _of_object(message: dict[str, Any]) -> str:
    for key, name_of in _BY_KEY:
        value = message.get(key)
        if value is not None and (name := name_of(value)):
            return name
    return OTHER


def _by_stream(value: object) -> str | None:
    """Binance, combined streams: ``{"stream": "btcusd_perp@depth@100ms", …}``."""
    return value.partition("@")[2].partition("@")[0].partition("_")[0] if isinstance(value, str) else None


def _by_event(value: object) -> str | None:
    """Kraken, kraken futures, okx: ``{"event": "subscribed", …}``."""
    return _EVENTS.get(value, "status") if isinstance(value, str) else None


def _by_feed(value: object) -> str | None:
    """Kraken futures: ``{"feed": "book_snapshot", …}``."""
    return value.partition("_")[0] if isinstance(value, str) else None


def _by_argument(value: object) -> str | None:
    """Okx: ``{"arg": {"channel": "books", …}, "data": …}``."""
    name = value.get("channel") if isinstance(value, dict) else None
    return name if isinstance(name, str) else None


def _by_topic(value: object) -> str | None:
    """Huobi: ``{"ch": "market.BTC-USDT.depth.step0", …}``."""
    parts = value.split(".") if isinstance(value, str) else []
    return parts[_HUOBI_NAME] if len(parts) > _HUOBI_NAME else None


def _itself(value: object) -> str | None:
    """Bitmex: ``{"table": "orderBookL2", …}``."""
    return value if isinstance(value, str) else None


_GZIP_MAGIC: Final = b"\x1f\x8b"
_MAX_INFLATED: Final = 16 << 20
_KRAKEN_NAME: Final = 3  # id, data, channel, pair
_HUOBI_NAME: Final = 2  # market.BTC-USDT.depth

_TYPES: Final = {
    "snapshot": "level2",
    "l2update": "level2",
    "match": "matches",
    "last_match": "matches",
}
_EVENTS: Final = {
    "heartbeat": "heartbeat",
    "subscribe": "subscriptions",
    "subscribed": "subscriptions",
    "subscriptionStatus": "subscriptions",
    "unsubscribe": "subscriptions",
    "error": "error",
}
# Asked in this order: okx confirms with both "event" and "arg", kraken futures with both "event" and "feed".
_BY_KEY: Final = (
    ("stream", _by_stream),
    ("event", _by_event),
    ("feed", _by_feed),
    ("table", _itself),
    ("arg", _by_argument),
    ("ch", _by_topic),
    ("ping", lambda _: "heartbeat"),
    ("subbed", lambda _: "subscriptions"),
    ("subscribe", lambda _: "subscriptions"),
    ("info", lambda _: "status"),
    ("error", lambda _: "error"),
    ("id", lambda _: "subscriptions"),
)
