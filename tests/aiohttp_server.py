"""Servers of aiohttp's own, for what stands in for its client."""

import contextlib

from aiohttp import WSMsgType, web


@contextlib.asynccontextmanager
async def server(handle, **options):
    """A server of aiohttp's with one handler; gives its address without a scheme."""
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", handle)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0, **options)
        await site.start()
        yield f"127.0.0.1:{site._server.sockets[0].getsockname()[1]}"
    finally:
        await runner.cleanup()


async def echo(request):
    ws = web.WebSocketResponse(protocols=["one", "two"], compress=True)
    ws.set_cookie("seen", "yes")
    await ws.prepare(request)
    async for message in ws:
        if message.type is WSMsgType.TEXT:
            await ws.send_str(message.data)
        elif message.type is WSMsgType.BINARY:
            await ws.send_bytes(message.data)
    return ws


async def mirror(request):
    """Tells what was asked."""
    ws = web.WebSocketResponse()
    await ws.prepare(request)
    await ws.send_json({"path": request.path_qs, "headers": dict(request.headers), "cookies": dict(request.cookies)})
    await ws.receive()
    return ws
