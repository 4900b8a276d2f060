"""rust/py/src/view.rs: messages as views of the read buffer, valid for as long as somebody has them."""

import gc
import random

import orjson
import pytest

import fastws
from fastws import MessageView
from fastws.testing import Server
from peers import Peer, binary, frame, text

ROUNDS = 50


def payload(number, size=200):
    return random.Random(number).randbytes(size)


@pytest.fixture(params=[False, True], ids=["tcp", "tls"])
def server(request, fastws_server_factory):
    return fastws_server_factory(tls=request.param)


def connect(server, **options):
    tls = fastws.TlsConfig(ca=server.ca_pem) if server.ca_pem else None
    return fastws.connect(server.url("/echo"), tls=tls, messages="view", **options)


async def test_a_view_is_a_sequence_of_bytes_with_the_buffer_protocol():
    def script(wire):
        wire.send(binary(b"0123456789"), text("żółw"), binary(b""), text('{"a": [1, 2]}'))
        wire.answer_close()

    with Peer(script) as peer:
        async with peer.connect(messages="view") as ws:
            view, words, empty, value = [await ws.recv() for _ in range(4)]
    assert type(view) is MessageView
    assert (len(view), view.is_text, words.is_text) == (10, False, True)
    assert (view[0], view[-1], view[2:5], view[::-2]) == (48, 57, b"234", b"97531")
    for wrong in (10, -11):
        with pytest.raises(IndexError):
            view[wrong]
    assert view == b"0123456789" == bytes(view) == view.tobytes()
    assert view != b"012345678"
    assert view != "0123456789"
    assert hash(view) == hash(b"0123456789")
    assert {view: 1}[b"0123456789"] == 1
    assert str(words) == "żółw"
    assert bytes(words) == "żółw".encode()
    assert (len(empty), bytes(empty), empty == b"") == (0, b"", True)
    assert "10 bytes" in repr(view)
    with memoryview(view) as shown:
        assert shown.readonly
        assert shown.nbytes == 10
        assert bytes(shown[3:5]) == b"34"
    assert orjson.loads(memoryview(value)) == {"a": [1, 2]}


async def test_views_that_are_kept_stay_what_they_were(server):
    async with connect(server) as ws:
        kept = []
        for number in range(ROUNDS):
            ws.send_nowait(payload(number))
            kept.append(await ws.recv())
        for number in range(ROUNDS):
            assert kept[number] == payload(number)
    # The connection is gone, and its buffers with it.
    del ws
    gc.collect()
    assert [bytes(view) for view in kept] == [payload(number) for number in range(ROUNDS)]


async def test_memoryviews_that_are_kept_stay_what_they_were(server):
    async with connect(server) as ws:
        kept = []
        for number in range(ROUNDS):
            ws.send_nowait(payload(number))
            # The view itself goes, the memory that is shown stays.
            kept.append(memoryview(await ws.recv()))
        # Some let go, others do not.
        for number in range(0, ROUNDS, 2):
            kept[number].release()
        for number in range(ROUNDS, 2 * ROUNDS):
            ws.send_nowait(payload(number))
            assert await ws.recv() == payload(number)
    del ws
    gc.collect()
    for number in range(1, ROUNDS, 2):
        assert bytes(kept[number]) == payload(number)


async def test_views_of_many_messages_of_one_read(server):
    async with connect(server) as ws:
        for number in range(ROUNDS):
            ws.send_nowait(payload(number, number))
        views, shown = [], []
        for number in range(ROUNDS):
            view = await ws.recv()
            if number % 3 == 0:
                views.append((number, view))
            elif number % 3 == 1:
                shown.append((number, memoryview(view)))
        ws.send_nowait(b"x" * 100_000)
        await ws.recv()
        for number, view in [*views, *shown]:
            assert bytes(view) == payload(number, number)


async def test_batches_and_listeners_give_views_too():
    class Keep(fastws.Listener):
        def __init__(self):
            self.views, self.shown = [], []

        def on_message(self, ws, message):
            self.views.append(message)
            self.shown.append(memoryview(message))

    with Server() as server:
        async with fastws.connect(server.url("/blast?n=2000&size=40&seq=1"), messages="view") as ws:
            kept = []
            async for batch in ws.batches(max_messages=300):
                kept += batch
        keep = Keep()
        ws = await fastws.connect(server.url("/blast?n=2000&size=40&seq=1"), messages="view", listener=keep)
        await ws.wait_closed()
    expected = [bytes(view) for view in kept]
    assert len(set(expected)) == 2000
    assert all(type(view) is MessageView for view in kept)
    assert [bytes(view) for view in keep.views] == expected
    assert [bytes(shown) for shown in keep.shown] == expected


async def test_messages_that_were_put_together_are_views_too():
    def script(wire):
        wire.send(frame(2, b"ab", fin=False), frame(0, b"cd"))
        wire.send(binary(bytes(range(256)) * 2000))
        wire.send(text("ü" * 300_000))
        wire.answer_close()

    with Peer(script) as peer:
        async with peer.connect(messages="view") as ws:
            assembled, large, words = await ws.recv(), await ws.recv(), await ws.recv()
    assert assembled == b"abcd"
    assert large == bytes(range(256)) * 2000
    assert words.is_text
    assert str(words) == "ü" * 300_000


async def test_recv_can_ask_for_another_kind():
    def script(wire):
        wire.send(text("ü"), text("ü"), text("ü"))
        wire.answer_close()

    with Peer(script) as peer:
        async with peer.connect(messages="view") as ws:
            assert await ws.recv(decode=True) == "ü"
            assert type(await ws.recv(decode=False)) in (bytes, MessageView)
            assert await ws.recv() == "ü".encode()


async def test_more_memory_than_may_be_pinned_is_copied():
    """Each of these pins a read buffer of its own, up to a bound in all; then they are copies."""
    with Server() as server:
        async with fastws.connect(server.url("/echo"), messages="view") as ws:
            kept = []
            for number in range(400):
                ws.send_nowait(payload(number, 64))
                kept.append(memoryview(await ws.recv()))
            assert [bytes(shown) for shown in kept] == [payload(number, 64) for number in range(400)]
            del kept
            ws.send_nowait(b"and on")
            assert await ws.recv() == b"and on"


@pytest.mark.parametrize("seed", range(4))
async def test_random_keeping_and_letting_go(seed, server):
    source = random.Random(seed)
    async with connect(server) as ws:
        kept, sent = {}, 0
        for _ in range(40):
            burst = source.randrange(1, 30)
            for number in range(sent, sent + burst):
                ws.send_nowait(payload(number, number % 700))
            for number in range(sent, sent + burst):
                view = await ws.recv()
                match source.randrange(4):
                    case 0:
                        kept[number] = view
                    case 1:
                        kept[number] = memoryview(view)
                    case 2:
                        kept[number] = memoryview(view)[: number % 700 // 2]
                if source.random() < 0.3 and kept:
                    chosen = source.choice(list(kept))
                    gone = kept.pop(chosen)
                    assert payload(chosen, chosen % 700).startswith(bytes(gone))
            sent += burst
        for number, view in kept.items():
            assert payload(number, number % 700).startswith(bytes(view))
