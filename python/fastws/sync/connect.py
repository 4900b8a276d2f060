"""Opening a blocking connection."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable, Sequence
from typing import Any, Literal

from fastws import _options
from fastws._keywords import explains_unknown_keywords, sync_connect_has_not
from fastws._options import Seconds, SocketOptions
from fastws.compression import Compression
from fastws.connect import MAX_SIZE, USER_AGENT
from fastws.connect import connect as connect_on_loop  # what a connection is to be; awaited, it would open one
from fastws.http import HeadersLike, Response
from fastws.redirects import MAX_REDIRECTS
from fastws.target import UnixPath, check_unix_path
from fastws.tls import Backend, TlsConfig

from ._io import open_in_thread
from .connection import Connection

__all__ = ["connect", "unix_connect"]


@explains_unknown_keywords(sync_connect_has_not)
def connect(
    uri: str,
    *,
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
    proxy: str | Literal[True] | Callable[[str], str | None] | None = None,
    proxy_headers: HeadersLike | None = None,
    proxy_tls: TlsConfig | ssl.SSLContext | Backend | None = None,
    auth: tuple[str, str] | None = None,
    on_auth_challenge: Callable[[Response], HeadersLike | None] | None = None,
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
    background: bool = True,
    _special: _options.Special = _options.SPECIAL,
    _extensions: Sequence[str] | None = None,
    _unix: UnixPath | None = None,
) -> Connection:
    """Opens a WebSocket connection without an event loop: ``with fastws.sync.connect(uri) as ws``.

    Args:
        background: A thread of the connection's own, native, reads while no call waits: pings are answered and
            keepalive is kept while the program computes, and what comes waits in the receive queue. It is off duty in
            a loop of calls. False: there is no such thread; what calls do not read is not read, pings are answered and
            sent by calls only, and ``send`` lasts until the kernel has everything.
        busy_poll: Seconds (or a ``timedelta``) that a call looks for what it waits for before it sleeps: a core's time
            for microseconds. Other threads run meanwhile. None: for 50 µs at most, and only where the last answer came
            within 200 µs, as from a peer on the same machine.

    All other arguments, and the exceptions, are those of ``fastws.connect``. Those that it has and this has not
    (``listener``, ``busy_poll_max``, ``driver``) are about the event loop. Functions that are arguments are plain ones
    here, not ``async``.

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
    planned = connect_on_loop(
        uri,
        origin=origin,
        subprotocols=subprotocols,
        additional_headers=additional_headers,
        user_agent_header=user_agent_header,
        compression=compression,
        tls=tls,
        server_hostname=server_hostname,
        host=host,
        port=port,
        sock=sock,
        family=family,
        local_addr=local_addr,
        happy_eyeballs_delay=happy_eyeballs_delay,
        interleave=interleave,
        dns_timeout=dns_timeout,
        proxy=proxy,
        proxy_headers=proxy_headers,
        proxy_tls=proxy_tls,
        auth=auth,
        on_auth_challenge=on_auth_challenge,
        max_redirects=max_redirects,
        open_timeout=open_timeout,
        ping_interval=ping_interval,
        ping_timeout=ping_timeout,
        close_timeout=close_timeout,
        max_size=max_size,
        max_frame_size=max_frame_size,
        max_fragments=max_fragments,
        max_queue=max_queue,
        max_queue_bytes=max_queue_bytes,
        write_limit=write_limit,
        max_send_queue=max_send_queue,
        max_send_bytes=max_send_bytes,
        messages=messages,
        nodelay=nodelay,
        quickack=quickack,
        so_busy_poll=so_busy_poll,
        incoming_cpu=incoming_cpu,
        sockopts=sockopts,
        kernel_timestamps=kernel_timestamps,
        busy_poll=busy_poll,
        busy_poll_max=1.0,  # of a turn of the event loop
        _special=_special,
        _extensions=_extensions,
        _unix=_unix,
    )
    background = _options.switch("background", background)
    return open_in_thread(planned._plan, planned._prepared, background=background)


def unix_connect(path: UnixPath, uri: str = "ws://localhost/", **arguments: Any) -> Connection:
    """Opens a WebSocket connection by a Unix socket: ``with fastws.sync.unix_connect("/run/feed.sock") as ws:``.

    The arguments are those of ``fastws.unix_connect``, the others those of ``connect``.

    Raises:
        FastwsError, ValueError, TypeError: What ``connect()`` raises.
    """
    check_unix_path(path)
    return connect(uri, _unix=path, **arguments)
