"""What is no message is refused at the call, on native connections and by calls that block (_sendable.py)."""

import asyncio

import pytest

import fastws
import fastws.sync
from peers import SMALL, Gate, Peer, ignoring_the_end, stalled
from sendable import WAYS, WRONG, Passing, PassingAtOnce, refuses_all


@pytest.mark.parametrize("options", [{}, {"extensions": [Passing()]}], ids=["plain", "looked at"])
async def test_on_a_native_connection(fastws_server, options):
    client = fastws.WebSocketClient(fastws_server.url("/sink"), **options)
    async with client:
        await refuses_all(client, [way for way in WAYS if not options or way != "send_nowait"])
        assert client.stats().messages_sent == 0


async def test_a_peer_that_reads_nothing_holds_up_no_refusal():
    gate = Gate()
    with Peer(ignoring_the_end(stalled(gate)), buffers=SMALL) as peer:
        config = fastws.ClientConfig(receive_timeout=None, ping_interval=None, shutdown_timeout=0.1)
        client = fastws.WebSocketClient(peer.url, config=config)
        try:
            with pytest.raises(fastws.ShutdownTimeout):
                async with client:
                    with pytest.raises(TimeoutError):
                        while True:
                            await client.send(b"x" * 65536, timeout=0.1)
                    async with asyncio.timeout(5):
                        await refuses_all(client, [way for way in WAYS if "in time" not in way])
        finally:
            gate.open()


@pytest.mark.parametrize("options", [{}, {"extensions": [PassingAtOnce()]}], ids=["plain", "looked at"])
def test_by_calls_that_block(fastws_server, options):
    config = fastws.ClientConfig(on_disconnect_send="keep")
    client = fastws.sync.WebSocketClient(fastws_server.url("/sink"), config=config, **options)
    for message in WRONG:
        with pytest.raises(TypeError):
            client.send(message)
    with client:
        for sender in (client, client.sender()):
            for send in WAYS.values():
                for message in WRONG:
                    with pytest.raises(TypeError, match=r"str or bytes-like|send_json|no order"):
                        send(sender, message)
        for message in WRONG:
            if not isinstance(message, dict):
                with pytest.raises(TypeError, match=r"str or bytes-like|no order"):
                    client.request(message, match=bool)
        assert client.stats().messages_sent == 0
