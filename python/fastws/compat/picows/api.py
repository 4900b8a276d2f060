"""Connecting."""

from __future__ import annotations

import asyncio
import dataclasses
import inspect
import logging
import socket
import ssl
import urllib.parse
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any, cast

from fastws import _core, _options, errors
from fastws._loop_io import open_on_loop
from fastws._opening import Plan
from fastws.compat import _installed
from fastws.proxy import Choice, Proxy
from fastws.proxy import checked as checked_proxy
from fastws.target import Target

from . import _failures
from ._alone import pairs
from ._link import Link, Logger, Pings
from .common import WSHandshakeError, WSHeadersLike, WSUpgradeRequest, WSUpgradeResponse
from .picows import WSAutoPingStrategy, WSListener, WSTransport
from .url import WSInvalidURL, WSParsedURL, parse_url

if TYPE_CHECKING:
    from fastws.listener import Callbacks

__all__ = ["WSListenerFactory", "WSLoggerLike", "WSSocketFactory", "ws_connect", "ws_create_server"]

WSListenerFactory = Callable[[], WSListener] | Callable[[WSUpgradeRequest, WSUpgradeResponse], WSListener]
WSLoggerLike = str | Logger | None
WSSocketFactory = Callable[[WSParsedURL], socket.socket | Awaitable[socket.socket | None] | None]


async def ws_connect(
    ws_listener_factory: WSListenerFactory,
    url: str,
    *,
    ssl_context: ssl.SSLContext | None = None,
    disconnect_on_exception: bool = True,
    websocket_handshake_timeout: float | None = 5,
    logger_name: WSLoggerLike = None,
    enable_auto_ping: bool = False,
    auto_ping_idle_timeout: float = 10,
    auto_ping_reply_timeout: float = 10,
    auto_ping_strategy: WSAutoPingStrategy = WSAutoPingStrategy.PING_WHEN_IDLE,
    enable_auto_pong: bool = True,
    max_frame_size: int = 10 * 1024 * 1024,
    extra_headers: WSHeadersLike | None = None,
    max_redirects: int = 5,
    proxy: str | None = None,
    proxy_ssl_context: ssl.SSLContext | None = None,
    read_buffer_init_size: int = 16 * 1024,  # noqa: ARG001 - buffers are the thread's, and grow for no message
    socket_factory: WSSocketFactory | None = None,
    use_aiofastnet: bool | None = None,  # noqa: ARG001 - no transport is used
    **kwargs: Any,
) -> tuple[WSTransport, WSListener]:
    """Opens a connection whose frames go to a listener.

    Args:
        ws_listener_factory: Makes the listener, when the upgrade was accepted: of request and response, or of nothing.
        url: ``ws://`` or ``wss://``. User and password in it are not sent.
        ssl_context: For ``wss://``: a context of Python's own; by default TLS is native, and trusts what the system
            trusts.
        disconnect_on_exception: An exception of ``on_ws_frame`` closes the connection with 1011.
        websocket_handshake_timeout: Seconds for looking up the name, connecting and the upgrade, once more for each
            redirect; None for no limit.
        logger_name: A logger, or what the name of one has behind ``picows.``; by default ``client``.
        enable_auto_ping: Ping the server, and disconnect if no answer comes.
        auto_ping_idle_timeout: Seconds without a byte received after which it is pinged, or between pings.
        auto_ping_reply_timeout: Seconds that the answer may take; at most ``auto_ping_idle_timeout``.
        auto_ping_strategy: ``PING_WHEN_IDLE`` or ``PING_PERIODICALLY``.
        enable_auto_pong: Answer the server's pings, which the listener then does not get.
        max_frame_size: Bytes of the largest frame accepted.
        extra_headers: More headers for the upgrade; ``Host`` replaces ours.
        max_redirects: How many redirects are followed.
        proxy: URL of a proxy: ``http``, ``https``, ``socks4``, or ``socks5``, which is told the server's
            name.
        proxy_ssl_context: For an ``https://`` proxy: a context of Python's own.
        read_buffer_init_size: Not used.
        socket_factory: A function, ``async`` or not, that gets the parsed URL of the server, or of the proxy, and
            returns a socket, which is connected if it is not, or None.
        use_aiofastnet: Not used.
        kwargs: Those of ``loop.create_connection`` that say how to connect: ``family``, ``local_addr``,
            ``happy_eyeballs_delay``, ``interleave``, ``server_hostname``. Others of its own are not used.

    Returns:
        The transport and the listener.

    Raises:
        WSInvalidURL: The URL cannot be used.
        WSHandshakeError: The server's answer is not an upgrade; its subclasses say why.
        OSError: No connection was made. ``ssl.SSLError``: TLS was not. ``python_socks.ProxyError``: the proxy refused.
        TimeoutError: It took too long.
        TypeError, ValueError: An argument is wrong.
    """
    _check(kwargs, websocket_handshake_timeout, auto_ping_idle_timeout, auto_ping_reply_timeout)
    ways = _Ways(**kwargs)
    pings: Pings | None = None
    if auto_ping_strategy not in (WSAutoPingStrategy.PING_WHEN_IDLE, WSAutoPingStrategy.PING_PERIODICALLY):
        # picows' own enumeration has a member for any number.
        raise ValueError(f"auto_ping_strategy is PING_WHEN_IDLE or PING_PERIODICALLY, not {auto_ping_strategy!r}")
    strategy = WSAutoPingStrategy(auto_ping_strategy)
    if enable_auto_ping:
        if auto_ping_reply_timeout > auto_ping_idle_timeout:
            raise ValueError("auto_ping_reply_timeout can't be bigger than auto_ping_idle_timeout")
        pings = strategy, auto_ping_idle_timeout, auto_ping_reply_timeout
    logger = _resolve_logger(logger_name, "client")
    if proxy_ssl_context is not None and not (proxy or "").startswith("https:"):
        raise ValueError("proxy_ssl_context is only supported for https:// proxies")
    settings = _settings(max_frame_size, enable_auto_pong)
    parsed = parse_url(url)
    while True:
        link = Link(
            ws_listener_factory,
            is_secure=parsed.is_secure,
            logger=logger,
            disconnect_on_exception=disconnect_on_exception,
            pings=pings,
        )
        if parsed.username is not None or parsed.password is not None:
            logger.warning("user and password in the URL are not sent: give an Authorization header")
        plan, request = _plan(
            parsed,
            settings,
            link,
            ways,
            ssl_context=ssl_context,
            timeout=websocket_handshake_timeout,
            extra_headers=extra_headers,
            proxy=proxy,
            proxy_ssl_context=proxy_ssl_context,
        )
        sock = await _made(socket_factory, parsed if proxy is None else parse_url(proxy, False))
        taken = None
        if sock is not None:
            # The caller's stays as usable as with asyncio's transports, until the connection is over.
            link.sock = sock
            taken = sock.dup()
            plan.sock, plan.proxy_sock = (taken, None) if proxy is None else (None, taken)
        try:
            await _opened(plan, request)
        except WSHandshakeError as error:
            parsed = _maybe_handle_redirect(error, parsed, max_redirects)
            logger.info("redirected to %s", parsed.url)
            max_redirects -= 1
            continue
        finally:
            if link.transport is None:
                for unused in (taken, sock):
                    if unused is not None:
                        unused.close()
        return link.made()


async def _opened(plan: Plan, request: _core.Request) -> None:
    try:
        await open_on_loop(plan, request)
    except Exception as error:
        raised = _failures.of(error)
        if raised is error:
            raise
        raise raised from error


def _check(others: Mapping[str, Any], handshake: object, idle: object, reply: object) -> None:
    """Raises TypeError for a keyword that there is not, or what is no number of seconds."""
    for name in others.keys() - inspect.signature(_Ways).parameters.keys():
        hint = _INSTEAD.get(name)
        raise TypeError(
            f"ws_connect() got an unexpected keyword argument {name!r}{'' if hint is None else f'; give {hint}'}"
        )
    if handshake is not None and not isinstance(handshake, int | float):
        raise TypeError(f"websocket_handshake_timeout is seconds (float), or None for no limit; not {handshake!r}")
    for name, value in (("auto_ping_idle_timeout", idle), ("auto_ping_reply_timeout", reply)):
        if not isinstance(value, int | float):
            raise TypeError(f"{name} is seconds (float), not {value!r}")


_INSTEAD = {"ssl": "ssl_context", "sock": "socket_factory"}
"""Arguments of ``loop.create_connection`` that are given otherwise."""


class _Ways:
    """How to connect, as ``loop.create_connection`` is told."""

    def __init__(
        self,
        *,
        family: int = socket.AF_UNSPEC,
        local_addr: tuple[str, int] | None = None,
        happy_eyeballs_delay: float | None = None,
        interleave: int | None = None,
        server_hostname: str | None = None,
        proto: int = 0,  # noqa: ARG002
        flags: int = 0,  # noqa: ARG002
        ssl_handshake_timeout: float | None = None,  # noqa: ARG002 - websocket_handshake_timeout covers it
        ssl_shutdown_timeout: float | None = None,  # noqa: ARG002 - nothing is waited for
        zero_copy_unsafe_ssl_write: bool = False,  # noqa: ARG002 - picows ignores it, too
    ) -> None:
        self.server_hostname = server_hostname
        options = _options.socket_options(
            is_tcp=True,
            nodelay=True,
            quickack=False,
            so_busy_poll=None,
            incoming_cpu=None,
            kernel_timestamps=False,
            sockopts=(),
        )
        order = 1 if interleave is None else interleave
        self.dialling = _options.dialling(options, family, local_addr, happy_eyeballs_delay, order, None)


def _settings(max_frame_size: int, auto_pong: bool) -> _core.Settings:
    options = _options.checked(
        max_size=None,
        max_frame_size=max_frame_size,
        max_fragments=None,
        max_queue=4096,
        max_queue_bytes=2**20,
        write_limit=2**16,
        max_send_queue=2**62,
        max_send_bytes=2**62,
        ping_interval=None,
        ping_timeout=None,
        # For the peer's end behind a violation; nothing else is waited for.
        close_timeout=1,
        messages="bytes",
        busy_poll=None,
        busy_poll_max=0.001,
        quickack=False,
        kernel_timestamps=False,
        compression=None,
        special=_options.Special("raw", auto_pong=auto_pong),
    )
    return _core.Settings(options | {"max_head": _failures.MAX_HEAD})


def _plan(
    parsed: WSParsedURL,
    settings: _core.Settings,
    link: Link,
    ways: _Ways,
    *,
    ssl_context: ssl.SSLContext | None,
    timeout: float | None,
    extra_headers: WSHeadersLike | None,
    proxy: str | None,
    proxy_ssl_context: ssl.SSLContext | None,
) -> tuple[Plan, _core.Request]:
    """What is opened, and its upgrade request: the extensions offered are the caller's own."""
    target = _target(parsed)
    fields: list[tuple[str, str]] = []
    lists: dict[str, list[str]] = {"sec-websocket-protocol": [], "sec-websocket-extensions": []}
    for name, value in pairs(extra_headers):
        elements = lists.get(name.lower())
        if elements is None:
            fields.append((name, value))
        else:
            elements.extend(element.strip() for element in value.split(","))
    subprotocols, extensions = lists.values()
    tls = _options.security(ssl_context, ways.server_hostname, secure=True) if parsed.is_secure else None
    plan = Plan(
        target=target,
        host=target.host,
        port=target.port,
        sock=None,
        tls=tls,
        headers=fields,
        subprotocols=subprotocols,
        origin=None,
        user_agent=None,
        settings=settings,
        dialling=ways.dialling,
        proxy=_proxy(proxy),
        proxy_headers=(),
        proxy_tls=_options.proxy_security(proxy_ssl_context),
        max_redirects=0,
        on_auth_challenge=None,
        callbacks=cast("Callbacks", link),
        open_timeout=timeout,
        driver="auto",
        polls=False,
        kernel_timestamps=False,
    )
    return plan, _core.Request(target.uri, fields, subprotocols, None, None, extensions)


def _target(parsed: WSParsedURL) -> Target:
    """What is asked for. Raises WSInvalidURL."""
    host = f"[{parsed.host}]" if ":" in parsed.host else parsed.host
    # As it was given: errors say at which byte.
    port = f":{parsed.port}" if urllib.parse.urlsplit(parsed.url).port else ""
    try:
        return Target.parse(f"{'wss' if parsed.is_secure else 'ws'}://{host}{port}{parsed.resource_name}")
    except errors.InvalidURI as error:
        raise WSInvalidURL(parsed.url, str(error)) from error


def _proxy(url: str | None) -> Choice:
    """The proxy of a URL: one of SOCKS 5 finds the server's host itself."""
    proxy = checked_proxy(url)
    if isinstance(proxy, Proxy) and proxy.scheme == "socks5":
        return dataclasses.replace(proxy, scheme="socks5h")
    return proxy


async def _made(factory: WSSocketFactory | None, parsed: WSParsedURL) -> socket.socket | None:
    """The socket that a factory makes, connected."""
    if factory is None:
        return None
    made = factory(parsed)
    sock = await made if inspect.isawaitable(made) else made
    if sock is None:
        return None
    if not isinstance(sock, socket.socket):
        raise TypeError(f"socket_factory returns a socket.socket or None, not {type(sock).__name__}")
    sock.setblocking(False)
    try:
        sock.getpeername()
    except OSError:
        try:
            await asyncio.get_running_loop().sock_connect(sock, (parsed.host, parsed.port))
        except BaseException:
            sock.close()
            raise
    return sock


def _maybe_handle_redirect(error: WSHandshakeError, old: WSParsedURL, max_redirects: int) -> WSParsedURL:
    """Where the answer leads to. Raises ``error`` if it does not lead anywhere, or too far."""
    response = error.response
    if max_redirects <= 0 or response is None or response.status not in (301, 302, 303, 307, 308):
        raise error
    location = response.headers.get("Location")
    if location is None:
        text = "received redirect HTTP response without Location header"
        raise WSHandshakeError(text, error.raw_header, error.raw_body, response) from error
    parsed = parse_url(urllib.parse.urljoin(old.url, location))
    if old.is_secure and not parsed.is_secure:
        text = f"cannot follow redirect to non-secure URL {parsed.url}"
        raise WSHandshakeError(text, error.raw_header, error.raw_body, response) from error
    return parsed


def _resolve_logger(name: WSLoggerLike, default: str) -> Logger:
    if name is None or isinstance(name, str):
        return logging.getLogger(f"picows.{name or default}")
    return name


async def ws_create_server(*args: Any, **kwargs: Any) -> asyncio.Server:
    """Picows' own server. Raises ImportError where picows is not installed."""
    original = _installed.required("picows.api", "picows.ws_create_server")
    return cast("asyncio.Server", await original.ws_create_server(*args, **kwargs))
