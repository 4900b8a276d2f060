"""The model's way to make a client, over the keywords of ``WebSocketClient``."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Self

from . import _arguments, _checks
from .config import ClientConfig, strategy
from .retry import ExponentialBackoff, NoRetry, RetryStrategy, Seconds

if TYPE_CHECKING:
    import ssl

    from ._parts import MessageKey
    from .client import WebSocketClient
    from .connector import Connector
    from .extensions import Extension
    from .handshakes.base import SupportsHandshake
    from .http import HeadersLike
    from .proxy import ProxyLike
    from .rate import ConnectLimiter, RateLimit, RateLimits
    from .redact import Redactor
    from .subscriptions import Subscriptions
    from .tls import Backend, TlsConfig

__all__ = ["ClientBuilder"]


class ClientBuilder:
    """Collects what a ``WebSocketClient`` is given; ``build()`` makes one. Every method returns the builder.

    The order of the calls does not matter: ``config()`` is applied first, and the methods for single settings after it.
    What is called twice counts as it was called last, but for ``extension()``, which adds.

    Args:
        uri: ``ws://`` or ``wss://`` URI, or a function, ``async`` or not, that gives one for each attempt.

    Raises:
        ConfigError: A setting is wrong; at the call, or at ``build()`` where settings do not fit together.
    """

    __slots__ = ("_config", "_extensions", "_keywords", "_settings", "_uri")

    def __init__(self, uri: str | Callable[[], str | Awaitable[str]]) -> None:
        if not isinstance(uri, str) and not callable(uri):
            raise _checks.wrong("uri", uri, "a URI (str) or a function that gives one")
        self._uri = uri
        self._config = ClientConfig()
        self._settings: dict[str, Any] = {}
        self._keywords: dict[str, Any] = {}
        self._extensions: list[Extension] = []

    def config(self, config: ClientConfig) -> Self:
        """The settings; by default ``ClientConfig()``."""
        if not isinstance(config, ClientConfig):
            raise _checks.wrong("config", config, "a ClientConfig")
        self._config = config
        return self

    def receive_timeout(self, receive_timeout: Seconds | None) -> Self:
        """``ClientConfig.receive_timeout``."""
        _checks.optional_duration("receive_timeout", receive_timeout, "no limit")
        self._settings["receive_timeout"] = receive_timeout
        return self

    def retry_strategy(self, retry: RetryStrategy) -> Self:
        """When to come again; by default what the settings say (``ClientConfig.default_retry``)."""
        return self._keyword("retry", strategy("retry", retry))

    def exponential_backoff(self, initial: Seconds, maximum: Seconds, multiplier: float = 2.0) -> Self:
        """``ExponentialBackoff(initial, maximum, multiplier)``, with its 10 % jitter."""
        return self._keyword("retry", ExponentialBackoff(initial, maximum, multiplier))

    def no_retry(self) -> Self:
        """``NoRetry()``: the client ends with its first connection."""
        return self._keyword("retry", NoRetry())

    def handshaker(self, handshake: SupportsHandshake) -> Self:
        """The application's handshake: a ``Handshaker``. Chain several: ``first.then(second)``."""
        return self._keyword("handshake", handshake)

    def extension(self, extension: Extension) -> Self:
        """One more ``Extension``; their hooks are called in this order."""
        self._extensions.append(extension)
        return self

    def connector(self, connector: Connector) -> Self:
        """What makes the connections, instead of ``fastws.connect``."""
        return self._keyword("connector", connector)

    def tls(self, tls: TlsConfig | ssl.SSLContext | Backend) -> Self:
        """For ``wss://``: a ``TlsConfig``, the name of a backend, or an ``ssl.SSLContext``."""
        return self._keyword("tls", tls)

    def headers(self, headers: HeadersLike | Callable[[], HeadersLike | Awaitable[HeadersLike]]) -> Self:
        """More headers for the upgrade, or a function, ``async`` or not, that gives them for each attempt."""
        return self._keyword("headers", headers)

    def subprotocols(self, subprotocols: Sequence[str]) -> Self:
        """Subprotocols to offer, in order of preference."""
        return self._keyword("subprotocols", subprotocols)

    def proxy(self, proxy: ProxyLike) -> Self:
        """The proxy to go through: its URL, True for the environment's, or a function; see ``WebSocketClient``.

        Raises:
            ConfigError: It cannot be used.
        """
        _arguments.check(proxy=proxy)
        return self._keyword("proxy", proxy)

    def subscriptions(self, subscriptions: Subscriptions) -> Self:
        """The registry of subscriptions."""
        return self._keyword("subscriptions", subscriptions)

    def rate_limit(self, rate_limit: RateLimit | RateLimits) -> Self:
        """How fast frames are sent: a ``RateLimit`` or ``RateLimits``."""
        return self._keyword("rate_limit", rate_limit)

    def connect_limiter(self, connect_limiter: ConnectLimiter) -> Self:
        """A ``ConnectLimiter`` that clients share, instead of the event loop's."""
        return self._keyword("connect_limiter", connect_limiter)

    def tap(self, tap: Callable[[str, int, str | bytes], Any]) -> Self:
        """Is called with every message: ``tap(direction, received_ns, data)``."""
        return self._keyword("tap", tap)

    def message_key(self, message_key: MessageKey) -> Self:
        """Tells messages apart, so that a connection is replaced without a loss; see ``WebSocketClient``."""
        return self._keyword("message_key", message_key)

    def metadata(self, metadata: Mapping[str, Any]) -> Self:
        """What handshakers and extensions find in their context."""
        return self._keyword("metadata", metadata)

    def redact(self, redact: Redactor | str | Iterable[str]) -> Self:
        """Secrets to mask in what the client says: a ``Redactor``, or texts."""
        return self._keyword("redact", redact)

    def build(self) -> WebSocketClient:
        """A client. Does no I/O; may be called again for another one like it."""
        from .client import WebSocketClient

        return WebSocketClient(self._uri, **self._arguments())

    def _arguments(self) -> dict[str, Any]:
        arguments = {**self._keywords, "config": self._config.replace(**self._settings)}
        if self._extensions:
            arguments["extensions"] = list(self._extensions)
        return arguments

    def _keyword(self, name: str, value: Any) -> Self:
        self._keywords[name] = value
        return self
