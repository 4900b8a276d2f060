"""Measure recorded Coinbase and Kraken sessions: ``python -m fastws.demo.profile_feed RECORDING.jsonl.gz ...``.

Prints, as JSON, how often each kind of message came, how long it was, and how messages bunched together; nothing of
what the messages said. `fastws.demo.market_profile` keeps the result as ``market_profile.json``; the market simulator
follows it.

How the numbers are computed:

- ``kinds``: share of each kind among all received messages, and quantiles of its size in bytes.
- ``gaps_us``: quantiles of the time between one message and the next, in whole microseconds.
- ``bursts``: messages less than 500 µs apart are one burst. Quantiles of the messages in a burst, of the gaps inside
  bursts and of the gaps between them, and the probability that the next message is about the same product.
- ``products``: each product's share of the messages, largest first.
- ``deletions``: the share of book changes that remove a price level (size 0).
- ``pooled``: the same over all sessions, a message counting the same whichever session it is from. Gaps and bursts
  are taken inside each session; the product shares are the mean of the sessions' by rank.

A quantile is the order statistic nearest to it; the probabilities are in ``probabilities``.
"""

from __future__ import annotations

import json
import sys
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

from fastws.demo.channels import decode
from fastws.demo.feed import FeedError, read_feed

BURST_US: Final = 500
"""Messages closer together than this many microseconds belong to one burst."""

PROBABILITIES: Final = (0, 0.01, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99, 0.999, 1)
"""The quantiles that are kept."""


@dataclass(slots=True)
class Sample:
    """What was measured in one or more sessions, before it is summed up.

    Attributes:
        seconds: from the first message to the last.
        sizes: per kind, each message's size in bytes.
        gaps: microseconds between messages.
        bursts: messages in each burst.
        products: messages of each product.
        changes: book changes, and those that remove a level.
        same: per place (inside, between bursts): pairs of neighbours, and those about one product.
    """

    seconds: float = 0.0
    sizes: defaultdict[str, list[int]] = field(default_factory=lambda: defaultdict(list))
    gaps: list[int] = field(default_factory=list)
    bursts: list[int] = field(default_factory=list)
    products: list[Counter[str]] = field(default_factory=list)
    changes: Counter[str] = field(default_factory=Counter)
    same: Counter[tuple[str, bool]] = field(default_factory=Counter)

    def merge(self, other: Sample) -> None:
        """Add the measurements of ``other``."""
        self.seconds += other.seconds
        for kind, sizes in other.sizes.items():
            self.sizes[kind] += sizes
        self.gaps += other.gaps
        self.bursts += other.bursts
        self.products += other.products
        self.changes += other.changes
        self.same += other.same


def kind_of(message: Any) -> tuple[str, str | None]:
    """Return the kind of a decoded Coinbase or Kraken message (or one of our simulator's), and its product if any.

    Kinds: ``delta``, ``snapshot``, ``trade``, ``ticker``, ``heartbeat``, ``subscription``, ``status``.
    """
    if isinstance(message, list):  # kraken: [id, {…}, "book-1000", "XBT/USD"]
        whole_book = isinstance(message[1], dict) and "as" in message[1]
        return ("snapshot" if whole_book else "delta"), message[-1]
    name = message.get("type") or message.get("event")
    return _KINDS.get(name, "status"), message.get("product_id")


def measure(messages: list[tuple[float, str | bytes]]) -> Sample:
    """Measure one session: its received messages, each with the time it came at in seconds."""
    sample = Sample()
    sample.seconds = messages[-1][0] - messages[0][0]
    products: Counter[str] = Counter()
    about: list[str | None] = []
    for _, payload in messages:
        decoded = decode(payload)
        kind, product = kind_of(decoded)
        sample.sizes[kind].append(len(payload.encode() if isinstance(payload, str) else payload))
        about.append(product)
        if product is not None:
            products[product] += 1
        if kind == "delta":
            removed = [float(size) == 0 for size in _changed_sizes(decoded)]
            sample.changes["all"] += len(removed)
            sample.changes["removed"] += sum(removed)
    sample.products.append(products)

    run = 1
    for (before, now), (one, other) in zip(pairwise(t for t, _ in messages), pairwise(about), strict=True):
        gap = max(round((now - before) * 1e6), 0)
        sample.gaps.append(gap)
        inside = gap < BURST_US
        sample.same["inside" if inside else "between", one == other] += 1
        if inside:
            run += 1
        else:
            sample.bursts.append(run)
            run = 1
    sample.bursts.append(run)
    return sample


def summarize(sample: Sample) -> dict[str, Any]:
    """Turn measurements into the numbers that `fastws.demo.market_profile.Profile` holds."""
    total = sum(map(len, sample.sizes.values()))
    return {
        "messages": total,
        "seconds": round(sample.seconds, 3),
        "bytes": sum(map(sum, sample.sizes.values())),
        "kinds": {
            kind: {"count": len(sizes), "share": round(len(sizes) / total, 6), "sizes": quantiles(sizes)}
            for kind, sizes in sorted(sample.sizes.items(), key=lambda item: (-len(item[1]), item[0]))
        },
        "gaps_us": quantiles(sample.gaps),
        "bursts": {
            "count": len(sample.bursts),
            "lengths": quantiles(sample.bursts),
            "inside_us": quantiles([gap for gap in sample.gaps if gap < BURST_US]),
            "between_us": quantiles([gap for gap in sample.gaps if gap >= BURST_US]),
            "same_product_inside": _share(sample.same, "inside"),
            "same_product_between": _share(sample.same, "between"),
        },
        "products": _by_rank(sample.products),
        "deletions": round(sample.changes["removed"] / max(sample.changes["all"], 1), 4),
    }


def quantiles(values: list[int]) -> list[int]:
    """Return the order statistics of ``values`` nearest to `PROBABILITIES`; all 0 when there are none."""
    ordered = sorted(values) or [0]
    return [ordered[int(p * (len(ordered) - 1) + 0.5)] for p in PROBABILITIES]


def profile(paths: list[Path]) -> dict[str, Any]:
    """Measure the recordings at ``paths``, each alone and all together.

    Raises:
        FeedError: a recording cannot be read, or holds too few messages to measure.
    """
    pooled = Sample()
    sessions = {}
    for path in paths:
        messages = [(event.t, event.payload) for event in read_feed(path) if event.direction == "recv"]
        if len(messages) < _ENOUGH:
            raise FeedError(path, 0, f"too few messages to measure: {len(messages)}")
        sample = measure(messages)
        sessions[path.name.partition(".")[0]] = summarize(sample)
        pooled.merge(sample)
    return {"probabilities": PROBABILITIES, "burst_us": BURST_US, "sessions": sessions, "pooled": summarize(pooled)}


def dumps(numbers: dict[str, Any]) -> str:
    """Write ``numbers`` as JSON with one line for each list, so that a change reads well in a diff."""
    return _dump(numbers, "") + "\n"


def main(argv: list[str]) -> int:
    """Print the numbers of the recordings named in ``argv``; return the exit code."""
    if not argv:
        sys.stderr.write("usage: python -m fastws.demo.profile_feed RECORDING.jsonl.gz ...\n")
        return 2
    try:
        sys.stdout.write(dumps(profile([Path(name) for name in argv])))
    except (FeedError, OSError) as error:
        sys.stderr.write(f"profile_feed: {error}\n")
        return 1
    return 0


def _changed_sizes(message: Any) -> list[str]:
    if isinstance(message, dict):
        return [change[2] for change in message["changes"]]
    return [level[1] for part in message[1:-2] for side in ("a", "b") for level in part.get(side, ())]


def _share(same: Counter[tuple[str, bool]], place: str) -> float:
    return round(same[place, True] / max(same[place, True] + same[place, False], 1), 4)


def _by_rank(sessions: list[Counter[str]]) -> list[float]:
    ranked = [[count / products.total() for _, count in products.most_common()] for products in sessions]
    longest = max(map(len, ranked))
    padded = [shares + [0.0] * (longest - len(shares)) for shares in ranked]
    return [round(sum(shares) / len(shares), 4) for shares in zip(*padded, strict=True)]


def _dump(value: Any, indent: str) -> str:
    if not isinstance(value, dict):
        return json.dumps(value)
    inner = indent + "  "
    return "{\n" + ",\n".join(f"{inner}{json.dumps(k)}: {_dump(v, inner)}" for k, v in value.items()) + f"\n{indent}}}"


_ENOUGH: Final = 10
_KINDS: Final = {
    "l2update": "delta",
    "snapshot": "snapshot",
    "match": "trade",
    "last_match": "trade",
    "ticker": "ticker",
    "heartbeat": "heartbeat",
    "subscriptions": "subscription",
    "subscriptionStatus": "subscription",
}

if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
