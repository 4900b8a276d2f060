"""``connect`` as it was before ``websockets`` 14, on the drop-in's connections of today."""

from __future__ import annotations

import asyncio
import random
import traceback
import urllib.parse
import warnings
from collections.abc import AsyncIterator, Callable, Sequence
from types import TracebackType
from typing import Any, Self, cast

from fastws.compat.websockets._facade import Facade
from fastws.compat.websockets._redirects import MAX_REDIRECTS, is_cross_origin
from fastws.compat.websockets.asyncio import client
from fastws.compat.websockets.client import (
    BACKOFF_FACTOR,
    BACKOFF_INITIAL_DELAY,
    BACKOFF_MAX_DELAY,
    BACKOFF_MIN_DELAY,
)
from fastws.compat.websockets.datastructures import Headers, HeadersLike
from fastws.compat.websockets.exceptions import ConnectionClosedOK, InvalidHeader, InvalidStatus, SecurityError
from fastws.compat.websockets.extensions import ClientExtensionFactory, Extension
from fastws.compat.websockets.extensions._native import is_native, native_deflate
from fastws.compat.websockets.extensions.permessage_deflate import enable_client_permessage_deflate
from fastws.compat.websockets.http11 import USER_AGENT
from fastws.compat.websockets.protocol import State
from fastws.compat.websockets.typing import LoggerLike, Origin, PathLike, Subprotocol
from fastws.compat.websockets.uri import WebSocketURI, parse_uri

from .exceptions import InvalidStatusCode

__all__ = ["WebSocketClientProtocol", "connect", "unix_connect"]


class WebSocketClientProtocol(client.ClientConnection):
    """A connection of ``connect``.

    Besides what connections have today: ``open``, ``closed``, ``path``, ``request_headers``, ``response_headers``.

    Args:
        logger: ``websockets.client`` by default.
        origin: The ``Origin`` header.
        extensions: What is offered.
        subprotocols: What is asked for.
        extra_headers: More headers of the request.
        user_agent_header: The ``User-Agent`` header; None for none.
        ping_interval: Seconds between keepalive pings; None for none.
        ping_timeout: Seconds that an answer may take; None for no limit.
        close_timeout: Seconds that the closing handshake may take.
        max_size: Largest message in bytes; None for no limit.
        max_queue: Messages after which reading pauses; None for no limit.
        read_limit: Without effect: what is read goes into the queue.
        write_limit: Bytes that wait to be sent above which ``send`` waits.
        host: The host of the URI.
        port: Its port.
        secure: Whether it is ``wss://``.
        legacy_recv: ``recv`` returns None at the end of the connection.
        loop: Deprecated: it is the one that runs.
        timeout: The older name of ``close_timeout``.
    """

    is_client = True
    side = "client"

    def __new__(
        cls,
        *,
        logger: LoggerLike | None = None,
        origin: Origin | None = None,
        extensions: Sequence[ClientExtensionFactory] | None = None,
        subprotocols: Sequence[Subprotocol] | None = None,
        ping_interval: float | None = 20,
        ping_timeout: float | None = 20,
        close_timeout: float | None = None,
        max_size: int | None = 2**20,
        max_queue: int | None = 2**5,
        write_limit: int = 2**16,
        host: str | None = None,
        port: int | None = None,
        secure: bool | None = None,
        timeout: float | None = None,
        **_: Any,  # what a subclass takes besides
    ) -> Self:
        """Makes the native connection."""
        terms = Facade(
            WebSocketURI(bool(secure), host or "localhost", port or (443 if secure else 80), "/", ""),
            origin=origin,
            extensions=extensions,
            subprotocols=subprotocols,
            max_size=max_size,
            logger=logger,
            compression=native_deflate(extensions) if is_native(extensions) else None,
        )
        self = super().__new__(
            cls,
            terms,
            ping_interval=ping_interval,
            ping_timeout=ping_timeout,
            close_timeout=_close_timeout(close_timeout, timeout),
            max_queue=max_queue,
            write_limit=write_limit,
        )
        self.protocol = terms
        return self

    def __init__(
        self,
        *,
        logger: LoggerLike | None = None,  # noqa: ARG002 - as all that is not used here, it is __new__'s
        origin: Origin | None = None,
        extensions: Sequence[ClientExtensionFactory] | None = None,
        subprotocols: Sequence[Subprotocol] | None = None,
        extra_headers: HeadersLike | None = None,
        user_agent_header: str | None = USER_AGENT,
        ping_interval: float | None = 20,
        ping_timeout: float | None = 20,
        close_timeout: float | None = None,
        max_size: int | None = 2**20,
        max_queue: int | None = 2**5,
        read_limit: int = 2**16,
        write_limit: int = 2**16,
        host: str | None = None,
        port: int | None = None,
        secure: bool | None = None,
        legacy_recv: bool = False,
        loop: asyncio.AbstractEventLoop | None = None,
        timeout: float | None = None,
    ) -> None:
        if legacy_recv:
            warnings.warn("legacy_recv is deprecated", DeprecationWarning, stacklevel=2)
        if timeout is not None:
            warnings.warn("rename timeout to close_timeout", DeprecationWarning, stacklevel=2)
        if loop is not None:
            warnings.warn("remove loop argument", DeprecationWarning, stacklevel=2)
        super().__init__(
            self.protocol,
            ping_interval=ping_interval,
            ping_timeout=ping_timeout,
            close_timeout=_close_timeout(close_timeout, timeout),
            max_queue=max_queue,
            write_limit=write_limit,
        )
        self.origin = origin
        self.available_extensions = extensions
        self.available_subprotocols = subprotocols
        self.extra_headers = extra_headers
        self.user_agent_header = user_agent_header
        self.max_size = max_size
        self.max_queue = max_queue
        self.read_limit = read_limit
        self.write_limit = write_limit
        self.legacy_recv = legacy_recv
        self._host, self._port, self._secure = host, port, secure
        if legacy_recv:
            self.recv = self._recv_or_none  # type: ignore[method-assign]

    async def _recv_or_none(self, decode: bool | None = None) -> Any:
        try:
            return await super().recv(decode)
        except ConnectionClosedOK:
            return None

    @property
    def open(self) -> bool:
        """Whether messages may be sent."""
        return self.state is State.OPEN

    @property
    def closed(self) -> bool:
        """Whether it is closed. While it is being opened or closed it is neither ``open`` nor ``closed``."""
        return self.state is State.CLOSED

    @property
    def path(self) -> str:
        """What was asked for: path and query."""
        request = self.request
        assert request is not None
        return request.path

    @property
    def request_headers(self) -> Headers:
        """The headers of the upgrade request."""
        request = self.request
        assert request is not None
        return request.headers

    @property
    def response_headers(self) -> Headers:
        """The headers of the server's answer."""
        response = self.response
        assert response is not None, "the server has not answered yet"
        return response.headers

    @property
    def extensions(self) -> list[Extension]:
        """The extensions agreed on."""
        return self.protocol.extensions

    @property
    def host(self) -> str | None:
        """The host of the URI. Deprecated: use ``remote_address[0]``."""
        warnings.warn("use remote_address[0] instead of host", DeprecationWarning, stacklevel=2)
        return self._host

    @property
    def port(self) -> int | None:
        """The port of the URI. Deprecated: use ``remote_address[1]``."""
        warnings.warn("use remote_address[1] instead of port", DeprecationWarning, stacklevel=2)
        return self._port

    @property
    def secure(self) -> bool | None:
        """Whether the URI is ``wss://``. Deprecated."""
        warnings.warn("don't use secure", DeprecationWarning, stacklevel=2)
        return self._secure

    async def ensure_open(self) -> None:
        """Raises ConnectionClosed unless messages may be sent."""
        if self.state is not State.OPEN:
            await self.wait_closed()
            raise self.protocol.close_exc


class Connect(client.connect):
    """Opens a WebSocket connection: awaitable, ``async with``, and ``async for`` to connect again and again.

    Args:
        uri: ``ws://`` or ``wss://``.
        create_protocol: Makes the connection instead of ``WebSocketClientProtocol``: a subclass, or a function with its
            arguments.
        extra_headers: More headers of the request; ``additional_headers`` is its name of today.
        close_timeout: Seconds that the closing handshake may take; 10.
        read_limit: Without effect.
        kwargs: ``timeout`` (``close_timeout``), ``klass`` (``create_protocol``) and ``loop``, which are deprecated,
            and those of asyncio's ``loop.create_connection``.

    The others are those of the ``connect`` of today; proxies are not used.

    Raises:
        InvalidStatusCode: The server refused the upgrade; and what the ``connect`` of today raises.
    """

    MAX_REDIRECTS_ALLOWED = MAX_REDIRECTS
    BACKOFF_INITIAL = BACKOFF_INITIAL_DELAY
    BACKOFF_MIN = BACKOFF_MIN_DELAY
    BACKOFF_MAX = BACKOFF_MAX_DELAY
    BACKOFF_FACTOR = BACKOFF_FACTOR

    def __init__(
        self,
        uri: str,
        *,
        create_protocol: Callable[..., WebSocketClientProtocol] | None = None,
        logger: LoggerLike | None = None,
        compression: str | None = "deflate",
        origin: Origin | None = None,
        extensions: Sequence[ClientExtensionFactory] | None = None,
        subprotocols: Sequence[Subprotocol] | None = None,
        extra_headers: HeadersLike | None = None,
        additional_headers: HeadersLike | None = None,
        user_agent_header: str | None = USER_AGENT,
        open_timeout: float | None = 10,
        ping_interval: float | None = 20,
        ping_timeout: float | None = 20,
        close_timeout: float | None = None,
        max_size: int | None = 2**20,
        max_queue: int | None = 2**5,
        read_limit: int = 2**16,
        write_limit: int = 2**16,
        **kwargs: Any,
    ) -> None:
        timeout = kwargs.pop("timeout", None)
        if timeout is not None:
            warnings.warn("rename timeout to close_timeout", DeprecationWarning, stacklevel=2)
        klass = kwargs.pop("klass", None)
        if klass is not None:
            warnings.warn("rename klass to create_protocol", DeprecationWarning, stacklevel=2)
        if kwargs.pop("loop", None) is not None:
            warnings.warn("remove loop argument", DeprecationWarning, stacklevel=2)
        self._overrides = ["host", "port"]
        secure = parse_uri(uri).secure
        if not secure and kwargs.get("ssl") is not None:
            raise ValueError("connect() received a ssl argument for a ws:// URI, use a wss:// URI to enable TLS")
        if secure and kwargs.get("host") is not None and "server_hostname" not in kwargs:
            # As asyncio has it: the certificate is for whom we connect to.
            kwargs["server_hostname"] = kwargs["host"]
            self._overrides.append("server_hostname")
        if compression == "deflate":
            extensions = enable_client_permessage_deflate(extensions)
        headers = extra_headers if extra_headers is not None else additional_headers
        limits: dict[str, Any] = {
            "ping_interval": ping_interval,
            "ping_timeout": ping_timeout,
            "close_timeout": _close_timeout(close_timeout, timeout),
            "max_queue": max_queue,
            "write_limit": write_limit,
        }
        self._create_protocol = create_protocol or klass or WebSocketClientProtocol
        self._protocol_kwargs: dict[str, Any] = {
            "logger": logger,
            "origin": origin,
            "extensions": extensions,
            "subprotocols": subprotocols,
            "extra_headers": headers,
            "user_agent_header": user_agent_header,
            "max_size": max_size,
            "read_limit": read_limit,
            "legacy_recv": kwargs.pop("legacy_recv", False),
            **limits,
        }
        super().__init__(
            uri,
            origin=origin,
            extensions=extensions,
            subprotocols=subprotocols,
            compression=compression,
            additional_headers=headers,
            user_agent_header=user_agent_header,
            proxy=None,
            open_timeout=open_timeout,
            max_size=max_size,
            logger=logger,
            **limits,
            **kwargs,
        )

    def factory(self, terms: Facade) -> WebSocketClientProtocol:
        """A connection that is not open yet. It makes terms of its own, as whoever calls its class does."""
        uri = terms.uri
        made = self._create_protocol(host=uri.host, port=uri.port, secure=uri.secure, **self._protocol_kwargs)
        if not isinstance(made, WebSocketClientProtocol):
            raise TypeError(
                f"create_protocol made {made!r}, which is no WebSocketClientProtocol of {__name__}: "
                "derive from that one"
            )
        return made

    @property
    def _max_redirects(self) -> int:
        return self.MAX_REDIRECTS_ALLOWED

    async def connect(self) -> client.ClientConnection:
        """Opens a connection, through redirects; ``protocol`` is the last one."""
        self.protocol = await super().connect()
        return self.protocol

    async def __aenter__(self) -> client.ClientConnection:
        return await self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc_value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.protocol.close()

    def process_redirect(self, exc: Exception) -> Exception | str:
        """The URI that a refusal redirects to; else the exception to raise."""
        if not isinstance(exc, InvalidStatus):
            return exc
        answer = exc.response
        if answer.status_code not in (301, 302, 303, 307, 308):
            return InvalidStatusCode(answer.status_code, answer.headers)
        if "Location" not in answer.headers:
            return InvalidHeader("Location")
        new_uri = urllib.parse.urljoin(self.uri, answer.headers["Location"])
        if self.ws_uri.secure and not parse_uri(new_uri).secure:
            return SecurityError("redirect from WSS to WS")
        if is_cross_origin(self.uri, new_uri):
            # They are of the origin that is left.
            for name in self._overrides:
                self.create_connection_kwargs.pop(name, None)
        return super().process_redirect(exc)

    async def __aiter__(self) -> AsyncIterator[WebSocketClientProtocol]:
        delay = 0.0
        while True:
            try:
                async with self as connection:
                    yield cast("WebSocketClientProtocol", connection)
            except Exception as exc:  # noqa: BLE001 - whatever it is, another attempt is made
                shown = traceback.format_exception_only(exc)[0].strip()
                if delay == 0:
                    # RFC 6455 §7.2.3: the first is random.
                    wait = random.random() * self.BACKOFF_INITIAL  # noqa: S311 - it spreads clients in time
                    self.logger.info("connect failed; reconnecting in %.1f seconds: %s", wait, shown)
                    delay = self.BACKOFF_MIN * self.BACKOFF_FACTOR
                else:
                    wait = int(delay)
                    self.logger.info("connect failed again; retrying in %d seconds: %s", wait, shown)
                    delay = min(delay * self.BACKOFF_FACTOR, self.BACKOFF_MAX)
                await asyncio.sleep(wait)
            else:
                delay = 0.0


connect = Connect


def unix_connect(path: PathLike | None = None, uri: str = "ws://localhost/", **kwargs: Any) -> Connect:
    """Opens a WebSocket connection by a Unix socket.

    Args:
        path: The socket's path.
        uri: What is asked for.
        kwargs: Those of ``connect``.
    """
    return connect(uri=uri, path=path, unix=True, **kwargs)


def _close_timeout(close_timeout: float | None, timeout: float | None) -> float:
    if close_timeout is not None:
        return close_timeout
    return 10 if timeout is None else timeout
