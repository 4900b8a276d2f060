"""What a client may be given: an error is a ConfigError that names the argument, and what it may be."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from typing import Any

from . import _checks, proxy
from .config import SETTINGS, ClientConfig, connect_keywords
from .errors import ConfigError
from .rate import RateLimit, RateLimits
from .subscriptions import Subscriptions

__all__ = ["check", "refuse"]

_HAVE: Mapping[str, tuple[str, str]] = {
    "retry": ("next_delay", "a strategy such as ExponentialBackoff.fast()"),
    "handshake": ("handshake", "a handshaker such as AuthHandshaker(token)"),
    "connector": ("connect", "a connector such as DefaultConnector()"),
    "connect_limiter": ("slot", "a ConnectLimiter"),
}
"""Arguments of which anything will do that has this method."""

_ARE: Mapping[str, tuple[type | tuple[type, ...], str]] = {
    "config": (ClientConfig, "a ClientConfig"),
    "subscriptions": (Subscriptions, "a Subscriptions registry; single ones are added by client.subscriptions.add()"),
    "rate_limit": ((RateLimit, RateLimits), "a RateLimit or RateLimits"),
    "metadata": (Mapping, "a mapping"),
}
"""Arguments of these classes."""


def check(**arguments: Any) -> None:
    """Refuses what is not what it should be; None is "not given" everywhere."""
    for name, (method, what) in _HAVE.items():
        value = arguments.get(name)
        if value is not None and (isinstance(value, type) or not callable(getattr(value, method, None))):
            raise _wrong(name, value, what)
    for name, (kind, what) in _ARE.items():
        value = arguments.get(name)
        if value is not None and not isinstance(value, kind):
            raise _wrong(name, value, what)
    extensions = arguments.get("extensions", ())
    if not isinstance(extensions, Iterable) or isinstance(extensions, str | bytes):
        raise _wrong("extensions", extensions, "a list of extensions")
    try:
        proxy.checked(arguments.get("proxy"))
    except TypeError as error:
        raise ConfigError(str(error), field="proxy") from None
    if (key := arguments.get("message_key")) is not None:
        _checks.plain_function("message_key", key, "gets a message and returns what tells it apart, or None")


def refuse(unknown: Iterable[str], known: Iterable[str]) -> None:
    """Raises TypeError for what is no argument of a client, and says where it is to be given."""
    for name in unknown:
        if name in _ELSEWHERE:
            hint = f"; here it is {_ELSEWHERE[name]}="
        elif name in SETTINGS:
            hint = f"; it is a setting: config=ClientConfig({name}=...)"
        elif name in connect_keywords():
            hint = f'; it is one of fastws.connect: config=ClientConfig(ws_config={{"{name}": ...}})'
        else:
            close = get_close_matches(name, list(known), 1)
            hint = f"; did you mean {close[0]}=?" if close else ""
        raise TypeError(f"WebSocketClient() has no argument {name!r}{hint}")


_ELSEWHERE: Mapping[str, str] = {
    "additional_headers": "headers",
    "extra_headers": "headers",
    "ssl": "tls",
    "ssl_context": "tls",
    "handshaker": "handshake",
    "retry_strategy": "retry",
    "extension": "extensions",
}
"""What other libraries, ``fastws.connect`` and the builder call arguments of a client."""


def _wrong(name: str, value: object, what: str) -> ConfigError:
    # The value itself may be a secret.
    kind = f"the class {value.__name__}" if isinstance(value, type) else type(value).__name__
    return ConfigError(f"{name} is {what}; not {kind}", field=name)
