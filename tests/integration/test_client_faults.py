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
                assert loop.time() - before < 1.1
        finally:
            gate.open()


@pytest.mark.parametrize("fault", ["close:1000", "reset"])
async def test_fault_08_nothing_before_the_end_of_a_session_is_lost(fastws_server, fault):
    client = fastws.WebSocketClient(
        fastws_server.url(f"/paced?rate=100000&n=300&fault={fault}@200"), retry=fastws.FixedDelay(0.01)
    )
    sizes = {}
    async with client:
        with client.stream(markers=True) as stream:
            async for item in stream:
                if isinstance(item, fastws.Message):
                    sizes[item.generation] = sizes.get(item.generation, 0) + 1
                elif isinstance(item, fastws.Outage) and item.new_generation > 10:
                    break
    for generation in range(1, 11):
        if fault == "reset":  # what the kernel threw away at the reset was never received
            assert sizes.get(generation, 0) <= 200
        else:
            assert sizes[generation] == 200
