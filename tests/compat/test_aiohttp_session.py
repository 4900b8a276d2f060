"""Sessions of aiohttp's whose WebSockets are fastws', by the hook."""

import asyncio

import aiohttp
import pytest

import fastws.compat
from aiohttp_server import echo, mirror, server
from fastws.compat.aiohttp import ClientWebSocketResponse, WSMsgType


@pytest.fixture
def hook():
    fastws.compat.install("aiohttp")
    yield
    fastws.compat.uninstall("aiohttp")


async def test_a_sessions_websocket_is_ours_and_has_what_the_session_brings(hook):
    jar = aiohttp.CookieJar(unsafe=True)
    async with server(echo) as echoing, server(mirror) as mirroring:
        async with aiohttp.ClientSession(headers={"X-Session": "1"}, cookie_jar=jar) as session:
            async with session.ws_connect(f"ws://{echoing}/") as ws:
                assert type(ws) is ClientWebSocketResponse
                await ws.send_str("by the hook")
                assert await ws.receive_str() == "by the hook"
            async with session.ws_connect(f"http://{mirroring}/", headers={"X-Own": "2"}) as ws:
                seen = await ws.receive_json()
        assert seen["headers"]["X-Session"] == "1"
        assert seen["headers"]["X-Own"] == "2"
        assert seen["cookies"] == {"seen": "yes"}
        async with aiohttp.ClientSession(f"http://{mirroring}") as session:
            async with session.ws_connect("/based") as ws:
                assert (await ws.receive_json())["path"] == "/based"
        with pytest.raises(RuntimeError, match="Session is closed"):
            await session.ws_connect(f"ws://{mirroring}/")


@pytest.mark.parametrize("is_ours", [True, False])
async def test_a_session_that_closes_ends_its_websockets(hook, is_ours):
    if not is_ours:
        fastws.compat.uninstall("aiohttp")

    async def read(ws, first):
        seen = []
        async for message in ws:
            seen.append(message.data)
            first.set_result(None)
        return seen

    async with server(echo) as address:
        async with aiohttp.ClientSession() as session:
            ws = await session.ws_connect(f"ws://{address}/")
            assert (type(ws) is ClientWebSocketResponse) is is_ours
            first = asyncio.get_running_loop().create_future()
            reader = asyncio.create_task(read(ws, first))
            await ws.send_str("first")
            await first
        async with asyncio.timeout(5):
            assert await reader == ["first"]
        assert (ws.closed, ws.close_code) == (True, 1006)
        assert (await ws.receive()).type is WSMsgType.CLOSED


async def test_a_connector_of_the_programs_own_outlives_a_session(hook):
    async with server(echo) as address, aiohttp.TCPConnector() as connector:
        async with aiohttp.ClientSession(connector=connector, connector_owner=False) as session:
            ws = await session.ws_connect(f"ws://{address}/")
        await ws.send_str("still there")
        assert await ws.receive_str() == "still there"
        await connector.close()
        async with asyncio.timeout(5):
            assert (await ws.receive()).type is WSMsgType.CLOSED


async def test_a_session_that_closes_while_a_websocket_opens(hook):
    asked, closed = asyncio.Event(), asyncio.Event()

    async def late(request):
        asked.set()
        await closed.wait()
        return await echo(request)

    async with server(late) as address:
        session = aiohttp.ClientSession()
        opening = asyncio.ensure_future(_opened(session, f"ws://{address}/"))
        await asked.wait()
        await session.close()
        closed.set()
        with pytest.raises(aiohttp.ClientConnectionError):
            await opening


async def _opened(session, url):
    return await session.ws_connect(url)


async def test_a_session_says_what_is_wrong_with_a_url_and_sends_what_it_is_to_send(hook):
    async with server(mirror) as address, aiohttp.ClientSession(skip_auto_headers=["User-Agent", "Accept"]) as session:
        for url, error in (("nonsense", aiohttp.InvalidUrlClientError), ("ftp://h/", aiohttp.NonHttpUrlClientError)):
            with pytest.raises(error):
                await session.ws_connect(url)
        async with session.ws_connect(f"ws://{address}/") as ws:
            seen = (await ws.receive_json())["headers"]
        assert not {"User-Agent", "Accept"} & seen.keys()
        async with session.ws_connect(f"ws://{address}/", headers={"User-Agent": "own"}) as ws:
            assert (await ws.receive_json())["headers"]["User-Agent"] == "own"


async def test_a_session_that_is_traced_keeps_aiohttps_own(hook):
    traced = []

    async def note(session, context, parameters):
        traced.append(parameters.url.path)

    trace = aiohttp.TraceConfig()
    trace.on_request_start.append(note)
    async with server(echo) as address, aiohttp.ClientSession(trace_configs=[trace]) as session:
        async with session.ws_connect(f"ws://{address}/seen") as ws:
            assert type(ws) is aiohttp.ClientWebSocketResponse
            await ws.send_str("traced")
            assert await ws.receive_str() == "traced"
    assert traced == ["/seen"]


async def test_without_the_hook_it_is_aiohttps_again(hook):
    fastws.compat.uninstall("aiohttp")
    async with server(echo) as address, aiohttp.ClientSession() as session:
        async with session.ws_connect(f"ws://{address}/") as ws:
            assert type(ws) is aiohttp.ClientWebSocketResponse
