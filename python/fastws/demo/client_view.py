"""The part of the live view that shows a client among faults: its state, what it missed, and what happened."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

from fastws.demo import terminal
from fastws.demo.terminal import BLUE, BOLD, CYAN, DIM, GREEN, MAGENTA, RED, YELLOW, Line

if TYPE_CHECKING:
    from collections.abc import Sequence

LogKind = Literal["fault", "down", "outage", "event", "good"]
"""What a line of the log is about: what the venue does, the two markers, anything else, and good news."""


@dataclass(frozen=True, slots=True)
class LogLine:
    """Something that happened.

    Attributes:
        at: when, in seconds of the phase.
        kind: decides its colour.
        text: what.
    """

    at: float
    kind: LogKind
    text: str


@dataclass(frozen=True, slots=True)
class ClientSnapshot:
    """What the view shows of a client.

    Attributes:
        state: a word: ``"ready"``, ``"connecting"``, ``"reconnecting"``, …
        generation: sessions that got ready so far.
        connection: connections made so far.
        subscriptions: confirmed, and all.
        outages: how often it was away.
        missed: messages of the feed that were due meanwhile.
        lag: how late the last message was, in nanoseconds; None before the first.
        silent: seconds since the last message.
        books: order books in sync, and all; None where there are none.
        spans: the parts of the feed that arrived, as indexes.
        position: messages of the feed that have been due.
        log: what happened, the newest last.
        quotes: products, each with the best bid and ask, and whether its book is in sync.
    """

    state: str = "connecting"
    generation: int = 0
    connection: int = 0
    subscriptions: tuple[int, int] = (0, 0)
    outages: int = 0
    missed: int = 0
    lag: int | None = None
    silent: float = 0.0
    books: tuple[int, int] | None = None
    spans: Sequence[range] = ()
    position: int = 0
    log: Sequence[LogLine] = ()
    quotes: Sequence[tuple[str, str, str, bool]] = ()


def timeline(client: ClientSnapshot, total: int, columns: int) -> Line:
    """Draw the feed from its first message to its last: what arrived, what was missed, what is still to come."""
    line = Line()
    for cell in range(columns):
        here = range(cell * total // columns, max((cell + 1) * total // columns, cell * total // columns + 1))
        if here.start >= client.position:
            line.add("─", DIM)
            continue
        due = min(here.stop, client.position) - here.start
        got = sum(max(min(here.stop, span.stop) - max(here.start, span.start), 0) for span in client.spans)
        line.add("━", CYAN) if 2 * got >= due else line.add("╌", RED)
    return line


def state_line(client: ClientSnapshot, columns: int) -> Line:
    """Say what the client is doing."""
    is_ready = client.state == "ready"
    symbol, style = ("●", GREEN) if is_ready else ("○", YELLOW if client.generation else CYAN)
    line = Line("  ").add(f"{symbol} {client.state.replace('_', ' ').upper():<13}", f"{BOLD};{style}")
    confirmed, wanted = client.subscriptions
    facts = [
        f"generation {client.generation}",
        f"connection {client.connection}",
        f"{confirmed}/{wanted} subscribed",
    ]
    if client.books is not None:
        in_sync, books = client.books
        facts.append(f"{in_sync}/{books} books")
    for fact in facts:
        if line.width + len(fact) > columns:
            break
        part = fact.split(" ")[0].split("/")
        style = YELLOW if len(part) > 1 and part[0] != part[1] else ""
        line.add(fact, style).add("   ")
    return line


def figures(client: ClientSnapshot, rate: float, p99: int | None) -> list[tuple[str, str, str]]:
    """Name the figures of the client: name, value, style."""
    waiting = client.state != "ready" or client.lag is None or client.silent > _SILENT
    lag = (
        ("no data for", terminal.seconds_text(client.silent), f"{BOLD};{YELLOW}")
        if waiting
        else ("lag", terminal.duration_text(client.lag or 0), BOLD)
    )
    return [
        ("messages/s", f"{rate:,.0f}", f"{BOLD};{CYAN}"),
        lag,
        ("p99", terminal.ABSENT if p99 is None else terminal.duration_text(p99), BOLD),
        ("outages", f"{client.outages:,}", BOLD if not client.outages else f"{BOLD};{YELLOW}"),
        ("missed", f"{client.missed:,}", BOLD if not client.missed else f"{BOLD};{YELLOW}"),
    ]


def log_lines(log: Sequence[LogLine], columns: int, rows: int) -> list[Line]:
    """Draw the last ``rows`` lines of the log."""
    shown = log[max(len(log) - rows, 0) :] if rows > 0 else ()
    return [log_line(entry, columns) for entry in shown]


def log_line(entry: LogLine, columns: int) -> Line:
    """Draw one line of the log."""
    line = Line("  ").add(f"{entry.at:6.2f} s  ", DIM)
    mark, style = _KINDS[entry.kind]
    line.add(f"{mark:<7}", f"{BOLD};{style}")
    return line.add(
        terminal.printable(entry.text, max(columns - line.width, 8)), style if entry.kind == "fault" else ""
    )


def quote_lines(client: ClientSnapshot, columns: int, rows: int) -> list[Line]:
    """Draw the order books side by side, if ``rows`` are enough for them and for the log."""
    beside = max(columns // _QUOTE, 1)
    needed = -(-len(client.quotes) // beside)
    if not client.quotes or needed + _LOG_ROWS > rows:
        return []
    lines = [Line() for _ in range(needed)]
    for place, (product, bid, ask, in_sync) in enumerate(client.quotes):
        line = lines[place % needed]
        line.to(place // needed * _QUOTE + 2)
        line.add("● " if in_sync else "○ ", GREEN if in_sync else YELLOW).add(f"{product:<11}")
        line.add(f"{bid:>12}", "" if in_sync else DIM).add(f"{ask:>12}", "" if in_sync else DIM)
        line.add("" if in_sync else "  stale", YELLOW)
    return [*lines, Line()]


def plain(client: ClientSnapshot) -> str:
    """Say the same in a few words, for a line of a log."""
    books = "" if client.books is None else f", {client.books[0]}/{client.books[1]} books in sync"
    return f"{client.state}, generation {client.generation}, {client.outages} outages{books}"


_SILENT: Final = 0.25
_QUOTE: Final = 54
_LOG_ROWS: Final = 14
_KINDS: Final[dict[LogKind, tuple[str, str]]] = {
    "fault": ("FAULT", MAGENTA),
    "down": ("DOWN", RED),
    "outage": ("OUTAGE", YELLOW),
    "event": ("", BLUE),
    "good": ("READY", GREEN),
}
