"""Who uses the client in a chaos: readers, a trader, who asks, who subscribes, who disturbs; extensions and a tap."""

import asyncio
import contextlib
from dataclasses import dataclass, field
from typing import Any

import fastws
from chaos_venue import now, number_of
from fastws.errors import (
    ClientStopped,
    ConnectionLost,
    HandshakeError,
    MaybeSent,
    NotConnected,
    NotSent,
    RequestTimeout,
    SendError,
    SendQueueFull,
)
from fastws.handshakes import Handshaker
from fastws.subscriptions import SubscriptionError


class Login(Handshaker):
    """Asks to be let in; takes nothing but the answer."""

    name = "login"
    timeout = 5.0

    async def handshake(self, channel, context):
        await channel.send("login")
        answer = await channel.expect(lambda message: message in ("welcome", "denied"))
        if answer.value == "denied":
            raise HandshakeError("denied", kind="failed")


# ---- readers


class Reader:
    """Reads a stream at a pace of its own, gives up waits, and keeps what it got."""

    def __init__(self, rng, stream, *, slow=0.004, longest=12.0):
        self.rng, self.stream, self.slow, self.longest = rng, stream, slow, longest
        self.items = []
        self.error = None

    async def run(self):
        rng = self.rng
        while True:
            try:
                if rng.random() < 0.2:
                    async with asyncio.timeout(rng.choice((0, 0.001, 0.3))):
                        self.items.append(await self.stream.recv())
                else:
                    self.items.append(await self.stream.recv())
            except TimeoutError:
                await asyncio.sleep(0)
                continue
            except Exception as error:
                self.error = error
                return
            if rng.random() < self.slow:
                await asyncio.sleep(rng.uniform(0, self.longest))

    @property
    def messages(self):
        return [item for item in self.items if isinstance(item, fastws.Message)]

    @property
    def data(self):
        return [item.data for item in self.messages]

    @property
    def marks(self):
        """Markers but for Dropped, as ``shape`` shows them."""
        return [shape(item) for item in self.items if isinstance(item, fastws.Down | fastws.Outage)]


class BatchReader(Reader):
    async def run(self):
        async for batch in self.stream.batches(
            max_messages=self.rng.choice((3, 50)), max_wait=self.rng.choice((0.1, 5.0, 60.0))
        ):
            self.items.append((batch.generation, batch.first_seq, list(batch)))
            if self.rng.random() < self.slow:
                await asyncio.sleep(self.rng.uniform(0, self.longest))


def shape(item):
    match item:
        case fastws.Message():
            return item.data, item.generation
        case fastws.Down():
            return "down", item.generation
        case fastws.Outage():
            return "outage", item.old_generation, item.new_generation
        case fastws.Dropped():
            return "dropped", item.first_seq, item.last_seq


# ---- senders


@dataclass
class Order:
    """A message that somebody wanted to send, and what was said of it."""

    text: str
    is_urgent: bool = False
    key: str | None = None
    expires: float | None = None
    receipt: asyncio.Future | None = None
    said: str = ""
    """``"accepted"``, ``"refused"`` or ``"stopped"``, which is what an extension does."""


class Trader:
    """Sends orders, one after the other, in every way there is."""

    def __init__(self, rng, client, plan):
        self.rng, self.client, self.plan = rng, client, plan
        self.orders = []

    async def run(self):
        rng = self.rng
        while True:
            await asyncio.sleep(rng.expovariate(1))
            for _ in range(rng.choice((1, 1, 5))):
                await self.send()

    async def send(self):
        rng, sender = self.rng, self.rng.choice((self.client, self.client.sender()))
        order = Order(f"order {len(self.orders) + 1}")
        self.orders.append(order)
        options: dict[str, Any] = {}
        if rng.random() < 0.15:
            order.is_urgent = options["urgent"] = True
        if self.plan.rate_keys and rng.random() < 0.4:
            order.key = options["key"] = rng.choice(self.plan.rate_keys)
        if rng.random() < 0.3:
            options["expires"] = rng.choice((0.5, 3.0, 20.0))
            order.expires = now() + options["expires"]
        order.said = "refused"
        try:
            if self.plan.may_send_at_once and rng.random() < 0.4:
                sender.send_nowait(order.text, **options)
            else:
                if rng.random() < 0.5:
                    options["receipt"] = True
                async with asyncio.timeout(rng.choice((0.01, 3))):
                    order.receipt = await sender.send(order.text, timeout=rng.choice((None, 1)), **options)
        except MaybeSent:
            order.said = "maybe"
            return
        except TimeoutError:
            if self.plan.is_tight:
                order.said = "maybe"
            return
        except SendError:
            return
        order.said = "stopped" if Outgoing.stops(order.text) and self.plan.outgoing else "accepted"


@dataclass
class Asked:
    """A request, and how it ended."""

    order: Order
    began: float
    timeout: float
    ended: float = 0.0
    error: BaseException | None = None
    answer: str | None = None


class Asker:
    """Asks, several at a time."""

    def __init__(self, rng, client):
        self.rng, self.client = rng, client
        self.asked = []

    async def run(self):
        async with asyncio.TaskGroup() as group:
            while True:
                await asyncio.sleep(self.rng.expovariate(1 / 10))
                for _ in range(self.rng.choice((1, 1, 3))):
                    group.create_task(self.ask())

    async def ask(self):
        number = len(self.asked) + 1
        asked = Asked(Order(f"ask {number}"), now(), self.rng.choice((0.01, 3.0, 10.0)))
        self.asked.append(asked)
        try:
            asked.answer = await self.client.request(
                asked.order.text, match=lambda m: m.startswith(f"answer {number} "), timeout=asked.timeout
            )
        except (NotConnected, SendQueueFull) as error:
            asked.order.said, asked.error = "refused", error
        except (RequestTimeout, ConnectionLost, ClientStopped, MaybeSent, NotSent) as error:
            asked.error = error
        asked.ended = now()


class Subscriber:
    """Adds and removes subscriptions while everything goes on."""

    def __init__(self, rng, client):
        self.rng, self.client = rng, client
        self.log = []
        """When, which, and whether it was added."""
        for key in KEYS[:2]:
            self.toggle(key, 0.0)

    def toggle(self, key, at):
        subscriptions = self.client.subscriptions
        is_new = key not in subscriptions
        if is_new:
            subscriptions.add(
                key,
                message=f"sub {key}",
                unsubscribe=f"unsub {key}",
                ack=lambda message: message.startswith(f"ack {key} "),
                ack_timeout=3.0,
            )
        else:
            subscriptions.remove(key)
        self.log.append((at, key, is_new))

    async def run(self):
        rng = self.rng
        while True:
            await asyncio.sleep(rng.expovariate(1 / 25))
            for _ in range(rng.choice((1, 1, 4))):
                self.toggle(rng.choice(KEYS), now())
            key = rng.choice(KEYS)
            if key in self.client.subscriptions:
                with contextlib.suppress(TimeoutError, SubscriptionError):
                    async with asyncio.timeout(rng.choice((0, 1, 10))):
                        await self.client.subscriptions.confirmed(key)


KEYS = [f"s{number}" for number in range(6)]


class Disturber:
    """Reconnects, waits, comes and goes."""

    def __init__(self, rng, client):
        self.rng, self.client = rng, client

    async def run(self):
        rng, client = self.rng, self.client
        while True:
            await asyncio.sleep(rng.expovariate(1 / 20))
            match rng.randrange(4):
                case 0:
                    client.reconnect("because")
                case 1:
                    with contextlib.suppress(TimeoutError):
                        async with asyncio.timeout(rng.choice((0, 0.001, 1))):
                            await client.wait_ready()
                case 2:
                    with client.stream() as stream, contextlib.suppress(TimeoutError):
                        async with asyncio.timeout(rng.uniform(0, 2)):
                            async for _ in stream:
                                pass
                case 3:
                    async for _ in client.events():
                        break


# ---- who looks at messages


@dataclass
class Tapped:
    """A tap, and what it saw."""

    received: list = field(default_factory=list)
    sent: list = field(default_factory=list)

    def __call__(self, direction, received_ns, data):
        if direction != "open":
            (self.received if direction == "in" else self.sent).append(data)


class Looking(fastws.Extension):
    """Does something to some messages of the feed; async or not, and then slow at times."""

    handles_messages = True

    def __init__(self, rng, does, *, is_async, longest=0.01):
        self.name = f"{does}s"
        self.rng, self.does, self.longest = rng, getattr(self, f"_{does}"), longest
        self.hooks = []
        if is_async:
            self.on_message = self._slowly

    def on_message(self, message, context):
        return self.does(message)

    async def _slowly(self, message, context):
        await asyncio.sleep(self.rng.uniform(0, self.longest) if self.rng.random() < 0.02 else 0)
        return self.does(message)

    @staticmethod
    def _pass(message):
        return message

    @staticmethod
    def _change(message):
        return message if number_of(message) is None else f"{message}!"

    @staticmethod
    def _drop(message):
        number = number_of(message)
        return None if number is not None and number % 11 == 0 else message

    @staticmethod
    def _fail(message):
        number = number_of(message)
        if number is not None and number % 13 == 0:
            raise ValueError("an unlucky number")
        return message

    def on_connect(self, context):
        self.hooks.append("connect")

    async def on_disconnect(self, context, reason):
        self.hooks.append("disconnect")

    def on_shutdown(self, context):
        self.hooks.append("shutdown")


class Outgoing(fastws.Extension):
    """Stops some orders and changes others."""

    name = "outgoing"
    handles_outgoing = True

    def __init__(self, *, is_async):
        if is_async:
            self.on_send = self._slowly

    def on_send(self, message, context):
        if self.stops(message):
            return None
        return f"{message}~" if message.endswith("5") else message

    async def _slowly(self, message, context):
        await asyncio.sleep(0)
        return Outgoing.on_send(self, message, context)

    @staticmethod
    def stops(message):
        return message.startswith("order") and int(message.split()[1]) % 17 == 0
