"""Opening a blocking connection."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Sequence
from typing import Literal

from fastws import _core, _options, dial
from fastws._options import Seconds, SocketOptions
from fastws.compression import Compression
from fastws.connect import LOADS_ROOTS, MAX_SIZE, UNDER_WAY, USER_AGENT
from fastws.connect import connect as Plan  # noqa: N812 - what a connection is to be; awaited, it would open one
from fastws.errors import DialError, OpenTimeout, Phase, SocketOptionError
from fastws.http import HeadersLike
from fastws.tls import TlsConfig, context_for_blocking

from . import _policy
from .connection import Connection

__all__ = ["connect", "open_planned"]


def connect(
    uri: str,
    *,
    origin: str | None = None,
    subprotocols: Sequence[str] | None = None,
    additional_headers: HeadersLike | None = None,
    user_agent_header: str | None = USER_AGENT,
    compression: Compression = None,
    tls: TlsConfig | Literal["system", "webpki"] | None = None,
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
    background: bool = True,
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
    (``listener``, ``busy_poll_max``) are about the event loop.

    Raises:
        InvalidURI: The URI cannot be used.
        DialError: The host was not found, or no address of it could be connected to.
        SocketOptionError: The kernel refused an option of the socket.
        TlsError: The TLS handshake failed; CertificateError if it was the certificate.
        InvalidHandshake: The server's answer is not a WebSocket upgrade; InvalidStatus if it refused it.
        OpenTimeout: Not open within ``open_timeout``.
        ValueError, TypeError: An argument is wrong.
    """
    plan = Plan(
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
    )
    return open_planned(plan, background=_options.switch("background", background))


def open_planned(plan: Plan, *, background: bool) -> Connection:
    """Opens the connection that ``plan`` describes, in this thread."""
    limit = plan._open_timeout
    deadline = None if limit is None else time.monotonic() + limit

    def left() -> float | None:
        return None if deadline is None else max(0.0, deadline - time.monotonic())

    context = None if plan._tls is None else context_for_blocking(plan._tls)
    if left() == 0.0:
        raise plan._open_timeout_error("tls", LOADS_ROOTS)
    if plan._sock is not None:
        sock = plan._given_socket(plan._sock)
        try:
            return _attempt(plan, sock, context, left(), background=background)
        except DialError as error:
            raise DialError(f"{plan._shown}: {error}", uri=plan._shown, phase="tcp") from None
    try:
        addresses = dial.resolve_blocking(plan._dial_host, plan._dial_port, plan._shown, left())
    except TimeoutError as error:
        raise plan._open_timeout_error("dns", UNDER_WAY["dns"]) from error
    attempts = dial.Attempts(plan._shown)
    for address in addresses:
        try:
            sock = dial.start(address, plan._socket_options, plan._shown)
            return _attempt(plan, sock, context, left(), background=background)
        except OpenTimeout:
            raise  # an OSError, too
        except (SocketOptionError, DialError, OSError) as error:
            attempts.failed(address, error)
    raise attempts.error()


def _attempt(
    plan: Plan, sock: socket.socket, context: _core.TlsContext | None, timeout: float | None, *, background: bool
) -> Connection:
    try:
        ws = Connection(_policy, plan._settings, background)
    except BaseException:
        sock.close()
        raise
    request = plan._next_request()
    fd = sock.detach()
    try:
        is_open = ws._open(fd, request, plan._shown, context, plan._server_name, timeout)
    except BaseException:
        if ws.fileno() < 0:
            if ws._phase == "new":
                os.close(fd)
        else:
            ws._abort("given up before it was open")
        raise
    if not is_open:
        phase = _phase(ws)
        ws._abort("given up before it was open")
        raise plan._open_timeout_error(phase, UNDER_WAY[phase])
    return ws


def _phase(ws: Connection) -> Phase:
    return next(phase for phase in UNDER_WAY if phase == ws._phase)
