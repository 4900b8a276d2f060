"""The order books of the simulated market as a client keeps them: from messages, and from snapshots after a gap.

Prices and sizes stay the texts that they are, so two books are equal only if every byte is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import orjson

from fastws.demo.channels import decode

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

Levels = dict[str, str]
"""Size by price."""


class ClientBook:
    """One product's book.

    Attributes:
        product: like ``"BTC-USD"``.
        sequence: of the last message in it.
        bids: buy orders.
        asks: sell orders.
        in_sync: whether it is what the venue's book was at that message.
    """

    __slots__ = ("_waiting", "asks", "bids", "in_sync", "product", "sequence")

    def __init__(self, product: str) -> None:
        self.product: Final = product
        self.sequence = 0
        self.bids: Levels = {}
        self.asks: Levels = {}
        self.in_sync = False
        self._waiting: list[dict[str, Any]] = []

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, ClientBook):
            return NotImplemented
        return (self.product, self.sequence, self.bids, self.asks) == (
            other.product,
            other.sequence,
            other.bids,
            other.asks,
        )

    __hash__ = None  # type: ignore[assignment]

    def lose_sync(self) -> None:
        """Messages were missed: what comes now waits for a snapshot."""
        self.in_sync = False
        self._waiting.clear()

    def put(self, message: dict[str, Any], *, blindly: bool = False) -> int:
        """Take the next message of the product; return how many are missing in front of it.

        With some missing the book is out of sync, unless it goes on ``blindly``.
        """
        sequence = message["sequence"]
        if self.in_sync and sequence <= self.sequence:
            return 0  # a snapshot that was asked for came before it, and has it in it
        if message["type"] == "snapshot":
            missing = sequence - self.sequence - 1 if self.in_sync else 0
            self._load(message)
            self.in_sync = True
            self._waiting.clear()
            return missing
        if not self.in_sync:
            self._waiting.append(message)
            return 0
        missing = sequence - self.sequence - 1
        if missing and not blindly:
            self.lose_sync()
            self._waiting.append(message)
            return int(missing)
        self._apply(message)
        return int(missing)

    def resync(self, snapshot: dict[str, Any]) -> bool:
        """Take a snapshot that was asked for, and what came since; False if it is older than what came since."""
        if self.in_sync:
            return True
        if self._waiting and snapshot["sequence"] < self._waiting[0]["sequence"] - 1:
            return False
        self._load(snapshot)
        for message in self._waiting:
            if message["sequence"] > self.sequence:
                self._apply(message)
        self._waiting.clear()
        self.in_sync = True
        return True

    def snapshot(self) -> bytes:
        """Write the whole book, as a venue answers a request for it."""
        return orjson.dumps(
            {
                "type": "book",
                "product_id": self.product,
                "sequence": self.sequence,
                "asks": list(self.asks.items()),
                "bids": list(self.bids.items()),
            }
        )

    def _load(self, message: dict[str, Any]) -> None:
        self.sequence = message["sequence"]
        self.bids = dict(message["bids"])
        self.asks = dict(message["asks"])

    def _apply(self, message: dict[str, Any]) -> None:
        self.sequence = message["sequence"]
        for side, price, size in message.get("changes", ()):
            levels = self.bids if side == "buy" else self.asks
            if size == "0":
                levels.pop(price, None)
            else:
                levels[price] = size


class ClientBooks:
    """The books of all products.

    Args:
        blindly: go on where messages are missing, as a client does that does not look at the numbers.

    Attributes:
        gaps: how often numbers jumped in a book that was in sync.
        missing: how many numbers those jumps left out.
    """

    def __init__(self, *, blindly: bool = False) -> None:
        self.gaps = 0
        self.missing = 0
        self._quotes: Final[dict[str, tuple[str, str]]] = {}
        self._blindly: Final = blindly
        self._books: Final[dict[str, ClientBook]] = {}

    def __len__(self) -> int:
        return len(self._books)

    @property
    def products(self) -> list[str]:
        """All products that were heard of."""
        return list(self._books)

    def __getitem__(self, product: str) -> ClientBook:
        return self._books[product]

    @property
    def stale(self) -> list[str]:
        """The products whose books are out of sync."""
        return [product for product, book in self._books.items() if not book.in_sync]

    def quotes(self) -> list[tuple[str, str, str, bool]]:
        """Return each product with its last best bid and ask, and whether its book is in sync."""
        quotes = []
        for product, book in self._books.items():
            bid, ask = self._quotes.get(product, ("", ""))
            quotes.append((product, bid, ask, book.in_sync))
        return quotes

    def put(self, message: Any) -> None:
        """Take the next message, decoded; what is not about a product changes nothing."""
        if not isinstance(message, dict) or not isinstance(product := message.get("product_id"), str):
            return
        book = self._books.get(product)
        if book is None:
            book = self._books[product] = ClientBook(product)
        if message["type"] == "ticker":
            self._quotes[product] = (message["best_bid"], message["best_ask"])
        missing = book.put(message, blindly=self._blindly)
        if missing:
            self.gaps += 1
            self.missing += missing

    def outage(self) -> None:
        """Messages were missed: every book is out of sync."""
        for book in self._books.values():
            book.lose_sync()

    def equal(self, other: ClientBooks) -> int:
        """Count the books that are the same in both."""
        return sum(book == other._books.get(product) for product, book in self._books.items())


def snapshot_table(
    messages: Sequence[str | bytes], offsets: Sequence[float], every: float
) -> tuple[dict[str, list[tuple[int, bytes]]], ClientBooks]:
    """Play a feed of the simulated market; return its snapshots and its books at the end.

    Args:
        messages: the feed.
        offsets: seconds from its first message to each.
        every: seconds between two snapshots of a product, as far as it changed.

    Returns:
        For each product the snapshots with the number of messages after which they are right; and the last books.
    """
    books = ClientBooks()
    table: dict[str, list[tuple[int, bytes]]] = {}
    written: dict[str, int] = {}
    due = every
    for index, (message, offset) in enumerate(zip(messages, offsets, strict=True)):
        if offset >= due:
            due = offset + every
            _write(books, index, table, written)
        books.put(decode(message))
    _write(books, len(messages), table, written)
    return table, books


def _write(books: ClientBooks, index: int, table: dict[str, list[tuple[int, bytes]]], written: dict[str, int]) -> None:
    for product in books.products:
        book = books[product]
        if book.in_sync and written.get(product) != book.sequence:
            written[product] = book.sequence
            table.setdefault(product, []).append((index, book.snapshot()))


def products(messages: Iterable[str | bytes]) -> list[str | None]:
    """Name the product of each message; None for what is about no product."""
    named = (decode(message) for message in messages)
    return [message.get("product_id") if isinstance(message, dict) else None for message in named]
