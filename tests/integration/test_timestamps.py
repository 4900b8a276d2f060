"""The kernel's receive timestamps: rust/py/src/extras.rs, `kernel_ns` of a connection and of a batch."""

import asyncio
import sys
import time

import pytest

import fastws
from fastws.testing import Server
from peers import Gate, Peer, answering, binary, numbered, text

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="the kernel's timestamps are read on Linux only"),
    pytest.mark.loop_driver("a transport's reads have no stamps of the kernel's"),
]

STREAMS = pytest.mark.parametrize("tls", [False, True], ids=["tcp", "tls"])


dated = answering(lambda payload: text(f"{payload.decode()} {time.time_ns()}"))
"""Answers with the moment before it does so."""


def echo_until_go(wire):
    while (frame := wire.read_frame()).payload != b"go":
        wire.send(text(frame.payload.decode()))


async def until_stamped(ws):
    """The kernel begins to stamp packets a moment after the first socket asks for it."""
    while ws.kernel_ns is None:
        await ws.send("warm up")
        await ws.recv()


async def until_queued(ws, number):
    while ws.stats().receive_queue_messages < number:
        await asyncio.sleep(0)


@STREAMS
async def test_the_stamp_is_between_sending_and_reading(tls):
    with Peer(dated, tls=tls) as peer:
        async with peer.connect(kernel_timestamps=True) as ws:
            assert ws.kernel_ns is None  # before the first message
            await until_stamped(ws)
            last = 0
            for number in range(20):
                await ws.send(str(number))
                answer, sent = (await ws.recv()).split()
                assert int(answer) == number
                assert last < int(sent) <= ws.kernel_ns <= ws.received_ns
                last = ws.kernel_ns


@STREAMS
async def test_messages_that_wait_keep_the_stamp_of_their_read(tls):
    gates = [Gate() for _ in range(3)]
    sent = []

    def script(wire):
        echo_until_go(wire)
        for gate in gates:
            gate.wait()
            sent.append(time.time_ns())
            wire.send(numbered([1, 2]))
        wire.answer_close()

    with Peer(script, tls=tls) as peer:
        async with peer.connect(kernel_timestamps=True) as ws:
            await until_stamped(ws)
            await ws.send("go")
            for number, gate in enumerate(gates, 1):
                gate.open()
                await until_queued(ws, 2 * number)
            stamps = []
            for _ in range(6):
                await ws.recv()
                stamps.append(ws.kernel_ns)
                assert ws.kernel_ns <= ws.received_ns
            assert stamps == sorted(stamps)
            for number, moment in enumerate(sent):
                one, two = stamps[2 * number : 2 * number + 2]
                assert moment <= one == two  # one segment, one read
                assert number == 0 or stamps[2 * number - 1] < moment


@STREAMS
async def test_a_large_message_has_the_stamp_of_its_last_read(tls):
    size = 4 << 20
    ends = []

    def script(wire):
        echo_until_go(wire)
        data = binary(b"x" * size)
        wire.send(data[:-1])
        gate.wait()
        ends.append(time.time_ns())
        wire.send(data[-1:], text("behind"))
        wire.answer_close()

    gate = Gate()
    with Peer(script, tls=tls) as peer:
        async with peer.connect(kernel_timestamps=True) as ws:
            await until_stamped(ws)
            await ws.send("go")
            while ws.stats().bytes_received < size:
                await asyncio.sleep(0)
            gate.open()
            assert len(await ws.recv()) == size
            assert ends[0] <= ws.kernel_ns <= ws.received_ns
            assert await ws.recv() == "behind"
            assert ends[0] <= ws.kernel_ns <= ws.received_ns


@STREAMS
async def test_a_batch_has_the_stamp_of_its_last_message(tls):
    with Peer(dated, tls=tls) as peer:
        async with peer.connect(kernel_timestamps=True) as ws:
            await until_stamped(ws)
            for number in range(3):
                await ws.send(str(number))
                await until_queued(ws, number + 1)
            batch = await anext(ws.batches())
            assert len(batch) == 3
            sent = [int(message.split()[1]) for message in batch]
            assert sent[2] <= batch.kernel_ns <= batch.received_ns
            assert batch.kernel_ns == ws.kernel_ns


async def test_a_listener_finds_the_stamp_of_its_message():
    loop = asyncio.get_running_loop()
    done = loop.create_future()

    class Feed(fastws.Listener):
        def __init__(self):
            self.stamps = []

        def on_message(self, ws, message):
            stamped = ws.kernel_ns is not None
            if stamped:
                self.stamps.append((int(message.split()[1]), ws.kernel_ns, ws.received_ns))
            if len(self.stamps) == 10:
                done.set_result(None)
            else:
                ws.send_nowait("next")

    feed = Feed()
    with Peer(dated) as peer:
        async with peer.connect(listener=feed, kernel_timestamps=True) as ws:
            ws.send_nowait("first")
            await done
    assert all(sent <= kernel <= received for sent, kernel, received in feed.stamps)


@STREAMS
async def test_a_flood_with_pauses_keeps_every_stamp_in_order(tls):
    count = 20_000
    with Server(tls=tls) as server:
        more = {"tls": fastws.TlsConfig(ca=server.ca_pem)} if tls else {}
        url = server.url(f"/blast?n={count}&size=200")
        async with fastws.connect(server.url("/echo"), kernel_timestamps=True, **more) as other:
            await until_stamped(other)  # from here on the kernel stamps
            async with fastws.connect(url, kernel_timestamps=True, max_queue=(64, 3), **more) as ws:
                last = seen = 0
                async for _ in ws:
                    seen += 1
                    assert last <= ws.kernel_ns <= ws.received_ns
                    last = ws.kernel_ns
                    if seen == count:
                        break
                assert seen == count


async def test_what_is_let_go_takes_its_stamps_along():
    """`close()` reads on for the peer's Close: what was received before keeps its stamps."""

    def script(wire):
        echo_until_go(wire)
        wire.send(numbered(range(1000)))
        wire.answer_close()

    with Peer(script) as peer:
        ws = await peer.connect(kernel_timestamps=True, max_queue=8)
        await until_stamped(ws)
        await ws.send("go")
        await until_queued(ws, 8)
        await ws.close()
        seen = [(ws.kernel_ns, ws.received_ns) async for _ in ws]
        assert len(seen) >= 8
        assert all(kernel <= received for kernel, received in seen)
        assert seen == sorted(seen)


@STREAMS
async def test_without_the_option_there_is_no_stamp(tls):
    with Peer(dated, tls=tls) as peer:
        async with peer.connect() as ws:
            await ws.send("x")
            await ws.recv()
            assert ws.kernel_ns is None
            await ws.send("x")
            assert (await anext(ws.batches())).kernel_ns is None
            assert ws.received_ns > 0


def test_another_platform_is_named_at_once(monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(sys, "platform", "darwin")
        with pytest.raises(ValueError, match=r"kernel_timestamps=True: .*\(darwin\), only on Linux"):
            fastws.connect("ws://h/", kernel_timestamps=True)
        fastws.connect("ws://h/")
