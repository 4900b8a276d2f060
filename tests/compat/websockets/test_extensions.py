"""Wire extensions on the drop-in: permessage-deflate natively, any other in Python, with the real websockets server."""

import asyncio
import contextlib
import dataclasses
import subprocess
import sys
import threading

import pytest
import uvloop
import websockets
import websockets.asyncio.server
from websockets.extensions import ClientExtensionFactory, Extension, ServerExtensionFactory
from websockets.extensions.permessage_deflate import (
    ClientPerMessageDeflateFactory,
    PerMessageDeflate,
    ServerPerMessageDeflateFactory,
)
from websockets.frames import CTRL_OPCODES, Close

import fastws
from compat_peers import echo, websockets_server
from fastws.compat.websockets import _facade
from fastws.compat.websockets.asyncio.client import ClientConnection as AsyncConnection
from fastws.compat.websockets.asyncio.client import connect as connect_on_loop
from fastws.compat.websockets.asyncio.connection import broadcast
from fastws.compat.websockets.extensions import _native
from fastws.compat.websockets.extensions._frames import Through
from fastws.compat.websockets.sync.client import ClientConnection, connect
from peers import Peer, close, frame, text


class Xor(Extension):
    """Every byte of a data frame is another, which RSV2 says."""

    name = "x-xor"

    def __init__(self, key):
        self.key = key
        self.encoded = self.decoded = 0

    def _changed(self, frame, rsv2):
        return dataclasses.replace(frame, data=bytes(byte ^ self.key for byte in bytes(frame.data)), rsv2=rsv2)

    def encode(self, frame):
        self.encoded += 1
        return frame if frame.opcode in CTRL_OPCODES else self._changed(frame, True)

    def decode(self, frame, *, max_size=None):
        self.decoded += 1
        return self._changed(frame, False) if frame.rsv2 else frame


class ClientXor(ClientExtensionFactory):
    name = "x-xor"

    def get_request_params(self):
        return [("key", "any")]

    def process_response_params(self, params, accepted_extensions):
        if len(params) != 1 or params[0][0] != "key":
            raise websockets.NegotiationError("no key")
        return Xor(int(params[0][1]))


class ServerXor(ServerExtensionFactory):
    name = "x-xor"

    def process_request_params(self, params, accepted_extensions):
        assert params == [("key", "any")]
        return [("key", "42")], Xor(42)


class ServerBad(ServerXor):
    def process_request_params(self, params, accepted_extensions):
        return [("lock", "42")], Xor(42)


class Raising(Extension):
    name = "x-raising"

    def decode(self, frame, *, max_size=None):
        if bytes(frame.data) == b"bad":
            raise ValueError("checksum")
        return frame

    def encode(self, frame):
        return self.decode(frame)


class ClientRaising(ClientExtensionFactory):
    name = "x-raising"

    def get_request_params(self):
        return []

    def process_response_params(self, params, accepted_extensions):
        return Raising()


SERVER, CLIENT = (ServerXor(),), (ClientXor(),)


@contextlib.contextmanager
def opened(handler, *, server=SERVER, client=CLIENT, compression=None, **options):
    serving = websockets_server(handler, extensions=server, compression=compression)
    with serving as uri, connect(uri, extensions=client, compression=compression, **options) as ws:
        yield ws


MESSAGES = ["grüß", b"\x00\xff" * 1000, "", b"", "x" * 100_000]


@pytest.mark.parametrize("compression", [None, "deflate"])
def test_messages_go_through_an_extension_in_python(compression):
    with opened(echo, compression=compression) as ws:
        names = ["x-xor"] if compression is None else ["x-xor", "permessage-deflate"]
        assert [extension.name for extension in ws.protocol.extensions] == names
        for message in MESSAGES:
            ws.send(message)
            assert ws.recv() == message
        ws.send("text", text=False)
        assert ws.recv(5, True) == "text"
        with pytest.raises(TimeoutError):
            ws.recv(0.01)
        assert ws.ping().wait(5)
        assert isinstance(ws, ClientConnection)
        xor = ws.protocol.extensions[0]
        assert (xor.encoded, xor.decoded) == (6, 6)
    with pytest.raises(websockets.ConnectionClosedOK):
        ws.recv()


def test_fragments_and_iteration_go_through_it():
    def handler(ws):
        assert list(ws.recv_streaming()) == ["a", "ß", ""]
        ws.send(["c", "ß"])
        ws.send(["d", "ß"])
        ws.send([b"e"])
        ws.send("last")

    with opened(handler) as ws:
        ws.send(["a", "ß"])
        assert list(ws.recv_streaming()) == ["c", "ß", ""]
        assert list(ws.recv_streaming(decode=False)) == [b"d", "ß".encode(), b""]
        assert list(ws) == [b"e", "last"]


def test_what_it_leaves_or_refuses_fails_the_connection():
    def upgraded(sent):
        def script(wire):
            wire.upgrade(sent, "Sec-WebSocket-Extensions: x-xor; key=42\r\n")
            wire.read_to_end()

        return Peer(script, upgrade=False)

    cases = [
        (frame(1, b"a", rsv=1), 1002, "reserved bits must be 0"),
        (frame(1, b"a" * 11), 1009, ""),
        (frame(1, b"\xff"), 1007, ""),
    ]
    for sent, code, reason in cases:
        with upgraded(sent) as peer:
            with connect(peer.url, extensions=[ClientXor()], compression=None, max_size=10, close_timeout=0.05) as ws:
                with pytest.raises(websockets.ConnectionClosedError) as raised:
                    ws.recv()
                assert raised.value.sent.code == code
                assert reason in raised.value.sent.reason
                assert raised.value.__cause__ is not None


@contextlib.contextmanager
def raising_peer(*sent):
    """With an extension that raises on ``bad``; it echoes our Close where it has sent something."""

    def script(wire):
        wire.upgrade(b"".join(sent), "Sec-WebSocket-Extensions: x-raising\r\n")
        return wire.answer_close() if sent else wire.read_to_end()

    with Peer(script, upgrade=False) as peer:
        yield peer.url


RAISING = {"extensions": [ClientRaising()], "compression": None}

BAD = [frame(1, b"first-", fin=False), frame(0, b"bad"), text("second")]


def test_what_decode_raises_fails_the_connection(caplog):
    for take in (lambda ws: ws.recv(), lambda ws: list(ws.recv_streaming()), list):
        with raising_peer(*BAD) as uri, connect(uri, **RAISING) as ws:
            for again in (take, take):
                with pytest.raises(websockets.ConnectionClosedError) as raised:
                    again(ws)
                assert (raised.value.rcvd, raised.value.sent) == (None, Close(1011, ""))
                assert str(raised.value.__cause__) == "checksum"
            assert ws.close_code == 1006
    with raising_peer(*BAD, close(1000)) as uri, connect(uri, **RAISING) as ws:
        assert ws.wait_closed(5)
        with pytest.raises(websockets.ConnectionClosedError) as raised:
            list(ws)
        assert (raised.value.rcvd, raised.value.sent) == (None, Close(1011, ""))
        assert str(raised.value.__cause__) == "checksum"
    assert [record.message for record in caplog.records] == ["parser failed"] * 4


def test_what_encode_raises_ends_the_connection():
    for message in ("bad", ["first", "bad"]):
        with raising_peer() as uri, connect(uri, **RAISING) as ws:
            for each in (message, "next"):
                with pytest.raises(websockets.ConnectionClosedError) as raised:
                    ws.send(each)
                assert (raised.value.rcvd, raised.value.sent) == (None, None)
                assert str(raised.value.__cause__) == "checksum"


def test_what_they_raise_on_an_event_loop(run):
    async def ends(awaitable, sent):
        with pytest.raises(websockets.ConnectionClosedError) as raised:
            await awaitable
        assert (raised.value.rcvd, raised.value.sent) == (None, sent)
        assert str(raised.value.__cause__) == "checksum"

    async def streamed(ws):
        return [piece async for piece in ws.recv_streaming()]

    async def iterated(ws):
        return [message async for message in ws]

    async def main():
        for take in (lambda ws: ws.recv(), streamed, iterated):
            with raising_peer(*BAD) as uri:
                async with connect_on_loop(uri, **RAISING) as ws:
                    await ends(take(ws), Close(1011, ""))
                    assert ws.close_code == 1006
                    await ends(ws.send("next"), Close(1011, ""))
                    if take is not streamed:
                        await ends(take(ws), Close(1011, ""))
        for message in ("bad", ["first", "bad"]):
            with raising_peer() as uri:
                async with connect_on_loop(uri, **RAISING) as ws:
                    await ends(ws.send(message), None)
                    await ends(ws.recv(), None)
        with raising_peer() as uri:
            async with connect_on_loop(uri, **RAISING) as ws:
                with pytest.raises(websockets.ConnectionClosedError):
                    ws.send_nowait("bad")

    run(main())


class Doubling(Extension):
    name = "x-doubling"

    def decode(self, frame, *, max_size=None):
        if max_size is not None and 2 * len(frame.data) > max_size:
            raise websockets.exceptions.PayloadTooBig(2 * len(frame.data), max_size)
        return dataclasses.replace(frame, data=bytes(frame.data) * 2)


class Careless(Doubling):
    def decode(self, frame, *, max_size=None):
        return super().decode(frame)


@pytest.mark.parametrize("extension", [Doubling, Careless])
def test_limits_are_of_what_extensions_make(extension):
    through = Through([extension()], 10, 6)
    assert through.received(1, False, 0, b"abc").data == b"abcabc"
    with pytest.raises(websockets.exceptions.PayloadTooBig) as raised:
        through.received(0, True, 0, b"abc")
    assert (raised.value.size, raised.value.max_size, raised.value.current_size) == (6, 10, 6)
    through = Through([extension()], 10, 6)
    assert through.received(1, True, 0, b"abc").data == through.received(1, True, 0, b"abc").data
    with pytest.raises(websockets.exceptions.PayloadTooBig) as raised:
        through.received(1, True, 0, b"abcd")
    assert (raised.value.size, raised.value.max_size, raised.value.current_size) == (8, 6, None)


def test_an_answer_on_other_terms_is_a_negotiation_error():
    with websockets_server(lambda _ws: None, extensions=[ServerBad()], compression=None, close_timeout=0.1) as uri:
        with pytest.raises(websockets.NegotiationError, match="Unsupported extension: name = x-xor"):
            connect(uri, extensions=[ClientXor()], compression=None)


def test_a_server_without_it_leaves_frames_as_they_are():
    with opened(echo, server=None) as ws:
        assert ws.protocol.extensions == []
        ws.send("plain")
        assert ws.recv() == "plain"


def test_subclasses_stay_in_front_of_it():
    class Counting(ClientConnection):
        def __init__(self, *args, **kwargs):
            super().__init__(*args, **kwargs)
            self.received = 0

        def recv(self, timeout=None, decode=None):
            self.received += 1
            return super().recv(timeout, decode)

    with opened(echo, create_connection=Counting) as ws:
        ws.send("one")
        assert ws.recv() == "one"
        assert isinstance(ws, Counting)
        assert ws.received == 1


@pytest.fixture(params=["asyncio", "uvloop"])
def run(request):
    def runs(coroutine):
        factory = uvloop.new_event_loop if request.param == "uvloop" else asyncio.new_event_loop
        with asyncio.Runner(loop_factory=factory) as runner:
            runner.run(coroutine)

    return runs


@pytest.mark.parametrize("compression", [None, "deflate"])
def test_on_an_event_loop(run, compression):
    async def answering(ws):
        async for message in ws:
            await ws.send(message)

    async def main():
        serving = websockets.asyncio.server.serve(
            answering, "localhost", 0, extensions=[ServerXor()], compression=compression
        )
        async with serving as server:
            uri = f"ws://localhost:{server.sockets[0].getsockname()[1]}/"
            async with connect_on_loop(uri, extensions=[ClientXor()], compression=compression) as ws:
                assert isinstance(ws, AsyncConnection)
                assert ws.protocol.extensions[0].name == "x-xor"
                for message in MESSAGES:
                    await ws.send(message)
                    assert await ws.recv() == message
                await ws.send(["gr", "üß"])
                await ws.send([b"a", b"b"])
                assert await ws.recv() == "grüß"
                assert [piece async for piece in ws.recv_streaming()] == [b"ab"]
                waiting = asyncio.ensure_future(ws.recv())
                await asyncio.sleep(0)
                with pytest.raises(websockets.ConcurrencyError):
                    await ws.recv()
                waiting.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await waiting
                await ws.send("after")
                async for message in ws:
                    assert message == "after"
                    break
            with pytest.raises(websockets.ConnectionClosedOK):
                await ws.recv()

    run(main())


def test_permessage_deflate_alone_is_native_and_its_parameters_are_honoured():
    factory = ClientPerMessageDeflateFactory(
        server_no_context_takeover=True,
        client_no_context_takeover=True,
        server_max_window_bits=10,
        client_max_window_bits=11,
        compress_settings={"level": 1, "memLevel": 4},
    )
    assert _native.is_native([factory])
    deflate = _native.native_deflate([factory])
    assert deflate == fastws.Deflate(
        server_no_context_takeover=True,
        client_no_context_takeover=True,
        server_max_window_bits=10,
        client_max_window_bits=11,
        level=1,
        memory_level=4,
        max_ratio=1033,
    )
    with opened(echo, server=[ServerPerMessageDeflateFactory()], client=[factory]) as ws:
        offer = "permessage-deflate; server_no_context_takeover; client_no_context_takeover; "
        assert ws.request.headers["Sec-WebSocket-Extensions"] == (
            offer + "server_max_window_bits=10; client_max_window_bits=11"
        )
        [agreed] = ws.protocol.extensions
        assert type(agreed) is PerMessageDeflate
        assert (agreed.remote_no_context_takeover, agreed.local_no_context_takeover) == (True, True)
        assert (agreed.remote_max_window_bits, agreed.local_max_window_bits) == (10, 11)
        assert ws.stats().messages_sent == 0
        for message in MESSAGES:
            ws.send(message)
            assert ws.recv() == message


@pytest.mark.parametrize(
    "factory",
    [
        ClientPerMessageDeflateFactory(client_max_window_bits=None),
        ClientPerMessageDeflateFactory(compress_settings={"strategy": 2}),
    ],
    ids=["no-window-offered", "strategy"],
)
def test_what_is_not_native_of_it_is_pythons(factory):
    assert not _native.is_native([factory])
    with opened(echo, server=[ServerPerMessageDeflateFactory()], client=[factory]) as ws:
        assert [extension.name for extension in ws.protocol.extensions] == ["permessage-deflate"]
        for message in MESSAGES:
            ws.send(message)
            assert ws.recv() == message


def test_bytes_over_the_limit_close_with_1009_before_they_are_there():
    with opened(
        lambda ws: ws.send(b"\0" * 10_000_000), server=None, client=None, compression="deflate", max_size=1000
    ) as ws:
        with pytest.raises(websockets.ConnectionClosedError) as raised:
            ws.recv()
        assert raised.value.sent == Close(1009, raised.value.sent.reason)


STANDALONE = """
import sys
sys.modules["websockets"] = None  # as if it were not installed
from fastws.compat.websockets.exceptions import NegotiationError, PayloadTooBig, ProtocolError
from fastws.compat.websockets.extensions.permessage_deflate import *
from fastws.compat.websockets.extensions.permessage_deflate import enable_client_permessage_deflate as enable
from fastws.compat.websockets.frames import BINARY, CONT, PING, TEXT, Frame

assert ClientPerMessageDeflateFactory.__module__.startswith("fastws.")
factory = ClientPerMessageDeflateFactory(server_max_window_bits=12, client_max_window_bits=10)
assert factory.get_request_params() == [("server_max_window_bits", "12"), ("client_max_window_bits", "10")]
assert [one.name for one in enable(None)] == ["permessage-deflate"]
assert list(enable([factory])) == [factory]
ours = factory.process_response_params([("server_max_window_bits", "12")], [])
assert (ours.remote_max_window_bits, ours.local_max_window_bits) == (12, 10)
theirs = PerMessageDeflate(False, False, 10, 12)
for frames in (
    [Frame(TEXT, b"hello" * 100)],
    [Frame(TEXT, b"hello" * 100)],
    [Frame(BINARY, b"a", fin=False), Frame(CONT, b"b" * 9999, fin=False), Frame(CONT, b"", fin=True)],
    [Frame(PING, b"ping")],
):
    sent = [ours.encode(frame) for frame in frames]
    assert [frame.rsv1 for frame in sent] == [frame.opcode in (TEXT, BINARY) for frame in frames]
    assert [theirs.decode(frame) for frame in sent] == frames
big = ours.encode(Frame(BINARY, b"0" * 100_000))
for refused, wrong in (
    ([("server_max_window_bits", "13")], "unsupported server_max_window_bits"),
    ([], "expected server_max_window_bits"),
    ([("server_max_window_bits", "12"), ("client_max_window_bits", "11")], "unsupported client_max_window_bits"),
    ([("x", None)], "x"),
    ([("server_max_window_bits", "12")] * 2, "server_max_window_bits"),
):
    try:
        factory.process_response_params(refused, [])
    except NegotiationError as error:
        assert wrong in str(error), error
    else:
        raise AssertionError(refused)
for act, kind in (
    (lambda: theirs.decode(big, max_size=1000), PayloadTooBig),
    (lambda: PerMessageDeflate(False, False, 15, 15).decode(Frame(TEXT, b"\\xff" * 9, rsv1=True)), ProtocolError),
    (lambda: ClientPerMessageDeflateFactory(server_max_window_bits=16), ValueError),
    (lambda: ClientPerMessageDeflateFactory(compress_settings={"wbits": 9}), ValueError),
):
    try:
        act()
    except kind:
        continue
    raise AssertionError(kind)
print("all of it")
"""


def test_permessage_deflate_in_python_stands_alone():
    done = subprocess.run([sys.executable, "-c", STANDALONE], capture_output=True, text=True, check=False)
    assert done.stdout == "all of it\n", done.stderr


def test_threads_send_through_an_extension_one_after_the_other():
    """It has a state, which is that of the messages in the order in which they leave."""
    factory = ClientPerMessageDeflateFactory(client_max_window_bits=None)
    number = 100
    received = []

    def handler(ws):
        received.extend(ws.recv() for _ in range(2 * number))

    with opened(handler, server=[ServerPerMessageDeflateFactory()], client=[factory]) as ws:
        through, encoding = ws._through, threading.Lock()
        encode = through.to_send

        def alone(*args, **named):
            assert encoding.acquire(blocking=False), "two threads encode at once"
            try:
                sleeping.wait(0.0001)  # lets the other thread go on
                return encode(*args, **named)
            finally:
                encoding.release()

        sleeping = threading.Event()
        through.to_send = alone
        failed = []

        def send(name):
            try:
                for each in range(number):
                    ws.send(f"{name} {each} " + "x" * 100)
            except BaseException as error:
                failed.append(error)

        threads = [threading.Thread(target=send, args=(name,)) for name in "ab"]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not failed
        with pytest.raises(websockets.ConnectionClosedOK):
            ws.recv()
    assert len(received) == 2 * number


def test_without_waiting_messages_go_through_it_too(run):
    received = asyncio.Queue()

    async def keeping(ws):
        async for message in ws:
            await received.put(message)

    async def main():
        serving = websockets.asyncio.server.serve(keeping, "localhost", 0, extensions=[ServerXor()], compression=None)
        async with serving as server:
            uri = f"ws://localhost:{server.sockets[0].getsockname()[1]}/"
            async with connect_on_loop(uri, extensions=[ClientXor()], compression=None) as ws:
                broadcast([ws], "a")
                websockets.asyncio.server.broadcast([ws], b"b")
                ws.send_nowait("c")
                assert [await received.get() for _ in range(3)] == ["a", b"b", "c"]
                assert ws.protocol.extensions[0].encoded == 3
                gate = asyncio.Event()

                async def pieces():
                    yield "d"
                    await gate.wait()

                sending = asyncio.create_task(ws.send(pieces()))
                await asyncio.sleep(0)
                with pytest.raises(websockets.ConcurrencyError, match="sending a fragmented message"):
                    ws.send_nowait("e")
                gate.set()
                await sending
                assert await received.get() == "d"

    run(main())


def test_a_message_taken_in_part_is_gone_through_to_its_end(run):
    async def main():
        serving = websockets.asyncio.server.serve(
            lambda ws: ws.send(["a", "b"]), "localhost", 0, extensions=[ServerXor()], compression=None
        )
        async with serving as server:
            uri = f"ws://localhost:{server.sockets[0].getsockname()[1]}/"
            async with connect_on_loop(uri, extensions=[ClientXor()], compression=None) as ws:
                async with contextlib.aclosing(ws.recv_streaming()) as pieces:
                    assert await anext(pieces) == "a"
                with pytest.raises(websockets.ConcurrencyError):
                    await ws.recv()
                with pytest.raises(websockets.ConcurrencyError):
                    await anext(ws.recv_streaming())

    run(main())


def test_too_many_fragments_are_that(monkeypatch):
    monkeypatch.setattr(_facade, "MAX_FRAGMENTS", 3)
    with opened(lambda ws: [ws.send(["a"] * 3), ws.recv()]) as ws:
        with pytest.raises(websockets.ConnectionClosedError) as raised:
            ws.recv()
        assert raised.value.sent == Close(1009, "too many fragments")
        assert type(raised.value.__cause__) is websockets.exceptions.TooManyFragments
    with opened(lambda ws: [ws.send(["a"] * 3), ws.recv()]) as ws:
        assert list(ws.recv_streaming()) == ["a", "a", "a", ""]
