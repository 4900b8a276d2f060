"""An order book of integer price ticks and integer sizes, and how its numbers are written.

Integers only: the same seed gives the same book, byte for byte, on every machine.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from dataclasses import dataclass
from typing import Final, Literal

Side = Literal["buy", "sell"]
"""Which side of the book: bids are ``"buy"``, asks are ``"sell"``."""


@dataclass(frozen=True, slots=True)
class Product:
    """What is traded, and in which steps.

    Attributes:
        name: like ``"BTC-USD"``.
        price: the price it starts at, in ticks.
        price_decimals: a tick is 10 to the power of minus this.
        size_decimals: a unit of size is 10 to the power of minus this.
        lot: the typical size resting at one price, in units.
    """

    name: str
    price: int
    price_decimals: int
    size_decimals: int
    lot: int

    def price_text(self, ticks: int) -> str:
        """Write a price: exactly `price_decimals` digits behind the point."""
        return decimal(ticks, self.price_decimals)

    def size_text(self, units: int) -> str:
        """Write a size: ``"0"`` for none, else exactly `size_decimals` digits behind the point."""
        return decimal(units, self.size_decimals) if units else "0"


class Ladder:
    """One side of a book: the size resting at each price, and the prices in order.

    Attributes:
        side: which side it is.
        sizes: units by price tick; never 0.
    """

    __slots__ = ("_prices", "side", "sizes")

    def __init__(self, side: Side) -> None:
        self.side: Final[Side] = side
        self.sizes: dict[int, int] = {}
        self._prices: list[int] = []  # ascending; the best bid is the last, the best ask the first

    def __len__(self) -> int:
        return len(self._prices)

    @property
    def best(self) -> int:
        """The price nearest to the other side.

        Raises:
            IndexError: the side is empty.
        """
        return self._prices[-1] if self.side == "buy" else self._prices[0]

    def at(self, depth: int) -> int:
        """Return the price ``depth`` levels behind the best one (0 is the best)."""
        return self._prices[-1 - depth] if self.side == "buy" else self._prices[depth]

    def behind(self, price: int, limit: int) -> int | None:
        """Return the first free price behind ``price`` within ``limit`` ticks; None when there is none."""
        step = -1 if self.side == "buy" else 1
        for candidate in range(price + step, price + step * (limit + 1), step):
            if candidate > 0 and candidate not in self.sizes:
                return candidate
        return None

    def put(self, price: int, units: int) -> None:
        """Set the size at ``price``; 0 removes the level.

        Raises:
            ValueError: ``units`` is negative, or removes a level that is not there.
        """
        if units < 0 or (not units and price not in self.sizes):
            msg = f"no size {units} at {price}"
            raise ValueError(msg)
        if units:
            if price not in self.sizes:
                insort(self._prices, price)
            self.sizes[price] = units
        else:
            del self.sizes[price]
            del self._prices[bisect_left(self._prices, price)]

    def levels(self) -> list[tuple[int, int]]:
        """Return price and size of every level, the best first."""
        prices = reversed(self._prices) if self.side == "buy" else self._prices
        return [(price, self.sizes[price]) for price in prices]


class Book:
    """The book of one product: bids below asks, always."""

    __slots__ = ("asks", "bids", "product")

    def __init__(self, product: Product) -> None:
        self.product: Final = product
        self.bids: Final = Ladder("buy")
        self.asks: Final = Ladder("sell")

    def ladder(self, side: Side) -> Ladder:
        """Return the bids for ``"buy"``, the asks for ``"sell"``."""
        return self.bids if side == "buy" else self.asks

    @property
    def spread(self) -> int:
        """Ticks between the best bid and the best ask: at least 1, or the book would be crossed."""
        return self.asks.best - self.bids.best


def decimal(value: int, decimals: int) -> str:
    """Write ``value`` x 10^-``decimals`` with exactly that many digits behind the point, without floating point."""
    if not decimals:
        return str(value)
    whole, rest = divmod(value, 10**decimals)
    return f"{whole}.{rest:0{decimals}d}"
