"""Opening connections whose calls block, as ``websockets.sync.client`` does."""

from __future__ import annotations

import logging
import socket as socket_module
import ssl as ssl_module
import time
import warnings
from collections.abc import Callable, Generator, Iterator, Sequence
from types import TracebackType
from typing import Any, Literal, TypedDict, Unpack, overload

from fastws._opening import Upgrade
from fastws._openssl import stream_of
from fastws.compat.websockets import _errors
from fastws.compat.websockets._dialling import Way
from fastws.compat.websockets._facade import Facade, MaxQueue, MaxSize
from fastws.compat.websockets._redirects import MAX_REDIRECTS, is_redirect, redirected, without_credentials
from fastws.compat.websockets._shared import negotiate
from fastws.compat.websockets.client import Waits, backoff, process_exception
from fastws.compat.websockets.datastructures import HeadersLike
from fastws.compat.websockets.exceptions import InvalidStatus, SecurityError
from fastws.compat.websockets.extensions import ClientExtensionFactory
from fastws.compat.websockets.extensions._native import is_native, native_deflate
from fastws.compat.websockets.extensions.permessage_deflate import enable_client_permessage_deflate
from fastws.compat.websockets.headers import validate_subprotocols
from fastws.compat.websockets.http11 import USER_AGENT
from fastws.compat.websockets.proxy import parse_proxy
from fastws.compat.websockets.typing import LoggerLike, Origin, PathLike, Subprotocol
from fastws.compat.websockets.uri import parse_uri
from fastws.errors import FastwsError, OpenTimeout
from fastws.sync._io import open_in_thread

from ._modes import Unentered
from ._policy import WRITE_LIMIT
from .connection import Connection

__all__ = ["ClientConnection", "connect", "reconnect", "unix_connect", "unix_reconnect"]

Factory = Callable[..., "ClientConnection"]


class ClientConnection(Connection):
    """A connection of a client, made by ``connect``: a context manager that closes it, and an iterator of messages.

    Iteration ends when the connection was closed with 1000, 1001 or no code, and raises ConnectionClosedError when it
    ended otherwise.
    """

    __slots__ = ()


class reconnect:  # noqa: N801 - a function to its users, as in websockets
    """Opens connections: one for a ``with`` block, or one after the other for ever in a ``for`` loop.

    ::

        for websocket in reconnect("wss://host/feed"):
            try:
                for message in websocket:
                    ...
            except websockets.exceptions.ConnectionClosed:
                continue

    The connection of a turn of the loop is closed at its end. After a failure that ``process_exception`` says another
    attempt may mend, the loop waits and goes on; other failures leave it.

    Args:
        process_exception: Gets an exception; returns None if another attempt may help, else the exception to raise.
        reconnect_delays: Returns a generator of the seconds before each attempt; a connection that opened begins anew.

    The other arguments, and what is raised, are those of ``connect``.
    """

    def __init__(
        self,
        uri: str,
        *,
        sock: socket_module.socket | None = None,
        ssl: ssl_module.SSLContext | None = None,
        server_hostname: str | None = None,
        origin: Origin | None = None,
        extensions: Sequence[ClientExtensionFactory] | None = None,
        subprotocols: Sequence[Subprotocol] | None = None,
        compression: str | None = "deflate",
        additional_headers: HeadersLike | None = None,
        user_agent_header: str | None = USER_AGENT,
        proxy: str | Literal[True] | None = True,
        proxy_ssl: ssl_module.SSLContext | None = None,
        proxy_server_hostname: str | None = None,
        process_exception: Callable[[Exception], Exception | None] = process_exception,
        open_timeout: float | None = 10,
        ping_interval: float | None = 20,
        ping_timeout: float | None = 20,
        close_timeout: float | None = 10,
        reconnect_delays: Callable[[], Generator[float, None, None]] = backoff,
        max_size: MaxSize = 2**20,
        max_queue: MaxQueue = 16,
        logger: LoggerLike | None = None,
        create_connection: Factory | None = None,
        **kwargs: Any,
    ) -> None:
        if ssl is None and "ssl_context" in kwargs:
            ssl = kwargs.pop("ssl_context")
            warnings.warn("ssl_context was renamed to ssl", DeprecationWarning, stacklevel=2)
        if not parse_uri(uri).secure and ssl is not None:
            raise ValueError("ssl argument is incompatible with a ws:// URI")
        if subprotocols is not None:
            validate_subprotocols(subprotocols)
        if compression == "deflate":
            extensions = enable_client_permessage_deflate(extensions)
        elif compression is not None:
            raise ValueError(f"unsupported compression: {compression}")
        self.uri = uri
        self.sock = sock
        self.ssl = ssl
        self.server_hostname = server_hostname
        self.origin = origin
        self.extensions = extensions
        self.subprotocols = subprotocols
        self.additional_headers = additional_headers
        self.user_agent_header = user_agent_header
        self.proxy = proxy
        self.proxy_ssl = proxy_ssl
        self.proxy_server_hostname = proxy_server_hostname
        self.process_exception = process_exception
        self.open_timeout = open_timeout
        self.reconnect_delays = reconnect_delays
        self.max_size = max_size
        self.logger = logger if logger is not None else logging.getLogger("websockets.client")
        self.create_connection: Factory = create_connection if create_connection is not None else ClientConnection
        self.connection_kwargs: dict[str, Any] = {
            "ping_interval": ping_interval,
            "ping_timeout": ping_timeout,
            "close_timeout": close_timeout,
            "max_queue": max_queue,
        }
        self.unix_path = kwargs.pop("path", None) if kwargs.pop("unix", False) else None
        _check_socket_arguments(kwargs)
        self.open_socket_kwargs = kwargs

    def connect(self) -> ClientConnection:
        """An open connection. What it raises, ``connect`` says."""
        left = self.open_timeout
        deadline = None if left is None else time.monotonic() + left
        for _ in range(MAX_REDIRECTS):
            try:
                return self._open(left)
            except InvalidStatus as error:
                if not is_redirect(error):
                    raise
                self._follow(error)
            left = None if deadline is None else deadline - time.monotonic()
        raise SecurityError(f"more than {MAX_REDIRECTS} redirects")

    def _follow(self, error: InvalidStatus) -> None:
        try:
            uri = redirected(
                self.uri,
                error,
                has_sock=self.sock is not None,
                is_unix=self.unix_path is not None,
                moved="host and port" if self.open_socket_kwargs.get("address") is not None else None,
            )
        except Exception as refusal:
            raise refusal from error
        self.additional_headers = without_credentials(self.additional_headers, self.uri, uri)
        self.uri = uri

    def _open(self, timeout: float | None) -> ClientConnection:
        uri = parse_uri(self.uri)
        terms = Facade(
            uri,
            origin=self.origin,
            extensions=self.extensions,
            subprotocols=self.subprotocols,
            max_size=self.max_size,
            logger=self.logger,
            compression=native_deflate(self.extensions) if is_native(self.extensions) else None,
            blocks=True,
        )
        way = Way.of(uri, self.proxy, self._way(secure=uri.secure))
        planned = way.opening(
            self.uri,
            terms,
            headers=self.additional_headers,
            user_agent=self.user_agent_header,
            limits=terms.arguments(**self.connection_kwargs, write_limit=WRITE_LIMIT),
            open_timeout=None if timeout is None else max(1e-3, timeout),
        )

        def make(upgrade: Upgrade) -> Any:
            connection = self.create_connection(upgrade.sock, terms, **self.connection_kwargs)
            if not isinstance(connection, Connection):
                raise TypeError(
                    f"create_connection returned {type(connection).__module__}.{type(connection).__name__}; a "
                    f"connection of fastws is wanted, made of {ClientConnection.__module__}.ClientConnection"
                )
            if upgrade.tls is not None:
                connection._own.server_hostname = upgrade.server_name or way.proxy_name
                tls = stream_of(upgrade.tls)
                connection._own.tls = None if tls is None else tls.ssl_object
            return connection

        try:
            opened: Any = open_in_thread(
                planned._plan,
                planned._prepared,
                background=True,
                make=make,
                tcp_timeout=self.open_socket_kwargs.get("timeout"),
            )
        except OpenTimeout as error:
            raise _late(way.proxy if error.phase == "proxy" else None) from error
        except FastwsError as error:
            made = _errors.opening(error, self.uri, asks=self.subprotocols is not None, blocks=True)
            raise made from made.__cause__
        connection: ClientConnection = opened
        if not terms.is_native:
            negotiate(connection)
        return connection

    def _way(self, *, secure: bool) -> dict[str, Any]:
        """How the server is reached, by the arguments of asyncio's ``loop.create_connection``."""
        address = self.open_socket_kwargs.get("address")
        source = self.open_socket_kwargs.get("source_address")
        given: dict[str, Any] = {
            "ssl": self.ssl,
            "server_hostname": self.server_hostname if secure else None,
            "sock": self.sock,
            "proxy_ssl": self.proxy_ssl,
            "proxy_server_hostname": self.proxy_server_hostname,
            "local_addr": None if source is None else tuple(source),
            "happy_eyeballs_delay": HAPPY_EYEBALLS_DELAY,
        }
        if self.unix_path is not None:
            given |= {"unix": True, "path": self.unix_path}
        elif self.sock is None and address is not None:
            given["host"], given["port"] = address
        return {name: value for name, value in given.items() if value is not None}

    # with reconnect(...) as websocket: ...

    def __enter__(self) -> ClientConnection:
        if hasattr(self, "connection"):
            raise RuntimeError("connect() isn't reentrant")
        self.connection = self.connect()
        return self.connection.__enter__()

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        try:
            self.connection.__exit__(exc_type, exc, tb)
        finally:
            del self.connection

    # for websocket in reconnect(...): ...

    def __iter__(self) -> Iterator[ClientConnection]:
        waits = Waits(self)
        while True:
            try:
                with self as connection:
                    yield connection
            except Exception as failure:  # noqa: BLE001 - what is final is raised again
                time.sleep(waits.after(failure))
            else:
                waits.over()


class Options(TypedDict, total=False):
    """The keyword arguments of ``connect``."""

    sock: socket_module.socket | None
    ssl: ssl_module.SSLContext | None
    server_hostname: str | None
    origin: Origin | None
    extensions: Sequence[ClientExtensionFactory] | None
    subprotocols: Sequence[Subprotocol] | None
    compression: str | None
    additional_headers: HeadersLike | None
    user_agent_header: str | None
    proxy: str | Literal[True] | None
    proxy_ssl: ssl_module.SSLContext | None
    proxy_server_hostname: str | None
    open_timeout: float | None
    ping_interval: float | None
    ping_timeout: float | None
    close_timeout: float | None
    max_size: MaxSize
    max_queue: MaxQueue
    logger: LoggerLike | None
    create_connection: Factory | None
    address: tuple[str, int]
    source_address: tuple[str, int] | None
    timeout: float | None
    all_errors: bool
    ssl_context: ssl_module.SSLContext | None


@overload
def connect(uri: str, *, legacy: Literal[True] | None = ..., **options: Unpack[Options]) -> ClientConnection: ...


@overload
def connect(uri: str, *, legacy: Literal[False], **options: Unpack[Options]) -> reconnect: ...


def connect(uri: str, *, legacy: bool | None = None, **options: Unpack[Options]) -> ClientConnection | reconnect:
    """Opens a WebSocket connection; ``with`` closes it.

    Args:
        uri: ``ws://`` or ``wss://``.
        sock: A connected socket to use.
        ssl: The TLS to use; by default that of ``fastws.connect``.
        server_hostname: The name in the server's certificate, if it is not the URI's host.
        origin: The ``Origin`` header.
        extensions: What is offered besides ``compression``, in order. Others than permessage-deflate run in Python.
        subprotocols: What is asked for, the preferred first.
        compression: ``"deflate"`` offers permessage-deflate; None does not.
        additional_headers: More headers of the request.
        user_agent_header: The ``User-Agent`` header; None for none.
        proxy: True for the environment's, a URL, or None for none.
        proxy_ssl: The TLS to a proxy with ``https://``.
        proxy_server_hostname: The name in its certificate, if it is not its host.
        open_timeout: Seconds for everything until it is open, redirects included; None for no limit.
        ping_interval: Seconds between keepalive pings; None for none.
        ping_timeout: Seconds that an answer may take; None for no limit.
        close_timeout: Seconds that the closing handshake may take; None for no limit.
        max_size: Bytes of a message, or a pair of that and of a fragment; None for no limit.
        max_queue: Messages and fragments after which reading pauses, or a pair (high, low); None for no limit.
        logger: By default ``websockets.client``.
        legacy: True: the connection may be used without ``with``, and is the caller's to close. False: what is
            returned is a ``reconnect``. None: a connection, but using it without ``with`` is a DeprecationWarning.
        create_connection: Makes the ``ClientConnection``: a subclass, or a function with its arguments.
        address: The host and port to connect to, if they are not the URI's.
        source_address: The host and port to connect from.
        timeout: Seconds that the TCP connection may take.
        all_errors: Without effect: the error names each address.
        ssl_context: The older name of ``ssl``.

    Raises:
        InvalidURI: The URI cannot be used.
        InvalidProxy: The proxy cannot be used.
        OSError: The server, or the proxy, was not reached; ``ssl.SSLError`` if it was the TLS handshake.
        InvalidHandshake: The upgrade failed; InvalidStatus if the server refused it.
        TimeoutError: Not open within ``open_timeout``; it is python-socks' ``ProxyTimeoutError`` if a SOCKS proxy was
            what did not answer.
        ValueError, TypeError: An argument is wrong.
    """
    return _opened(reconnect(uri, **options), legacy)


def _opened(connecter: reconnect, legacy: bool | None) -> ClientConnection | reconnect:
    if legacy is False:
        return connecter
    connection = connecter.connect()
    if not legacy:
        connection._enter(Unentered)
    return connection


def unix_reconnect(path: PathLike | None = None, uri: str | None = None, **options: Any) -> reconnect:
    """As ``reconnect``, by a Unix socket; see ``unix_connect``."""
    has_path, has_sock = path is not None, options.get("sock") is not None
    if has_path == has_sock:
        raise ValueError("path is incompatible with sock" if has_path else "missing path argument")
    is_secure = any(options.get(name) is not None for name in ("ssl", "ssl_context"))
    if uri is None:
        uri = f"{'wss' if is_secure else 'ws'}://localhost/"
    return reconnect(uri, unix=True, path=path, **options)


@overload
def unix_connect(
    path: PathLike | None = ..., uri: str | None = ..., *, legacy: Literal[True] | None = ..., **options: Any
) -> ClientConnection: ...


@overload
def unix_connect(
    path: PathLike | None = ..., uri: str | None = ..., *, legacy: Literal[False], **options: Any
) -> reconnect: ...


def unix_connect(
    path: PathLike | None = None, uri: str | None = None, *, legacy: bool | None = None, **options: Any
) -> ClientConnection | reconnect:
    """Opens a WebSocket connection by a Unix socket.

    Args:
        path: The socket's path.
        uri: What is asked for; ``ws://localhost/``, or ``wss://localhost/`` where ``ssl`` is given.
        legacy: As for ``connect``, as all other arguments.

    Raises:
        ValueError: Neither ``path`` nor ``sock`` is given, or both; and what ``connect`` raises.
    """
    return _opened(unix_reconnect(path, uri, **options), legacy)


def _late(proxy: str | None) -> TimeoutError:
    """What is raised when the time is over; ``proxy`` is the one that was still under way."""
    if proxy is None:
        return TimeoutError("timed out while waiting for handshake response")
    if parse_proxy(proxy).scheme not in ("http", "https"):
        from python_socks import ProxyTimeoutError

        return ProxyTimeoutError("timed out while connecting to SOCKS proxy")
    return TimeoutError("timed out while connecting to HTTP proxy")


def _check_socket_arguments(arguments: dict[str, Any]) -> None:
    """What ``socket.create_connection`` takes. Raises TypeError."""
    for name in arguments:
        if name not in ("address", "source_address", "timeout", "all_errors"):
            raise TypeError(f"connect() got an unexpected keyword argument {name!r}")


HAPPY_EYEBALLS_DELAY = 0.25
"""Seconds that an address has for itself."""
