"""Ways through proxies of others: tinyproxy, Dante, microsocks, HAProxy, stunnel (proxy.py, tunnel.py)."""

import contextlib
import socket

import pytest

import fastws
from daemons import free_port
from fronts import stunnel
from peers import Peer, authority_pem, ignoring_the_end, server_pem, text
from proxies import danted, haproxy, microsocks, tinyproxy

pytestmark = pytest.mark.network


def script(wire):
    frame = wire.read_frame()
    wire.send(text(frame.payload.decode()))
    wire.answer_close()


async def echoed(uri, **options):
    async with fastws.connect(uri, **options) as ws:
        await ws.send("through")
        assert await ws.recv() == "through"


@contextlib.contextmanager
def peers():
    with Peer(script) as plain, Peer(script, tls=True) as secure:
        yield plain, secure


async def test_tinyproxy(tmp_path):
    with peers() as (plain, secure), tinyproxy(tmp_path) as port:
        url = f"http://127.0.0.1:{port}"
        await echoed(plain.url, proxy=url)
        await echoed(secure.url, proxy=url, tls=fastws.TlsConfig(ca=authority_pem()))
        await echoed(plain.url.replace("127.0.0.1", "localhost"), proxy=url)
        with socket.socket() as bound:
            bound.bind(("127.0.0.1", 0))
            nobody = f"ws://127.0.0.1:{bound.getsockname()[1]}/"
            with pytest.raises(fastws.ProxyError, match=f"{url} did not connect us .*: HTTP 5") as caught:
                await fastws.connect(nobody, proxy=url)
        assert caught.value.is_retryable
        with pytest.raises(fastws.ProxyError, match=r"did not connect us to nowhere\.invalid:80: HTTP [45]"):
            await fastws.connect("ws://nowhere.invalid/", proxy=url)


async def test_tinyproxy_with_credentials(tmp_path):
    with peers() as (plain, secure), tinyproxy(tmp_path, credentials="user hunter2") as port:
        await echoed(plain.url, proxy=f"http://user:hunter2@127.0.0.1:{port}")
        tls = fastws.TlsConfig(ca=authority_pem())
        await echoed(secure.url, proxy=f"http://user:hunter2@127.0.0.1:{port}", tls=tls)
        for userinfo, match in (("", "it wants credentials"), ("user:hunter3@", "it refused the user and password")):
            with pytest.raises(fastws.ProxyError, match=match) as caught:
                await fastws.connect(plain.url, proxy=f"http://{userinfo}127.0.0.1:{port}")
            # 1.11 says 407 to who has said nothing, and 401 to who has said something wrong.
            assert caught.value.status in (401, 407)
            assert not caught.value.is_retryable


async def test_tinyproxy_that_lets_no_such_port_through(tmp_path):
    with Peer(script) as plain, tinyproxy(tmp_path, ports=(443,)) as port:
        with pytest.raises(fastws.ProxyError, match=r"HTTP 403 .*its rules forbid") as caught:
            await fastws.connect(plain.url, proxy=f"http://127.0.0.1:{port}")
        assert not caught.value.is_retryable
        assert plain.accepted == 0


async def test_a_client_behind_tinyproxy_that_is_restarted(tmp_path):
    @ignoring_the_end
    def greeting(wire):
        wire.send(text("hello"))
        wire.answer_close()

    with Peer(greeting) as plain, contextlib.ExitStack() as stack:
        ports = [stack.enter_context(tinyproxy(tmp_path))]
        async with fastws.WebSocketClient(
            plain.url, proxy=lambda uri: f"http://127.0.0.1:{ports[-1]}", retry=fastws.FixedDelay(0.05)
        ) as client:
            stream = client.stream()
            assert await anext(stream) == "hello"
            stack.close()  # the proxy goes, and the connection with it
            again = tmp_path / "again"
            again.mkdir()
            ports.append(stack.enter_context(tinyproxy(again)))
            assert await anext(stream) == "hello"
        assert plain.accepted >= 2


@contextlib.contextmanager
def secured(name, folder, behind):
    """A port at which there is TLS in front of the port `behind`."""
    if name == "haproxy":
        with haproxy(folder, behind, pem=server_pem()) as port:
            yield port
    else:
        with stunnel(folder, behind, idle=30) as before:
            yield before.ports[True]


@pytest.mark.parametrize("name", ["haproxy", "stunnel"])
async def test_tls_in_front_of_tinyproxy(name, tmp_path):
    with peers() as (plain, secure), tinyproxy(tmp_path) as behind, secured(name, tmp_path, behind) as port:
        tls = fastws.TlsConfig(ca=authority_pem())
        for host in ("127.0.0.1", "localhost"):
            way = {"proxy": f"https://{host}:{port}", "proxy_tls": tls}
            await echoed(plain.url, **way)
            await echoed(secure.url, tls=tls, **way)
        with pytest.raises(fastws.ProxyError, match=r"has an unknown issuer: .* proxy_tls=") as caught:
            await fastws.connect(plain.url, proxy=f"https://127.0.0.1:{port}")
        assert not caught.value.is_retryable
        with pytest.raises(fastws.ProxyError, match=r"is it a proxy of this kind|unanswered|dropped"):
            await fastws.connect(plain.url, proxy=f"http://127.0.0.1:{port}")


@pytest.mark.parametrize("scheme", ["socks5", "socks5h"])
async def test_microsocks(scheme, tmp_path):
    with peers() as (plain, secure), microsocks(tmp_path) as port:
        url = f"{scheme}://127.0.0.1:{port}"
        await echoed(plain.url, proxy=url)
        await echoed(plain.url.replace("127.0.0.1", "localhost"), proxy=url)
        await echoed(secure.url, proxy=url, tls=fastws.TlsConfig(ca=authority_pem()))
        with pytest.raises(fastws.ProxyError, match="Connection refused by destination host") as caught:
            await fastws.connect(f"ws://127.0.0.1:{free_port()}/", proxy=url)
        assert caught.value.is_retryable


async def test_microsocks_with_credentials(tmp_path):
    with peers() as (plain, _), microsocks(tmp_path, credentials=("user", "hunter2")) as port:
        await echoed(plain.url, proxy=f"socks5h://user:hunter2@127.0.0.1:{port}")
        for userinfo, match in (("", "it wants credentials"), ("user:hunter3@", "are not right")):
            with pytest.raises(fastws.ProxyError, match=match) as caught:
                await fastws.connect(plain.url, proxy=f"socks5h://{userinfo}127.0.0.1:{port}")
            assert not caught.value.is_retryable


@pytest.mark.parametrize("scheme", ["socks4", "socks4a", "socks5", "socks5h"])
async def test_dante(scheme, tmp_path):
    blocked = free_port()
    with peers() as (plain, secure), danted(tmp_path, blocked=blocked) as port:
        url = f"{scheme}://127.0.0.1:{port}"
        await echoed(plain.url, proxy=url)
        if scheme != "socks4a":  # Dante 1.4 takes the name's stand-in for an address
            await echoed(plain.url.replace("127.0.0.1", "localhost"), proxy=url)
        await echoed(secure.url, proxy=url, tls=fastws.TlsConfig(ca=authority_pem()))
        with pytest.raises(fastws.ProxyError, match=f"did not connect us to 127.0.0.1:{blocked}") as caught:
            await fastws.connect(f"ws://127.0.0.1:{blocked}/", proxy=url)
        assert caught.value.reply
        assert caught.value.denied is (scheme in ("socks5", "socks5h"))
