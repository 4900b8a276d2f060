"""Opening a connection."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import sys
from collections.abc import Generator, Sequence
from types import TracebackType
from typing import Any, Literal, NoReturn

from . import _core, _options
from ._keywords import connect_has_not, explains_unknown_keywords
from ._loop_io import open_on_loop
from ._opening import Driver, Make, OnAuthChallenge, Plan
from ._options import Seconds, SocketOptions
from .compression import Compression
from .connection import Connection
from .http import HeadersLike
from .listener import Callbacks, Listener
from .proxy import ProxyLike, check_needed
from .proxy import checked as checked_proxy
from .redirects import MAX_REDIRECTS
from .target import Target, UnixPath, check_unix_path
from .tls import Backend, Security, TlsConfig
from .version import __version__

__all__ = ["connect", "unix_connect"]

USER_AGENT = f"fastws/{__version__}"

MAX_SIZE = 16 * 2**20
"""Order-book snapshots exceed 1 MiB (the default of ``websockets``); no venue documents messages above 16 MiB."""


class connect:  # noqa: N801 - a function to its users, as in websockets
    """Opens a WebSocket connection: ``ws = await connect(uri)`` or ``async with connect(uri) as ws``.

    Args:
        uri: ``ws://`` or ``wss://`` URI. Userinfo becomes an ``Authorization: Basic`` header. By a Unix socket:
            ``ws+unix:///path/of/socket:/request``, and ``wss+unix://``; see ``unix_connect``.
        listener: Takes the messages by callbacks instead of ``recv`` and iteration; see ``fastws.Listener``.
        origin: ``Origin`` header.
        subprotocols: Subprotocols to offer, in order of preference.
        additional_headers: More headers for the upgrade, in order; duplicates are sent.
        user_agent_header: ``User-Agent`` header; None leaves it out.
        compression: ``"deflate"`` or a ``fastws.Deflate`` offers permessage-deflate (RFC 7692); whether the server took
            it, ``Connection.compression`` tells. None offers nothing.
        tls: For ``wss://``: a ``fastws.TlsConfig``, the name of a backend (``"system"``, ``"webpki"``, ``"openssl"``),
            or an ``ssl.SSLContext``, which is used as it is.
        server_hostname: The name that the server's certificate must have, instead of the URI's host.
        host: Connect to this host instead of the URI's.
        port: Connect to this port instead of the URI's.
        sock: Use this connected (or connecting) non-blocking TCP socket; it is taken over.
        family: ``socket.AF_INET`` or ``AF_INET6`` to use addresses of that kind only.
        local_addr: This machine's own address, a pair (host, port), to connect from; port 0 for any.
        happy_eyeballs_delay: Seconds that an address of the host has for itself before the next is tried beside it (RFC
            8305); None to try the next only when one has failed.
        interleave: How many addresses of the first kind (IPv6 or IPv4) come before one of the other; 0 keeps the
            resolver's order.
        dns_timeout: Seconds that looking up a name may take, the host's or a proxy's, so that an attempt ends earlier
            than ``open_timeout`` where no name server answers; None for no limit of its own. The system's resolver asks
            again after 5 seconds, usually.
        proxy: Go through this proxy: its URL (``http://user:password@host:port``, or ``https``, ``socks4``,
            ``socks4a``, ``socks5`` or ``socks5h``), True for the one that the environment names (``https_proxy`` and
            its kin, but for ``no_proxy``), or a function, ``async`` or not, that gets the URI and returns a URL or
            None. None dials directly, whatever the environment says.
        proxy_headers: More headers for an HTTP proxy. A ValueError without one.
        proxy_tls: For a proxy with ``https://``: as ``tls``, for the TLS to the proxy, inside of which all else goes. A
            ValueError without one.
        auth: User and password for ``Authorization: Basic``, as userinfo in the URI gives them.
        on_auth_challenge: A function, ``async`` or not, that gets the answer (``fastws.Response``) with which the
            server refused the upgrade with 401, and returns header fields for one more attempt, or None to let it be.
            Its time counts in ``open_timeout``. It is not asked on behalf of another origin that a redirect led to.
        max_redirects: How many redirects are followed at most; 0 follows none, which is an ``InvalidStatus`` then. At
            another origin ``host``, ``port``, ``server_hostname`` and all headers whose name speaks of a secret, such
            as Authorization and Cookie, are left out, and so is the client certificate of a ``TlsConfig``. With
            ``sock`` none is followed.
        open_timeout: Seconds for DNS, proxy, TCP, TLS, upgrade and redirects together; None for no limit.
        ping_interval: Seconds between keepalive pings; None for none.
        ping_timeout: Seconds that an answer may take (any byte received counts); None for no limit.
        close_timeout: Seconds that the closing handshake may take; None for no limit.
        max_size: Largest message accepted, in bytes; None for no limit. A larger one closes the connection with 1009.
        max_frame_size: Largest frame accepted, in bytes; defaults to ``max_size``.
        max_fragments: Most fragments of one message; None for no limit.
        max_queue: Messages after which reading pauses until the consumer has caught up to a quarter of them, or a pair
            (high, low); None for no limit.
        max_queue_bytes: The same in bytes.
        write_limit: Bytes in the send queue above which ``await send()`` waits, or a pair (high, low).
        max_send_queue: Messages that the send queue holds at most.
        max_send_bytes: Bytes that the send queue holds at most.
        messages: ``"auto"`` gives text as ``str`` and binary as ``bytes``; ``"bytes"`` gives both as ``bytes``;
            ``"view"`` gives both as zero-copy ``fastws.MessageView``.
        nodelay: Set TCP_NODELAY. False leaves it as it is.
        quickack: Keep TCP_QUICKACK set: what comes is acknowledged at once, not some 40 ms later or with what we send.
            For a peer that waits for that before it sends more (Nagle's algorithm). A system call a read. Linux.
        so_busy_poll: SO_BUSY_POLL: where nothing is there to read, a read asks the network card itself. Older
            kernels want CAP_NET_ADMIN for it. None leaves it as it is. Linux.
        incoming_cpu: SO_INCOMING_CPU: the core that is to handle the socket's packets. A hint that the kernel
            overwrites with the one that does. None leaves it as it is. Linux.
        sockopts: More options of the socket, ``(level, option, value)`` as ``socket.setsockopt`` takes them, set in
            order behind those above and before it connects.
        kernel_timestamps: Let the kernel say when it received what was read (SO_TIMESTAMPNS): ``Connection.kernel_ns``
            and ``Batch.kernel_ns``. Linux.
        busy_poll: After a message was handled, look for the next one for so long before the event loop may sleep: a
            core's time for microseconds. It holds the loop and the interpreter's lock; it ends early when the consumer
            awaits something else. None: sleep.
        busy_poll_max: How long one turn of the event loop may be held so, messages or not: timers, other sockets and
            other tasks wait that long.
        driver: Who moves the bytes: ``"loop"`` reads and writes the socket itself, when the event loop says that it is
            ready; ``"protocol"`` has them from a transport of asyncio's, also on loops that watch no sockets, such as
            asyncio's default on Windows. ``"auto"`` is the first wherever the loop has ``add_reader``.

    Durations are seconds (``float``) or ``timedelta``.

    Raises:
        InvalidURI: The URI cannot be used.
        DialError: The host was not found, or no address of it could be connected to.
        ProxyError: The proxy was not reached, or did not open a way to the server.
        SocketOptionError: The kernel refused an option of the socket.
        TlsError: The TLS handshake failed; CertificateError if it was the certificate.
        InvalidHandshake: The server's answer is not a WebSocket upgrade; InvalidStatus if it refused it.
        RedirectError: A redirect leads too far, from ``wss://`` to ``ws://``, or to no WebSocket URI.
        OpenTimeout: Not open within ``open_timeout``.
        ConfigError: A proxy's URL cannot be used.
        ValueError, TypeError: An argument is wrong.
    """

    @explains_unknown_keywords(connect_has_not)
    def __init__(
        self,
        uri: str,
        *,
        listener: Listener | None = None,
        origin: str | None = None,
        subprotocols: Sequence[str] | None = None,
        additional_headers: HeadersLike | None = None,
        user_agent_header: str | None = USER_AGENT,
        compression: Compression = None,
        tls: TlsConfig | ssl.SSLContext | Backend | None = None,
        server_hostname: str | None = None,
        host: str | None = None,
        port: int | None = None,
        sock: socket.socket | None = None,
        family: int = socket.AF_UNSPEC,
        local_addr: tuple[str, int] | None = None,
        happy_eyeballs_delay: Seconds = 0.25,
        interleave: int = 1,
        dns_timeout: Seconds = None,
        proxy: ProxyLike = None,
        proxy_headers: HeadersLike | None = None,
        proxy_tls: TlsConfig | ssl.SSLContext | Backend | None = None,
        auth: tuple[str, str] | None = None,
        on_auth_challenge: OnAuthChallenge | None = None,
        max_redirects: int = MAX_REDIRECTS,
        open_timeout: Seconds = 10,
        ping_interval: Seconds = 20,
        ping_timeout: Seconds = 20,
        close_timeout: Seconds = 10,
        max_size: int | None = MAX_SIZE,
        max_frame_size: int | None = None,
        max_fragments: int | None = 131_072,
        max_queue: int | tuple[int, int] | None = 4096,
        max_queue_bytes: int | tuple[int, int] | None = 2**20,
        write_limit: int | tuple[int, int] = 2**16,
        max_send_queue: int = 65_536,
        max_send_bytes: int = 64 * 2**20,
        messages: Literal["auto", "bytes", "view"] = "auto",
        nodelay: bool = True,
        quickack: bool = False,
        so_busy_poll: Seconds = None,
        incoming_cpu: int | None = None,
        sockopts: SocketOptions = (),
        kernel_timestamps: bool = False,
        busy_poll: Seconds = None,
        busy_poll_max: Seconds = 0.001,
        driver: Driver = "auto",
        _special: _options.Special = _options.SPECIAL,
        _extensions: Sequence[str] | None = None,
        _latin_1: bool = False,
        _order: Sequence[str] = (),
        _unix: UnixPath | None = None,
        _make: Make | None = None,
        _proxy_security: Security | None = None,
    ) -> None:
        if messages not in ("auto", "bytes", "view"):
            raise ValueError(f'messages must be "auto", "bytes" or "view", not {messages!r}')
        _options.check_target(uri, host, port, server_hostname)
        for name, given in (("origin", origin), ("user_agent_header", user_agent_header)):
            if given is not None and not isinstance(given, str):
                raise TypeError(f"{name} is a header's value (str) or None, not {given!r}")
        _options.check_driver(driver, busy_poll=busy_poll, kernel_timestamps=kernel_timestamps)
        target = Target.parse(uri, _unix)
        _options.check_way(sock=sock, unix=target.unix, host=host, port=port, proxy=proxy)
        fields = _options.header_fields(additional_headers)
        if auth is not None:
            fields.append(_options.basic_auth(auth, uri, fields))
        security = _options.security(tls, server_hostname, secure=target.secure)
        proxy_security = _proxy_security or _options.proxy_security(proxy_tls)
        if _special.warns:
            _options.warn_of_no_verification(security, "server")
            _options.warn_of_no_verification(proxy_security, "proxy")
        if on_auth_challenge is not None and not callable(on_auth_challenge):
            raise TypeError(f"on_auth_challenge is a function that gets the 401 response, not {on_auth_challenge!r}")
        socket_options = _options.socket_options(
            is_tcp=_options.is_tcp(sock, target.unix),
            nodelay=nodelay,
            quickack=quickack,
            so_busy_poll=so_busy_poll,
            incoming_cpu=incoming_cpu,
            kernel_timestamps=kernel_timestamps,
            sockopts=sockopts,
        )
        self._settings = _options.settings(
            max_size=max_size,
            max_frame_size=max_frame_size,
            max_fragments=max_fragments,
            max_queue=max_queue,
            max_queue_bytes=max_queue_bytes,
            write_limit=write_limit,
            max_send_queue=max_send_queue,
            max_send_bytes=max_send_bytes,
            ping_interval=ping_interval,
            ping_timeout=ping_timeout,
            close_timeout=close_timeout,
            messages=messages,
            busy_poll=busy_poll,
            busy_poll_max=busy_poll_max,
            quickack=quickack,
            kernel_timestamps=kernel_timestamps,
            compression=compression,
            special=_special,
        )
        chosen = checked_proxy(proxy)
        proxy_fields = _options.proxy_fields(proxy_headers)
        check_needed(chosen, proxy_tls=proxy_tls, proxy_headers=proxy_headers)
        self._plan = Plan(
            target=target,
            host=host if host is not None else target.host,
            port=port if port is not None else target.port,
            sock=sock,
            tls=security,
            headers=fields,
            subprotocols=_options.subprotocol_names(subprotocols),
            origin=origin,
            user_agent=user_agent_header,
            settings=self._settings,
            dialling=_options.dialling(
                socket_options, family, local_addr, happy_eyeballs_delay, interleave, dns_timeout
            ),
            proxy=chosen,
            proxy_headers=proxy_fields,
            proxy_tls=proxy_security,
            max_redirects=_options.count("max_redirects", max_redirects),
            on_auth_challenge=on_auth_challenge,
            callbacks=Callbacks(listener) if listener is not None else None,
            open_timeout=_options.seconds("open_timeout", open_timeout),
            driver=driver,
            polls=busy_poll is not None,
            kernel_timestamps=kernel_timestamps,
            make=_make,
            extensions=_extensions,
            latin_1=_latin_1,
            order=_order,
        )
        # What is wrong with the headers is said here, not at the first attempt, which this one is for.
        self._prepared: _core.Request | None = self._plan.request(self._plan.first())
        self._connection: Connection | None = None
        self._entered = False

    async def _open(self) -> Connection:
        _require_asyncio()
        request, self._prepared = self._prepared, None
        return await open_on_loop(self._plan, request)

    def __await__(self) -> Generator[Any, None, Connection]:
        return self._open().__await__()

    async def __aenter__(self) -> Connection:
        if self._entered:
            raise RuntimeError(
                "this connect() is in an `async with` already, with a connection of its own; call connect() again"
            )
        self._entered = True
        try:
            self._connection = await self._open()
        except BaseException:
            self._entered = False
            raise
        return self._connection

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        connection, self._connection, self._entered = self._connection, None, False
        if connection is not None:
            await connection.__aexit__(exc_type, exc, tb)

    def __enter__(self) -> NoReturn:
        raise TypeError("fastws.connect() is asynchronous: write `async with connect(...) as ws`")

    def __exit__(self, *_: object) -> None:
        """Never called: there is no entering."""

    def __iter__(self) -> NoReturn:
        raise TypeError("fastws.connect() is asynchronous: `async with connect(...) as ws`, then `async for ... in ws`")

    def __getattr__(self, name: str) -> NoReturn:
        if name.startswith("_") or not hasattr(Connection, name):
            raise AttributeError(f"'connect' object has no attribute {name!r}")
        raise AttributeError(
            f"connect() is no connection yet, which has {name!r}: write `ws = await fastws.connect(...)`"
        )

    def __repr__(self) -> str:
        return f"<fastws.connect {self._plan.target.shown}>"

    def __aiter__(self) -> Any:
        raise TypeError(
            "fastws.connect() opens one connection and does not reconnect; "
            "write `async with connect(...) as ws` and iterate over ws"
        )


def unix_connect(path: UnixPath, uri: str = "ws://localhost/", **arguments: Any) -> connect:
    """Opens a WebSocket connection by a Unix socket: ``async with fastws.unix_connect("/run/feed.sock") as ws:``.

    ``connect("ws+unix:///run/feed.sock:/")`` does the same, wherever a URI can be given.

    Args:
        path: The socket's path (``str``, ``bytes`` or path-like); a null character in front makes it an abstract name,
            on Linux.
        uri: What is asked for: its path goes into the request and its host into ``Host`` and, with ``wss://``, into the
            check of the certificate.
        arguments: Those of ``connect()``, but for where to connect to: ``host``, ``port``, ``sock`` and ``proxy``.

    Raises:
        FastwsError, ValueError, TypeError: What ``connect()`` raises.
    """
    check_unix_path(path)
    return connect(uri, _unix=path, **arguments)


def _require_asyncio() -> None:
    """Raises RuntimeError where the running event loop is not asyncio's (or uvloop's)."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        sniffio = sys.modules.get("sniffio")  # every other event loop announces itself there
        found = "no event loop"
        if sniffio is not None:
            with contextlib.suppress(sniffio.AsyncLibraryNotFoundError):
                found = sniffio.current_async_library()
        raise RuntimeError(f"fastws needs asyncio; found {found}") from None
