"""Ways through proxies that a test has scripted (proxy.py, tunnel.py)."""

import asyncio
import base64
import errno
import socket

import pytest

import fastws
from fastws import dial
from fastws.testing import Server
from peers import Peer, Wire, authority_pem, ignoring_the_end, no_descriptor_left, text
from proxies import http_proxy, proxy, socks_proxy

pytestmark = pytest.mark.also_sync

SCHEMES = ["http", "socks4", "socks4a", "socks5", "socks5h"]


def script_of(scheme, **options):
    return http_proxy(**options) if scheme == "http" else socks_proxy(**options)


def url_of(scheme, hop):
    return f"{scheme}://127.0.0.1:{hop.port}"


async def echoes(ws):
    await ws.send("through")
    return await ws.recv() == "through"


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("tls", [False, True])
async def test_a_way_through_a_proxy(scheme, tls, open_fds):
    def script(wire):
        frame = wire.read_frame()
        wire.send(text(frame.payload.decode()))
        wire.answer_close()

    async with no_descriptor_left(open_fds):
        with Peer(script, tls=tls) as peer, proxy(script_of(scheme)) as hop:
            async with peer.connect(proxy=url_of(scheme, hop)) as ws:
                assert ws.remote_address == ("127.0.0.1", hop.port)
                assert await echoes(ws)
            assert peer.accepted == 1


@pytest.mark.also_sync(False)
async def test_a_client_goes_through_its_proxy_at_every_attempt(fastws_server):
    asked = []
    with proxy(http_proxy()) as hop:

        async def choose(uri):
            asked.append(uri)
            return url_of("http", hop)

        async with fastws.WebSocketClient(
            fastws_server.url("/echo"), proxy=choose, retry=fastws.FixedDelay(0.01)
        ) as client:
            stream = client.stream()
            await client.send("a")
            assert await anext(stream) == "a"
        assert asked == [fastws_server.url("/echo")]
        assert hop.accepted == 1


async def test_the_environment_names_the_proxy(monkeypatch, fastws_server):
    with proxy(http_proxy()) as hop:
        for name in ("http_proxy", "all_proxy", "no_proxy", "ws_proxy", "socks_proxy"):
            monkeypatch.delenv(name, raising=False)
            monkeypatch.delenv(name.upper(), raising=False)
        monkeypatch.setenv("http_proxy", url_of("http", hop))
        async with fastws.connect(fastws_server.url("/echo"), proxy=True) as ws:
            assert await echoes(ws)
        assert hop.accepted == 1
        async with fastws.connect(fastws_server.url("/echo")) as ws:
            assert await echoes(ws)
        monkeypatch.setenv("no_proxy", "127.0.0.0/8")
        async with fastws.connect(fastws_server.url("/echo"), proxy=True) as ws:
            assert await echoes(ws)
        assert hop.accepted == 1


# What is asked for.


async def test_an_http_proxy_is_asked_for_the_host_and_told_nothing_of_the_request():
    with Peer() as peer, proxy(http_proxy(to=("127.0.0.1", peer.port))) as hop:
        url = f"http://us%3Fer:p%40ss@127.0.0.1:{hop.port}"
        secret = {"Authorization": "Bearer hunter2"}
        async with fastws.connect(
            "ws://exchange.example/feed?token=hunter2",
            proxy=url,
            proxy_headers={"X-Department": "desk 7"},
            additional_headers=secret,
        ):
            pass
        request = hop._wires[0].request.decode().split("\r\n")
        assert request == [
            "CONNECT exchange.example:80 HTTP/1.1",
            "Host: exchange.example:80",
            "Proxy-Authorization: Basic " + base64.b64encode(b"us?er:p@ss").decode(),
            f"User-Agent: fastws/{fastws.__version__}",
            "X-Department: desk 7",
        ]
        assert b"Proxy-Authorization" not in peer._wires[0].request
        assert b"X-Department" not in peer._wires[0].request
        own = {"proxy-authorization": "Bearer x", "USER-AGENT": "y"}
        async with fastws.connect("ws://[::1]:81/", host="exchange.example", port=99, proxy=url, proxy_headers=own):
            pass
        request = hop._wires[1].request.decode().split("\r\n")
        assert request == [
            "CONNECT exchange.example:99 HTTP/1.1",
            "Host: exchange.example:99",
            "proxy-authorization: Bearer x",
            "USER-AGENT: y",
        ]
        async with fastws.connect("ws://[::1]:81/", proxy=url, user_agent_header=None):
            pass
        assert hop._wires[2].request.startswith(b"CONNECT [::1]:81 HTTP/1.1\r\nHost: [::1]:81\r\n")
        assert b"User-Agent" not in hop._wires[2].request


@pytest.mark.parametrize(
    ("scheme", "host"),
    [("socks4", "127.0.0.1"), ("socks4a", "localhost"), ("socks5", "127.0.0.1"), ("socks5h", "localhost")],
)
async def test_a_socks_proxy_is_told_the_name_or_the_address(scheme, host):
    with Peer() as peer, proxy(socks_proxy(to=("127.0.0.1", peer.port))) as hop:
        async with fastws.connect("ws://localhost:81/", proxy=url_of(scheme, hop), family=socket.AF_INET):
            pass
    told = hop.results[-1]
    assert told[1] == 81
    assert told[0] in (host, "::1" if scheme == "socks5" else host)


async def test_a_socks_proxy_is_given_credentials(open_fds):
    async with no_descriptor_left(open_fds):
        with Peer() as peer, proxy(socks_proxy(credentials=(b"user", b"p@ss"))) as hop:
            async with peer.connect(proxy=f"socks5h://user:p%40ss@127.0.0.1:{hop.port}"):
                pass
            for userinfo, match in (
                ("user:hunter2@", "authentication failure; user and password of its URL are not right"),
                ("", "No acceptable authentication methods.*; it wants credentials: put them into its URL"),
            ):
                with pytest.raises(fastws.ProxyError, match=match) as caught:
                    await peer.connect(proxy=f"socks5h://{userinfo}127.0.0.1:{hop.port}")
                assert "hunter2" not in str(caught.value)
                assert caught.value.denied
                assert not caught.value.is_retryable


async def test_where_the_proxy_wants_an_address_the_next_one_is_asked_for(monkeypatch, open_fds):
    real = dial.resolve

    async def resolve(loop, host, port, *arguments):
        if host != "two.example":
            return await real(loop, host, port, *arguments)
        addresses = (socket.AF_INET6, ("::1", port, 0, 0)), (socket.AF_INET, ("127.0.0.1", port))
        return [dial.Address(*address) for address in addresses]

    monkeypatch.setattr(dial, "resolve", resolve)
    async with no_descriptor_left(open_fds):
        with Peer() as peer, proxy(socks_proxy(to=("127.0.0.1", peer.port), replies=[4, 0, 4, 5, 2])) as hop:
            async with fastws.connect("ws://two.example/", proxy=url_of("socks5", hop)):
                pass
            assert hop.accepted == 2
            with pytest.raises(fastws.ProxyError, match=r"connect us to 127\.0\.0\.1:80: Connection refused"):
                await fastws.connect("ws://two.example/", proxy=url_of("socks5", hop))
            assert hop.accepted == 4
            # What its rules forbid is not tried at another address.
            with pytest.raises(fastws.ProxyError, match=r"connect us to \[::1\]:80: Connection not allowed"):
                await fastws.connect("ws://two.example/", proxy=url_of("socks5", hop))
            assert hop.accepted == 5


# What stays in the socket is the server's.


@pytest.mark.parametrize("pieces", [1, 7, 10_000])
@pytest.mark.parametrize(
    "head",
    [b"HTTP/1.1 200 OK\r\n\r\n", b"HTTP/1.0 200\r\nVia: x\r\n\r\n", b"HTTP/1.1 200 \n\n"],
    ids=["1.1", "1.0", "line feeds"],
)
async def test_nothing_behind_the_answer_is_swallowed(head, pieces):
    """The upgrade's answer and a message come in one piece with the proxy's answer, or in many."""

    @ignoring_the_end
    def script(wire):
        wire.read_request()
        sent, all_of_it = wire.sock.sendall, []

        class Collected(Wire):
            def send(self, *chunks):
                all_of_it.extend(chunks)

        # The client upgrades when the way is open, which it is told first.
        sent(head[:1])
        for at in range(1, len(head), pieces):
            sent(head[at : at + pieces])
        behind = Collected(wire.sock)
        behind.upgrade(text("glued"))
        sent(b"".join(all_of_it))
        wire.answer_close()

    with proxy(script) as hop:
        async with fastws.connect("ws://exchange.example/", proxy=url_of("http", hop)) as ws:
            assert await ws.recv() == "glued"


async def test_what_comes_with_the_answer_is_left_for_the_upgrade():
    """A server that speaks first: its words are in the segment of the proxy's answer."""

    @ignoring_the_end
    def script(wire):
        wire.read_request()
        wire.send(b"HTTP/1.1 200 OK\r\n\r\nSSH-2.0-OpenSSH_9.6\r\n")
        wire.read_request()

    with proxy(script) as hop:
        with pytest.raises(fastws.InvalidHandshake, match="HTTP") as caught:
            await fastws.connect("ws://exchange.example/", proxy=url_of("http", hop))
        assert not isinstance(caught.value, fastws.ProxyError)
        assert caught.value.__notes__ == [f"by way of the proxy http://127.0.0.1:{hop.port}"]


# What goes wrong.


def saying(answer, *, end=True):
    @ignoring_the_end
    def script(wire):
        wire.sock.recv(1 << 16)
        wire.send(answer)
        if end:
            wire.end()
        else:
            wire.read_to_end()

    return script


@pytest.mark.parametrize(
    ("scheme", "answer", "match", "final"),
    [
        ("http", b"HTTP/1.1 407 Auth\r\nProxy-Authenticate: Negotiate\r\nProxy-Authenticate: Basic realm=x\r\n\r\n",
         r"HTTP 407 Auth; it wants credentials: put them into its URL, http://user:password@host:port$", True),
        ("http", b"HTTP/1.1 407 Auth\r\nProxy-Authenticate: Negotiate\r\nProxy-Authenticate: NTLM\r\n\r\n",
         r"HTTP 407 Auth; it takes credentials by Negotiate, NTLM only, and here they are given by Basic$", True),
        ("http", b"HTTP/1.1 403 Forbidden\r\n\r\n", "did not connect us to h.example:80: HTTP 403 Forbidden; i", True),
        ("http", b"HTTP/1.1 405 No\r\n\r\n", "is it a proxy", True),
        ("http", b"HTTP/1.1 404 Not Found\r\n\r\n", "does not understand CONNECT: is it a proxy", False),
        ("http", b"HTTP/1.1 502 Bad Gateway\r\n\r\n", "it cannot reach the server", False),
        ("http", b"HTTP/1.1 500 \x1b[31mred\r\n\r\n", r"HTTP 500 \\x1b\[31mred", False),
        ("http", b"HTTP/1.1 101 Switching\r\n\r\n", "HTTP 101 Switching", False),
        ("http", b"SSH-2.0-OpenSSH_9.6\r\n", "is not HTTP", False),
        ("http", b"\x05\xff", "is not HTTP", False),
        ("http", b"HTTP/2.0 200 OK\r\n\r\n", "is not HTTP", False),
        ("http", b"HTTP/1.1 x OK\r\n\r\n", "is not HTTP", False),
        ("http", b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 200 + b"\r\n", "is not HTTP", False),
        ("http", b"HTTP/1.1 200 OK\r\nX: " + b"y" * 100_000, "a head of more than 16 KiB", False),
        ("http", b"", "ended the connection unanswered", False),
        ("http", b"HTTP/1.1 200 OK\r\nVi", "in the middle of its answer", False),
        ("socks5h", b"HTTP/1.1 400 Bad Request\r\n\r\n", "Unexpected SOCKS version number", False),
        ("socks5h", b"", "onnection", False),
        ("socks5h", b"\x05", "onnection", False),
        ("socks5h", b"\x05\x00\x05\x01\x00", "General SOCKS server failure", False),
        ("socks5h", b"\x05\x00\x05\x02\x00", "not allowed by ruleset; its rules forbid", True),
        ("socks5h", b"\x05\x00\x05\x05\x00", "Connection refused by destination host", False),
        ("socks5h", b"\x05\x00\x05\x63\x00", "Invalid reply code", False),
        ("socks5h", b"\x05\x00\x05\x00\x00\x09" + bytes(6), "Invalid address type", False),
        ("socks5h", b"\x05\x02", "Unexpected SOCKS authentication method", False),
        ("socks4a", b"\x00\x5b" + bytes(6), "rejected or failed", False),
        ("socks4a", b"\x07\x5a" + bytes(6), "Unexpected reply version", False),
        ("socks4a", b"\x00\x5d" + bytes(6), "different user-ids", True),
    ],
    ids=lambda value: repr(value[:24]) if isinstance(value, bytes | str) else None,
)  # fmt: skip
async def test_a_proxy_that_refuses_or_lies_is_named_with_what_it_said(scheme, answer, match, final, open_fds):
    async with no_descriptor_left(open_fds):
        with proxy(saying(answer)) as hop:
            with pytest.raises(fastws.ProxyError, match=match) as caught:
                await fastws.connect("ws://h.example/?token=hunter2", proxy=url_of(scheme, hop))
            error = caught.value
            assert str(error).startswith(f"ws://h.example/?***: the proxy {scheme}://127.0.0.1:{hop.port} ")
            assert str(error).isprintable()
            assert (error.kind, error.phase) == ("proxy", "proxy")
            assert error.proxy == url_of(scheme, hop)
            assert error.is_retryable is not final


async def test_the_answer_of_a_proxy_is_kept():
    with proxy(saying(b"HTTP/1.1 503 Busy\r\nRetry-After: 7\r\nVia: x\r\n\r\n")) as hop:
        with pytest.raises(fastws.ProxyError) as caught:
            await fastws.connect("ws://h.example/", proxy=url_of("http", hop))
    assert caught.value.status == 503
    assert caught.value.response.headers["Via"] == "x"
    assert caught.value.suggested_delay == 7.0


async def test_credentials_that_are_not_accepted_are_not_shown():
    with proxy(saying(b"HTTP/1.1 407 Auth\r\n\r\n")) as hop:
        with pytest.raises(fastws.ProxyError, match="it refused the user and password of its URL") as caught:
            await fastws.connect("ws://h.example/", proxy=f"http://user:hunter2@127.0.0.1:{hop.port}")
    assert "hunter2" not in str(caught.value) + repr(caught.value.__dict__)


@pytest.mark.parametrize("scheme", SCHEMES)
async def test_a_proxy_that_is_not_there_is_named(scheme, open_fds):
    async with no_descriptor_left(open_fds):
        with socket.socket() as bound:
            bound.bind(("127.0.0.1", 0))
            port = bound.getsockname()[1]
            with pytest.raises(fastws.ProxyError, match="connection refused: nothing listens there") as caught:
                await fastws.connect("ws://127.0.0.1/", proxy=f"{scheme}://127.0.0.1:{port}")
        assert [address for address, _ in caught.value.attempts] == [f"127.0.0.1:{port}"]
        assert caught.value.errno == errno.ECONNREFUSED
        assert caught.value.is_retryable
    with pytest.raises(fastws.ProxyError, match=r"cannot be reached: the host 'nowhere\.invalid' was not found"):
        await fastws.connect("ws://127.0.0.1/", proxy=f"{scheme}://nowhere.invalid:1")


@pytest.mark.parametrize("scheme", ["http", "socks4a", "socks5h"])
async def test_a_proxy_that_resets_is_named(scheme, open_fds):
    @ignoring_the_end
    def script(wire):
        wire.sock.recv(1)
        wire.reset()

    async with no_descriptor_left(open_fds):
        with proxy(script) as hop:
            with pytest.raises(fastws.ProxyError, match="dropped the connection") as caught:
                await fastws.connect("ws://h.example/", proxy=url_of(scheme, hop))
            assert caught.value.is_retryable


@pytest.mark.parametrize(
    ("scheme", "begun"),
    [("http", b""), ("http", b"H"), ("http", b"HTTP/1.1 200 OK\r\nX: y"), ("socks4a", b""), ("socks5h", b"\x05")],
)
async def test_a_proxy_that_is_silent_costs_open_timeout_and_no_more(scheme, begun, open_fds):
    async with no_descriptor_left(open_fds):
        with proxy(saying(begun, end=False)) as hop:
            with pytest.raises(fastws.OpenTimeout) as caught:
                await fastws.connect("ws://h.example/", proxy=url_of(scheme, hop), open_timeout=0.5)
            assert caught.value.phase == "proxy"
            assert str(caught.value) == (
                f"ws://h.example/: not open within 0.5 s; the proxy {url_of(scheme, hop)} had not answered"
            )


@pytest.mark.also_sync(False)
async def test_open_timeout_names_the_function_that_chooses():
    with pytest.raises(fastws.OpenTimeout, match="the function given as proxy= had not returned") as caught:
        await fastws.connect("ws://h/", proxy=lambda uri: asyncio.Event().wait(), open_timeout=0.1)
    assert caught.value.phase == "proxy"


@pytest.mark.also_sync(False)
@pytest.mark.parametrize("scheme", ["http", "socks5h"])
async def test_cancelling_in_a_proxys_handshake_leaves_nothing(scheme, open_fds):
    async with no_descriptor_left(open_fds):
        with proxy(saying(b"", end=False)) as hop:
            for turns in range(1, 14, 2):
                task = asyncio.create_task(fastws.connect("ws://h.example/", proxy=url_of(scheme, hop))._open())
                for _ in range(turns):
                    await asyncio.sleep(0)
                task.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await task
            await asyncio.sleep(0)


async def test_socks4_has_no_ipv6():
    with proxy(socks_proxy()) as hop:
        with pytest.raises(fastws.ProxyError, match="SOCKS4 has no IPv6; use socks5://") as caught:
            await fastws.connect("ws://[::1]/", proxy=url_of("socks4a", hop))
        assert not caught.value.is_retryable
        with pytest.raises(fastws.DialError, match="'::1' was not found with family=AF_INET"):
            await fastws.connect("ws://[::1]/", proxy=url_of("socks4", hop))


# Beyond the proxy.


async def test_what_goes_wrong_behind_the_proxy_says_so():
    def script(wire):
        wire.sock.recv(1)
        wire.reset()

    with Peer(script, upgrade=False) as peer, proxy(http_proxy()) as hop:
        with pytest.raises(fastws.TlsError) as caught:
            tls = fastws.TlsConfig(ca=authority_pem())
            await fastws.connect(peer.url.replace("ws:", "wss:"), tls=tls, proxy=url_of("http", hop))
        assert caught.value.__notes__ == [f"by way of the proxy {url_of('http', hop)}"]


async def test_a_redirect_is_asked_for_by_way_of_the_proxy_too():
    with Server() as server, proxy(http_proxy()) as hop:
        uri = server.url(f"/status/302?header=Location:{server.url('/echo')}")
        async with fastws.connect(uri, proxy=url_of("http", hop)) as ws:
            assert await echoes(ws)
        assert hop.accepted == 2


async def test_options_are_set_on_the_socket_to_the_proxy():
    with Peer() as peer, proxy(http_proxy()) as hop:
        kept = (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        async with peer.connect(proxy=url_of("http", hop), sockopts=[kept], local_addr=("127.0.0.1", 0)) as ws:
            with socket.socket(fileno=ws.fileno()) as same:
                assert same.getsockopt(*kept[:2]) == 1
                assert same.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) == 1
                same.detach()
