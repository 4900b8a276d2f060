"""A trading feed whose order books stay right: gaps in the venue's numbers are found, and closed by a snapshot.

The venue of this example numbers the changes of each book, leaves some out, and resets the connection once. Nothing but
the numbers tells that a change was left out; `SequenceTracker` holds what comes behind a gap until the book is whole.
"""

import random

import orjson

import fastws
from fastws.testing import DropAt, ResetAt, Server, Venue

PRODUCTS = ("BTC-USD", "ETH-USD")
CHANGES = 2_000

Books = dict[str, dict[str, int]]


def apply(books: Books, change: dict) -> None:
    levels = books.setdefault(change["product"], {})
    if change["size"]:
        levels[change["price"]] = change["size"]
    else:
        levels.pop(change["price"], None)


async def follow(venue: Venue) -> Books:
    books: Books = {}
    client = fastws.WebSocketClient(venue.url, retry=fastws.ExponentialBackoff.fast())
    for product in PRODUCTS:
        subscribe = {"type": "subscribe", "channel": product}
        client.subscriptions.add(product, message=subscribe, ack=lambda m, p=product: m["channel"] == p)

    async def resync(product: str, expected: int, got: int) -> int:
        request = {"type": "snapshot", "channel": product, "id": f"{product} {got}"}
        snapshot = await client.request(request, match=lambda m: m.get("id") == request["id"], decode=orjson.loads)
        books[product] = snapshot["levels"]
        print(f"  {product}: {expected} to {got - 1} are missing; a snapshot up to {snapshot['seq']}")
        return snapshot["seq"]

    def number(item: fastws.Message) -> tuple[str, int] | None:
        return (item.data["product"], item.data["seq"]) if item.data["type"] == "change" else None

    # Numbers go on over a reconnect here, so what was missed meanwhile is a gap like any other.
    tracker = fastws.SequenceTracker(number, resync=resync, across_generations=True)
    async with client, client.stream(markers=True, decode=orjson.loads) as stream:
        venue.start()
        async for item in tracker.track(stream):
            match item:
                case fastws.Down():
                    print(f"down: {item.reason}")
                case fastws.Outage():
                    print(f"an outage of {(item.to_ns - item.from_ns) / 1e6:.0f} ms")
                case fastws.Message(data={"type": "change"} as change):
                    apply(books, change)
                case fastws.Message(data={"type": "end"}):
                    break
    print(f"{tracker.sequences.stats.gaps} gaps, {tracker.resyncs} snapshots")
    return books


def main() -> None:
    rng = random.Random(7)
    truth: Books = {}
    feed, channels, snapshots = [], [], {product: [] for product in PRODUCTS}
    numbers = dict.fromkeys(PRODUCTS, 0)
    for index in range(CHANGES):
        product = rng.choice(PRODUCTS)
        numbers[product] += 1
        price, size = f"{rng.randint(95, 105)}.00", rng.choice([0, 1, 2, 5])
        change = {"type": "change", "product": product, "seq": numbers[product], "price": price, "size": size}
        apply(truth, change)
        feed.append((index / 1_000, "text", orjson.dumps(change)))
        channels.append(product)
        book = {"type": "book", "product": product, "seq": numbers[product], "levels": truth[product]}
        snapshots[product].append((index + 1, orjson.dumps(book)))
    feed.append((CHANGES / 1_000, "text", b'{"type": "end"}'))
    channels.append(None)
    with Server() as server:
        server.add_feed("market", feed)
        faults = [DropAt(0.3, 20), ResetAt(0.8), DropAt(1.4, 5)]
        venue = server.add_venue(
            "/market", "market", channels=channels, snapshots=snapshots, faults=faults, autostart=False
        )
        books = fastws.run(follow(venue))
    assert books == truth, "every level of every book"
    print("both books are the venue's")


main()
