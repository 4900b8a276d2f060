"""A client made up, for its subscriptions, and what a venue says of them."""

import asyncio

import orjson


class Client:
    """As much of a client as the registry needs."""

    def __init__(self, registry):
        self.is_ready = False
        self._is_held_up = False
        self.sent = []
        self.reconnects = []
        self.messages = asyncio.Queue()
        registry.bind(self)

    def _terminal(self):
        return None

    def _check_thread(self):
        pass

    async def _send_replay(self, message):
        self.sent.append(message)

    async def _observe(self):
        while True:
            yield await self.messages.get()

    def _stayed_silent(self, key, seconds):
        self.reconnects.append((key, seconds))


def subscribe(channel):
    return {"op": "subscribe", "channel": channel}


def confirms(channel):
    return lambda message: message["confirmed"] == channel


def refuses(channel):
    return lambda message: message["refused"] == channel


def as_json(value):
    return orjson.dumps(value).decode()


async def turns():
    await asyncio.sleep(0.001)
