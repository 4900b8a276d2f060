"""What connects a native connection with a listener of picows' kind."""

from __future__ import annotations

import contextlib
import logging
import socket
from collections.abc import Callable
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from ._alone import Fields
from ._underlying import Underlying
from .common import WSProtocolError, WSUpgradeRequest, WSUpgradeResponse
from .picows import AnyListener, WSAutoPingStrategy, WSCloseCode, WSListener, WSTransport

if TYPE_CHECKING:
    from fastws.connection import Connection
    from fastws.errors import CloseInfo

__all__ = ["Link", "Logger", "Pings", "made_response", "response_of"]

Logger = logging.Logger | logging.LoggerAdapter[Any]

Pings = tuple[WSAutoPingStrategy, float, float]
"""When the peer is pinged by itself: how, after how many seconds, and how many its answer may take."""


class Link:
    """The callbacks of one connection, as ``_core`` calls them.

    Args:
        factory: Makes the listener, of request and response or of nothing.
        is_secure: Whether the connection is TLS.
        logger: Is told what happens.
        disconnect_on_exception: Whether an exception of ``on_ws_frame`` ends the connection.
        pings: How the peer is pinged; None: not at all.
    """

    on_message = None
    on_batch = None

    def __init__(
        self,
        factory: Callable[..., WSListener],
        *,
        is_secure: bool,
        logger: Logger,
        disconnect_on_exception: bool,
        pings: Pings | None,
    ) -> None:
        self._factory = factory
        self._is_secure = is_secure
        self._logger = logger
        self._disconnect_on_exception = disconnect_on_exception
        self._pings = pings
        self.transport: WSTransport | None = None
        self.listener: WSListener | None = None
        self.sock: socket.socket | None = None
        """The caller's, to be closed with the connection."""
        self.error: Exception | None = None
        """Why there is no listener."""

    def made(self) -> tuple[WSTransport, WSListener]:
        """What was made when the connection opened. Raises what kept the listener from being made."""
        if self.error is not None:
            raise self.error
        assert self.transport is not None
        assert self.listener is not None
        return self.transport, self.listener

    def on_open(self, conn: Connection) -> None:
        """The upgrade was accepted."""
        try:
            request, response = _request_of(conn), response_of(conn)
            transport = WSTransport(
                conn,
                Underlying,
                request=request,
                response=response,
                is_secure=self._is_secure,
                logger=self._logger,
                disconnect_on_exception=self._disconnect_on_exception,
            )
            listener = self._listener_of(request, response)
        except Exception as error:  # noqa: BLE001 - ws_connect raises it
            self.error = error
            conn._abort("no listener was made")
            return
        self.transport, self.listener = transport, listener
        self._logger.info("WS connection established: %s -> %s", conn.local_address, conn.remote_address)
        transport._connected(listener)
        # As it is now: what a listener put in its own place while it was told is meant.
        transport._show_frames(listener.on_ws_frame)
        if self._pings is not None:
            transport._pinging = conn._loop.create_task(transport._auto_ping(*self._pings))

    def on_close(self, conn: Connection, _: CloseInfo) -> None:
        """The connection is over. Its listener hears of it in the next turn, as of asyncio's transports."""
        if self.sock is not None:
            self.sock.close()
        if self.transport is not None:
            with contextlib.suppress(RuntimeError):  # the loop is closed
                conn._loop.call_soon(self.transport._ended, _failure(conn))

    def _listener_of(self, request: WSUpgradeRequest, response: WSUpgradeResponse) -> WSListener:
        try:
            made = self._factory(request, response)
        except TypeError as error:
            try:
                made = self._factory()
            except TypeError:
                raise error from None
        if not isinstance(made, AnyListener):
            raise TypeError(f"ws_listener_factory returns a WSListener, not {made!r}")
        return made


def _failure(conn: Connection) -> WSProtocolError | None:
    """What the peer did that no peer may, if that ended the connection."""
    _, _, code, _, _, kind, text = conn._close_info
    if kind not in ("protocol", "utf8", "masked", "limit"):
        return None
    said = text or ""
    if kind == "limit":
        said = f"Received frame with payload size exceeding max allowed size: {said}"
    elif kind == "masked":
        said = "Received masked frame from server, RFC 6455 section 5.1 forbids this"
    return WSProtocolError(WSCloseCode(code or 1002), said)


def _request_of(conn: Connection) -> WSUpgradeRequest:
    head = (conn._request or b"").split(b"\r\n\r\n")[0].split(b"\r\n")
    request = WSUpgradeRequest()
    request.method, request.path, request.version = head[0].split(b" ", 2)
    request.headers = Fields()
    for line in head[1:]:
        name, _, value = line.partition(b":")
        request.headers.add(name.decode("latin-1"), value.strip().decode("utf-8", "surrogateescape"))
    return request


def response_of(conn: Connection) -> WSUpgradeResponse:
    """The server's answer to the upgrade."""
    assert conn._response is not None
    return made_response(*conn._response)


def made_response(status: int, _: str, headers: list[tuple[str, str]], body: bytes) -> WSUpgradeResponse:
    """An answer in picows' form."""
    response = WSUpgradeResponse()
    response.version = b"HTTP/1.1"
    try:
        response.status = HTTPStatus(status)
    except ValueError:  # one that Python does not know
        response.status = status  # type: ignore[assignment]
    response.headers = Fields(headers)
    response.body = body or None
    return response
