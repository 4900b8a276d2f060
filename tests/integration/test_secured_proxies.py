"""Ways through proxies that speak TLS themselves: TLS inside of TLS, and plain inside of TLS (tunnel.py, tunnel.rs)."""

import asyncio
import contextlib
import os
import ssl

import pytest

import fastws
from peers import (
    BINARY,
    Gate,
    Peer,
    answering,
    authority_pem,
    binary,
    frame,
    ignoring_the_end,
    no_descriptor_left,
    text,
)
from proxies import http_proxy, proxy

pytestmark = pytest.mark.also_sync


@pytest.fixture
def trusting():
    """The arguments of a connection whose proxy and server are those of the tests."""

    def trusting(hop, **more):
        tls = fastws.TlsConfig(ca=authority_pem())
        return {"proxy": f"https://127.0.0.1:{hop.port}", "proxy_tls": tls, **more}

    return trusting


@pytest.mark.parametrize("tls", [False, True], ids=["plain inside", "TLS inside"])
async def test_messages_of_all_sizes_go_both_ways(tls, trusting, open_fds):
    async with no_descriptor_left(open_fds):
        with Peer(answering(binary), tls=tls) as peer, proxy(http_proxy(), tls=True) as hop:
            async with peer.connect(**trusting(hop)) as ws:
                assert ws.remote_address == ("127.0.0.1", hop.port)
                for size in (0, 1, 125, 126, 16_383, 16_384, 16_385, 65_536, 1 << 20, 3 << 20):
                    message = os.urandom(size)
                    await ws.send(message)
                    assert await ws.recv() == message
            assert ws.close_code == 1000


@pytest.mark.parametrize("tls", [False, True], ids=["plain inside", "TLS inside"])
async def test_a_burst_arrives_whole_and_in_order(tls, trusting):
    """Records of the inner TLS lie across those of the outer one in every way, and across reads."""
    count, sizes = 3_000, (1, 100, 1_000, 20_000)

    def script(wire):
        wire.read_frame()
        wire.send(b"".join(frame(BINARY, b"%08d" % number + bytes(sizes[number % 4])) for number in range(count)))
        wire.answer_close()

    with Peer(script, tls=tls) as peer, proxy(http_proxy(), tls=True) as hop:
        async with peer.connect(**trusting(hop)) as ws:
            await ws.send("go")
            for number in range(count):
                message = await ws.recv()
                assert (int(message[:8]), len(message)) == (number, 8 + sizes[number % 4])


@pytest.mark.parametrize("tls", [False, True], ids=["plain inside", "TLS inside"])
async def test_many_sent_at_once_arrive(tls, trusting):
    def script(wire):
        frames = wire.read_to_close()
        wire.send(frame(8, frames[-1].payload))
        wire.end()
        return [len(each.payload) for each in frames[:-1]]

    with Peer(script, tls=tls) as peer, proxy(http_proxy(), tls=True) as hop:
        async with peer.connect(**trusting(hop)) as ws:
            for number in range(300):
                await ws.send(bytes(number * 100))
    assert peer.results == [[number * 100 for number in range(300)]]


@pytest.mark.also_sync(False)
async def test_a_client_goes_through(trusting):
    @ignoring_the_end
    def script(wire):
        wire.send(text("hello"))
        wire.answer_close()

    tls = fastws.TlsConfig(ca=authority_pem())
    with Peer(script, tls=True) as peer, proxy(http_proxy(), tls=True) as hop:
        config = fastws.ClientConfig(ws_config={"proxy_tls": tls})
        async with fastws.WebSocketClient(peer.url, tls=tls, config=config, proxy=trusting(hop)["proxy"]) as client:
            assert await anext(client.stream()) == "hello"


@pytest.mark.parametrize("tls", [False, True], ids=["plain inside", "TLS inside"])
async def test_a_proxy_that_goes_away_ends_the_connection(tls, trusting, open_fds):
    gate = Gate()

    def script(wire):
        wire.send(text("last"))
        gate.wait()
        wire.cut()  # upon which the proxy goes too, and says nothing either

    async with no_descriptor_left(open_fds):
        with Peer(script, tls=tls) as peer, proxy(http_proxy(), tls=True) as hop:
            ws = await peer.connect(**trusting(hop))
            assert await ws.recv() == "last"
            gate.open()
            with pytest.raises(fastws.ConnectionClosedError) as caught:
                await ws.recv()
            assert caught.value.code == 1006
            await ws.wait_closed()


# What goes wrong.


@pytest.mark.parametrize(
    ("answer", "match", "final"),
    [
        (b"HTTP/1.1 407 Auth\r\n\r\n", "HTTP 407 Auth; it wants credentials", True),
        (b"HTTP/1.1 502 Bad Gateway\r\n\r\n", "HTTP 502", False),
        (b"SSH-2.0-OpenSSH_9.6\r\n", "is not HTTP", False),
        (b"HTTP/1.1 200 OK\r\n\r\nand more", "sent more than its answer", False),
        (b"HTTP/1.1 200 OK\r\nX: " + b"y" * 100_000, "a head of more than 16 KiB", False),
        (b"HTTP/1.1 200 OK\r\nVi", "in the middle of its answer", False),
        (b"", "unanswered", False),
    ],
    ids=["407", "502", "ssh", "more", "oversized", "cut", "nothing"],
)
async def test_a_secured_proxy_that_refuses_or_lies_is_named(answer, match, final, trusting, open_fds):
    @ignoring_the_end
    def script(wire):
        wire.read_request()
        if answer:
            wire.send(answer)
        wire.end()

    async with no_descriptor_left(open_fds):
        with proxy(script, tls=True) as hop:
            with pytest.raises(fastws.ProxyError, match=match) as caught:
                await fastws.connect("ws://h.example/", **trusting(hop))
        assert caught.value.proxy == f"https://127.0.0.1:{hop.port}"
        assert caught.value.is_retryable is not final


async def test_a_certificate_of_the_proxy_that_is_not_trusted_is_final_and_says_what_to_do(open_fds):
    async with no_descriptor_left(open_fds):
        with contextlib.suppress(ssl.SSLError, OSError), proxy(http_proxy(), tls=True) as hop:
            for more, fault, match in (
                ({}, "untrusted", r"its certificate .* has an unknown issuer: .* as proxy_tls=TlsConfig\(ca=\.\.\.\)"),
                (
                    {"proxy_tls": fastws.TlsConfig(ca=authority_pem(), server_hostname="other.example")},
                    "name",
                    "not for other.example",
                ),
            ):
                with pytest.raises(fastws.ProxyError, match=f"made no TLS connection to itself: .*{match}") as caught:
                    await fastws.connect("ws://h.example/", proxy=f"https://127.0.0.1:{hop.port}", **more)
                assert caught.value.phase == "proxy"
                assert not caught.value.is_retryable
                assert (type(caught.value.tls), caught.value.tls.fault) == (fastws.CertificateError, fault)


async def test_a_proxy_without_tls_is_named(trusting, open_fds):
    @ignoring_the_end
    def script(wire):
        wire.sock.recv(1 << 16)
        wire.send(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        wire.end()

    async with no_descriptor_left(open_fds):
        with proxy(script) as hop:
            with pytest.raises(fastws.ProxyError, match="does not seem to speak TLS: use http://"):
                await fastws.connect("ws://h.example/", **trusting(hop))
        with proxy(ignoring_the_end(lambda wire: wire.sock.recv(1))) as hop:
            with pytest.raises(fastws.ProxyError, match=r"TLS handshake|dropped the connection"):
                await fastws.connect("ws://h.example/", **trusting(hop))


@pytest.mark.parametrize("tls", [False, True])
async def test_a_secured_proxy_that_is_silent_costs_open_timeout(tls, trusting, open_fds):
    async with no_descriptor_left(open_fds):
        gate = Gate()
        with proxy(ignoring_the_end(lambda wire: gate.wait()), tls=tls) as hop:
            # With TLS its handshake comes first.
            limit = 1.5 if tls else 0.5
            with pytest.raises(fastws.OpenTimeout) as caught:
                await fastws.connect("ws://h.example/", **trusting(hop, open_timeout=limit))
            said = "had not answered" if tls else "was making the TLS connection to itself"
            assert str(caught.value).endswith(f"the proxy https://127.0.0.1:{hop.port} {said}")
            assert caught.value.phase == "proxy"
            gate.open()


async def test_what_goes_wrong_inside_is_the_servers(trusting):
    with contextlib.suppress(ssl.SSLError, OSError), Peer(tls=True) as peer, proxy(http_proxy(), tls=True) as hop:
        with pytest.raises(fastws.CertificateError) as caught:
            await fastws.connect(peer.url, **trusting(hop))
        assert caught.value.__notes__ == [f"by way of the proxy https://127.0.0.1:{hop.port}"]


@pytest.mark.also_sync(False)
async def test_cancelling_in_the_handshake_leaves_nothing(trusting, open_fds):
    async with no_descriptor_left(open_fds):
        with contextlib.suppress(ssl.SSLError, OSError), proxy(http_proxy(), tls=True) as hop:
            for turns in range(1, 20, 3):
                task = asyncio.create_task(fastws.connect("ws://127.0.0.1:1/", **trusting(hop))._open())
                for _ in range(turns):
                    await asyncio.sleep(0)
                task.cancel()
                with pytest.raises((asyncio.CancelledError, fastws.ProxyError)):
                    await task
            await asyncio.sleep(0)
