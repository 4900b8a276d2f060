"""rotation.py over real sockets: a connection is replaced before the venue cuts it."""

import asyncio

import orjson
import pytest

import fastws
from fastws import keys
from fastws.events import Ready
from fastws.testing import Server
from peers import closed_again

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
    client = client_of(server, venue.url, config=fastws.ClientConfig(max_connection_age=0.3, rotation_overlap=0.1))
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
    config = fastws.ClientConfig(max_connection_age=0.2, rotation_overlap=0.05)
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
