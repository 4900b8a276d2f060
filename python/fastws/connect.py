"""Opening a connection."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import ssl
import sys
import warnings
from collections.abc import Generator, Sequence
from types import TracebackType
from typing import Any, Literal, NoReturn

from . import _core, _openssl, _options, _policy, dial
from ._keywords import connect_has_not, explains_unknown_keywords
from ._options import Seconds, SocketOptions
from .compression import Compression
from .connection import Connection
from .errors import DialError, InvalidURI, OpenTimeout, Phase, SocketOptionError
from .http import HeadersLike
from .listener import Callbacks, Listener
from .tls import Backend, TlsConfig, context_for
from .version import __version__

__all__ = ["connect"]

USER_AGENT = f"fastws/{__version__}"

MAX_SIZE = 16 * 2**20
"""Order-book snapshots exceed 1 MiB (the default of ``websockets``); no venue documents messages above 16 MiB."""


class connect:  # noqa: N801 - a function to its users, as in websockets
    """Opens a WebSocket connection: ``ws = await connect(uri)`` or ``async with connect(uri) as ws``.

    Args:
        uri: ``ws://`` or ``wss://`` URI. Userinfo becomes an ``Authorization: Basic`` header.
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
        open_timeout: Seconds for DNS, TCP, TLS and upgrade together; None for no limit. The addresses of a host are
            tried one after the other: one that does not answer at all takes all of it.
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

    Durations are seconds (``float``) or ``timedelta``.

    Raises:
        InvalidURI: The URI cannot be used.
        DialError: The host was not found, or no address of it could be connected to.
        SocketOptionError: The kernel refused an option of the socket.
        TlsError: The TLS handshake failed; CertificateError if it was the certificate.
        InvalidHandshake: The server's answer is not a WebSocket upgrade; InvalidStatus if it refused it.
        OpenTimeout: Not open within ``open_timeout``.
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
        _delivery: Literal["messages", "fragments", "frames"] = "messages",
    ) -> None:
        if messages not in ("auto", "bytes", "view"):
            raise ValueError(f'messages must be "auto", "bytes" or "view", not {messages!r}')
        _options.check_target(uri, host, port, server_hostname)
        _options.check_sock(sock, host, port)
        for name, given in (("origin", origin), ("user_agent_header", user_agent_header)):
            if given is not None and not isinstance(given, str):
                raise TypeError(f"{name} is a header's value (str) or None, not {given!r}")
        try:
            target = _core.parse_uri(uri)
        except ValueError as error:
            raise InvalidURI(str(error)) from None
        self._uri = uri
        self._secure, self._host, self._port, _, self._shown = target
        self._sock = sock
        self._dial_host = host if host is not None else self._host
        self._dial_port = port if port is not None else self._port
        self._tls = _options.tls_config(tls, server_hostname, secure=self._secure)
        self._ssl = _openssl.Context(tls) if isinstance(tls, ssl.SSLContext) else None
        if self._tls is not None and not self._tls.verify:
            warnings.warn(
                "TlsConfig(verify=False): the server's certificate is not checked; anybody on the way can read and "
                "change what is sent",
                RuntimeWarning,
                stacklevel=3,
            )
        self._callbacks = Callbacks(listener) if listener is not None else None
        self._socket_options = _options.socket_options(
            sock=sock,
            nodelay=nodelay,
            quickack=quickack,
            so_busy_poll=so_busy_poll,
            incoming_cpu=incoming_cpu,
            kernel_timestamps=kernel_timestamps,
            sockopts=sockopts,
        )
        self._headers = _options.header_fields(additional_headers)
        self._subprotocols = _options.subprotocol_names(subprotocols)
        self._origin = origin
        self._user_agent = user_agent_header
        self._open_timeout = _options.seconds("open_timeout", open_timeout)
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
            delivery=_delivery,
            busy_poll=busy_poll,
            busy_poll_max=busy_poll_max,
            quickack=quickack,
            kernel_timestamps=kernel_timestamps,
            compression=compression,
        )
        # What is wrong with the headers is said here, not at the first attempt, which this one is for.
        self._prepared: _core.Request | None = self._request()
        self._connection: Connection | None = None
        self._entered = False

    def _request(self) -> _core.Request:
        offer = self._settings.offer
        extensions = [] if offer is None else [offer]
        return _core.Request(self._uri, self._headers, self._subprotocols, self._origin, self._user_agent, extensions)

    async def _open(self) -> Connection:
        _require_asyncio()
        state = _Progress()
        limit = asyncio.timeout(self._open_timeout)
        try:
            async with limit:
                return await self._dial(state)
        except TimeoutError as error:
            if not limit.expired():
                raise  # the system's
            if state.is_decided():
                # In the very turn in which the time was over: the loop was busy, not the server late.
                assert state.opening is not None
                state.opening.result()
                assert state.ws is not None
                ws, state.ws = state.ws, None
                return ws
            raise self._open_timeout_error(state.phase, state.under_way) from error
        finally:
            state.give_up()

    async def _dial(self, state: _Progress) -> Connection:
        loop = asyncio.get_running_loop()
        context = None
        if self._tls is not None:
            state.loads_roots = True
            context = self._ssl or await context_for(self._tls)
            state.loads_roots = False
        if self._sock is not None:
            sock = self._given_socket(self._sock)
            try:
                return await self._attempt(state, loop, sock, context)
            except DialError as error:
                raise DialError(f"{self._shown}: {error}", uri=self._shown, phase="tcp") from None
        addresses = await dial.resolve(loop, self._dial_host, self._dial_port, self._shown)
        attempts = dial.Attempts(self._shown)
        for address in addresses:
            state.phase = "tcp"
            try:
                sock = dial.start(address, self._socket_options, self._shown)
                return await self._attempt(state, loop, sock, context)
            except (SocketOptionError, DialError, OSError) as error:
                if isinstance(error, DialError):
                    state.ws = state.opening = None
                attempts.failed(address, error)
        raise attempts.error()

    def _given_socket(self, sock: socket.socket) -> socket.socket:
        """A socket of the user's own, ready to be taken over."""
        if sock.fileno() < 0:
            raise RuntimeError("sock= was taken over by an earlier attempt; a connection needs a socket of its own")
        sock.setblocking(False)
        try:
            dial.configure(sock, self._socket_options, self._shown)
        except SocketOptionError:
            sock.close()
            raise
        return sock

    @property
    def _server_name(self) -> str | None:
        """The name that the server's certificate must have."""
        return (self._tls.server_hostname or self._host) if self._tls is not None else None

    def _next_request(self) -> _core.Request:
        """The request of the next attempt: each has a key of its own."""
        request, self._prepared = self._prepared or self._request(), None
        return request

    def _open_timeout_error(self, phase: Phase, under_way: str) -> OpenTimeout:
        assert self._open_timeout is not None
        return OpenTimeout(
            f"{self._shown}: not open within {self._open_timeout:g} s; {under_way}", uri=self._shown, phase=phase
        )

    async def _attempt(
        self,
        state: _Progress,
        loop: asyncio.AbstractEventLoop,
        sock: socket.socket,
        context: _core.TlsContext | _openssl.Context | None,
    ) -> Connection:
        name = (self._tls.server_hostname or self._host) if self._tls is not None else ""
        try:
            ws = Connection(loop, _policy, self._settings)
            secured = _openssl.Stream(context, name) if isinstance(context, _openssl.Context) else context
        except BaseException:
            sock.close()
            raise
        request = self._next_request()
        fd = sock.detach()
        try:
            opening = ws._start(fd, request, self._shown, secured, name, self._callbacks)
        except BaseException:
            if ws.fileno() < 0:
                os.close(fd)
            raise
        state.ws, state.opening = ws, opening
        await opening
        state.ws = state.opening = None
        return ws

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
        return f"<fastws.connect {self._shown}>"

    def __aiter__(self) -> Any:
        raise TypeError(
            "fastws.connect() opens one connection and does not reconnect; "
            "write `async with connect(...) as ws` and iterate over ws"
        )


class _Progress:
    """How far an opening has come, and what is to be given up if it does not end well."""

    __slots__ = ("_phase", "loads_roots", "opening", "ws")

    def __init__(self) -> None:
        self._phase: Phase = "dns"
        self.loads_roots = False
        self.ws: Connection | None = None
        self.opening: asyncio.Future[None] | None = None

    def is_decided(self) -> bool:
        """Whether the opening came to its end, though nobody was told yet."""
        return self.opening is not None and self.opening.done() and not self.opening.cancelled()

    @property
    def phase(self) -> Phase:
        """What is under way."""
        if self.loads_roots:
            return "tls"
        return self.ws._phase if self.ws is not None and self.ws._phase in UNDER_WAY else self._phase

    @phase.setter
    def phase(self, phase: Phase) -> None:
        self._phase = phase

    @property
    def under_way(self) -> str:
        """The same for people."""
        return LOADS_ROOTS if self.loads_roots else UNDER_WAY[self.phase]

    def give_up(self) -> None:
        """Closes the connection of an attempt that did not end well."""
        ws, self.ws = self.ws, None
        if ws is not None:
            self._phase = ws._phase if ws._phase in UNDER_WAY else self._phase
            ws._abort("given up before it was open")


LOADS_ROOTS = "the trusted certificates were being loaded"

UNDER_WAY: dict[Phase, str] = {
    "dns": "the host's name was being looked up",
    "tcp": "the TCP connection was being made",
    "tls": "the TLS handshake was under way",
    "upgrade": "the server had not answered the upgrade request",
}


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
