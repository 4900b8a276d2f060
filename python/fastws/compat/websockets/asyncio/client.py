"""``connect``, as ``websockets`` has it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Generator, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal

from fastws._openssl import stream_of
from fastws.compat.websockets import _errors
from fastws.compat.websockets._dialling import Way
from fastws.compat.websockets._facade import Facade, MaxQueue, MaxSize, WriteLimit
from fastws.compat.websockets._redirects import MAX_REDIRECTS, is_redirect, redirected, without_credentials
from fastws.compat.websockets._shared import negotiate
from fastws.compat.websockets.client import Waits, backoff, process_exception
from fastws.compat.websockets.datastructures import HeadersLike
from fastws.compat.websockets.exceptions import SecurityError
from fastws.compat.websockets.extensions._native import is_native, native_deflate
from fastws.compat.websockets.extensions.permessage_deflate import enable_client_permessage_deflate
from fastws.compat.websockets.headers import validate_subprotocols
from fastws.compat.websockets.http11 import USER_AGENT
from fastws.compat.websockets.typing import LoggerLike, Origin, PathLike, Subprotocol
from fastws.compat.websockets.uri import WebSocketURI, parse_uri
from fastws.errors import FastwsError

from .connection import Connection

if TYPE_CHECKING:
    from fastws._opening import Upgrade
    from fastws.compat.websockets.extensions.base import ClientExtensionFactory

__all__ = ["ClientConnection", "connect", "unix_connect"]


class ClientConnection(Connection):
    """A client's connection, made by ``connect``."""


class connect:  # noqa: N801 - a function to its users, as in websockets
    """Opens a WebSocket connection: ``async with connect(uri) as ws``, or ``ws = await connect(uri)``.

    ``async for ws in connect(uri)`` opens another whenever the last one is done, or could not be opened: errors that
    ``process_exception`` takes for passing are waited out, with growing delays.

    Args:
        uri: ``ws://`` or ``wss://`` URI. Userinfo becomes an ``Authorization: Basic`` header.
        origin: ``Origin`` header.
        extensions: Extensions to offer, in order of preference.
        subprotocols: Subprotocols to offer, in order of preference.
        compression: ``"deflate"`` offers permessage-deflate (RFC 7692); None does not.
        additional_headers: More headers for the upgrade.
        user_agent_header: ``User-Agent`` header; None leaves it out.
        proxy: True goes through the proxy that the environment names, if any; a URL through that one; None through
            none.
        process_exception: What decides, for ``async for``, whether to connect again after an exception: it returns None
            for yes, and else the exception to raise.
        open_timeout: Seconds for DNS, proxy, TCP, TLS, upgrade and redirects together; None for no limit.
        ping_interval: Seconds between keepalive pings; None for none.
        ping_timeout: Seconds that an answer may take (any byte received counts); None for no limit.
        close_timeout: Seconds that the closing handshake may take; None for no limit.
        reconnect_delays: Makes the delays, in seconds, between attempts of ``async for``.
        max_size: Largest message accepted, in bytes, or a pair (message, fragment); None for no limit. A larger one
            closes the connection with 1009.
        max_queue: Messages after which reading pauses until the consumer has caught up to a quarter of them, or a pair
            (high, low); None for no limit.
        write_limit: Bytes that wait to be sent above which ``await send()`` waits, or a pair (high, low).
        logger: For what is logged; ``websockets.client`` by default.
        create_connection: Makes the connection instead of ``ClientConnection``: a subclass, or what takes its
            arguments and returns one.
        kwargs: Those of ``asyncio``'s ``loop.create_connection``: ``ssl``, ``server_hostname``, ``host``, ``port``,
            ``sock``, ``local_addr``, ``family``, ``happy_eyeballs_delay``, ``interleave`` and so on; with ``proxy_``
            before them, those of TLS to an ``https://`` proxy.

    Raises:
        InvalidURI: The URI is no WebSocket URI.
        InvalidProxy: The proxy's URL cannot be used.
        OSError: The TCP or TLS connection failed.
        InvalidHandshake: The opening handshake failed.
        TimeoutError: Not open within ``open_timeout``.
    """

    def __init__(
        self,
        uri: str,
        *,
        origin: Origin | None = None,
        extensions: Sequence[ClientExtensionFactory] | None = None,
        subprotocols: Sequence[Subprotocol] | None = None,
        compression: str | None = "deflate",
        additional_headers: HeadersLike | None = None,
        user_agent_header: str | None = USER_AGENT,
        proxy: str | Literal[True] | None = True,
        process_exception: Callable[[Exception], Exception | None] = process_exception,
        open_timeout: float | None = 10,
        ping_interval: float | None = 20,
        ping_timeout: float | None = 20,
        close_timeout: float | None = 10,
        reconnect_delays: Callable[[], Generator[float, None, None]] = backoff,
        max_size: MaxSize = 2**20,
        max_queue: MaxQueue = 16,
        write_limit: WriteLimit = 2**15,
        logger: LoggerLike | None = None,
        create_connection: Callable[..., ClientConnection] | None = None,
        **kwargs: Any,
    ) -> None:
        self.uri = uri
        self.ws_uri = parse_uri(uri)
        if not self.ws_uri.secure and kwargs.get("ssl") is not None:
            raise ValueError("ssl argument is incompatible with a ws:// URI")
        if subprotocols is not None:
            validate_subprotocols(subprotocols)
        if compression not in ("deflate", None):
            raise ValueError(f"unsupported compression: {compression}")
        if compression == "deflate":
            extensions = enable_client_permessage_deflate(extensions)
        self._offer = native_deflate(extensions) if is_native(extensions) else None
        self.additional_headers = additional_headers
        self.user_agent_header = user_agent_header
        self.proxy = proxy
        self.process_exception = process_exception
        self.open_timeout = open_timeout
        self.reconnect_delays = reconnect_delays
        self.logger: LoggerLike = logging.getLogger("websockets.client") if logger is None else logger
        self.create_connection_kwargs = kwargs
        self._origin = origin
        self._extensions = extensions
        self._subprotocols = subprotocols
        self._max_size = max_size
        self._limits: dict[str, Any] = {
            "ping_interval": ping_interval,
            "ping_timeout": ping_timeout,
            "close_timeout": close_timeout,
            "max_queue": max_queue,
            "write_limit": write_limit,
        }
        self._create_connection = ClientConnection if create_connection is None else create_connection
        self.connection: ClientConnection

    @property
    def _max_redirects(self) -> int:
        return MAX_REDIRECTS

    def factory(self, terms: Facade) -> ClientConnection:
        """A connection that is not open yet, with these terms."""
        made = self._create_connection(terms, **self._limits)
        if not isinstance(made, Connection):
            raise TypeError(
                f"create_connection made {made!r}, which is no ClientConnection of {Connection.__module__}: "
                "derive from that one"
            )
        return made

    async def _open_at(self, uri: str, ws_uri: WebSocketURI) -> ClientConnection:
        """One attempt, which follows no redirect."""
        way = Way.of(ws_uri, self.proxy, self.create_connection_kwargs)
        terms = Facade(
            ws_uri,
            origin=self._origin,
            extensions=self._extensions,
            subprotocols=self._subprotocols,
            max_size=self._max_size,
            logger=self.logger,
            compression=self._offer,
        )

        def make(_loop: asyncio.AbstractEventLoop, upgrade: Upgrade) -> ClientConnection:
            made = self.factory(terms)
            tls = stream_of(upgrade.tls)
            if tls is not None:
                made._tls = tls.ssl_object, tls.ssl_context
            return made

        opening = way.opening(
            uri,
            terms,
            make=make,
            headers=self.additional_headers,
            user_agent=self.user_agent_header,
            limits=terms.arguments(**self._limits),
        )
        connection: Any = await opening
        if not terms.is_native:
            negotiate(connection)
        opened: ClientConnection = connection
        opened._tell_subclass()
        return opened

    def process_redirect(self, exc: Exception) -> Exception | str:
        """The URI that a refusal redirects to, if it is one that is followed; else the exception to raise."""
        if not is_redirect(exc):
            return exc
        kwargs = self.create_connection_kwargs
        moved = kwargs.get("host") is not None or kwargs.get("port") is not None
        try:
            new_uri = redirected(
                self.uri,
                exc,
                has_sock=kwargs.get("sock") is not None,
                is_unix=kwargs.get("unix", False),
                moved="host or port" if moved else None,
            )
        except Exception as refusal:  # noqa: BLE001 - the caller raises it
            return refusal
        self.additional_headers = without_credentials(self.additional_headers, self.uri, new_uri)
        return new_uri

    async def connect(self) -> ClientConnection:
        """Opens a connection, through redirects."""
        limit = asyncio.timeout(self.open_timeout)
        try:
            async with limit:
                for _ in range(self._max_redirects):
                    try:
                        return await self._attempt()
                    except Exception as exc:
                        exc_or_uri = self.process_redirect(exc)
                        if exc_or_uri is exc:
                            raise
                        if isinstance(exc_or_uri, Exception):
                            raise exc_or_uri from exc
                        self.uri, self.ws_uri = exc_or_uri, parse_uri(exc_or_uri)
                raise SecurityError(f"more than {self._max_redirects} redirects")
        except TimeoutError as exc:
            if not limit.expired():
                raise
            raise TimeoutError("timed out during opening handshake") from exc

    async def _attempt(self) -> ClientConnection:
        try:
            return await self._open_at(self.uri, self.ws_uri)
        except FastwsError as error:
            made = _errors.opening(error, self.uri, asks=self._subprotocols is not None)
            if made is error:
                raise
            raise made from made.__cause__

    def __await__(self) -> Generator[Any, None, ClientConnection]:
        return self.connect().__await__()

    async def __aenter__(self) -> ClientConnection:
        if hasattr(self, "connection"):
            raise RuntimeError("connect() isn't reentrant")
        self.connection = await self
        return await self.connection.__aenter__()

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc_value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            await self.connection.__aexit__(exc_type, exc_value, traceback)
        finally:
            del self.connection

    async def __aiter__(self) -> AsyncIterator[ClientConnection]:
        waits = Waits(self)
        while True:
            try:
                async with self as connection:
                    yield connection
            except Exception as failure:  # noqa: BLE001 - what is final is raised again
                await asyncio.sleep(waits.after(failure))
            else:
                waits.over()


def unix_connect(path: PathLike | None = None, uri: str | None = None, **kwargs: Any) -> connect:
    """Opens a WebSocket connection by a Unix socket.

    Args:
        path: The socket's path, unless ``sock`` is given.
        uri: What is asked for: ``ws://localhost/``, or with ``ssl`` ``wss://localhost/``, by default.
        kwargs: Those of ``connect``.
    """
    if uri is None:
        uri = "ws://localhost/" if kwargs.get("ssl") is None else "wss://localhost/"
    return connect(uri=uri, unix=True, path=path, **kwargs)
