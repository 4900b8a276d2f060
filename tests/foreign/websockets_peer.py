"""A server made with `websockets`; what its paths do is in real_peers.py."""

import asyncio
import json
import sys
from urllib.parse import parse_qsl, urlsplit

import websockets
from seen import SUBPROTOCOLS, Seen, context_of, numbered
from websockets.asyncio.server import serve
from websockets.extensions.permessage_deflate import ServerPerMessageDeflateFactory


async def handle(ws):
    url = urlsplit(ws.request.path)
    query = dict(parse_qsl(url.query))
    seen = Seen.of(query)
    if url.path == "/ended":
        await ws.send(await seen.ended)
    elif url.path == "/go":
        seen.go.set()
    else:
        try:
            await act(ws, url.path, query, seen)
        except websockets.ConnectionClosed:
            pass
        finally:
            await ws.wait_closed()
            seen.end(ws.close_code, ws.close_reason)


async def act(ws, path, query, seen):
    match path:
        case "/echo":
            async for message in ws:
                await ws.send(message)
        case "/fragments":
            size = int(query["size"])
            async for message in ws:
                await ws.send(message[at : at + size] for at in range(0, len(message), size))
        case "/pings":
            await (await ws.ping(b"from the server"))
            await ws.send("answered")
            await ws.wait_closed()
        case "/request":
            names = ("host", "x-forwarded-proto", "x-forwarded-for")
            await ws.send(json.dumps({name: ws.request.headers.get(name) for name in names}))
            await ws.wait_closed()
        case "/burst":
            for message in numbered(query):
                await ws.send(message)
            await ws.wait_closed()
        case "/goodbye":
            for message in numbered(query):
                await ws.send(message)
            await ws.close(int(query["code"]), query["reason"])
        case "/sink":
            if "stalled" in query:
                await seen.go.wait()
            async for message in ws:
                seen.take(message)


def select_subprotocol(_ws, offered):
    return next((one for one in SUBPROTOCOLS if one in offered), None)


async def main(listeners):
    for listener in listeners:
        terms = listener["deflate"]
        await serve(
            handle,
            "127.0.0.1",
            listener["port"],
            ssl=context_of(listener),
            compression=None,
            extensions=None if terms is None else [ServerPerMessageDeflateFactory(**terms)],
            select_subprotocol=select_subprotocol,
            max_size=listener["max_size"],
            ping_interval=None,
        )
    await asyncio.Event().wait()


asyncio.run(main(json.loads(sys.argv[1])))
