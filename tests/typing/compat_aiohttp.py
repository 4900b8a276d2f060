"""Programs that were written for aiohttp's WebSocket client, as type checkers see them with the adapter."""

from typing import Any, assert_type

from fastws.compat.aiohttp import ClientWebSocketResponse, WSMessage, WSMsgType, ws_connect


async def listen(url: str) -> Any:
    async with ws_connect(url, heartbeat=30, protocols=["v1"], headers={"X-One": "1"}) as ws:
        assert_type(ws, ClientWebSocketResponse)
        await ws.send_str("subscribe")
        await ws.send_bytes(b"data")
        await ws.send_json({"op": "subscribe"})
        first: str = await ws.receive_str(timeout=5)
        found: Any = await ws.receive_json()
        async for message in ws:
            if message.type is WSMsgType.TEXT:
                print(first, message.data, message.json())
            elif message.type in (WSMsgType.CLOSED, WSMsgType.ERROR):
                break
        code: int | None = ws.close_code
        print(code, ws.exception(), ws.closed)
        return found


async def awaited(url: str) -> WSMessage:
    ws = await ws_connect(url)
    try:
        return await ws.receive()
    finally:
        closed: bool = await ws.close(code=1000, message=b"bye")
        print(closed)
