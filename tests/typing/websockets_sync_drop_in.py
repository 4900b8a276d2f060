"""Code that is written against the types of ``websockets.sync``, as type checkers see it on the drop-in."""

from __future__ import annotations

import ssl
import threading
import uuid
from collections.abc import Iterator
from typing import Any, assert_type

from fastws.compat.websockets.datastructures import Headers
from fastws.compat.websockets.exceptions import ConnectionClosed
from fastws.compat.websockets.extensions import ClientExtensionFactory
from fastws.compat.websockets.frames import CloseCode
from fastws.compat.websockets.http11 import Request, Response
from fastws.compat.websockets.protocol import State
from fastws.compat.websockets.sync.client import ClientConnection, connect, reconnect, unix_connect
from fastws.compat.websockets.typing import Data, LoggerLike, Subprotocol


class Mine(ClientConnection):
    """A class of one's own."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.mine = 1

    def close(self, code: int = 1000, reason: str = "") -> None:
        super().close(code, reason)

    def send(self, message: Any, text: bool | None = None, **how: Any) -> None:
        super().send(message, text, **how)


def opens(extensions: list[ClientExtensionFactory], context: ssl.SSLContext, logger: LoggerLike) -> None:
    """All that ``connect`` takes."""
    with connect(
        "wss://host/",
        ssl=context,
        server_hostname="host",
        extensions=extensions,
        subprotocols=[Subprotocol("chat")],
        compression=None,
        additional_headers={"X-One": "1"},
        user_agent_header=None,
        proxy=None,
        open_timeout=5,
        ping_interval=None,
        max_size=(2**20, None),
        max_queue=(16, 4),
        logger=logger,
        create_connection=Mine,
        address=("localhost", 443),
    ) as ws:
        assert_type(ws, ClientConnection)
    assert_type(connect("ws://host/", legacy=True), ClientConnection)
    assert_type(connect("ws://host/", legacy=False), reconnect)
    assert_type(unix_connect("/run/feed.sock"), ClientConnection)
    for each in reconnect("ws://host/", process_exception=lambda error: error):
        assert_type(each, ClientConnection)


def uses(ws: ClientConnection) -> None:
    """What a connection has."""
    assert_type(ws.recv_streaming(), Iterator[Data])
    assert_type(ws.ping("data", ack_on_close=True), threading.Event)
    assert_type(ws.wait_closed(timeout=1), bool)
    assert_type(ws.state, State)
    assert_type(ws.request, Request | None)
    assert_type(ws.response, Response | None)
    assert_type(ws.subprotocol, Subprotocol | None)
    assert_type(ws.close_code, int | None)
    assert_type(ws.close_reason, str | None)
    assert_type(ws.close_exc, ConnectionClosed)
    assert_type(ws.id, uuid.UUID)
    assert_type(ws.latency, float)
    if ws.request is not None:
        assert_type(ws.request.headers, Headers)
    ws.send("text")
    ws.send(["a", "b"])
    ws.send(5)  # type: ignore[arg-type]
    ws.send([5])  # type: ignore[list-item]
    ws.send(b"text", text=True)
    assert_type(ws.recv(), Data)
    assert_type(ws.recv(timeout=1, decode=False), bytes)
    assert_type(ws.recv(1, True), str)
    for message in ws:
        assert_type(message, Data)
        ws.pong(message)
    ws.close(CloseCode.GOING_AWAY, "enough")
