"""The client over real sockets: what ends a session, and what comes after it."""

import asyncio
import time

import pytest

import fastws
from daemons import free_port
from fastws.errors import MaybeSent, NotSent
from fastws.events import Connecting, Disconnected, Error, Ready, ReconnectScheduled
from fastws.handshakes import Handshaker
from fastws.testing import Echo, Expect, Fault, Send, SendClose, Server
from peers import PATIENCE, Gate, Peer, closed_again, frame, text
from rings import take

CONFIG = fastws.ClientConfig(handshake_retry_delay=0.01, shutdown_timeout=5, close_timeout=2)
RETRY = fastws.FixedDelay(0.01)

ENDS = {
    "reset": (Fault("reset"), "error", None),
    "eof": (Fault("eof"), "error", None),
    "truncate": (Fault("truncate"), "error", None),
    "close 1012": (SendClose(1012, "restart"), "server_closed", 1012),
    "close 1000": (SendClose(1000), "normal", 1000),
    "garbage": (Fault("garbage:ffff"), "error", None),
}


@pytest.fixture(params=[False, True], ids=["tcp", "tls"])
def server(request):
    with Server(tls=request.param, record=True) as server:
        yield server


def options_of(server):
    return {"tls": fastws.TlsConfig(ca=server.ca_pem)} if server.ca_pem else {}


def client_of(uri, server=None, **options):
    options.setdefault("retry", RETRY)
    options.setdefault("config", CONFIG)
    if server is not None:
        options |= options_of(server)
    return fastws.WebSocketClient(uri, **options)


def in_turn(*uris):
    """A callable that gives one URI after the other, then the last one."""
    left = list(uris)
    return lambda: left.pop(0) if len(left) > 1 else left[0]


async def event(client, kind):
    """The next event of a kind."""
    future = asyncio.get_running_loop().create_future()
    remove = client.on(kind, lambda event: future.done() or future.set_result(event))
    try:
        return await future
    finally:
        remove()


@pytest.mark.parametrize("end", ENDS)
async def test_after_any_end_it_comes_again_and_what_lay_between_is_marked(server, end, open_fds):
    step, kind, code = ENDS[end]
    server.script("/end", [Send("a"), Send("b"), Expect(1), step])
    server.script("/again", [Send("c"), Echo()])
    client = client_of(in_turn(server.url("/end"), server.url("/again")), server)
    async with fastws.connect(server.url("/echo"), **options_of(server)):
        before, tasks = open_fds(), asyncio.all_tasks()
        async with client:
            stream = client.stream(markers=True)
            assert [item.data for item in await take(stream, 2)] == ["a", "b"]
            client.send_nowait("go")
            down, outage, message = await take(stream, 3)
            assert (down.generation, down.reason.kind) == (1, kind)
            if code is not None:
                assert (down.reason.code, down.reason.initiator) == (code, "remote")
            assert (outage.old_generation, outage.new_generation, outage.attempts) == (1, 2, 1)
            assert outage.from_ns <= outage.detected_ns <= outage.to_ns
            assert (message.data, message.seq, message.generation, message.connection_id) == ("c", 3, 2, 2)
        assert asyncio.all_tasks() == tasks
        await closed_again(open_fds, before)


async def test_a_server_that_ignores_pings_is_cut_after_receive_timeout(server):
    server.script("/again", [Send("c"), Echo()])
    client = client_of(
        in_turn(server.url("/silence?fault=silence@open"), server.url("/again")),
        server,
        config=CONFIG.replace(receive_timeout=1),
    )
    async with client:
        stream = client.stream(markers=True)
        down, outage, message = await take(stream, 3)
        assert down.reason.kind in ("receive_timeout", "keepalive")
        assert outage.new_generation == 2
        assert message.data == "c"


async def test_a_quiet_server_that_answers_pings_is_not_cut(server):
    client = client_of(server.url("/sink"), server, config=CONFIG.replace(receive_timeout=1, ping_interval=0.15))
    async with client:
        while not server.connections()[0].pings_ns[8:]:
            await asyncio.sleep(0.005)
        assert client.snapshot().reconnect_count == 0
        assert client.is_healthy()


async def test_retry_after_of_a_503_is_honoured(server):
    refusing = server.url("/status/503?header=Retry-After:1")
    retry = fastws.ExponentialBackoff(0.01, 30.0, jitter=0)
    client = client_of(in_turn(refusing, server.url("/echo")), server, retry=retry)
    seen = []
    client.on(None, seen.append)
    began = time.monotonic()
    async with client:
        assert time.monotonic() - began >= 1
        (failed,) = (event for event in seen if isinstance(event, Error))
        assert failed.error.response.status_code == 503
        (scheduled,) = (event for event in seen if isinstance(event, ReconnectScheduled))
        assert scheduled.delay == 1


async def test_a_401_is_final():
    with Server() as server:
        client = client_of(server.url("/status/401"))
        with pytest.raises(fastws.InvalidStatus):
            async with client:
                pass
        assert server.stats().requests == 1


class Login(Handshaker):
    name = "login"

    async def handshake(self, channel, context):
        await channel.send(f"login {context.connection_id}")
        await channel.expect(lambda message: message == f"login {context.connection_id}")


async def test_a_subscription_made_as_it_becomes_ready_is_sent_once(server):
    client = client_of(server.url("/echo"), server)
    client.on(Ready, lambda _event: client.subscriptions.add("k", message="sub"))
    async with client:
        stream = client.stream()
        assert await stream.recv() == "sub"
        await client.send("last")
        assert await stream.recv() == "last"


async def test_handshake_and_subscriptions_go_over_every_connection_in_order(server):
    """Handshake, then the subscriptions in the order of their first add, then what the user sends."""
    server.script("/first", [Send("early"), Echo(5), SendClose(1012)])
    client = client_of(in_turn(server.url("/first"), server.url("/echo")), server, handshake=Login())
    for key in "abc":
        client.subscriptions.add(key, message=f"sub {key}", ack=lambda message, key=key: message == f"sub {key}")
    async with client:
        stream = client.stream(markers=True)
        assert (await stream.recv()).data == "early"
        client.subscriptions.remove("b")
        client.subscriptions.add("d", message="sub d")
        client.subscriptions.add("b", message="sub b")
        down, outage = (item for item in [await stream.recv() for _ in range(3)] if not hasattr(item, "data"))
        assert isinstance(down, fastws.Down)
        assert outage.unrestored == ()
        await client.subscriptions.confirmed("a")
        assert list(client.subscriptions.states()) == ["a", "c", "d", "b"]
        client.send_nowait("user")
        seen = [await stream.recv()]
        while seen[-1].data != "user":
            seen.append(await stream.recv())
    first, second = server.connections()
    assert [frame.payload for frame in first.frames if frame.opcode == 1][:4] == [
        b"login 1", b"sub a", b"sub b", b"sub c"
    ]  # fmt: skip
    assert [frame.payload for frame in second.frames if frame.opcode == 1] == [
        b"login 2", b"sub a", b"sub c", b"sub d", b"sub b", b"user"
    ]  # fmt: skip


@pytest.mark.loop_driver("a transport keeps more than a part of one message")
@pytest.mark.parametrize("policy", ["fail", "keep", "drop"])
async def test_orders_at_a_reset_are_accounted_for_and_go_once(policy):
    """A peer that reads nothing, then resets: what it read, what it may have, what it has not."""
    gate = Gate()
    payload = "x" * 4000

    def resetting(wire):
        gate.wait()
        wire.reset()

    def reading(wire):
        received = []
        while (got := wire.read_frame()).opcode == 1:
            received.append(got.payload)
            if got.payload == b"last":
                wire.send(text("all"))
        wire.send(frame(8, got.payload))
        wire.end()
        return received

    # Small buffers at the server, and at the client (through sockopts) let the queue fill.
    with Peer(resetting, reading, buffers=8192) as peer:
        client = client_of(peer.url, config=CONFIG.replace(on_disconnect_send=policy, send_queue_capacity=64))
        ends = []
        client.on(Disconnected, ends.append)
        receipts, orders = [], []
        async with client:
            stream = client.stream()
            try:
                while True:
                    orders.append(f"{len(orders)} {payload}")
                    receipts.append(await client.send(orders[-1], receipt=True, timeout=0.2))
            except TimeoutError:
                orders.pop()
            gate.open()
            await event(client, Ready)
            await client.send("last")
            async with asyncio.timeout(PATIENCE):
                assert await stream.recv() == "all"
            outcomes = await asyncio.gather(*receipts, return_exceptions=True)
    written = [order for order, outcome in zip(orders, outcomes, strict=True) if outcome is None]
    maybe = [order for order, outcome in zip(orders, outcomes, strict=True) if isinstance(outcome, MaybeSent)]
    not_sent = [order for order, outcome in zip(orders, outcomes, strict=True) if isinstance(outcome, NotSent)]
    assert sorted(written + maybe + not_sent) == sorted(orders)
    assert len(maybe) <= 1
    unsent = ends[0].unsent
    assert [entry.message for entry in unsent if entry.outcome == "maybe_sent"] == maybe
    second = [payload.decode() for payload in peer.results[1]]
    if policy == "keep":
        # What no byte of was written goes again, in order, and nothing else does.
        assert not_sent == []
        again = second[:-1]
        assert len(again) > 10
        assert again == orders[len(orders) - len(again) :]
        first_written = orders[: len(orders) - len(again) - len(maybe)]
        assert set(written) == set(first_written) | set(again)
    else:
        assert written + maybe + not_sent == orders
        assert second == ["last"]
        assert [entry.message for entry in unsent if entry.outcome == "not_sent"] == not_sent
        assert len(not_sent) > 10


async def test_a_thousand_messages_on_their_way_before_a_reset_keep_their_order(server):
    server.script("/end", [Expect(1), *(Send(str(number)) for number in range(1000)), Expect(1), Fault("reset")])
    client = client_of(in_turn(server.url("/end"), server.url("/echo")), server)
    async with client:
        streams = [client.stream(), client.stream(markers=True), client.stream(decode=int)]
        client.send_nowait("go")
        reads = await asyncio.gather(*(take(stream, 1000) for stream in streams))
        assert reads[0] == [str(number) for number in range(1000)]
        assert [item.seq for item in reads[1]] == list(range(1, 1001))
        assert reads[2] == list(range(1000))
        client.send_nowait("end")
        assert isinstance(await streams[1].recv(), fastws.Down)


async def test_refused_dials_are_counted_and_the_port_may_come_back():
    port = free_port()
    client = client_of(f"ws://127.0.0.1:{port}/echo", retry=fastws.FixedDelay(0.02))
    seen = []
    client.on(Connecting, seen.append)
    running = asyncio.create_task(client.run())
    while len(seen) < 3:
        await event(client, Connecting)
    with Server(port=port):
        async with asyncio.timeout(PATIENCE):
            await client.wait_ready()
        assert client.snapshot().error_count >= 2
        await client.shutdown()
        await running


async def test_pings_and_pongs_take_tokens_of_the_rate_limit_and_wait_for_none(server):
    client = client_of(server.url("/echo"), server, rate_limit=fastws.RateLimit(1, per=0.2, burst=4))
    async with client:
        for _ in range(4):
            await client.ping()
        began = time.monotonic()
        await client.send("five")
        await (await client.send("six", receipt=True))
        assert time.monotonic() - began >= 0.3
