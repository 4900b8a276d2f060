"""What a fault of ours costs: a panic ends one connection with an error that says so, and nothing else.

Builds with debug assertions can be asked for one; rust/py/src/fault.rs.
"""

import asyncio

import pytest

import fastws
from fastws import _core
from peers import Gate, Peer, ignoring_the_end, text

pytestmark = pytest.mark.skipif(
    not _core._panic_at(), reason="a release build has no panics to order; `make test` builds with them"
)


@pytest.fixture(autouse=True)
def quiet(capfd):
    """The panic's own report goes to standard error."""
    yield
    _core._panic_at()
    assert "asked for by a test" in capfd.readouterr().err


async def test_a_panic_in_a_dispatch_costs_one_connection_and_nothing_else():
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


async def test_a_panic_in_a_callbacks_dispatch_is_told_to_on_close():
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


async def test_a_panic_in_a_reader_is_raised_there_and_no_message_is_lost():
    with Peer(lambda wire: (wire.send(text("one")), wire.answer_close())) as peer:
        async with peer.connect() as ws:
            while not ws.stats().messages_received:
                await asyncio.sleep(0)
            assert _core._panic_at("poll")
            with pytest.raises(BaseException, match="internal error of fastws, please report it"):
                await ws.recv()
            assert await ws.recv() == "one"
