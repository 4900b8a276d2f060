"""A server made with aiohttp; what its paths do is in real_peers.py. It sends no fragments: aiohttp cannot."""

import asyncio
import json
import sys

from aiohttp import WSMsgType, web
from seen import SUBPROTOCOLS, Seen, context_of, numbered

COMPRESS = web.AppKey("compress", bool)
MAX_SIZE = web.AppKey("max_size", int)


async def handle(request):
    ws = web.WebSocketResponse(
        protocols=SUBPROTOCOLS,
        max_msg_size=request.app[MAX_SIZE],
        compress=request.app[COMPRESS],
        autoping=request.path != "/pings",
    )
    if not ws.can_prepare(request):
        return web.Response(status=426, text="a WebSocket is wanted")
    await ws.prepare(request)
    seen = Seen.of(request.query)
    if request.path == "/ended":
        await ws.send_str(await seen.ended)
    elif request.path == "/go":
        seen.go.set()
    else:
        code, reason = 1006, ""
        try:
            code, reason = await act(ws, request, seen)
        except ConnectionResetError:
            pass
        finally:
            seen.end(code, reason)
    return ws


async def act(ws, request, seen):
    """Returns close code and reason as the client has said them."""
    path, query = request.path, request.query
    match path:
        case "/pings":
            await ws.ping(b"from the server")
            answer = await ws.receive()
            assert (answer.type, answer.data) == (WSMsgType.PONG, b"from the server")
            await ws.send_str("answered")
        case "/request":
            names = ("Host", "X-Forwarded-Proto", "X-Forwarded-For")
            await ws.send_str(json.dumps({name.lower(): request.headers.get(name) for name in names}))
        case "/burst":
            for message in numbered(query):
                await ws.send_bytes(message)
        case "/goodbye":
            for message in numbered(query):
                await ws.send_bytes(message)
            await ws.close(code=int(query["code"]), message=query["reason"].encode())
            return ws.close_code, ""  # it does not tell the reason
        case "/sink":
            if "stalled" in query:
                await seen.go.wait()
    while True:
        message = await ws.receive()
        match message.type:
            case WSMsgType.CLOSE:
                return message.data, message.extra or ""
            case WSMsgType.TEXT | WSMsgType.BINARY if path == "/echo":
                send = ws.send_str if message.type is WSMsgType.TEXT else ws.send_bytes
                await send(message.data)
            case WSMsgType.TEXT | WSMsgType.BINARY:
                seen.take(message.data)
            case _:
                return 1006, ""


async def main(listeners):
    for listener in listeners:
        app = web.Application()
        app[COMPRESS] = listener["deflate"] is not None
        app[MAX_SIZE] = listener["max_size"] or 0
        app.router.add_get("/{path}", handle)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", listener["port"], ssl_context=context_of(listener)).start()
    await asyncio.Event().wait()


asyncio.run(main(json.loads(sys.argv[1])))
