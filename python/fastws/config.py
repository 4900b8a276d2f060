"""What can be set on a client, checked when it is set."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Literal, Self

from . import _checks
from ._keywords import closest, explains_unknown_keywords
from .connect import connect
from .errors import ConfigError
from .rate import ConnectLimiter
from .retry import FINAL_CLOSE_CODES, STABLE_AFTER, ExponentialBackoff, RetryStrategy, Seconds

__all__ = ["ClientConfig"]

ErrorPolicy = Literal["ignore", "disconnect", "fatal"]
UnsentPolicy = Literal["fail", "keep", "drop"]


def _has_not(name: str, known: Iterable[str]) -> str:
    """A setting that there is not."""
    if name in _OF_A_CLIENT:
        where = f"it is given to the client itself: WebSocketClient(uri, {name}=..., config=...)"
    elif name == "max_queue":
        where = "the queue's bound is queue_messages="
    elif name in connect_keywords():
        where = f'it is one of fastws.connect: ws_config={{"{name}": ...}}'
    else:
        where = closest(name, known, "see help(fastws.ClientConfig) for those there are")
    return f"ClientConfig() has no setting {name!r}: {where}"


@dataclass(frozen=True, slots=True, kw_only=True, init=False)
class ClientConfig:
    """The settings of a ``WebSocketClient``. All are keyword arguments, and attributes of the same name.

    Durations are seconds (``float``) or ``timedelta`` when given, and seconds when read.

    Args:
        receive_timeout: Silence (not a byte) after which a session ends. 20; None for no limit.
        ping_interval: Between keepalive pings. ``"auto"``: a third of ``receive_timeout``, so that a quiet connection
            that is healthy is never silent, or 20 without one. None for no pings.
        ping_timeout: That the answer to a ping may take. ``"auto"``: as long as ``receive_timeout``, or 20 without one.
            A silence as long as ``receive_timeout`` is told as that, though a ping found it.
            None for no limit.
        data_timeout: The same as ``receive_timeout`` for messages; pongs do not count. None: no limit.
        open_timeout: For DNS, TCP, TLS and upgrade together. 30; None for no limit. Alias: ``connect_timeout``.
        close_timeout: That the closing handshake may take. 10.
        handshake_timeout: For all handshakers together. None: their own limits.
        handshake_retry_delay: That a client waits at least after the application's handshake failed. 5.
        restore_timeout: That a new session waits for subscriptions to be sent and confirmed before it is Ready without.
            2.
        extension_timeout: That one hook of an extension may take. 5; None for no limit.
        shutdown_timeout: That ``shutdown()`` may take, unless it is told. 10.
        stable_after: That a session must be Ready to count as stable: then attempts are counted anew. 10.
        max_connection_age: After which a connection is replaced by a new one, which overlaps it; or later, when streams
            that are far behind have been read. None: never.
        rotation_overlap: That both connections may be open while a message is awaited that comes on both. 5.
        exit_on_first_failure: Give up if the first connection fails, for any cause. False.
        final_close_codes: Close codes after which a client does not come again. ``fastws.FINAL_CLOSE_CODES``; to add
            to them, ``{*FINAL_CLOSE_CODES, 4401}``.
        default_retry: The retry strategy where the client is given none. ``ExponentialBackoff.standard()``.
        connect_limit: Limits the dials of all clients that share it. None: the one of the event loop,
            ``fastws.rate.default_connect_limiter()``.
        receive: Whether messages are received at all; a client that only sends says False. True.
        queue_messages: Messages that wait for the slowest stream before reading pauses. 4096. Alias:
            ``channel_buffer_size``.
        queue_bytes: The same in bytes. 1 MiB.
        send_queue_capacity: Messages that wait to be sent. 256.
        on_disconnect_send: What becomes of messages that a session did not send, and of those sent while there is none.
            ``"fail"``: an error says so. ``"keep"``: the next session sends them, but none of which the peer may have
            something. ``"drop"``: they are forgotten. ``"fail"``.
        keep_limit: Messages kept at most with ``"keep"``, beside those that a connection had accepted and can be sent
            again. Of what expires or fails meanwhile, so many, the last ones, are told of. 1024.
        processor_error_policy: What an extension's error does. ``"ignore"``: the message goes on without it, and the
            error is logged. ``"disconnect"``: the session ends. ``"fatal"``: the client ends. ``"ignore"``.
        nodelay: Set TCP_NODELAY. True.
        ws_config: Further keywords of ``fastws.connect`` for each connection, such as ``{"max_size": None}``.

    Raises:
        ConfigError: A setting is wrong. The message names it, its value and what is allowed, and so does ``field``.
        TypeError: A setting and its alias are both given, or there is no such setting.

    Otherwise than in stream-tungstenite: ``nodelay`` is True in all presets; ``queue_messages`` is 4096 in all presets,
    as nothing is lost when that is reached (there 256, 512 and 128 messages, and then loss); pings are sent;
    ``receive_timeout`` may be None; ``processor_error_policy`` has ``"fatal"``; presets also choose the retry strategy.
    """

    receive_timeout: float | None
    ping_interval: float | None
    ping_timeout: float | None
    data_timeout: float | None
    open_timeout: float | None
    close_timeout: float
    handshake_timeout: float | None
    handshake_retry_delay: float
    restore_timeout: float
    extension_timeout: float | None
    shutdown_timeout: float
    stable_after: float
    max_connection_age: float | None
    rotation_overlap: float
    exit_on_first_failure: bool
    final_close_codes: frozenset[int]
    default_retry: RetryStrategy
    connect_limit: ConnectLimiter | None
    receive: bool
    queue_messages: int
    queue_bytes: int
    send_queue_capacity: int
    on_disconnect_send: UnsentPolicy
    keep_limit: int
    processor_error_policy: ErrorPolicy
    nodelay: bool
    ws_config: Mapping[str, Any] = field(hash=False)
    _auto: frozenset[str] = field(repr=False, compare=False)

    @explains_unknown_keywords(_has_not)
    def __init__(
        self,
        *,
        receive_timeout: Seconds | None = 20.0,
        ping_interval: Seconds | Literal["auto"] | None = "auto",
        ping_timeout: Seconds | Literal["auto"] | None = "auto",
        data_timeout: Seconds | None = None,
        open_timeout: Seconds | None = ...,  # type: ignore[assignment]
        connect_timeout: Seconds | None = ...,  # type: ignore[assignment]
        close_timeout: Seconds = 10.0,
        handshake_timeout: Seconds | None = None,
        handshake_retry_delay: Seconds = 5.0,
        restore_timeout: Seconds = 2.0,
        extension_timeout: Seconds | None = 5.0,
        shutdown_timeout: Seconds = 10.0,
        stable_after: Seconds = STABLE_AFTER,
        max_connection_age: Seconds | None = None,
        rotation_overlap: Seconds = 5.0,
        exit_on_first_failure: bool = False,
        final_close_codes: Iterable[int] = tuple(FINAL_CLOSE_CODES),
        default_retry: RetryStrategy = ExponentialBackoff.standard(),  # noqa: B008 - immutable
        connect_limit: ConnectLimiter | None = None,
        receive: bool = True,
        queue_messages: int = ...,  # type: ignore[assignment]
        channel_buffer_size: int = ...,  # type: ignore[assignment]
        queue_bytes: int = 2**20,
        send_queue_capacity: int = 256,
        on_disconnect_send: UnsentPolicy = "fail",
        keep_limit: int = 1024,
        processor_error_policy: ErrorPolicy = "ignore",
        nodelay: bool = True,
        ws_config: Mapping[str, Any] | None = None,
    ) -> None:
        checked: dict[str, Any] = {
            "receive_timeout": _checks.optional_duration("receive_timeout", receive_timeout, "no limit"),
            "data_timeout": _checks.optional_duration("data_timeout", data_timeout, "no limit"),
            "open_timeout": _checks.optional_duration(
                *_either("open_timeout", open_timeout, "connect_timeout", connect_timeout, 30.0), "no limit"
            ),
            "close_timeout": _checks.duration("close_timeout", close_timeout),
            "handshake_timeout": _checks.optional_duration("handshake_timeout", handshake_timeout, "no limit"),
            "handshake_retry_delay": _checks.duration("handshake_retry_delay", handshake_retry_delay, zero=True),
            "restore_timeout": _checks.duration("restore_timeout", restore_timeout, zero=True),
            "extension_timeout": _checks.optional_duration("extension_timeout", extension_timeout, "no limit"),
            "shutdown_timeout": _checks.duration("shutdown_timeout", shutdown_timeout),
            "stable_after": _checks.duration("stable_after", stable_after, zero=True),
            "max_connection_age": _checks.optional_duration("max_connection_age", max_connection_age, "never"),
            "rotation_overlap": _checks.duration("rotation_overlap", rotation_overlap),
            "exit_on_first_failure": _checks.switch("exit_on_first_failure", exit_on_first_failure),
            "final_close_codes": _checks.codes("final_close_codes", final_close_codes),
            "default_retry": strategy("default_retry", default_retry),
            "connect_limit": _limiter(connect_limit),
            "receive": _checks.switch("receive", receive),
            "queue_messages": _checks.count(
                *_either("queue_messages", queue_messages, "channel_buffer_size", channel_buffer_size, 4096), "messages"
            ),
            "queue_bytes": _checks.count("queue_bytes", queue_bytes, "bytes"),
            "send_queue_capacity": _checks.count("send_queue_capacity", send_queue_capacity, "messages"),
            "on_disconnect_send": _checks.choice("on_disconnect_send", on_disconnect_send, ("fail", "keep", "drop")),
            "keep_limit": _checks.count("keep_limit", keep_limit, "messages"),
            "processor_error_policy": _checks.choice(
                "processor_error_policy", processor_error_policy, ("ignore", "disconnect", "fatal")
            ),
            "nodelay": _checks.switch("nodelay", nodelay),
            "ws_config": _ws_config(ws_config),
        }
        quiet = checked["receive_timeout"]
        checked["ping_interval"] = _ping("ping_interval", ping_interval, 20.0 if quiet is None else quiet / 3)
        checked["ping_timeout"] = _ping("ping_timeout", ping_timeout, 20.0 if quiet is None else quiet)
        self._check_together(checked)
        pings = {"ping_interval": ping_interval, "ping_timeout": ping_timeout}
        checked["_auto"] = frozenset(name for name, given in pings.items() if given == "auto")
        for name, value in checked.items():
            object.__setattr__(self, name, value)

    @staticmethod
    def _check_together(checked: Mapping[str, Any]) -> None:
        ping, quiet = checked["ping_interval"], checked["receive_timeout"]
        if ping is not None and quiet is not None and ping >= quiet:
            raise ConfigError(
                f"ping_interval={ping:g} is not shorter than receive_timeout={quiet:g}: a healthy connection without "
                "messages would be cut before it is asked; leave out ping_interval, which is a third of it then",
                field="ping_interval",
            )
        if checked["data_timeout"] is not None and not checked["receive"]:
            raise ConfigError(
                f"data_timeout={checked['data_timeout']:g} and receive=False contradict each other: a client that "
                "receives nothing cannot miss anything",
                field="data_timeout",
            )

    @classmethod
    def fast_reconnect(cls) -> Self:
        """Notices and returns fast: 10 s of silence, 10 s to open, 500 ms after a handshake, 512 messages to send.

        The retry strategy, where none is given, is ``ExponentialBackoff.fast()``.
        """
        return cls(
            receive_timeout=10.0,
            open_timeout=10.0,
            handshake_retry_delay=0.5,
            send_queue_capacity=512,
            default_retry=ExponentialBackoff.fast(),
        )

    @classmethod
    def stable_connection(cls) -> Self:
        """Patient: 60 s of silence, 60 s to open, 2 s after a handshake, 128 messages to send.

        The retry strategy, where none is given, is ``ExponentialBackoff.conservative()``.
        """
        return cls(
            receive_timeout=60.0,
            open_timeout=60.0,
            handshake_retry_delay=2.0,
            send_queue_capacity=128,
            default_retry=ExponentialBackoff.conservative(),
        )

    def replace(self, **changes: Any) -> Self:
        """The same with other settings, all checked again; what is ``"auto"`` follows. Raises as the constructor."""
        given = {name: getattr(self, name) for name in SETTINGS}
        given |= dict.fromkeys(self._auto, "auto")
        for alias, name in ALIASES.items():
            if alias in changes:
                del given[name]
                if name in changes:
                    raise _both(name, alias)
        return type(self)(**(given | changes))

    @property
    def connect_timeout(self) -> float | None:
        """``open_timeout``."""
        return self.open_timeout

    @property
    def channel_buffer_size(self) -> int:
        """``queue_messages``."""
        return self.queue_messages

    def with_receive_timeout(self, receive_timeout: Seconds | None) -> Self:
        """The same with another ``receive_timeout``."""
        return self.replace(receive_timeout=receive_timeout)

    def with_exit_on_first_failure(self, exit_on_first_failure: bool = True) -> Self:
        """The same with ``exit_on_first_failure``."""
        return self.replace(exit_on_first_failure=exit_on_first_failure)

    def with_connect_timeout(self, connect_timeout: Seconds | None) -> Self:
        """The same with another ``open_timeout``."""
        return self.replace(open_timeout=connect_timeout)

    def with_handshake_retry_delay(self, handshake_retry_delay: Seconds) -> Self:
        """The same with another ``handshake_retry_delay``."""
        return self.replace(handshake_retry_delay=handshake_retry_delay)

    def with_ws_config(self, ws_config: Mapping[str, Any] | None) -> Self:
        """The same with another ``ws_config``."""
        return self.replace(ws_config=ws_config)

    def with_nodelay(self, nodelay: bool = True) -> Self:
        """The same with another ``nodelay``."""
        return self.replace(nodelay=nodelay)

    def with_channel_buffer(self, channel_buffer_size: int) -> Self:
        """The same with another ``queue_messages``."""
        return self.replace(queue_messages=channel_buffer_size)

    def with_send_queue_capacity(self, send_queue_capacity: int) -> Self:
        """The same with another ``send_queue_capacity``."""
        return self.replace(send_queue_capacity=send_queue_capacity)

    def with_processor_error_policy(self, processor_error_policy: ErrorPolicy) -> Self:
        """The same with another ``processor_error_policy``."""
        return self.replace(processor_error_policy=processor_error_policy)

    def __reduce__(self) -> tuple[Any, ...]:
        # A read-only mapping cannot be pickled.
        given = {name: getattr(self, name) for name in SETTINGS} | dict.fromkeys(self._auto, "auto")
        return _restored, (type(self), given | {"ws_config": dict(self.ws_config)})


def strategy(name: str, value: Any) -> RetryStrategy:
    """A retry strategy, checked to be one."""
    if isinstance(value, type) or not isinstance(value, RetryStrategy):
        raise _checks.wrong(name, value, "a RetryStrategy such as ExponentialBackoff.fast(): next_delay() and reset()")
    return value


def _limiter(value: Any) -> ConnectLimiter | None:
    if value is not None and not isinstance(value, ConnectLimiter):
        raise _checks.wrong("connect_limit", value, "a ConnectLimiter, or None for that of the event loop")
    return value


def _ping(name: str, value: Any, automatic: float) -> float | None:
    if isinstance(value, str) and value == "auto":
        return automatic
    return _checks.optional_duration(name, value, 'none; "auto" is the default')


def _either(name: str, value: Any, alias: str, other: Any, default: Any) -> tuple[str, Any]:
    """The one that was given of a setting and its alias, by its name."""
    if value is not ... and other is not ...:
        raise _both(name, alias)
    if other is not ...:
        return alias, other
    return name, default if value is ... else value


def _both(name: str, alias: str) -> TypeError:
    return TypeError(f"{name} and {alias} are two names of one setting; give one of them")


def _ws_config(given: Any) -> Mapping[str, Any]:
    """Keywords of ``connect()``, checked as it does."""
    if given is None:
        return _NOTHING
    if not isinstance(given, Mapping) or not all(isinstance(name, str) for name in given):
        raise _checks.wrong("ws_config", given, "a mapping of keywords of fastws.connect to their values")
    for name in given:
        if name in _ELSEWHERE:
            raise ConfigError(f"ws_config: {name!r} is set elsewhere: {_ELSEWHERE[name]}", field="ws_config")
        if name not in connect_keywords():
            known = ", ".join(sorted(connect_keywords()))
            raise ConfigError(f"ws_config: fastws.connect takes no {name!r}; there are {known}", field="ws_config")
    keywords = dict(given)
    if isinstance(keywords.get("sockopts"), Iterator):
        keywords["sockopts"] = tuple(keywords["sockopts"])  # for more than one connection
    try:
        _ = connect("ws://localhost", **{"proxy": True, **keywords})  # the client's own proxy is not known here
    except (TypeError, ValueError) as error:
        raise ConfigError(f"ws_config: {error}", field="ws_config") from error
    return MappingProxyType(keywords)


@functools.cache
def connect_keywords() -> frozenset[str]:
    """The keywords of ``fastws.connect`` that ``ws_config`` may have."""
    parameters = inspect.signature(connect).parameters.values()
    names = {each.name for each in parameters if each.kind is each.KEYWORD_ONLY and not each.name.startswith("_")}
    return frozenset(names - set(_ELSEWHERE))


def _restored(kind: type[ClientConfig], given: dict[str, Any]) -> ClientConfig:
    return kind(**given)


_ELSEWHERE = {
    "additional_headers": "headers= of the client",
    "subprotocols": "subprotocols= of the client",
    "tls": "tls= of the client",
    "proxy": "proxy= of the client",
    "server_hostname": "TlsConfig(server_hostname=...)",
    "listener": "a client's messages come from client.stream(), or go through its extensions",
    "sock": "a socket is connected once only; a connector= can make one for each attempt",
    "max_queue": "ClientConfig(queue_messages=...)",
    "max_queue_bytes": "ClientConfig(queue_bytes=...)",
    "max_send_queue": "ClientConfig(send_queue_capacity=...)",
} | {
    name: f"ClientConfig({name}=...)"
    for name in ("open_timeout", "ping_interval", "ping_timeout", "close_timeout", "nodelay")
}

_NOTHING: Mapping[str, Any] = MappingProxyType({})

_OF_A_CLIENT = frozenset(
    {"retry", "handshake", "extensions", "subscriptions", "tls", "headers", "subprotocols", "proxy", "connector"}
    | {"rate_limit", "connect_limiter", "tap", "message_key", "metadata", "redact"}
)

SETTINGS = tuple(name for name in ClientConfig.__slots__ if name != "_auto")
"""The names of all settings."""

ALIASES = {"connect_timeout": "open_timeout", "channel_buffer_size": "queue_messages"}
"""The model's names of some."""
