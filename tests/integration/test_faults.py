"""What a fault of ours costs: a panic ends one connection with an error that says so, and nothing else. And what a wire
extension does on other threads.

Builds with debug assertions can be asked for both; rust/py/src/fault.rs.
"""

import asyncio

import pytest

import fastws
import fastws.sync
from fastws import _core
from peers import BINARY, CLOSE, PING, PONG, TEXT, Gate, Peer, binary, frame, ignoring_the_end, text

pytestmark = pytest.mark.skipif(
    not _core._panic_at(), reason="a release build has no panics to order; `make test` builds with them"
)


@pytest.fixture
def panics(capfd):
    """The panic's own report goes to standard error."""
    yield
    _core._panic_at()
    assert "asked for by a test" in capfd.readouterr().err


async def test_a_panic_in_a_dispatch_costs_one_connection_and_nothing_else(panics):
    gate = Gate()

    @ignoring_the_end
    def script(wire):
        gate.wait()
        wire.send(text("one"))
        wire.read_to_end()

    def answers(wire):
        wire.read_frame()
        wire.send(text("two"))
        wire.answer_close()

    with Peer(script) as hit, Peer(answers) as other:
        ws = await hit.connect()
        async with other.connect() as spared:
            reading = asyncio.create_task(ws.recv())
            await asyncio.sleep(0)
            assert _core._panic_at("parse")
            gate.open()
            with pytest.raises(fastws.ConnectionClosedError, match="internal error of fastws, please report it: asked"):
                await reading
            await ws.wait_closed()
            assert ws.fileno() == -1
            await spared.send("go on")
            assert await spared.recv() == "two"


async def test_a_panic_in_a_callbacks_dispatch_is_told_to_on_close(panics):
    class Told(fastws.Listener):
        def on_message(self, ws, message):
            told.append(message)

        def on_close(self, ws, info):
            told.append(str(info.cause))

    told, gate = [], Gate()

    @ignoring_the_end
    def script(wire):
        gate.wait()
        wire.send(text("one"))
        wire.read_to_end()

    with Peer(script) as peer:
        ws = await peer.connect(listener=Told())
        assert _core._panic_at("parse")
        gate.open()
        await ws.wait_closed()
    assert told == ["internal error of fastws, please report it: asked for by a test"]


async def test_a_panic_in_a_reader_is_raised_there_and_no_message_is_lost(panics):
    with Peer(lambda wire: (wire.send(text("one")), wire.answer_close())) as peer:
        async with peer.connect() as ws:
            while not ws.stats().messages_received:
                await asyncio.sleep(0)
            assert _core._panic_at("poll")
            with pytest.raises(BaseException, match="internal error of fastws, please report it"):
                await ws.recv()
            assert await ws.recv() == "one"


# A wire extension's work on other threads.


def echoes(wire):
    while (got := wire.read_frame()).opcode != CLOSE:
        if got.opcode in (TEXT, BINARY):
            wire.send(frame(got.opcode, got.payload), frame(PING, b"between"))
    wire.send(frame(CLOSE, got.payload))


@pytest.mark.parametrize("tls", [False, True], ids=["tcp", "tls"])
async def test_work_elsewhere_keeps_the_order_of_messages(tls):
    messages = [bytes([number % 256]) * (number * 37 % 5000) for number in range(300)]
    with Peer(echoes, tls=tls) as peer:
        async with peer.connect() as ws:
            _core._work_elsewhere(ws, 2000)

            async def send():
                for message in messages:
                    await ws.send(message)

            sending = asyncio.create_task(send())
            assert [await ws.recv() for _ in messages] == messages
            await sending
            stats = ws.stats()
            assert stats.messages_received == stats.messages_sent == 300
        assert ws.close_info.cause is None
        assert ws.stats().pings_received == 300


async def test_a_ping_is_answered_while_the_data_waits_for_work():
    begin, asked, answered = Gate(), Gate(), Gate()

    def script(wire):
        begin.wait()
        wire.send(binary(b"x" * 20_000_000))
        asked.wait()
        wire.send(frame(PING, b"meanwhile"))
        while wire.read_frame().opcode != PONG:
            pass
        answered.open()
        wire.answer_close()

    with Peer(script) as peer:
        async with peer.connect(max_size=None) as ws:
            _core._work_elsewhere(ws, 1)
            begin.open()
            reading = asyncio.create_task(ws.recv())
            asked.open()
            await answered.opened()
            assert len(await reading) == 20_000_000


async def test_the_end_of_a_connection_whose_work_is_under_way():
    def script(wire):
        wire.read_frame()
        wire.send(*[binary(b"x" * 100_000)] * 50)
        wire.read_to_end()

    with Peer(ignoring_the_end(script)) as peer:
        for _ in range(20):
            ws = await peer.connect(close_timeout=0.1)
            _core._work_elsewhere(ws, 1)
            await ws.send("begin")
            await ws.recv()
            sending = ws.send(b"y" * 100_000)
            ws._abort("enough")
            await ws.wait_closed()
            with pytest.raises(fastws.ConnectionClosedError, match="enough"):
                while True:
                    await ws.recv()
            await sending


async def test_a_panic_of_the_work_ends_its_connection(panics):
    gate = Gate()

    @ignoring_the_end
    def script(wire):
        gate.wait()
        wire.send(binary(b"x" * 100))
        wire.read_to_end()

    with Peer(script) as peer:
        ws = await peer.connect()
        _core._work_elsewhere(ws, 1)
        assert _core._panic_at("work")
        gate.open()
        with pytest.raises(fastws.ConnectionClosedError, match="internal error of fastws, please report it: asked"):
            await ws.recv()
        await ws.wait_closed()


@pytest.mark.parametrize(
    "driver", [pytest.param("loop", marks=pytest.mark.loop_driver("it is the loop driver")), "protocol", "none"]
)
async def test_a_message_that_there_is_no_memory_for_is_the_last_and_an_error_says_so(driver):
    gate = Gate()

    @ignoring_the_end
    def script(wire):
        wire.send(text("one"))
        gate.wait()
        wire.send(frame(TEXT, b"tw", fin=False), frame(0, b"o"), text("three"))
        return wire.read_to_close()

    def blocking():
        with fastws.sync.connect(peer.url, background=False) as ws:
            assert ws.recv() == "one"
            assert _core._panic_at("memory")
            gate.open()
            ws.recv()

    with Peer(script) as peer:
        with pytest.raises(fastws.ConnectionClosedError, match="no memory for a payload of 3 bytes"):
            if driver == "none":
                await asyncio.to_thread(blocking)
            else:
                async with peer.connect(driver=driver) as ws:
                    assert await ws.recv() == "one"
                    assert _core._panic_at("memory")
                    gate.open()
                    await ws.recv()
    assert peer.results[0][-1].payload[:2] == (1011).to_bytes(2)
