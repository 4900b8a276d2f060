"""Clients whose connections are replaced, and venues that speak on all of them, in memory."""

import asyncio
import contextlib

import fastws
import wires
from fastws.handshakes import Handshaker

AGE = 3600


CONFIG = fastws.ClientConfig(receive_timeout=None, ping_interval=None, max_connection_age=AGE)


YOUNG = CONFIG.replace(max_connection_age=60)


def client_of(connector, **options):
    return wires.client_of(connector, **{"config": CONFIG} | options)


async def publish(connector, numbers, every=1.0):
    """A venue: each message goes to every connection that is open, a moment later on the second."""
    for number in numbers:
        for wire in connector.wires:
            if wire.is_open:
                wire.deliver(str(number))
                await asyncio.sleep(0.01)
        await asyncio.sleep(every)


async def everything(stream, items):
    async for item in stream:
        items.append(item)


def subscribing(client, key):
    client.subscriptions.add(
        key, message=f"sub {key}", unsubscribe=f"unsub {key}", ack=lambda message: message == f"ok {key}"
    )


def venue(wire):
    """Confirms what is subscribed to."""

    def on_send(wire, message):
        if message.startswith("sub "):
            wire.deliver(f"ok {message[4:]}")

    wire.on_send = on_send


class Slow(Handshaker):
    """A login that takes its time, while the venue speaks already."""

    name = "slow"

    async def handshake(self, channel, context):
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(3):
                await channel.expect(lambda message: message == "welcome")
