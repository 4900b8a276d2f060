"""TLS inside of TLS: each way to do the proxy's with each way to do the server's, on loops and without one."""

import asyncio
import contextlib
import os
import socket
import ssl
import threading

import pytest

import fastws
import fastws.sync
from certificates import CLIENT
from fastws import TlsConfig
from fastws.runner import loop_factory
from peers import PATIENCE, Ended, Gate, Peer, Wire, answering, authority_pem, binary, ignoring_the_end, text
from proxies import http_proxy, proxy, relay
from tls_peers import GOOD, OTHER, ROOT, Server, asking

OUTER = ["system", "openssl", "context"]
INNER = ["plain", "system", "openssl"]


def tls_by(backend, ca=None, **more):
    """What `tls=` and `proxy_tls=` take."""
    ca = ca or authority_pem()
    if backend == "context":
        return ssl.create_default_context(cadata=ca.decode())
    return TlsConfig(backend=backend, ca=ca, **more)


def on_loop(name):
    """Runs `act(ws)` with a connection; `ws.send` and `ws.recv` are called as coroutines."""

    def run(act, uri, **options):
        async def main():
            async with asyncio.timeout(30), fastws.connect(uri, **options) as ws:
                await act(ws)
            return ws

        with asyncio.Runner(loop_factory=loop_factory(name)) as runner:
            return runner.run(main())

    return run


class Blocks:
    """A blocking connection with calls that are awaited, and never suspend."""

    def __init__(self, ws):
        self._ws = ws

    async def send(self, message):
        self._ws.send(message, timeout=30)

    async def recv(self):
        return self._ws.recv(timeout=30)


def in_thread(act, uri, **options):
    with fastws.sync.connect(uri, **options) as ws:
        with pytest.raises(StopIteration):
            act(Blocks(ws)).send(None)
    return ws


@pytest.fixture(params=["asyncio", "uvloop", "sync"])
def run(request):
    if request.param == "uvloop":
        pytest.importorskip("uvloop", reason="uvloop is not installed on this platform")
    return in_thread if request.param == "sync" else on_loop(request.param)


def ways(hop, outer, inner):
    options = {"proxy": f"https://127.0.0.1:{hop.port}", "proxy_tls": tls_by(outer)}
    return options if inner == "plain" else options | {"tls": tls_by(inner)}


@pytest.mark.parametrize("inner", INNER)
@pytest.mark.parametrize("outer", OUTER)
def test_messages_of_all_sizes_go_both_ways_and_it_closes_as_ever(outer, inner, run, open_fds):
    async def act(ws):
        for size in (0, 1, 125, 16_384, 65_536, 1 << 20):
            message = os.urandom(size)
            await ws.send(message)
            assert await ws.recv() == message

    with Peer(answering(binary), tls=inner != "plain") as peer, proxy(http_proxy(), tls=True) as hop:
        ws = run(act, peer.url, **ways(hop, outer, inner))
        assert (ws.close_code, ws.close_info.cause) == (1000, None)
        assert ws.remote_address == ("127.0.0.1", hop.port)


@pytest.mark.parametrize("inner", INNER)
@pytest.mark.parametrize("outer", OUTER)
def test_many_at_once_arrive_whole_and_in_order(outer, inner, run):
    async def act(ws):
        await ws.send("go")
        for number in range(2_000):
            assert await ws.recv() == f"{number} " + "x" * (number * 7 % 3_000)

    def script(wire):
        wire.read_frame()
        wire.send(b"".join(text(f"{number} " + "x" * (number * 7 % 3_000)) for number in range(2_000)))
        wire.answer_close()

    with Peer(script, tls=inner != "plain") as peer, proxy(http_proxy(), tls=True) as hop:
        run(act, peer.url, **ways(hop, outer, inner))


# The proxy goes wrong in the middle.


def meddling(meddle):
    """An HTTP proxy that relays until `meddle.gate` is open, and then does `meddle(its socket, the bare one)`."""

    @ignoring_the_end
    def script(wire):
        wire.read_request()
        host, _, port = wire.request.split(b" ")[1].decode().rpartition(":")
        with socket.create_connection((host, int(port))) as server:
            wire.send(b"HTTP/1.1 200 OK\r\n\r\n")
            closing = threading.Thread(target=lambda: (gate.wait(), server.shutdown(socket.SHUT_RDWR)))
            closing.start()
            relay(wire.sock, server)
            closing.join()
            meddle(wire)

    gate = script.gate = Gate()
    return script


def garbage(wire):
    # Behind the back of its TLS: a record that nobody has encrypted.
    fd = wire.sock.fileno()
    os.write(fd, b"\x17\x03\x03\x00\x20" + bytes(32))
    with contextlib.suppress(OSError):
        while os.read(fd, 1 << 16):
            pass


def closes(wire):
    """It says properly that its TLS is over."""
    with contextlib.suppress(OSError):
        wire.sock.unwrap()
    wire.sock.close()


ENDS = {"garbage": garbage, "close_notify": closes, "cut": lambda wire: wire.cut(), "reset": lambda wire: wire.reset()}


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("inner", INNER)
@pytest.mark.parametrize("outer", ["system", "openssl"])
def test_a_proxy_that_ends_its_tls_in_the_middle_ends_the_connection_and_is_named(outer, inner, end, run):
    caught = []

    async def act(ws):
        assert await ws.recv() == "last"
        script.gate.open()
        with pytest.raises(fastws.ConnectionClosedError) as raised:
            await ws.recv()
        caught.append(raised.value)

    script = meddling(ENDS[end])
    serve = ignoring_the_end(lambda wire: (wire.send(text("last")), wire.read_to_end()))
    with contextlib.suppress(ssl.SSLError), Peer(serve, tls=inner != "plain") as peer, proxy(script, tls=True) as hop:
        run(act, peer.url, **ways(hop, outer, inner))
    [error] = caught
    assert error.code == 1006
    if end == "garbage":
        assert "TLS: to the proxy: " in str(error)
    elif end == "close_notify":
        assert ("cut off" in str(error)) == (inner != "plain"), str(error)


@pytest.mark.parametrize("inner", ["system", "openssl"])
@pytest.mark.parametrize("outer", ["system", "openssl"])
def test_an_error_of_the_tls_inside_is_the_servers(outer, inner, run):
    """A certificate that is not trusted: the same as without a proxy, with a note of it."""
    with Server(GOOD.server_context()) as peer, proxy(http_proxy(), tls=True) as hop:
        options = ways(hop, outer, "plain") | {"tls": tls_by(inner), "host": "127.0.0.1"}
        with pytest.raises(fastws.CertificateError) as caught:
            run(None, peer.url, **options)
    assert "to the proxy" not in str(caught.value)
    assert caught.value.__notes__ == [f"by way of the proxy https://127.0.0.1:{hop.port}"]


@pytest.mark.parametrize("inner", INNER)
@pytest.mark.parametrize("outer", ["system", "openssl"])
def test_a_server_that_ends_without_a_word_inside_is_cut_off(outer, inner, run):
    async def act(ws):
        assert await ws.recv() == "last"
        gate.open()
        with pytest.raises(fastws.ConnectionClosedError) as raised:
            await ws.recv()
        assert raised.value.code == 1006
        assert "to the proxy" not in str(raised.value)

    gate = Gate()
    serve = ignoring_the_end(lambda wire: (wire.send(text("last")), gate.wait(), wire.cut()))
    with Peer(serve, tls=inner != "plain") as peer, proxy(http_proxy(), tls=True) as hop:
        run(act, peer.url, **ways(hop, outer, inner))


# The proxy's handshake.


@contextlib.contextmanager
def proxy_with(context):
    """A proxy at this address whose TLS has this context, for one connection."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve():
        sock, _ = listener.accept()
        with contextlib.suppress(OSError, Ended), sock, context.wrap_socket(sock, server_side=True) as secured:
            secured.settimeout(PATIENCE)
            http_proxy()(Wire(secured))

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield f"https://localhost:{listener.getsockname()[1]}"
    finally:
        thread.join(PATIENCE)
        listener.close()


@pytest.mark.parametrize("inner", ["plain", "system", "openssl"])
@pytest.mark.parametrize("outer", ["system", "openssl"])
def test_a_certificate_that_fills_many_records_is_read(outer, inner, run):
    """The message that has it lies across records, which are kept until it is whole."""
    many = ROOT.issue("localhost", *(f"host-{number}.of.a.long.domain.example" for number in range(1_500)))

    async def act(ws):
        await ws.send("x")
        assert await ws.recv() == b"x"

    with Peer(answering(binary), tls=inner != "plain") as peer, proxy_with(many.server_context()) as url:
        options = {"proxy": url, "proxy_tls": tls_by(outer, ROOT.pem)}
        if inner != "plain":
            options["tls"] = tls_by(inner)
        run(act, peer.url, **options)


@pytest.mark.parametrize("version", ["TLSv1.2", "TLSv1.3"])
@pytest.mark.parametrize("outer", ["system", "openssl"])
def test_the_proxy_is_shown_its_client_certificate(outer, version, run):
    mine, theirs = (issuer.issue("client.example", use=CLIENT) for issuer in (ROOT, OTHER))
    told = {"maximum_version": version}

    async def act(ws):
        await ws.send("x")
        assert await ws.recv() == b"x"

    with Peer(answering(binary)) as peer, proxy_with(asking()) as url:
        tls = tls_by(outer, ROOT.pem, certificate=mine.pem, key=mine.key_pem(), **told)
        run(act, peer.url, proxy=url, proxy_tls=tls)
    for given, words in (
        ({"certificate": theirs.pem, "key": theirs.key_pem()}, "it refused the client certificate"),
        ({}, r"it wants (a client certificate, and none was given: use proxy_tls=TlsConfig|what is not offered)"),
    ):
        with proxy_with(asking()) as url, pytest.raises(fastws.ProxyError, match=words) as caught:
            run(None, "ws://h.example/", proxy=url, proxy_tls=tls_by(outer, ROOT.pem, **given, **told))
        assert "made no TLS connection to itself: " in str(caught.value)
        if "what is not offered" not in str(caught.value):
            assert not caught.value.is_retryable
