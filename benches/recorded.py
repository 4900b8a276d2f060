"""The feeds that compression is measured with: real sessions of exchanges, one behind the other.

They are read where they are, from the folder that ``FASTWS_FEEDS`` names, else from ``../shared/feeds`` beside the
project. Where there is none, a generated session takes their place.
"""

from __future__ import annotations

import gzip
import itertools
import json
import os
from collections.abc import Iterator
from pathlib import Path

FOLDER = Path(os.environ.get("FASTWS_FEEDS") or Path(__file__).resolve().parents[2] / "shared" / "feeds")

GENERATED = 30_000
"""Messages of the session that is made up where there are no recordings."""


def is_recorded() -> bool:
    return any(FOLDER.glob("*.jsonl.gz"))


def texts(count: int) -> list[str]:
    """So many text messages that clients received, from the beginning again where there are fewer.

    No more are read than are wanted: what is freed again would hide the memory that connections take.
    """
    return list(itertools.islice(itertools.cycle(_recordings() if is_recorded() else _generated()), count))


def _recordings() -> Iterator[str]:
    """The text messages of all recordings. Binary ones are compressed already, and are left out."""
    for path in sorted(FOLDER.glob("*.jsonl.gz")):
        with gzip.open(path, "rt", encoding="utf-8") as lines:
            for line in lines:
                event = json.loads(line)
                if event["dir"] == "recv" and "text" in event:
                    yield event["text"]


def _generated() -> Iterator[str]:
    from fastws.demo.market import simulate

    for event in simulate(7, GENERATED):
        if event.direction == "recv":
            yield event.payload if isinstance(event.payload, str) else event.payload.decode()
