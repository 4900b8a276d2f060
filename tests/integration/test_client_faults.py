"""Faults that only real sockets have, met by a client."""

import asyncio

import pytest

import fastws
from fastws.events import Disconnected
from peers import SMALL, Gate, Peer, ignoring_the_end, stalled


async def test_fault_06_a_stalled_peer_is_noticed_and_shutdown_is_bounded():
    gate = Gate()
    with Peer(ignoring_the_end(stalled(gate)), buffers=SMALL) as peer:
        client = fastws.WebSocketClient(
            peer.url,
            config=fastws.ClientConfig(receive_timeout=0.5, ping_interval=None, close_timeout=0.2),
            retry=fastws.FixedDelay(60),
        )
        ended = asyncio.get_running_loop().create_future()
        client.on(Disconnected, lambda event: ended.done() or ended.set_result(event))
        try:
            async with client:
                with pytest.raises(fastws.SendError):
                    while True:
                        await client.send(b"x" * 65536)
                event = await ended
                assert event.reason.kind == "receive_timeout"
                assert {unsent.outcome for unsent in event.unsent} <= {"not_sent", "maybe_sent"}
                assert event.unsent
                loop = asyncio.get_running_loop()
                before = loop.time()
                await client.shutdown(timeout=1)
                assert loop.time() - before < 10  # the next attempt is a minute away
        finally:
            gate.open()


async def test_fault_06_a_stalled_peer_does_not_hold_up_a_shutdown_and_what_it_did_not_take_is_reported():
    gate = Gate()
    with Peer(ignoring_the_end(stalled(gate)), buffers=SMALL) as peer:
        client = fastws.WebSocketClient(peer.url, config=fastws.ClientConfig(receive_timeout=None, ping_interval=None))
        loop = asyncio.get_running_loop()
        accepted = 0

        async def send():
            nonlocal accepted
            while True:
                await client.send(b"x" * 65536)
                accepted += 1

        try:
            async with client:
                sending = asyncio.create_task(send())
                seen = -1
                while seen < accepted:
                    seen = accepted
                    await asyncio.sleep(0.1)
                before = loop.time()
                with pytest.raises(fastws.ShutdownTimeout) as raised:
                    await client.shutdown(timeout=0.5)
                assert 0.4 < loop.time() - before < 5  # half of what the closing handshake may take
                assert {unsent.outcome for unsent in raised.value.unsent} == {"not_sent", "maybe_sent"}
                assert len(raised.value.unsent) <= accepted
                with pytest.raises((fastws.NotConnected, fastws.ClientStopped)):
                    await sending
        finally:
            gate.open()


@pytest.mark.parametrize("fault", ["close:1000", "reset"])
async def test_fault_08_nothing_before_the_end_of_a_session_is_lost(fastws_server, fault):
    client = fastws.WebSocketClient(
        fastws_server.url(f"/paced?rate=100000&n=300&fault={fault}@200"), retry=fastws.FixedDelay(0.01)
    )
    sizes = {}

    def count(item):
        if isinstance(item, fastws.Message):
            sizes[item.generation] = sizes.get(item.generation, 0) + 1

    async with client:
        stream = client.stream(markers=True)
        async for item in stream:
            count(item)
            if isinstance(item, fastws.Outage) and item.new_generation > 10:
                break
    async for item in stream:
        count(item)
    # What the kernel threw away at a reset was never received: the connection counts what was.
    assert sum(sizes.values()) == client.stats().messages_received
    for generation in range(1, 11):
        assert sizes.get(generation, 0) == 200 if fault == "close:1000" else sizes.get(generation, 0) <= 200


async def test_fault_23_a_quiet_peer_that_answers_pings_is_kept(fastws_server):
    config = fastws.ClientConfig(receive_timeout=1.2, ping_interval=0.1)
    async with fastws.WebSocketClient(fastws_server.url("/sink"), config=config) as client:
        await asyncio.sleep(1.8)
        assert client.is_ready
        assert client.snapshot().generation == 1
        assert client.snapshot().messages_received == 0
