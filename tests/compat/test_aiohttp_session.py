"""Sessions of aiohttp's whose WebSockets are fastws', by the hook."""

import asyncio
import base64
import gc
import os
import socket
import ssl
import weakref

import aiohttp
import pytest
from aiohttp import web

import fastws.compat
import proxies
from aiohttp_server import echo, mirror, server
from fastws.compat.aiohttp import ClientWebSocketResponse, WSMsgType
from peers import TEXT, Peer, authority_pem, frame, request_of, server_context


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


async def test_a_websocket_that_is_forgotten_ends_without_a_collection(hook):
    gc.collect()
    async with server(echo) as address, aiohttp.ClientSession() as session:
        ws = await session.ws_connect(f"ws://{address}/")
        gc.disable()
        try:
            kept = weakref.ref(ws)
            with pytest.warns(ResourceWarning, match="unclosed"):
                del ws
            assert kept() is None
        finally:
            gc.enable()


async def test_without_the_hook_it_is_aiohttps_again(hook):
    fastws.compat.uninstall("aiohttp")
    async with server(echo) as address, aiohttp.ClientSession() as session:
        async with session.ws_connect(f"ws://{address}/") as ws:
            assert type(ws) is aiohttp.ClientWebSocketResponse


# ---- a connector's limits --------------------------------------------------------------------------------------------


async def _turns():
    """Lets everything go on that can without the other end."""
    for _ in range(20):
        await asyncio.sleep(0)


async def _waiting(connector, session, url):
    """A task that opens a WebSocket, and waits for the connector to have a place for it."""
    opening = asyncio.ensure_future(_opened(session, url))
    async with asyncio.timeout(5):
        while not any(connector._waiters.values()):
            await asyncio.sleep(0)
    assert not opening.done()
    return opening


@pytest.mark.parametrize("limits", [{"limit_per_host": 2}, {"limit": 2}])
async def test_who_comes_above_a_connectors_limit_waits(hook, limits):
    connector = aiohttp.TCPConnector(**limits)
    async with server(echo) as address, aiohttp.ClientSession(connector=connector) as session:
        first, second = [await session.ws_connect(f"ws://{address}/") for _ in range(2)]
        third = await _waiting(connector, session, f"ws://{address}/")
        await first.close()
        async with asyncio.timeout(5), await third as ws:
            assert type(ws) is ClientWebSocketResponse
            await ws.send_str("third")
            assert await ws.receive_str() == "third"
        await second.close()
        assert not connector._acquired
        assert not connector._acquired_per_host


async def test_a_limit_is_of_requests_and_websockets_together(hook):
    connector = aiohttp.TCPConnector(limit=1)
    async with server(hello_or_echo) as address, aiohttp.ClientSession(connector=connector) as session:
        async with session.ws_connect(f"ws://{address}/"):
            asking = asyncio.create_task(session.get(f"http://{address}/"))
            await _turns()
            assert not asking.done()
        async with asyncio.timeout(5), await asking as response:
            assert await response.text() == "hello"


async def hello_or_echo(request):
    return await echo(request) if "Upgrade" in request.headers else web.Response(text="hello")


async def test_who_waits_for_a_place_waits_no_longer_than_for_a_connection(hook):
    timeout = aiohttp.ClientTimeout(connect=0.05)
    async with server(echo) as address, aiohttp.TCPConnector(limit=1) as connector:
        async with aiohttp.ClientSession(connector=connector, connector_owner=False) as patient:
            async with aiohttp.ClientSession(connector=connector, connector_owner=False, timeout=timeout) as session:
                async with patient.ws_connect(f"ws://{address}/"):
                    with pytest.raises(aiohttp.ConnectionTimeoutError):
                        await session.ws_connect(f"ws://{address}/")


async def _refused(session, address):
    with pytest.raises(aiohttp.WSServerHandshakeError):
        await session.ws_connect(f"ws://{address}/refused")


async def _cancelled(session, address):
    opening = asyncio.ensure_future(_opened(session, f"ws://{address}/late"))
    while not session.connector._acquired:
        await asyncio.sleep(0)
    opening.cancel()
    with pytest.raises(asyncio.CancelledError):
        await opening


async def _closed_by_the_server(session, address):
    ws = await session.ws_connect(f"ws://{address}/closed")
    assert (await ws.receive()).type is WSMsgType.CLOSE


async def _lost(session, address):
    ws = await session.ws_connect(f"ws://{address}/lost")
    assert (await ws.receive()).type is WSMsgType.CLOSED


async def _invalid(session, address):
    ws = await session.ws_connect(f"ws://{address}/invalid")
    assert (await ws.receive()).type is WSMsgType.ERROR


async def _silent(session, address):
    ws = await session.ws_connect(f"ws://{address}/silent", heartbeat=0.05)
    assert (await ws.receive()).type is WSMsgType.ERROR


async def _forgotten(session, address):
    ws = await session.ws_connect(f"ws://{address}/")
    with pytest.warns(ResourceWarning, match="unclosed"):
        del ws
        gc.collect()


@pytest.mark.parametrize("end", [_refused, _cancelled, _closed_by_the_server, _lost, _invalid, _silent, _forgotten])
async def test_whatever_ends_a_websocket_its_place_is_free_again(hook, end):
    hang = asyncio.Event()

    async def handle(request):
        if request.path == "/refused":
            return web.Response(status=403)
        if request.path == "/late":
            await hang.wait()
        ws = web.WebSocketResponse(autoping=request.path != "/silent")
        await ws.prepare(request)
        if request.path == "/closed":
            await ws.close()
        elif request.path == "/lost":
            request.transport.abort()
        elif request.path == "/invalid":
            request.transport.write(frame(TEXT, b"\xff"))
            await ws.receive()
        elif request.path == "/silent":
            await hang.wait()
        else:
            await ws.receive()
        return ws

    connector = aiohttp.TCPConnector(limit=1)
    async with server(handle) as address, aiohttp.ClientSession(connector=connector) as session:
        await end(session, address)
        async with asyncio.timeout(5), session.ws_connect(f"ws://{address}/"):
            pass
        hang.set()


# ---- what a connector and a session have for all that they open ------------------------------------------------------


def _with_context(cls):
    return cls(ssl=ssl.create_default_context(cadata=authority_pem().decode()))


@pytest.mark.parametrize("made", [lambda cls: cls(ssl=False), _with_context], ids=["none", "context"])
async def test_a_connectors_tls_is_that_of_its_websockets(hook, made):
    async with server(echo, ssl_context=server_context()) as address:
        async with aiohttp.ClientSession(connector=made(aiohttp.TCPConnector)) as session:
            async with session.ws_connect(f"wss://{address}/") as ws:
                assert type(ws) is ClientWebSocketResponse
        async with aiohttp.ClientSession() as session:
            with pytest.raises(aiohttp.ClientConnectorCertificateError):
                await session.ws_connect(f"wss://{address}/")


async def test_the_tls_of_one_websocket_is_not_its_connectors(hook):
    strict = ssl.create_default_context()
    async with server(echo, ssl_context=server_context()) as address:
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=False)) as session:
            with pytest.raises(aiohttp.ClientConnectorCertificateError):
                await session.ws_connect(f"wss://{address}/", ssl=strict)


async def test_a_connectors_addresses_are_of_its_family(hook):
    async with server(echo) as address:
        url = f"ws://localhost:{address.rpartition(':')[2]}/"
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(family=socket.AF_INET)) as session:
            async with session.ws_connect(url) as ws:
                assert type(ws) is ClientWebSocketResponse
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(family=socket.AF_INET6)) as session:
            with pytest.raises(aiohttp.ClientConnectorError):
                await session.ws_connect(url)


@pytest.mark.filterwarnings("ignore:The 'proxy_auth' parameter is deprecated")
@pytest.mark.parametrize("given", [{}, {"proxy_auth": ("own", "word")}], ids=["session", "own"])
async def test_a_sessions_proxy_gets_its_credentials(hook, given):
    with proxies.proxy(proxies.http_proxy()) as proxy:
        url = f"http://127.0.0.1:{proxy.port}"
        async with server(echo) as address:
            async with aiohttp.ClientSession(proxy=url, proxy_auth=("user", "pass")) as session:
                async with session.ws_connect(f"ws://{address}/", **given) as ws:
                    assert type(ws) is ClientWebSocketResponse
        _, fields = request_of(proxy)
    expected = b"own:word" if given else b"user:pass"
    assert ("Proxy-Authorization", "Basic " + base64.b64encode(expected).decode()) in fields


# ---- time ------------------------------------------------------------------------------------------------------------


async def _raised_within(seconds, address, **limits):
    """What an opening raises within the limits of a session, and some time to see it."""
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(**limits)) as session:
        async with asyncio.timeout(seconds):
            with pytest.raises((aiohttp.ClientError, TimeoutError)) as caught:
                await session.ws_connect(address)
    return caught.value


@pytest.mark.parametrize("name", ["connect", "sock_connect"])
async def test_a_server_that_answers_late_is_connected(hook, name):
    async def late(request):
        await asyncio.sleep(1.5)
        return await echo(request)

    timeout = aiohttp.ClientTimeout(**{name: 1})
    async with server(late) as address, aiohttp.ClientSession(timeout=timeout) as session:
        async with session.ws_connect(f"ws://{address}/") as ws:
            assert type(ws) is ClientWebSocketResponse


@pytest.mark.parametrize("name", ["connect", "sock_connect"])
async def test_a_server_that_does_no_tls_is_not_connected(hook, name):
    with Peer(lambda wire: wire.sock.recv(1 << 16) and wire.sock.recv(1 << 16), upgrade=False) as peer:
        raised = await _raised_within(5, f"wss://127.0.0.1:{peer.port}/", total=None, **{name: 0.5})
    assert type(raised) is aiohttp.ConnectionTimeoutError
    assert f"{name}=0.5: the TLS handshake was under way" in str(raised)


async def test_a_proxy_that_does_not_answer_is_connected_to_in_vain(hook):
    with Peer(lambda wire: wire.sock.recv(1 << 16) and wire.sock.recv(1 << 16), upgrade=False) as peer:
        timeout = aiohttp.ClientTimeout(sock_connect=0.2)
        async with aiohttp.ClientSession(timeout=timeout, proxy=f"http://127.0.0.1:{peer.port}") as session:
            with pytest.raises(aiohttp.ConnectionTimeoutError, match=r"sock_connect=0\.2: the proxy"):
                await session.ws_connect("ws://server.invalid/")


async def _never(request):
    await asyncio.get_running_loop().create_future()


async def test_an_answer_may_take_as_long_as_a_read(hook):
    async with server(_never) as address:
        raised = await _raised_within(5, f"ws://{address}/", total=None, sock_read=0.1)
    assert type(raised) is aiohttp.SocketTimeoutError
    assert "sock_read=0.1: the server had not answered" in str(raised)


async def test_where_a_redirect_leads_the_limits_are_new(hook):
    async def away(request):
        if request.path == "/silent":
            await _never(request)
        await asyncio.sleep(0.6)
        last = f"http://localhost:{request.url.port}/silent"
        raise web.HTTPFound(last if request.path == "/third" else "/third")

    loop = asyncio.get_running_loop()
    async with server(away) as address:
        begun = loop.time()
        raised = await _raised_within(20, f"ws://{address}/", connect=1, sock_read=1.6)
        assert loop.time() - begun > 0.6 + 0.6 + 1.6
    assert type(raised) is aiohttp.SocketTimeoutError


@pytest.mark.parametrize("scheme", ["ws", "wss"])
async def test_all_that_an_opening_takes_has_a_limit(hook, scheme):
    with Peer(lambda wire: wire.sock.recv(1 << 16) and wire.sock.recv(1 << 16), upgrade=False) as peer:
        raised = await _raised_within(5, f"{scheme}://127.0.0.1:{peer.port}/", total=0.1)
    assert type(raised) is TimeoutError
    assert "not open within 0." in str(raised)


async def test_an_opening_without_a_limit(hook):
    timeout = aiohttp.ClientTimeout(total=None)
    async with server(echo) as address, aiohttp.ClientSession(timeout=timeout) as session:
        async with session.ws_connect(f"ws://{address}/") as ws:
            assert type(ws) is ClientWebSocketResponse


# ---- proxies of the environment --------------------------------------------------------------------------------------


@pytest.fixture
def environment(monkeypatch):
    """Sets variables of the environment, where there is no proxy else."""
    for name in list(os.environ):
        if name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)
    return monkeypatch.setenv


async def _proxied(address, proxy, **options):
    """Whether a session that trusts the environment opens a WebSocket by way of the proxy."""
    async with aiohttp.ClientSession(trust_env=True) as session:
        async with session.ws_connect(address, **options) as ws:
            await ws.send_str("hello")
            assert await ws.receive_str() == "hello"
    return bool(proxy.accepted)


async def test_a_session_that_does_not_trust_the_environment_asks_it_for_no_proxy(hook, environment):
    with proxies.proxy(proxies.http_proxy()) as proxy:
        environment("ws_proxy", f"http://127.0.0.1:{proxy.port}")
        async with server(echo) as address, aiohttp.ClientSession() as session:
            async with session.ws_connect(f"ws://{address}/") as ws:
                assert type(ws) is ClientWebSocketResponse
        assert not proxy.accepted


@pytest.mark.parametrize("name", ["http_proxy", "https_proxy", "all_proxy", "socks_proxy", "wss_proxy"])
async def test_a_websocket_by_ws_does_not_ask_for_the_proxies_of_others(hook, environment, name):
    with proxies.proxy(proxies.http_proxy()) as proxy:
        environment(name, f"http://127.0.0.1:{proxy.port}")
        async with server(echo) as address:
            assert not await _proxied(f"ws://{address}/", proxy)


@pytest.mark.parametrize(("scheme", "name"), [("ws", "ws_proxy"), ("ws", "WS_PROXY"), ("http", "http_proxy")])
async def test_the_environments_proxy_is_that_of_the_scheme_that_was_asked(hook, environment, scheme, name):
    with proxies.proxy(proxies.http_proxy()) as proxy:
        environment(name, f"http://127.0.0.1:{proxy.port}")
        async with server(echo) as address:
            assert await _proxied(f"{scheme}://{address}/", proxy)


@pytest.mark.parametrize(("name", "is_asked"), [("wss_proxy", True), ("https_proxy", False)])
async def test_a_websocket_by_wss_has_a_proxy_of_its_own(hook, environment, name, is_asked):
    with proxies.proxy(proxies.http_proxy()) as proxy:
        environment(name, f"http://127.0.0.1:{proxy.port}")
        async with server(echo, ssl_context=server_context()) as address:
            assert await _proxied(f"wss://{address}/", proxy, ssl=False) is is_asked


async def test_no_proxy_is_heard_as_by_aiohttp(hook, environment):
    with proxies.proxy(proxies.http_proxy()) as proxy:
        environment("ws_proxy", f"http://127.0.0.1:{proxy.port}")
        environment("no_proxy", "127.0.0.1")
        async with server(echo) as address:
            assert not await _proxied(f"ws://{address}/", proxy)


async def test_the_environments_proxy_gets_its_own_credentials(hook, environment):
    with proxies.proxy(proxies.http_proxy()) as proxy:
        environment("ws_proxy", f"http://us%40er:secr%3Aet@127.0.0.1:{proxy.port}")
        async with server(echo) as address, aiohttp.ClientSession(trust_env=True) as session:
            async with session.ws_connect(f"ws://{address}/", proxy_headers={"X-Proxy": "given"}):
                pass
        _, fields = request_of(proxy)
    assert ("Proxy-Authorization", "Basic " + base64.b64encode(b"us@er:secr:et").decode()) in fields
    assert "X-Proxy" not in dict(fields)


async def test_a_proxy_of_the_environment_that_is_none(hook, environment):
    environment("ws_proxy", "ftp://user:hunter2@proxy.invalid")
    async with aiohttp.ClientSession(trust_env=True) as session:
        with pytest.raises(aiohttp.InvalidURL) as caught:
            await session.ws_connect("ws://server.invalid/")
    assert "hunter2" not in str(caught.value)


async def test_where_a_redirect_leads_the_environment_is_asked_again(hook, environment):
    async with server(echo) as address:

        async def away(request):
            return web.Response(status=302, headers={"Location": f"http://{address}/"})

        with proxies.proxy(proxies.http_proxy()) as proxy:
            environment("http_proxy", f"http://127.0.0.1:{proxy.port}")
            async with server(away) as first:
                assert await _proxied(f"ws://{first}/", proxy)


async def test_what_is_for_a_proxy_is_ignored_where_there_is_none(hook):
    async with server(mirror) as address, aiohttp.ClientSession() as session:
        async with session.ws_connect(f"ws://{address}/", proxy_headers={"X-Proxy": "1"}) as ws:
            assert "X-Proxy" not in (await ws.receive_json())["headers"]
