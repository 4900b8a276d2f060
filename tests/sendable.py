"""What is no message, and every way to send."""

import asyncio

import pytest

import fastws

WRONG = [5, 0, True, 1.5, None, [1, 2, 3], ["a"], (1,), {1, 2}, {"op": 1}, {3: 1}, object(), iter(b"ab"), asyncio.Lock]

WAYS = {
    "send": lambda sender, message: sender.send(message),
    "send as text": lambda sender, message: sender.send(message, text=True),
    "send in time": lambda sender, message: sender.send(message, timeout=1),
    "send with a receipt": lambda sender, message: sender.send(message, receipt=True),
    "send that expires": lambda sender, message: sender.send(message, expires=1),
    "send_nowait": lambda sender, message: sender.send_nowait(message),
    "send_many": lambda sender, message: sender.send_many([message]),
    "send_text": lambda sender, message: sender.send_text(message),
    "send_binary": lambda sender, message: sender.send_binary(message),
    "send_timeout": lambda sender, message: sender.send_timeout(message, 1),
    "send_threadsafe": lambda sender, message: sender.send_threadsafe(message),
}


class Passing(fastws.Extension):
    name = "passing"
    handles_outgoing = True

    async def on_send(self, message, context):
        return message


class PassingAtOnce(fastws.Extension):
    name = "passing at once"
    handles_outgoing = True

    def on_send(self, message, context):
        return message


async def refuses(sending, message):
    words = r"send_json\(\)" if isinstance(message, dict) else "a set has no order" if isinstance(message, set) else ""
    with pytest.raises(TypeError, match=words or f"str or bytes-like, not {type(message).__name__}"):
        result = sending()
        if asyncio.iscoroutine(result):
            await result


async def refuses_all(client, ways=tuple(WAYS)):
    for sender in (client, client.sender()):
        for way in ways:
            for message in WRONG:
                await refuses(lambda way=way, message=message: WAYS[way](sender, message), message)  # noqa: B023
    for message in WRONG:
        if not isinstance(message, dict):
            await refuses(lambda message=message: client.request(message, match=bool), message)
