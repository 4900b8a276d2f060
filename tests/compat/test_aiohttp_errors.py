"""Which exceptions of aiohttp's an opening fails by: those that its documentation has for each case."""

import contextlib
import ssl

import aiohttp
import pytest
from aiohttp import web

import proxies
from aiohttp_server import server
from daemons import free_port
from fastws.compat.aiohttp import ws_connect
from peers import Peer


def answering(answer):
    """A peer that answers any request with these bytes."""
    return Peer(lambda wire: (wire.read_request(), wire.send(answer), wire.end()), upgrade=False)


# ---- proxies ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("scheme", "kind"), [("ws", aiohttp.WSServerHandshakeError), ("wss", aiohttp.ClientHttpProxyError)]
)
@pytest.mark.parametrize("status", [403, 407])
async def test_what_a_proxy_refuses_by_has_its_status(scheme, kind, status):
    with answering(b"HTTP/1.1 %d No\r\nX-Why: rules\r\nContent-Length: 0\r\n\r\n" % status) as proxy:
        with pytest.raises(kind) as caught:
            await ws_connect(f"{scheme}://server.invalid/", proxy=f"http://127.0.0.1:{proxy.port}")
    assert isinstance(caught.value, aiohttp.ClientResponseError)
    assert (caught.value.status, caught.value.headers["x-why"]) == (status, "rules")
    assert caught.value.request_info.url.host == "server.invalid"


async def test_a_proxy_that_is_not_reached_is_what_the_error_tells_of():
    port = free_port()
    with pytest.raises(aiohttp.ClientProxyConnectionError) as caught:
        await ws_connect("wss://server.invalid/", proxy=f"http://127.0.0.1:{port}")
    assert (caught.value.host, caught.value.port) == ("127.0.0.1", port)
    assert isinstance(caught.value.os_error, ConnectionRefusedError)


async def test_a_proxy_whose_certificate_is_not_trusted():
    with contextlib.suppress(ssl.SSLError), proxies.proxy(proxies.http_proxy(), tls=True) as proxy:
        with pytest.raises(aiohttp.ClientConnectorCertificateError) as caught:
            await ws_connect("ws://server.invalid/", proxy=f"https://127.0.0.1:{proxy.port}")
    assert (caught.value.host, caught.value.port) == ("127.0.0.1", proxy.port)


@pytest.mark.parametrize("url", ["ftp://user:hunter2@proxy.invalid", "http://"])
async def test_a_url_that_no_proxy_has(url):
    with pytest.raises(aiohttp.InvalidURL) as caught:
        await ws_connect("ws://server.invalid/", proxy=url)
    assert "hunter2" not in str(caught.value)


# ---- servers ---------------------------------------------------------------------------------------------------------


async def test_a_server_that_speaks_no_tls():
    with Peer(lambda wire: wire.end(), upgrade=False) as peer:
        with pytest.raises(aiohttp.ClientConnectorError) as caught:
            await ws_connect(f"wss://127.0.0.1:{peer.port}/")
    assert (caught.value.host, caught.value.port) == ("127.0.0.1", peer.port)
    assert isinstance(caught.value.os_error, ConnectionResetError)


@pytest.mark.parametrize(
    "answer",
    [
        b"SSH-2.0-OpenSSH_9.6\r\n",
        b"\0\1\2 nonsense\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nno colon here\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nX: " + b"a" * 70_000 + b"\r\n\r\n",
    ],
)
async def test_an_answer_that_cannot_be_read_is_a_bad_one(answer):
    with answering(answer) as peer:
        with pytest.raises(aiohttp.ClientResponseError) as caught:
            await ws_connect(peer.url)
    assert caught.value.status == 400
    assert str(caught.value.request_info.url) == peer.url


async def test_a_server_that_hangs_up_in_the_middle_of_its_answer():
    with answering(b"HTTP/1.1 101 Switching") as peer, pytest.raises(aiohttp.ServerDisconnectedError):
        await ws_connect(peer.url)


# ---- redirects -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("location", "kind"),
    [
        ("ftp://h/", aiohttp.NonHttpUrlRedirectClientError),
        ("mailto:nobody@h", aiohttp.NonHttpUrlRedirectClientError),
        ("http://h:99999/", aiohttp.InvalidUrlRedirectClientError),
    ],
)
async def test_a_redirect_to_no_place(location, kind):
    with answering(f"HTTP/1.1 302 Found\r\nLocation: {location}\r\nContent-Length: 0\r\n\r\n".encode()) as peer:
        with pytest.raises(kind) as caught:
            await ws_connect(peer.url)
    assert isinstance(caught.value, aiohttp.RedirectClientError)
    assert location in str(caught.value)


async def test_redirects_that_do_not_end():
    async def around(request):
        return web.Response(status=302, headers={"Location": "/"})

    async with server(around) as address:
        with pytest.raises(aiohttp.TooManyRedirects) as caught:
            await ws_connect(f"ws://{address}/")
    assert caught.value.request_info.url.path == "/"
    assert [each.status for each in caught.value.history] == [302] * 10


@pytest.mark.parametrize("scheme", ["ws", "http"])
async def test_a_refusal_where_a_redirect_leads_tells_of_both(scheme):
    async def handle(request):
        if request.path == "/first":
            raise web.HTTPFound("/refused?a=b", headers={"X-Why": "moved"})
        return web.Response(status=403)

    async with server(handle) as address:
        with pytest.raises(aiohttp.WSServerHandshakeError) as caught:
            await ws_connect(f"{scheme}://{address}/first")
        raised, [followed] = caught.value, caught.value.history
        assert (raised.status, str(raised.request_info.url)) == (403, f"{scheme}://{address}/refused?a=b")
        assert (followed.status, followed.headers["x-why"]) == (302, "moved")
        assert str(followed.url) == str(followed.request_info.url) == f"{scheme}://{address}/first"


async def test_what_is_not_reached_is_where_the_redirect_leads():
    port = free_port()

    async def away(request):
        raise web.HTTPFound(f"http://127.0.0.1:{port}/")

    async with server(away) as address:
        with pytest.raises(aiohttp.ClientConnectorError) as caught:
            await ws_connect(f"ws://{address}/")
    assert (caught.value.host, caught.value.port) == ("127.0.0.1", port)
