"""aiohttp's WebSocket client on fastws: ``async with fastws.compat.aiohttp.ws_connect(url) as ws``.

``ws_connect`` has the parameters of ``aiohttp.ClientSession.ws_connect``, and what it gives the methods of
``aiohttp.ClientWebSocketResponse``. Where aiohttp is installed, messages, enumerations and exceptions are its own. A
program that keeps its session gets the same by ``fastws.compat.install("aiohttp")``.
"""

from __future__ import annotations

import ssl as _ssl
from collections.abc import Generator, Iterable, Mapping, Sequence
from contextlib import nullcontext
from types import TracebackType
from typing import TYPE_CHECKING, Any

import fastws
from fastws import errors
from fastws._loop_io import made
from fastws._openssl import stream_of
from fastws._options import Special

from . import _aiohttp_arguments as arguments
from ._aiohttp_errors import no_proxy, raised_at_opening
from ._aiohttp_response import ClientWebSocketResponse
from ._aiohttp_types import (
    ClientConnectionError,
    ClientConnectionResetError,
    ClientConnectorError,
    ClientError,
    ClientHttpProxyError,
    ClientProxyConnectionError,
    ClientResponseError,
    ClientWSTimeout,
    ConnectionTimeoutError,
    InvalidURL,
    InvalidUrlClientError,
    NonHttpUrlClientError,
    RedirectClientError,
    ServerDisconnectedError,
    ServerTimeoutError,
    TooManyRedirects,
    WebSocketError,
    WSCloseCode,
    WSMessage,
    WSMessageTypeError,
    WSMsgType,
    WSServerHandshakeError,
)

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop

    from fastws._opening import Progress, Upgrade

    from ._aiohttp_limits import Limits

__all__ = [
    "ClientConnectionError",
    "ClientConnectionResetError",
    "ClientConnectorError",
    "ClientError",
    "ClientHttpProxyError",
    "ClientProxyConnectionError",
    "ClientResponseError",
    "ClientWSTimeout",
    "ClientWebSocketResponse",
    "ConnectionTimeoutError",
    "InvalidURL",
    "InvalidUrlClientError",
    "NonHttpUrlClientError",
    "RedirectClientError",
    "ServerDisconnectedError",
    "ServerTimeoutError",
    "TooManyRedirects",
    "WSCloseCode",
    "WSMessage",
    "WSMessageTypeError",
    "WSMsgType",
    "WSServerHandshakeError",
    "WebSocketError",
    "ws_connect",
]

MAX_MSG_SIZE = 4 * 2**20
"""aiohttp's default."""

OPEN_TIMEOUT = 30.0
"""What a session gives a socket to connect, by default."""


class ws_connect:  # noqa: N801 - a function to its users, as in aiohttp
    """Opens a WebSocket: ``async with ws_connect(url) as ws``, or ``ws = await ws_connect(url)``.

    The parameters are those of ``aiohttp.ClientSession.ws_connect``, with its defaults.

    Args:
        url: ``ws://``, ``wss://``, ``http://`` or ``https://``; a ``str`` or a ``yarl.URL``.
        method: ``"GET"``; RFC 6455 knows no other.
        protocols: Subprotocols to offer.
        timeout: A ``ClientWSTimeout``, or seconds for the closing handshake.
        receive_timeout: Seconds for one ``receive``; the same as ``ClientWSTimeout(ws_receive=…)``.
        autoclose: Whether ``receive`` closes once the peer has closed. The peer's Close frame is answered in any case.
        autoping: Whether pings are answered and pongs kept back. If not, ``receive`` gives both, and slower.
        heartbeat: Seconds between pings; an answer may take half of them. None sends none.
        auth: ``aiohttp.BasicAuth``, or a pair (user, password).
        origin: ``Origin`` header.
        params: More for the query: a string, a mapping or pairs.
        headers: More headers for the upgrade.
        proxy: URL of a proxy.
        proxy_auth: As ``auth``, for the proxy.
        ssl: True for the usual verification, False for none, an ``ssl.SSLContext``, or a ``fastws.TlsConfig``.
        verify_ssl: False is ``ssl=False``.
        fingerprint: None; ``fastws.TlsConfig`` has ``pins``.
        ssl_context: The same as ``ssl``.
        server_hostname: The name that the certificate must have, instead of the URL's host.
        proxy_headers: More headers for the proxy.
        compress: 0 offers no compression; 9 to 15 offers permessage-deflate with windows of so many bits.
        max_msg_size: Largest message accepted, in bytes; 0 for no limit.
        decode_text: False gives text as UTF-8 ``bytes``.
        open_timeout: Seconds for everything until the upgrade; None for no limit. A session's ``ClientTimeout`` in
            aiohttp.
        options: More for ``fastws.connect``, such as ``busy_poll``.

    Raises:
        InvalidUrlClientError: The URL cannot be used; it is an InvalidURL, which a proxy's is.
        NonHttpUrlClientError: The URL has another scheme.
        ClientConnectorError: The host was not found or not reached, or TLS failed; its cause is fastws' exception.
        ClientProxyConnectionError: The same of the proxy, whose ``host`` and ``port`` it has.
        WSServerHandshakeError: The server refused the upgrade, or the proxy did, for ``ws://``.
        ClientHttpProxyError: The proxy refused, for ``wss://``; both have a ``status``, as all ClientResponseErrors.
        ClientResponseError: The answer cannot be read.
        ServerDisconnectedError: There was no answer.
        RedirectClientError, TooManyRedirects: A redirect leads nowhere.
        TimeoutError: Not open within ``open_timeout``; ConnectionTimeoutError if not even TCP and TLS were.
        ValueError, TypeError: An argument is wrong.
    """

    def __init__(
        self,
        url: Any,
        *,
        method: str = "GET",
        protocols: Iterable[str] = (),
        timeout: ClientWSTimeout | float | None = arguments.UNSET,
        receive_timeout: float | None = None,
        autoclose: bool = True,
        autoping: bool = True,
        heartbeat: float | None = None,
        auth: Any = None,
        origin: str | None = None,
        params: Any = None,
        headers: Any = None,
        proxy: Any = None,
        proxy_auth: Any = None,
        ssl: _ssl.SSLContext | fastws.TlsConfig | bool | None = True,
        verify_ssl: bool | None = None,
        fingerprint: None = None,
        ssl_context: _ssl.SSLContext | None = None,
        server_hostname: str | None = None,
        proxy_headers: Any = None,
        compress: int = 0,
        max_msg_size: int = MAX_MSG_SIZE,
        decode_text: bool = True,
        open_timeout: float | None = OPEN_TIMEOUT,
        options: Mapping[str, Any] | None = None,
        _skip_auto_headers: Iterable[str] = (),
        _limits: Limits | None = None,
    ) -> None:
        if method.upper() != "GET":
            raise ValueError(f"a WebSocket is opened by GET (RFC 6455 §4.1), not by {method!r}")
        self._asked, self._url = arguments.websocket_url(url, params)
        self._timeout = arguments.timeout(timeout, receive_timeout)
        self._how: dict[str, Any] = {
            "autoclose": autoclose,
            "autoping": autoping,
            "heartbeat": heartbeat,
            "decode_text": decode_text,
        }
        fields = arguments.fields(headers)
        if auth is not None:
            fields.append(("Authorization", arguments.basic(auth)))
        proxy_fields = [] if proxy is None else arguments.fields(proxy_headers)
        if proxy is not None and proxy_auth is not None:
            proxy_fields.append(("Proxy-Authorization", arguments.basic(proxy_auth)))
        fields += arguments.automatic_fields(fields, _skip_auto_headers)
        self._fields = fields
        self._making = _Making()
        self._limits = _limits
        self._followed: Sequence[fastws.Response] = ()
        security = arguments.tls(ssl, verify_ssl, ssl_context, fingerprint)
        is_secure = self._url.startswith("wss:")
        try:
            self._connect = fastws.connect(
                self._url,
                subprotocols=list(protocols) or None,
                origin=origin,
                additional_headers=fields,
                user_agent_header=None,
                proxy=proxy if proxy is None or proxy is True or callable(proxy) else str(proxy),
                proxy_headers=proxy_fields or None,
                tls=security if is_secure else None,
                server_hostname=server_hostname if is_secure else None,
                compression=arguments.compression(compress),
                max_size=max_msg_size or None,
                open_timeout=open_timeout,
                ping_interval=heartbeat,
                ping_timeout=None if heartbeat is None else heartbeat / 2,
                close_timeout=self._timeout.ws_close,
                # aiohttp says nothing of ssl=False either.
                _special=Special("messages" if autoping else "frames", auto_pong=autoping, warns=False),
                _make=self._making,
                **(options or {}),
            )
        except fastws.InvalidURI as error:
            raise InvalidUrlClientError(url) from error
        except errors.ConfigError as error:
            raise no_proxy(error, proxy) from error
        self._ws: ClientWebSocketResponse | None = None

    def _told(self, progress: Progress) -> None:
        self._followed = progress.answers
        if self._limits is not None:
            self._limits.note(progress)

    async def _open(self) -> ClientWebSocketResponse:
        plan = self._connect._plan
        plan.told = self._told
        try:
            async with self._limits or nullcontext():
                connection = await self._connect
        except errors.OpenTimeout as error:
            # A session's total says nothing of what was under way.
            if self._limits is not None:
                raise TimeoutError(str(error)) from error
            raise self._raised(error) from error
        except errors.ConnectError as error:
            raise self._raised(error) from error
        finally:
            plan.told = None  # which knows us
        self._ws = ClientWebSocketResponse(connection, self._timeout, tls=self._making.tls, **self._how)
        return self._ws

    def _raised(self, error: errors.ConnectError) -> Exception:
        return raised_at_opening(error, self._asked, self._fields, self._followed)

    def __await__(self) -> Generator[Any, None, ClientWebSocketResponse]:
        return self._open().__await__()

    async def __aenter__(self) -> ClientWebSocketResponse:
        return await self._open()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._ws is not None:
            await self._ws.close()


class _Making:
    """Makes a connection, and keeps what Python's ``ssl`` has of its TLS."""

    def __init__(self) -> None:
        self.tls: tuple[_ssl.SSLObject, _ssl.SSLContext] | tuple[()] = ()

    def __call__(self, loop: AbstractEventLoop, upgrade: Upgrade) -> fastws.Connection:
        tls = stream_of(upgrade.tls)
        self.tls = () if tls is None else (tls.ssl_object, tls.ssl_context)
        return made(loop, upgrade)
