"""Order books that a client keeps: from messages, and from snapshots where some were missed."""

from __future__ import annotations

import orjson
import pytest

from fastws.demo import market
from fastws.demo.channels import decode
from fastws.demo.feed import received
from fastws.demo.orders import ClientBook, ClientBooks, products, snapshot_table

MESSAGES = received(market.simulate(5, 3_000))
DECODED = [decode(message) for message in MESSAGES]
OFFSETS = [number / 1_000 for number in range(len(MESSAGES))]


def books_of(messages):
    books = ClientBooks()
    for message in messages:
        books.put(message)
    return books


def update(sequence, side="buy", price="1.0", size="2.0"):
    return {"type": "l2update", "product_id": "A", "sequence": sequence, "changes": [[side, price, size]]}


def snapshot(sequence, bids=(), asks=()):
    return {"type": "snapshot", "product_id": "A", "sequence": sequence, "bids": list(bids), "asks": list(asks)}


def test_a_book_is_the_one_that_the_market_repeats():
    books = books_of(DECODED)
    assert len(books) == 10
    assert (books.stale, books.gaps) == ([], 0)
    repeated = 0
    for index, message in enumerate(DECODED):
        if message["type"] == "snapshot" and message["sequence"] > 1:
            mine = books_of(DECODED[:index])[message["product_id"]]
            assert (mine.bids, mine.asks) == (dict(message["bids"]), dict(message["asks"]))
            repeated += 1
    assert repeated


def test_changes_set_and_remove_levels():
    book = ClientBook("A")
    book.put(snapshot(1, bids=[["1.0", "5.0"]], asks=[["2.0", "6.0"]]))
    assert book.put(update(2, size="7.0")) == 0
    assert book.put(update(3, side="sell", price="2.0", size="0")) == 0
    assert book.put(update(4, side="sell", price="9.0", size="0")) == 0  # of a level that is not there
    assert (book.sequence, book.bids, book.asks) == (4, {"1.0": "7.0"}, {})


def test_a_jump_in_the_numbers_is_a_gap_and_a_snapshot_closes_it():
    books = ClientBooks()
    books.put(snapshot(1))
    books.put(update(2))
    books.put(update(5, price="5.0"))
    books.put(update(6, price="6.0"))
    assert (books.gaps, books.missing, books.stale) == (1, 2, ["A"])
    assert not books["A"].resync(snapshot(3, bids=[["0.5", "1"]]))
    assert books["A"].resync(snapshot(5, bids=[["0.5", "1"], ["5.0", "2.0"]]))
    assert books["A"].bids == {"0.5": "1", "5.0": "2.0", "6.0": "2.0"}
    assert (books["A"].sequence, books.stale) == (6, [])
    assert books["A"].resync(snapshot(1)), "one that is in sync needs none"
    assert books["A"].sequence == 6
    books.put(update(6, price="8.0"))
    assert "8.0" not in books["A"].bids, "the snapshot has it in it"
    assert books.gaps == 1


def test_after_an_outage_nothing_counts_until_there_is_a_snapshot():
    books = books_of([snapshot(1), update(2)])
    books.outage()
    books.put(update(9))
    assert (books.stale, books.gaps, books["A"].sequence) == (["A"], 0, 2)
    books.put(snapshot(10, asks=[["3", "4"]]))
    assert (books.stale, books["A"].asks) == ([], {"3": "4"})


def test_a_blind_client_goes_on_and_is_wrong():
    blind, whole = ClientBooks(blindly=True), books_of(DECODED)
    for message in DECODED[:1_000] + DECODED[2_000:]:
        blind.put(message)
    assert blind.gaps >= 5
    assert blind.stale == []
    assert blind.equal(whole) < 10
    assert whole.equal(books_of(DECODED)) == 10


def test_a_client_that_was_away_is_right_again_with_any_later_snapshot():
    table, truth = snapshot_table(MESSAGES, OFFSETS, 0.1)
    assert set(table) == set(truth.products)
    for entries in table.values():
        indexes = [index for index, _ in entries]
        assert indexes == sorted(set(indexes))
    for away in (range(700, 900), range(1_500, 2_990)):
        books = books_of(DECODED[: away.start])
        books.outage()
        for index in range(away.stop, len(DECODED)):
            books.put(DECODED[index])
        for product in books.stale:
            payload = next(payload for index, payload in reversed(table[product]) if index <= len(MESSAGES))
            assert books[product].resync(orjson.loads(payload))
        assert books.equal(truth) == len(truth) == 10


def test_quotes_are_those_of_the_last_ticker():
    books = books_of(
        [snapshot(1), {"type": "ticker", "product_id": "A", "sequence": 2, "best_bid": "1", "best_ask": "2"}]
    )
    assert books.quotes() == [("A", "1", "2", True)]
    books.outage()
    assert books.quotes() == [("A", "1", "2", False)]


def test_every_message_has_its_product():
    tags = products(MESSAGES)
    assert len({tag for tag in tags if tag}) == 10
    assert tags[0] is None
    assert products(["nothing", b"\x00", "[]"]) == [None, None, None]


@pytest.mark.parametrize("message", [None, [], {"type": "status"}, {"product_id": 3}, "text"])
def test_what_is_about_no_product_changes_nothing(message):
    books = ClientBooks()
    books.put(message)
    assert len(books) == 0


def test_books_are_compared_with_books_only():
    assert ClientBook("A") == ClientBook("A") != ClientBook("B")
    assert ClientBook("A") != "A"
