"""TLS by Python's `ssl`: the same connection, over an `SSLContext` of the user's own."""

import asyncio
import gc
import socket
import ssl
import sys
import threading
import weakref

import pytest

import fastws
from certificates import CLIENT
from fastws import TlsConfig
from tls_peers import GOOD, ROOT, Answering, accepted, opened, refusal


@pytest.fixture(params=[False, True], ids=["tls1.3", "tls1.2"])
def server(request, fastws_server_factory):
    return fastws_server_factory(tls=True, tls12_only=request.param)


def context_for(server):
    return ssl.create_default_context(cadata=server.ca_pem.decode())


@pytest.mark.parametrize("size", [1, 16_384, 16_385, 3_000_000])
async def test_messages_cross_records_whole(server, size):
    async with fastws.connect(server.url(), tls=context_for(server)) as ws:
        sent = [b"\x01" * size, "é" * (size // 2), b"end"]
        for message in sent:
            await ws.send(message)
        assert [await ws.recv() for _ in range(3)] == sent


async def test_a_flood_arrives_whole_and_in_order(server):
    expected = 0
    async with fastws.connect(server.url("/blast?n=50000&size=64&seq=1"), tls=context_for(server)) as ws:
        async for message in ws:
            assert int.from_bytes(message[:8], "little") == expected
            expected += 1
    assert expected == 50_000


async def test_what_the_peer_takes_slowly_waits_and_leaves(server):
    """More than the kernel takes at once, in both directions."""
    message = b"x" * 100_000
    async with fastws.connect(server.url(), tls=context_for(server), compression="deflate") as ws:

        async def send():
            for _ in range(200):
                await ws.send(message, compress=False)

        sending = asyncio.create_task(send())
        for _ in range(200):
            assert await ws.recv() == message
        await sending


async def test_sending_in_one_turn_and_in_blocks(server):
    async with fastws.connect(server.url(), tls=context_for(server)) as ws:
        with ws.cork():
            for number in range(100):
                ws.send_nowait(f"{number}")
        for number in range(100, 200):
            ws.send_nowait(f"{number}")
        ws.flush()
        assert [await ws.recv() for _ in range(200)] == [f"{number}" for number in range(200)]
        assert await (await ws.ping()) > 0


class Collects(fastws.Listener):
    def __init__(self):
        self.seen = []
        self.over = asyncio.get_running_loop().create_future()

    def on_message(self, ws, message):
        self.seen.append(message)
        if message != "last":
            ws.send_nowait("last")

    def on_close(self, ws, info):
        self.over.set_result(info)


async def test_a_callback_sends(server):
    listener = Collects()
    async with fastws.connect(server.url(), tls=context_for(server), listener=listener) as ws:
        ws.send_nowait("first")
        while len(listener.seen) < 2:
            await asyncio.sleep(0)
    assert listener.seen == ["first", "last"]
    assert (await listener.over).code == 1000


@pytest.mark.parametrize(("fault", "cause"), [("truncate", "cut off"), ("reset", "reset"), ("eof", "without a Close")])
async def test_an_end_without_close_is_an_error_and_says_how(server, fault, cause):
    url = server.url(f"/blast?n=1000&size=16&fault={fault}@500")
    count = 0
    async with fastws.connect(url, tls=context_for(server)) as ws:
        with pytest.raises(fastws.ConnectionClosedError, match=cause) as caught:
            async for _ in ws:
                count += 1
    assert caught.value.code == 1006
    assert count == 500 or fault == "reset"


async def test_a_connection_to_a_plain_port_says_so(fastws_server):
    url = fastws_server.url().replace("ws://", "wss://")
    with pytest.raises(fastws.TlsError, match="use ws://") as caught:
        await fastws.connect(url, tls="openssl")
    assert (caught.value.phase, caught.value.lost) == ("tls", False)


async def test_a_port_that_is_silent_times_out_in_its_phase():
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"wss://127.0.0.1:{silent.getsockname()[1]}/"
        with pytest.raises(fastws.OpenTimeout, match="TLS handshake") as caught:
            await fastws.connect(url, tls=ssl.create_default_context(), open_timeout=1)
    assert caught.value.phase == "tls"


def test_every_feature_of_the_context_works(tmp_path):
    """Ciphers, versions, ALPN, key log, a client certificate, and a class of one's own."""
    made = []

    class Watched(ssl.SSLObject):
        def do_handshake(self):
            made.append(self.server_hostname)
            super().do_handshake()

    mine = ROOT.issue("client.example", use=CLIENT)
    pem = tmp_path / "mine.pem"
    pem.write_bytes(mine.pem + mine.key_pem())
    context = ssl.create_default_context(cadata=ROOT.pem.decode())
    context.load_cert_chain(pem)
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers("ECDHE-ECDSA-AES256-GCM-SHA384")
    context.set_alpn_protocols(["feed"])
    context.keylog_filename = str(tmp_path / "keys")
    context.sslobject_class = Watched
    served = GOOD.server_context()
    served.set_alpn_protocols(["feed"])
    served.verify_mode = ssl.CERT_REQUIRED
    served.load_verify_locations(cadata=ROOT.pem.decode())
    with Answering(served) as server, pytest.raises(fastws.InvalidStatus):
        opened(server, context)
    assert (server.seen.version, server.seen.protocol) == ("TLSv1.2", "feed")
    assert server.seen.client
    assert "CLIENT_RANDOM" in (tmp_path / "keys").read_text()
    assert set(made) == {"localhost"}


async def test_what_the_contexts_own_code_raises_is_the_error(server):
    class Raises(ssl.SSLObject):
        def do_handshake(self):
            raise LookupError("no such smart card")

    context = context_for(server)
    context.sslobject_class = Raises
    with pytest.raises(fastws.TlsError, match="no such smart card") as caught:
        await fastws.connect(server.url(), tls=context, open_timeout=5)
    assert not caught.value.lost


async def test_code_of_the_context_may_use_the_connection(server):
    """It runs with nothing of the connection borrowed: it may send, and give the connection up."""
    steps = []

    class Meddles(ssl.SSLObject):
        def read(self, *arguments):
            data = super().read(*arguments)
            for ws in connections:
                steps.append(len(data))
                if len(steps) == 1:
                    ws.send_nowait("from within")
                    ws.flush()
                elif len(steps) == 3:
                    ws._abort("from within")
            return data

    connections = []
    context = context_for(server)
    context.sslobject_class = Meddles
    async with fastws.connect(server.url(), tls=context) as ws:
        await ws.send("one")
        connections.append(ws)
        assert await ws.recv() == "one"
        assert await ws.recv() == "from within"
        await ws.send("two")
        with pytest.raises(fastws.ConnectionClosedError):
            while True:
                await ws.recv()
    connections.clear()


async def test_other_threads_may_look_while_it_works(server):
    """OpenSSL lets go of the interpreter's lock."""
    done = threading.Event()
    seen = []

    async with fastws.connect(server.url("/blast?n=20000&size=1000"), tls=context_for(server)) as ws:

        def look():
            while not done.is_set():
                seen.append((ws.state, ws.uri))

        thread = threading.Thread(target=look)
        thread.start()
        try:
            while not seen:
                await asyncio.sleep(0)
            async for _ in ws:
                pass
        finally:
            done.set()
            thread.join()


async def test_a_connection_that_its_context_refers_to_is_collected(server, open_fds):
    class Holds(ssl.SSLObject):
        pass

    async with fastws.connect(server.url(), tls=context_for(server)):
        pass  # what the loop has for all of them
    before = open_fds()
    context = context_for(server)
    context.sslobject_class = Holds
    ws = await fastws.connect(server.url(), tls=context)
    Holds.connection = ws
    await ws.close()
    gone = weakref.ref(ws)
    del ws, Holds, context
    gc.collect()
    assert gone() is None
    while open_fds() > before:  # the server closes its ends in threads of its own
        await asyncio.sleep(0.001)


async def test_sessions_are_resumed_by_configuration_and_not_by_a_context(server):
    async def resumed(tls):
        before = server.stats().resumed
        for _ in range(3):
            async with fastws.connect(server.url(), tls=tls) as ws:
                await ws.send("x")
                await ws.recv()
        return server.stats().resumed - before

    assert await resumed(TlsConfig(backend="openssl", ca=server.ca_pem)) == 2
    assert await resumed(context_for(server)) == 0


async def test_no_verification_warns(server):
    with pytest.warns(RuntimeWarning, match="not checked"):
        async with fastws.connect(server.url(), tls=TlsConfig(backend="openssl", verify=False)) as ws:
            await ws.send("x")
            assert await ws.recv() == "x"


def test_a_servers_context_is_refused():
    with pytest.raises(ValueError, match="PROTOCOL_TLS_SERVER"):
        fastws.connect("wss://h/", tls=ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER))


@pytest.mark.skipif(sys.version_info < (3, 13), reason="Python's contexts are not that strict before 3.13")
def test_a_certificate_that_python_finds_out_of_form_is_said_to_be_that_with_what_to_do():
    shown = ROOT.issue("localhost", names_issuer=False)
    error = refusal(shown.server_context(), TlsConfig(backend="openssl", ca=ROOT.pem))
    assert type(error) is fastws.CertificateError
    assert "Missing Authority Key Identifier: Python 3.13 and later ask for" in str(error)
    assert 'or use tls="system"' in str(error)
    assert accepted(shown, backend="system")
