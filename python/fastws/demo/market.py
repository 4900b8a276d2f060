"""A market of our own: a seeded simulator that writes an exchange session as a feed.

Ten made-up books trade; the session looks like Coinbase's public feed. How messages mix, how long they are and how
they bunch together follows two recorded sessions (`fastws.demo.market_profile`). What a consumer may rely on:

- Every message has a ``sequence``. It counts by one, from 1, over all messages of one ``product_id``; messages about
  no product (``subscriptions``, ``status``) are one such series of their own. A number left out is a message lost.
- A ``snapshot`` is the whole book; each ``l2update`` sets the size of one price (``"0"`` removes it). Applied in order
  they give the book that the next snapshot of the product repeats; it is never crossed and no size is negative.
- A ``match`` is at the best price of the side it took from (``side`` is the resting order's), never larger than what
  rested there; the ``l2update`` that takes it off the book follows, then a ``ticker`` with the best bid and ask of
  that moment. ``trade_id`` counts by one for each product. (A ``last_match``, when subscribing, tells of the last
  trade before: the book has that in it already.)
- ``time`` is in whole microseconds since the Unix epoch and never steps back.

The same seed and number of messages give the same bytes on every Python and machine: all state is integers, the only
random source is `random.Random.random`, and no function of the platform's maths library is called.
"""

from __future__ import annotations

import json
from bisect import bisect_right
from itertools import accumulate, islice
from random import Random
from typing import TYPE_CHECKING, Final

from fastws.demo.book import Book, Ladder, Product, Side
from fastws.demo.feed import Event
from fastws.demo.market_profile import Profile, recorded

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    _Source = Callable[[], float]

MESSAGES: Final = 20_000
"""How many messages a session has unless asked otherwise: about 90 seconds of market time."""

PRODUCTS: Final = (
    Product("AURA-USD", price=7_912, price_decimals=4, size_decimals=1, lot=19_000),
    Product("BOREA-BTC", price=52_130, price_decimals=8, size_decimals=2, lot=66_000),
    Product("COBALT-USD", price=354_150, price_decimals=3, size_decimals=6, lot=5_000_000),
    Product("DUNE-EUR", price=132_645, price_decimals=4, size_decimals=4, lot=500_000),
    Product("EMBER-BTC", price=1_306, price_decimals=8, size_decimals=1, lot=66_050),
    Product("FJORD-GBP", price=148_024, price_decimals=4, size_decimals=2, lot=12_770),
    Product("GARNET-USD", price=4_681_250, price_decimals=2, size_decimals=8, lot=90_000_000),
    Product("HALO-EUR", price=51_873, price_decimals=4, size_decimals=3, lot=410_000),
    Product("INDIGO-CHF", price=2_164_400, price_decimals=2, size_decimals=8, lot=250_000_000),
    Product("JUNO-ETH", price=71_350, price_decimals=6, size_decimals=3, lot=830_000),
)
"""The products, the busiest first."""


def simulate(seed: int = 0, messages: int = MESSAGES, profile: Profile | None = None) -> list[Event]:
    """Write a session: the connection opens, the client subscribes, then ``messages`` messages arrive.

    Args:
        seed: which session; any integer.
        messages: how many are received, at least 1.
        profile: the measured numbers to follow; default: those that come with the package.

    Raises:
        ValueError: ``messages`` is below 1.
    """
    if messages < 1:
        msg = f"a session has at least one message, not {messages}"
        raise ValueError(msg)
    market = _Market(Random(seed), profile or recorded())
    return market.session(messages)


class _Market:
    """The exchange's side of one session. ``now`` is market time in microseconds, moved on by `session`."""

    def __init__(self, random: Random, profile: Profile) -> None:
        self._random: Final = random.random
        self._profile: Final = profile
        self._now = _START_US
        self._nothing_sequence = 0
        pooled = profile.pooled
        shares = pooled.products[: len(PRODUCTS)]
        self._cumulative: Final = [total / sum(shares) for total in accumulate(shares)]
        by_chance = sum(share * share for share in shares) / (sum(shares) * sum(shares))
        bursts = pooled.bursts
        self._stay_inside: Final = max((bursts.same_product_inside - by_chance) / (1 - by_chance), 0.0)
        self._stay_between: Final = max((bursts.same_product_between - by_chance) / (1 - by_chance), 0.0)
        self._stay = 0.0
        sizes = pooled.kinds["snapshot"].sizes
        self._listings: Final = [
            _Listing(product, self._random, sizes.at((rank + 0.5) / len(PRODUCTS)), pooled.deletions)
            for product, rank in zip(PRODUCTS, _SNAPSHOT_RANK, strict=True)
        ]

    def session(self, messages: int) -> list[Event]:
        """Write the events of a session with that many received messages."""
        events = [Event(self._now / 1e6, "open", _URL)]
        for wait, channels in zip(_SUBSCRIBE_WAITS_US, _SUBSCRIBES, strict=True):
            self._now += wait
            request = {"type": "subscribe", "product_ids": [p.name for p in PRODUCTS], "channels": channels}
            events.append(Event(self._now / 1e6, "send", _dumps(request)))
        self._now += _ROUND_TRIP_US
        stream = self._messages()
        for gap in islice(self._gaps(), messages):
            self._now += gap
            events.append(Event(self._now / 1e6, "recv", next(stream)))
        return events

    def _gaps(self) -> Iterator[int]:
        """Yield the microseconds before each message: bursts, in the style of one recorded session after the other.

        Each stretch follows the session that has been heard least compared with its share of the recorded messages.
        """
        sessions = list(self._profile.sessions.values())
        heard = [0] * len(sessions)
        random = self._random
        while True:
            turn = min(range(len(sessions)), key=lambda i: heard[i] / sessions[i].messages)
            bursts = sessions[turn].bursts
            lengths, inside, between = bursts.lengths, bursts.inside_us, bursts.between_us
            stretch = 0
            while stretch < _STRETCH:
                length = int(lengths.at(random()) + 0.5)
                self._stay = self._stay_between
                yield int(between.at(random()))
                self._stay = self._stay_inside
                for _ in range(length - 1):
                    yield int(inside.at(random()))
                stretch += length
            heard[turn] += stretch

    def _messages(self) -> Iterator[str]:
        """Yield the received messages for ever; each is written, and changes the book, when it is asked for."""
        yield from self._opening()
        random, listings, cumulative = self._random, self._listings, self._cumulative
        kinds = self._profile.pooled.kinds
        trades = kinds["trade"].share
        snapshots = trades + kinds["snapshot"].share
        status = snapshots + _STATUS_SHARE
        heartbeat_us = int(self._profile.pooled.seconds * 1e6) // max(kinds["heartbeat"].count, 1)
        next_heartbeat = self._now + heartbeat_us
        beating, told = 0, 0
        listing = listings[0]
        while True:
            if self._now >= next_heartbeat:
                next_heartbeat += heartbeat_us
                yield listings[beating].heartbeat(self._now)
                beating = (beating + 1) % len(listings)
                continue
            if random() >= self._stay:
                listing = listings[bisect_right(cumulative, random(), 0, len(listings) - 1)]
            chance = random()
            if chance >= status:
                yield listing.change(self._now)
            elif chance < trades:
                side: Side = "buy" if random() < _HALF else "sell"
                units = listing.match_units(side)
                yield listing.match(self._now, side, units)
                yield listing.taken(self._now, side, units)
                yield listing.ticker(self._now)
            elif chance < snapshots:
                yield listing.snapshot()
            else:
                yield self._about_nothing("status", {"message": _NOTICES[told], "time": self._now})
                told = (told + 1) % len(_NOTICES)

    def _opening(self) -> Iterator[str]:
        """Yield what a subscriber gets first: confirmations, then every book with its last trade and ticker."""
        names = [product.name for product in PRODUCTS]
        channels: list[object] = []
        for confirmed in _SUBSCRIBES:
            channels += [{"name": name, "product_ids": names} for name in confirmed]
            yield self._about_nothing("subscriptions", {"channels": channels})
        for listing in self._listings:
            yield listing.snapshot()
            side: Side = "buy" if self._random() < _HALF else "sell"
            yield listing.match(self._now, side, listing.match_units(side), kind="last_match")
            yield listing.ticker(self._now)

    def _about_nothing(self, kind: str, fields: dict[str, object]) -> str:
        self._nothing_sequence += 1
        return _dumps({"type": kind, "sequence": self._nothing_sequence, **fields})


class _Listing:
    """One product's book, its counters, and the messages about it. Times are in microseconds."""

    def __init__(self, product: Product, random: _Source, snapshot_bytes: float, deletions: float) -> None:
        self.book: Final = Book(product)
        self._random: Final = random
        self._deletions: Final = deletions
        self._sequence = 0
        self._trade_id = 1_000 + int(random() * 900_000)
        self._last_price = product.price
        self._last_units = product.lot
        self._last_side: Side = "buy"
        self._open = self._low = self._high = product.price
        self._volume = product.lot * 400
        self._month = self._volume * 27
        spread = 1 + int(random() * 4)
        for ladder, start in ((self.book.bids, product.price), (self.book.asks, product.price + spread)):
            self._fill(ladder, start, snapshot_bytes / 2)
        self._depth: Final = {side: len(self.book.ladder(side)) for side in _SIDES}

    def snapshot(self) -> str:
        """Write the whole book."""
        product = self.book.product
        levels = [
            ",".join([f'["{product.price_text(p)}","{product.size_text(u)}"]' for p, u in ladder.levels()])
            for ladder in (self.book.asks, self.book.bids)
        ]
        head = f'{{"type":"snapshot","product_id":"{product.name}","sequence":{self._next()}'
        return f'{head},"asks":[{levels[0]}],"bids":[{levels[1]}]}}'

    def change(self, now: int) -> str:
        """Change the book at one price and write that: a level comes, goes, or is resized."""
        random = self._random
        book = self.book
        side: Side = "buy" if random() < _HALF else "sell"
        ladder = book.ladder(side)
        usual = self._depth[side]
        chance = random()
        if chance < self._deletions and len(ladder) * 10 > usual * 9:
            return self._put(now, ladder, self._somewhere(ladder), 0)
        if chance > 1 - self._deletions and len(ladder) * 10 < usual * 11:
            price = self._free_price(ladder)
            if price is not None:
                return self._put(now, ladder, price, self._units())
        return self._put(now, ladder, self._somewhere(ladder), self._units())

    def match_units(self, side: Side) -> int:
        """Draw how much the next trade takes from the best level of ``side``: often a part, at times all of it."""
        ladder = self.book.ladder(side)
        resting = ladder.sizes[ladder.best]
        all_of_it = self._random() < _SWEEP and len(ladder) * 10 > self._depth.get(side, len(ladder)) * 9
        return resting if all_of_it else 1 + int(self._random() * (resting - 1))

    def match(self, now: int, side: Side, units: int, kind: str = "match") -> str:
        """Write a trade of ``units`` with the best resting order of ``side``; `taken` then takes them off the book."""
        product = self.book.product
        price = self.book.ladder(side).best
        self._trade_id += 1
        self._last_price, self._last_units, self._last_side = price, units, side
        self._low, self._high = min(self._low, price), max(self._high, price)
        self._volume += units
        self._month += units
        return (
            f'{{"type":"{kind}","trade_id":{self._trade_id},"maker_order_id":"{self._order_id()}",'
            f'"taker_order_id":"{self._order_id()}","side":"{side}","size":"{product.size_text(units)}",'
            f'"price":"{product.price_text(price)}","product_id":"{product.name}","sequence":{self._next()},'
            f'"time":{now}}}'
        )

    def taken(self, now: int, side: Side, units: int) -> str:
        """Take ``units`` off the best level of ``side`` and write the change."""
        ladder = self.book.ladder(side)
        return self._put(now, ladder, ladder.best, ladder.sizes[ladder.best] - units)

    def ticker(self, now: int) -> str:
        """Write the last trade with the best bid and ask of this moment."""
        product = self.book.product
        price, size = product.price_text, product.size_text
        return (
            f'{{"type":"ticker","sequence":{self._next()},"product_id":"{product.name}",'
            f'"price":"{price(self._last_price)}","open_24h":"{price(self._open)}","volume_24h":"{size(self._volume)}",'
            f'"low_24h":"{price(self._low)}","high_24h":"{price(self._high)}","volume_30d":"{size(self._month)}",'
            f'"best_bid":"{price(self.book.bids.best)}","best_ask":"{price(self.book.asks.best)}",'
            f'"side":"{self._last_side}","time":{now},"trade_id":{self._trade_id},"last_size":"{size(self._last_units)}"}}'
        )

    def heartbeat(self, now: int) -> str:
        """Write a sign of life."""
        name = self.book.product.name
        return f'{{"type":"heartbeat","product_id":"{name}","sequence":{self._next()},"time":{now}}}'

    def _put(self, now: int, ladder: Ladder, price: int, units: int) -> str:
        ladder.put(price, units)
        product = self.book.product
        return (
            f'{{"type":"l2update","product_id":"{product.name}","sequence":{self._next()},'
            f'"changes":[["{ladder.side}","{product.price_text(price)}","{product.size_text(units)}"]],"time":{now}}}'
        )

    def _next(self) -> int:
        self._sequence += 1
        return self._sequence

    def _somewhere(self, ladder: Ladder) -> int:
        """Draw an occupied price, most often near the best."""
        chance = self._random()
        return ladder.at(int(chance * chance * chance * len(ladder)))

    def _free_price(self, ladder: Ladder) -> int | None:
        """Draw a free price that does not cross: inside the spread if that is wide, else behind an occupied one."""
        room = self.book.spread - 1
        if room and self._random() < room / (room + _USUAL_SPREAD):
            step = 1 + int(self._random() * min(room, _USUAL_SPREAD))
            return ladder.best + step if ladder.side == "buy" else ladder.best - step
        return ladder.behind(self._somewhere(ladder), _SEARCH)

    def _units(self) -> int:
        """Draw a size: around the product's lot, small ones more often, at times a round one."""
        lot = self.book.product.lot
        chance = self._random()
        units = 1 + int(chance * chance * 3 * lot)
        if self._random() < _ROUND:
            unit = max(lot // 100, 1)
            units = max(units // unit, 1) * unit
        return units

    def _order_id(self) -> str:
        digits = "".join([f"{int(self._random() * 2**48):012x}" for _ in range(3)])[:32]
        return f"{digits[:8]}-{digits[8:12]}-4{digits[13:16]}-a{digits[17:20]}-{digits[20:]}"

    def _fill(self, ladder: Ladder, price: int, room: float) -> None:
        """Rest orders from ``price`` outward until they would take ``room`` bytes of a snapshot."""
        product = self.book.product
        while room > 0 and price > 0:
            units = self._units()
            ladder.put(price, units)
            room -= len(f'["{product.price_text(price)}","{product.size_text(units)}"],')
            chance = self._random()
            step = 1 + int(chance * chance * _SPARSE)
            price += -step if ladder.side == "buy" else step


def _dumps(fields: Mapping[str, object]) -> str:
    return json.dumps(fields, ensure_ascii=False, separators=(",", ":"))


_URL: Final = "wss://market.example/feed"
_START_US: Final = 1_700_000_000_000_000
_SUBSCRIBES: Final[tuple[list[str], ...]] = (["level2"], ["ticker"], ["matches"], ["heartbeat", "status"])
_SUBSCRIBE_WAITS_US: Final = (177_000, 160, 50, 60)
_ROUND_TRIP_US: Final = 41_000
_SIDES: Final[tuple[Side, Side]] = ("buy", "sell")
_SNAPSHOT_RANK: Final = (3, 6, 9, 5, 2, 1, 8, 0, 7, 4)  # which product's book is how large, smallest first
_STRETCH: Final = 200  # messages in the style of one recorded session before the next has its turn
_STATUS_SHARE: Final = 0.001  # far more than the recorded share, so that a short session has non-ASCII text too
_HALF: Final = 0.5
_SWEEP: Final = 0.4  # how often a trade takes the whole best level
_ROUND: Final = 0.35  # how often a size is a round number
_USUAL_SPREAD: Final = 3
_SEARCH: Final = 64  # ticks to look for a free price
_SPARSE: Final = 6  # a new book's levels are up to this many ticks apart
_NOTICES: Final = (
    "Alle Märkte geöffnet, keine Störungen",
    "取引は通常どおり行われています ✓",
    "Торги идут в обычном режиме",
    "Le carnet est complet : dix produits prêts à l'échange 📈",
    "جميع الأسواق مفتوحة",
)
