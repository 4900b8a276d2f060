"""rotation.py over real sockets: a connection is replaced before the venue cuts it."""

import asyncio
import contextlib
import socket

import orjson
import pytest

import fastws
from fastws import keys
from fastws.events import Disconnected, Ready
from fastws.testing import Server
from peers import CLOSE, SMALL, Ended, Gate, Peer, closed_again, frame, text

COUNT = 3000
FEED = [(i * 0.0005, "text", f'{{"n":{i}}}'.encode()) for i in range(COUNT)]


@pytest.fixture(params=[False, True], ids=["tcp", "tls"])
def server(request):
    with Server(tls=request.param) as server:
        yield server


def client_of(server, uri, **options):
    if server.ca_pem:
        options["tls"] = fastws.TlsConfig(ca=server.ca_pem)
    return fastws.WebSocketClient(uri, message_key=keys.json("n"), **options)


def subscribe(client):
    client.subscriptions.add(
        "all",
        message={"type": "subscribe", "channel": "all"},
        ack=lambda message: message == {"type": "subscribed", "channel": "all"},
    )


async def until(client, generation):
    """Waits until the client has had so many sessions."""
    seen = asyncio.get_running_loop().create_future()
    stop = client.on(Ready, lambda event: event.generation >= generation and (seen.done() or seen.set_result(None)))
    if client.snapshot().generation < generation:
        await seen
    stop()


async def test_a_feed_goes_on_over_several_connections_without_a_hole_or_a_mark(server, open_fds):
    server.add_feed("feed", FEED)
    venue = server.add_venue("/v", "feed")
    client = client_of(server, venue.url, config=fastws.ClientConfig(max_connection_age=0.2, rotation_overlap=0.4))
    subscribe(client)
    async with fastws.connect(server.url("/echo"), **({"tls": client_tls(server)} if server.ca_pem else {})):
        before = open_fds(), asyncio.all_tasks()
        async with client:
            stream = client.stream(markers=True)
            items = []
            while not items or orjson.loads(items[-1].data)["n"] < COUNT - 1:
                items.append(await stream.recv())
            assert client.subscriptions.states() == {"all": "confirmed"}
        await closed_again(open_fds, before[0])  # a dial that was given up closes its socket in a later turn, too
        assert asyncio.all_tasks() == before[1]
    assert [orjson.loads(item.data)["n"] for item in items] == list(range(COUNT))
    assert [item.seq for item in items] == list(range(1, COUNT + 1))
    generations = [item.generation for item in items]
    assert generations == sorted(generations)
    assert generations[-1] >= 3
    assert client.snapshot().reconnect_count == generations[-1] - 1


async def test_a_slow_reader_of_a_small_queue_loses_nothing_either(server):
    server.add_feed("feed", FEED)
    venue = server.add_venue("/v", "feed")
    config = fastws.ClientConfig(max_connection_age=0.2, rotation_overlap=0.5, queue_messages=16)
    client = client_of(server, venue.url, config=config)
    subscribe(client)
    async with client:
        stream = client.stream(markers=True)
        numbers = []
        while not numbers or numbers[-1] < COUNT - 1:
            item = await stream.recv()
            numbers.append(orjson.loads(item.data)["n"])
            if len(numbers) % 100 == 0:
                await asyncio.sleep(0.03)
        assert client.snapshot().generation >= 2
    assert numbers == list(range(COUNT))


async def test_a_feed_on_which_nothing_comes_is_replaced_without_a_mark_as_both_lines_answer_pings(server):
    config = fastws.ClientConfig(max_connection_age=0.2, rotation_overlap=0.5)
    client = client_of(server, server.url("/echo"), config=config)
    async with client:
        stream = client.stream(markers=True)
        await until(client, 4)
        client.send_nowait("hello")
        message = await stream.recv()
        assert (message.data, message.seq) == ("hello", 1)
        assert message.generation >= 4
        assert stream.outages == 0


async def test_a_line_that_answers_no_ping_proves_nothing(server):
    config = fastws.ClientConfig(max_connection_age=0.2, rotation_overlap=0.05, close_timeout=0.2, shutdown_timeout=0.2)
    client = client_of(server, server.url("/silence?fault=silence@open"), config=config)
    async with client:
        stream = client.stream(markers=True)
        down, outage = await stream.recv(), await stream.recv()
        assert down.reason.kind == "rotation"
        assert (outage.old_generation, outage.new_generation) == (1, 2)


def client_tls(server):
    return fastws.TlsConfig(ca=server.ca_pem)


class Lines:
    """A venue whose first line reads nothing, so that what is sent on it stays with the client, until it is let go."""

    def __init__(self):
        self.gate, self.second, self.got = Gate(), Gate(), []
        self.peer = Peer(self.stalled, self.reading, buffers=SMALL)

    def stalled(self, wire):
        self.second.wait()
        wire.send(text("the same on both"))
        self.gate.wait()
        wire.reset()

    def reading(self, wire):
        self.second.open()
        wire.send(text("the same on both"))
        with contextlib.suppress(Ended, ConnectionError):  # without a Close
            while (came := wire.read_frame()).opcode != CLOSE:
                self.got.append(came.payload[:5].decode())
            wire.send(frame(CLOSE, came.payload))
            wire.end()

    @contextlib.asynccontextmanager
    async def client(self, **settings):
        """A client whose second line takes over from the first one, which has not taken what was sent: how much."""
        config = fastws.ClientConfig(
            max_connection_age=3600,
            rotation_overlap=1,
            receive_timeout=None,
            ping_interval=None,
            ws_config={"sockopts": [(socket.SOL_SOCKET, socket.SO_SNDBUF, SMALL)]},
            send_queue_capacity=64,
            **settings,
        )
        with self.peer, contextlib.ExitStack() as stack:
            stack.callback(self.gate.open)
            client = fastws.WebSocketClient(self.peer.url, config=config, message_key=lambda message: message)
            async with client, client.stream():
                count = 0
                with contextlib.suppress(TimeoutError):
                    while True:
                        await client.send(f"{count:05}{'x' * 4000}", timeout=0.05)
                        count += 1
                client._rotate()
                await until(client, 2)
                yield client, count


@pytest.mark.parametrize("policy", ["keep", "fail"])
async def test_what_the_old_line_has_not_sent_is_not_overtaken(policy):
    lines, ends = Lines(), []
    async with lines.client(on_disconnect_send=policy) as (client, count):
        client.on(Disconnected, ends.append)
        await client.send("99999", urgent=True)
        for number in range(count, count + 10):
            await client.send(f"{number:05}")
        last = await client.send(f"{count + 10:05}", receipt=True)
        assert client.stats().waiting_messages == 11
        await last
    first, *others = lines.got
    assert first == "99999"
    unsent = [each.message[:5] for each in ends[0].unsent]
    assert others == [f"{number:05}" for number in range(count + 11 - len(others), count + 11)]
    assert unsent == sorted(unsent)
    if policy == "keep":
        assert len(others) > 11
        # A part of one, or what a transport had: nobody knows, so it is not sent again.
        assert {each.outcome for each in ends[0].unsent} <= {"maybe_sent"}
        assert unsent == [
            f"{number:05}" for number in range(count + 11 - len(others) - len(unsent), count + 11 - len(others))
        ]
    else:
        assert len(others) == 11
        assert unsent[-1] == f"{count - 1:05}"


async def test_a_shutdown_waits_for_what_is_behind_a_line_that_was_replaced():
    lines = Lines()
    async with lines.client(on_disconnect_send="fail", close_timeout=1, shutdown_timeout=20) as (client, _):
        await client.send("order")
        assert client.stats().waiting_messages == 1
        await client.shutdown(20)
    assert lines.got == ["order"]


async def test_where_the_old_line_has_sent_everything_nothing_waits(fastws_server):
    client = fastws.WebSocketClient(
        fastws_server.url("/echo"),
        config=fastws.ClientConfig(max_connection_age=0.1, rotation_overlap=0.1, on_disconnect_send="keep"),
        message_key=lambda message: message,
    )
    waited = []

    def ready(event):
        client.send_nowait(f"hello {event.generation}")
        waited.append(client.stats().waiting_messages)

    client.on(Ready, ready)
    async with client, client.stream() as stream:
        for generation in (1, 2, 3):
            assert await stream.recv() == f"hello {generation}"
            assert client.snapshot().generation >= generation
    assert waited[:3] == [0, 0, 0]


async def test_a_cancellation_while_the_old_line_closes_sends_all_by_the_new_one_and_closes_that():
    lines = Lines()
    async with lines.client(on_disconnect_send="keep") as (client, count):
        await client.send("behind")
        assert client.stats().waiting_messages == 1
        client._background.cancel()
        await asyncio.wait([client._background])
        with pytest.raises(asyncio.CancelledError) as raised:
            client._background.result()
        client._background = None
        assert not hasattr(raised.value, "unsent")
    *kept, last = lines.got
    assert last == "behin"
    assert kept == [f"{number:05}" for number in range(count - len(kept), count)]
    assert len(kept) > 2


@pytest.mark.parametrize("policy", ["keep", "fail"])
async def test_what_the_old_line_has_not_sent_is_told_though_the_end_is_cancelled_twice(policy):
    lines, ends = Lines(), []
    async with lines.client(on_disconnect_send=policy) as (client, count):
        client.on(Disconnected, ends.append)
        receipt = await client.send("behind", receipt=True)
        for _ in range(2):
            client._background.cancel()
            await asyncio.sleep(0)
        await asyncio.wait([client._background])
        with pytest.raises(asyncio.CancelledError) as raised:
            client._background.result()
        client._background = None
    assert [event.reason.kind for event in ends] == ["rotation", "shutdown"]
    assert isinstance(receipt.exception(), fastws.errors.NotSent)
    old, new = (list(event.unsent) for event in ends)
    left = [each.message[:5] for each in (*old, *(new or raised.value.unsent))]
    assert left == [*(f"{number:05}" for number in range(count - len(left) + 1, count)), "behin"]
    assert len(left) > 2
