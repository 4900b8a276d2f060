"""What a client may be given: an error is a ConfigError that names the argument, and what it may be."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from . import _checks, _options, proxy
from ._keywords import closest
from .config import ALIASES, SETTINGS, ClientConfig, connect_keywords
from .errors import ConfigError
from .rate import RateLimit, RateLimits
from .subscriptions import Subscriptions
from .target import Target

__all__ = ["check", "check_upgrade", "client_has_not", "lasting"]

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
    with _named("proxy"):
        proxy.checked(arguments.get("proxy"))
    if (key := arguments.get("message_key")) is not None:
        _checks.plain_function("message_key", key, "gets a message and returns what tells it apart, or None")


def check_upgrade(
    uri: str | Callable[..., Any], *, tls: Any = None, headers: Any = None, subprotocols: Any = None
) -> None:
    """Refuses what no upgrade can be made with. What a callable will give is not known yet, and checked then."""
    secure = not isinstance(uri, str) or Target.parse(uri).secure
    if tls is not None:
        with _named("tls"):
            _options.security(tls, None, secure=True)  # what it is, before what it is for
            _options.security(tls, None, secure=secure)
    if headers is not None and not callable(headers):
        with _named("headers"):
            _options.checked_fields(headers, "headers")
    if subprotocols is not None:
        with _named("subprotocols"):
            _options.checked_subprotocols(subprotocols)


def lasting(value: Any) -> Any:
    """The same for any number of attempts: what an iterator gives is kept."""
    return list(value) if isinstance(value, Iterator) else value


@contextlib.contextmanager
def _named(field: str) -> Iterator[None]:
    """What ``connect()`` would raise is a ConfigError that names the field."""
    try:
        yield
    except (TypeError, ValueError) as error:
        raise ConfigError(str(error), field=field) from None


def client_has_not(name: str, known: Iterable[str]) -> str:
    """A keyword that ``WebSocketClient`` does not have, and where it is to be given."""
    if name in _ELSEWHERE:
        where = _ELSEWHERE[name]
    elif name in SETTINGS or name in ALIASES:
        where = f"it is a setting: config=ClientConfig({name}=...)"
    elif name in connect_keywords():
        where = f'it is one of fastws.connect: config=ClientConfig(ws_config={{"{name}": ...}})'
    else:
        where = closest(name, known, "see help(fastws.WebSocketClient) for those there are")
    return f"WebSocketClient() has no argument {name!r}: {where}"


_ITERATE = "messages are read by `async for message in client.stream()`"

_ELSEWHERE: Mapping[str, str] = {
    "additional_headers": "here it is headers=",
    "extra_headers": "here it is headers=",
    "ssl": "here it is tls=, a fastws.TlsConfig",
    "ssl_context": "here it is tls=, a fastws.TlsConfig",
    "handshaker": "here it is handshake=",
    "retry_strategy": "here it is retry=",
    "max_retries": "here it is retry=, such as ExponentialBackoff.standard(max_attempts=...)",
    "reconnect": "it always reconnects, as retry= says; NoRetry() does not",
    "extension": "here it is extensions=",
    "listener": _ITERATE,
    "on_message": f"{_ITERATE}; events are heard by client.on()",
    "markers": "it belongs to client.stream()",
    "policy": "it belongs to client.stream()",
    "decode": "it belongs to client.stream()",
    "max_queue": "the queue's bound is config=ClientConfig(queue_messages=...)",
    "key": "here it is message_key=; several lines at a time are a fastws.RedundantClient",
}
"""What other libraries, ``fastws.connect`` and the builder call arguments of a client, and what is nowhere in it."""


def _wrong(name: str, value: object, what: str) -> ConfigError:
    # The value itself may be a secret.
    kind = f"the class {value.__name__}" if isinstance(value, type) else type(value).__name__
    return ConfigError(f"{name} is {what}; not {kind}", field=name)
