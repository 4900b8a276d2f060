"""Code written against the types of websockets, for mypy: it never runs."""

import ssl
from collections.abc import AsyncIterator
from typing import Any, assert_type

from fastws.compat import websockets
from fastws.compat.websockets import ClientConnection, CloseCode, ConnectionClosed, Data, Headers, State
from fastws.compat.websockets.asyncio.client import connect, unix_connect
from fastws.compat.websockets.asyncio.connection import broadcast
from fastws.compat.websockets.asyncio.server import broadcast as server_broadcast
from fastws.compat.websockets.exceptions import InvalidStatus
from fastws.compat.websockets.typing import LoggerLike, Origin, Subprotocol


class Named(ClientConnection):
    name: str = ""

    async def close(self, code: int = 1000, reason: str = "") -> None:
        await super().close(code, reason)

    async def send(self, message: Any, text: bool | None = None, **how: Any) -> None:
        await super().send(message, text, **how)


async def opened(uri: str, logger: LoggerLike) -> ClientConnection:
    context = ssl.create_default_context()
    async with connect(
        uri,
        origin=Origin("https://example.com"),
        subprotocols=[Subprotocol("chat")],
        compression=None,
        additional_headers={"X-A": "1"},
        user_agent_header=None,
        proxy=None,
        open_timeout=None,
        max_size=(2**20, None),
        max_queue=(16, None),
        write_limit=(2**15, 2**13),
        logger=logger,
        create_connection=Named,
        ssl=context,
    ) as ws:
        assert_type(ws, ClientConnection)
    await unix_connect("/run/socket")
    return await connect(uri, additional_headers=Headers({"X-A": "1"}))


async def used(ws: ClientConnection) -> None:
    assert_type(await ws.recv(), Data)
    assert_type(await ws.recv(decode=True), str)
    assert_type(await ws.recv(decode=False), bytes)
    async for message in ws:
        assert_type(message, Data)
    assert_type(ws.recv_streaming(decode=True), AsyncIterator[str])
    await ws.send(["a", "b"], text=True)
    await ws.send(pieces())
    await ws.send(5)  # type: ignore[arg-type]
    await ws.send([5])  # type: ignore[list-item]
    latency: float = await (await ws.ping("data"))
    await ws.close(CloseCode.GOING_AWAY, f"{latency}")
    assert_type(ws.state, State)
    assert_type(ws.subprotocol, Subprotocol | None)
    if ws.request is not None and ws.response is not None:
        assert_type(ws.request.headers, Headers)
        assert_type(ws.response.status_code, int)
    broadcast([ws], "a", text=False)
    websockets.broadcast([ws], b"a")
    server_broadcast([ws], "a", raise_exceptions=True)
    websockets.broadcast([ws], 5)  # type: ignore[arg-type]


async def pieces() -> AsyncIterator[bytes]:
    yield b"a"


async def repeated(uri: str) -> None:
    async for ws in connect(uri):
        try:
            await used(ws)
        except ConnectionClosed as error:
            assert_type(error.rcvd_then_sent, bool | None)
        except InvalidStatus as error:
            assert_type(error.response.status_code, int)
        except websockets.InvalidURI:
            raise
