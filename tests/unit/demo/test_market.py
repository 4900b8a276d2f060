"""The simulated market, seen by a consumer that keeps the books and trusts nothing."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from decimal import Decimal

import pytest

from fastws.demo import market
from fastws.demo.book import Book, Ladder, Product, decimal
from fastws.demo.feed import FeedDigest, received
from fastws.demo.market_profile import Quantiles, recorded
from fastws.demo.profile_feed import PROBABILITIES, measure, summarize

# What seed 7 gives on every Python and machine. When the simulator changes on purpose, so does this.
GOLDEN = "2fbe63e77e7021499c5c724dd0eb5fed200e8fc7a768337d3d423c944796c9cb"


@pytest.fixture(scope="module")
def events():
    return market.simulate(seed=7)


@pytest.fixture(scope="module")
def messages(events):
    return [json.loads(payload) for payload in received(events)]


@pytest.fixture(scope="module")
def measured(events):
    return summarize(measure([(event.t, event.payload) for event in events if event.direction == "recv"]))


@pytest.mark.parametrize("seed", [0, 1, 7, 2**40])
def test_a_consumer_finds_every_book_right(seed):
    books = {}
    pending = {}  # a trade whose level has not been taken off the book yet
    repeated = trades = tickers = 0
    for payload in received(market.simulate(seed, 12_000)):
        message = json.loads(payload)
        kind, product = message["type"], message.get("product_id")
        book = books.get(product)
        if product in pending:
            assert kind == "l2update"
        if kind == "snapshot":
            levels = {
                side: {Decimal(price): Decimal(size) for price, size in message[name]}
                for side, name in (("buy", "bids"), ("sell", "asks"))
            }
            prices = [Decimal(price) for price, _ in message["bids"]]
            assert prices == sorted(prices, reverse=True)
            prices = [Decimal(price) for price, _ in message["asks"]]
            assert prices == sorted(prices)
            if book is not None:
                assert levels == book
                repeated += 1
            book = books[product] = levels
        elif kind == "l2update":
            ((side, price_text, size_text),) = message["changes"]
            price, size = Decimal(price_text), Decimal(size_text)
            assert size >= 0
            if product in pending:
                assert (side, price, book[side][price] - size) == pending.pop(product)
            if size:
                book[side][price] = size
            else:
                del book[side][price]  # only what is there can be removed
        elif kind in {"match", "last_match"}:
            side, price, size = message["side"], Decimal(message["price"]), Decimal(message["size"])
            touch = max(book["buy"]) if side == "buy" else min(book["sell"])
            assert price == touch
            assert 0 < size <= book[side][price]
            if kind == "match":
                pending[product] = (side, price, size)
                trades += 1
        elif kind == "ticker":
            assert Decimal(message["best_bid"]) == max(book["buy"])
            assert Decimal(message["best_ask"]) == min(book["sell"])
            assert Decimal(message["low_24h"]) <= Decimal(message["price"]) <= Decimal(message["high_24h"])
            tickers += 1
        if book is not None:
            assert max(book["buy"]) < min(book["sell"])
            assert min(map(min, (book["buy"].values(), book["sell"].values()))) > 0
    assert not pending
    assert len(books) == len(market.PRODUCTS)
    assert tickers == trades + len(market.PRODUCTS)
    assert trades > 40
    assert repeated > 5


def test_every_sequence_counts_by_one(messages):
    last = defaultdict(int)
    for message in messages:
        series = message.get("product_id")
        assert message["sequence"] == last[series] + 1
        last[series] += 1
    assert set(last) == {None, *(product.name for product in market.PRODUCTS)}


def test_trade_ids_count_by_one_and_tickers_repeat_the_last(messages):
    last = {}
    for message in messages:
        product = message.get("product_id")
        if message["type"] in {"match", "last_match"}:
            assert message["trade_id"] == last.get(product, message["trade_id"] - 1) + 1
            last[product] = message["trade_id"]
        elif message["type"] == "ticker":
            assert message["trade_id"] == last[product]


def test_time_never_steps_back(events, messages):
    times = [event.t for event in events]
    assert times == sorted(times)
    stamps = [message["time"] for message in messages if "time" in message]
    assert stamps == sorted(stamps)
    at = {event.payload: event.t for event in events}
    assert all(abs(at[p] - json.loads(p)["time"] / 1e6) < 1e-6 for p in received(events) if '"time"' in p)


def test_a_session_opens_subscribes_and_is_confirmed(events, messages):
    assert [event.direction for event in events[:6]] == ["open", "send", "send", "send", "send", "recv"]
    assert all(event.direction == "recv" for event in events[5:])
    asked = [channel for event in events[1:5] for channel in json.loads(event.payload)["channels"]]
    confirmed = [message for message in messages if message["type"] == "subscriptions"]
    assert [channel["name"] for channel in confirmed[-1]["channels"]] == asked
    assert asked == ["level2", "ticker", "matches", "heartbeat", "status"]


def test_every_product_starts_with_its_book(messages):
    first = {}
    for message in messages:
        first.setdefault(message.get("product_id"), message["type"])
    assert first.pop(None) == "subscriptions"
    assert set(first.values()) == {"snapshot"}


@pytest.mark.parametrize("count", [1, 2, 5, 34, 1_000])
def test_as_many_messages_as_asked_for(count):
    assert len(received(market.simulate(1, count))) == count


def test_a_longer_session_begins_like_a_shorter_one():
    assert market.simulate(5, 900) == market.simulate(5, 2_000)[: 900 + 5]


def test_no_messages_is_refused():
    with pytest.raises(ValueError, match="at least one message"):
        market.simulate(1, 0)


def test_the_seed_decides_everything(events):
    again = market.simulate(seed=7)
    assert again == events
    assert market.simulate(seed=8, messages=1_000) != market.simulate(seed=7, messages=1_000)


def test_the_same_bytes_on_every_python(events):
    digest = FeedDigest()
    digest.update([event.payload for event in events])
    digest.update([repr(event.t) for event in events])
    assert digest.hexdigest() == GOLDEN


def test_text_is_not_all_ascii(messages):
    notices = [message["message"] for message in messages if message["type"] == "status"]
    assert len(notices) >= 5
    assert all(not notice.isascii() for notice in notices)
    assert {len(character.encode()) for notice in notices for character in notice} == {1, 2, 3, 4}


# The committed statistics of the recorded sessions.


def test_the_mix_is_the_recorded_one(measured):
    count = measured["messages"]
    for kind, shape in recorded().pooled.kinds.items():
        if kind in {"subscription", "status"}:
            continue  # once a session, not once so many messages; and ours says more, for its UTF-8
        expected = shape.share * count
        slack = max(4 * expected**0.5, 0.01 * expected if kind == "delta" else 0)
        assert abs(measured["kinds"][kind]["count"] - expected) <= slack, kind
    assert abs(measured["kinds"]["delta"]["share"] - recorded().pooled.kinds["delta"].share) < 0.005
    assert measured["kinds"]["status"]["share"] < 0.002


@pytest.mark.parametrize("kind", ["delta", "ticker", "trade"])
@pytest.mark.parametrize("probability", [0.1, 0.3, 0.5, 0.7, 0.9, 0.99])
def test_sizes_are_the_recorded_ones(measured, kind, probability):
    place = PROBABILITIES.index(probability)
    ours, theirs = measured["kinds"][kind]["sizes"][place], recorded().pooled.kinds[kind].sizes.values[place]
    assert ours == pytest.approx(theirs, rel=0.2)


def test_snapshots_are_as_large_as_the_recorded_ones():
    first = {}
    for payload in received(market.simulate(11, 200)):
        message = json.loads(payload)
        if message["type"] == "snapshot":
            first.setdefault(message["product_id"], len(payload))
    sizes = sorted(first.values())
    theirs = recorded().pooled.kinds["snapshot"].sizes
    for rank, size in enumerate(sizes):
        assert size == pytest.approx(theirs.at((rank + 0.5) / len(sizes)), rel=0.1)
    assert sum(40_000 <= size <= 90_000 for size in sizes) >= 2


def test_the_bytes_are_the_recorded_ones(measured):
    pooled = recorded().pooled
    assert measured["bytes"] / measured["messages"] == pytest.approx(pooled.bytes / pooled.messages, rel=0.15)


def test_messages_come_as_fast_as_the_recorded_ones(measured):
    pooled = recorded().pooled
    assert measured["messages"] / measured["seconds"] == pytest.approx(pooled.messages / pooled.seconds, rel=0.15)


@pytest.mark.parametrize("name", ["lengths", "inside_us", "between_us"])
@pytest.mark.parametrize("probability", [0.1, 0.2, 0.3, 0.5, 0.7, 0.8, 0.9, 0.95, 0.99])
def test_messages_bunch_like_the_recorded_ones(measured, name, probability):
    place = PROBABILITIES.index(probability)
    ours, theirs = measured["bursts"][name][place], getattr(recorded().pooled.bursts, name).values[place]
    assert abs(ours - theirs) <= max(0.2 * theirs, 1)


@pytest.mark.parametrize("probability", [0.05, 0.1, 0.2, 0.3, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99])
def test_gaps_are_the_recorded_ones(measured, probability):
    place = PROBABILITIES.index(probability)
    assert measured["gaps_us"][place] == pytest.approx(recorded().pooled.gaps_us.values[place], rel=0.25, abs=3)


def test_products_are_busy_and_quiet_like_the_recorded_ones(measured):
    assert measured["products"] == pytest.approx(recorded().pooled.products, abs=0.02)
    bursts = recorded().pooled.bursts
    assert measured["bursts"]["same_product_inside"] == pytest.approx(bursts.same_product_inside, abs=0.04)
    assert measured["bursts"]["same_product_between"] == pytest.approx(bursts.same_product_between, abs=0.04)


def test_levels_are_removed_as_often_as_recorded(measured):
    assert measured["deletions"] == pytest.approx(recorded().pooled.deletions, abs=0.03)


def test_books_keep_their_depth_over_a_long_session():
    depths = defaultdict(list)
    for payload in received(market.simulate(2, 60_000)):
        if payload.startswith('{"type":"snapshot"'):
            message = json.loads(payload)
            depths[message["product_id"]].append(len(message["bids"]) + len(message["asks"]))
    assert all(0.7 < depth / seen[0] < 1.3 for seen in depths.values() for depth in seen)
    assert max(map(len, depths.values())) > 5


def test_channels_are_worth_counting(messages):
    kinds = Counter(message["type"] for message in messages)
    assert {"l2update", "match", "last_match", "ticker", "heartbeat", "snapshot", "subscriptions", "status"} == set(
        kinds
    )


# The parts.


@pytest.mark.parametrize(
    ("value", "decimals", "text"),
    [(0, 0, "0"), (5, 0, "5"), (5, 2, "0.05"), (123, 2, "1.23"), (100, 2, "1.00"), (7, 8, "0.00000007")],
)
def test_decimals(value, decimals, text):
    assert decimal(value, decimals) == text


def test_a_ladder_keeps_its_best_price():
    bids, asks = Ladder("buy"), Ladder("sell")
    for price in (5, 9, 7):
        bids.put(price, 1)
        asks.put(price + 10, 1)
    assert (bids.best, asks.best) == (9, 15)
    assert ([bids.at(n) for n in range(3)], [asks.at(n) for n in range(3)]) == ([9, 7, 5], [15, 17, 19])
    bids.put(9, 0)
    assert (bids.best, len(bids)) == (7, 2)
    assert bids.levels() == [(7, 1), (5, 1)]
    assert asks.levels() == [(15, 1), (17, 1), (19, 1)]
    assert (bids.behind(7, 5), asks.behind(15, 5)) == (6, 16)
    assert Ladder("buy").behind(1, 5) is None  # a price is above 0


@pytest.mark.parametrize(("price", "units"), [(5, -1), (6, 0)])
def test_a_ladder_refuses_what_cannot_be(price, units):
    bids = Ladder("buy")
    bids.put(5, 1)
    with pytest.raises(ValueError, match="no size"):
        bids.put(price, units)


def test_a_book_has_a_spread():
    book = Book(Product("A-B", 100, 2, 2, 10))
    book.bids.put(99, 1)
    book.ladder("sell").put(102, 1)
    assert book.spread == 3


def test_quantiles_are_straight_between_points():
    shape = Quantiles((0.0, 0.5, 1.0), (0, 10, 110))
    assert [shape.at(p) for p in (0.0, 0.25, 0.5, 0.75, 1.0)] == [0, 5, 10, 60, 110]
