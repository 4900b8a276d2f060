"""Judging a run with faults: what the client got, against what the server says that it sent in each session.

The client's side is a `Ledger`, kept while it runs; the server's side are `SentSession`s, read at the end. The verdict:
each session's messages arrived once and in order, up to what a reset destroyed on its way; what the client did not get
was sent while no session was ready; each such time was marked exactly once; and every subscription was made again.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence


@dataclass(frozen=True, slots=True)
class SentSession:
    """A session as the server saw it.

    Attributes:
        indexes: which messages of the feed were written, in order.
        ready_from: index of the feed from which everything was subscribed.
        subscribed: the channels, in the order in which the client subscribed.
        may_lack_last: it ended in the middle of things, so that the last messages may have been destroyed on their way.
        ended_by: what ended it, in words; empty where nothing did.
    """

    indexes: Sequence[int]
    ready_from: int
    subscribed: Sequence[str]
    may_lack_last: bool = False
    ended_by: str = ""


@dataclass(slots=True)
class OutageRecord:
    """A time without a session, as the client's markers tell it.

    Attributes:
        generation: the session that ended.
        reason: why, in words.
        at: when the end was noticed, in seconds of the phase.
        until: when the new session was marked, in seconds of the phase; None while there is none.
        seconds: from the last message before it to the new session; None while it lasts.
        attempts: dials that it took.
        missed: messages of the feed that were due meanwhile; None where that is not known yet.
        resync_seconds: from the new session to the last book in sync again; None where there are no books, or not yet.
        downs: how often its beginning was marked.
        outages: how often its end was marked.
    """

    generation: int
    reason: str
    at: float
    until: float | None = None
    seconds: float | None = None
    attempts: int = 0
    missed: int | None = None
    resync_seconds: float | None = None
    downs: int = 1
    outages: int = 0


@dataclass(slots=True)
class Ledger:
    """What the client got.

    Attributes:
        received: messages by session, in order.
        outages: times without a session, in order.
        stray: markers that fit to nothing.
    """

    received: list[list[str | bytes]] = field(default_factory=list)
    outages: list[OutageRecord] = field(default_factory=list)
    stray: int = 0
    _generation: int = 0

    @property
    def marked(self) -> set[int]:
        """The sessions whose end is marked."""
        return {record.generation for record in self.outages if record.downs}

    @property
    def count(self) -> int:
        """Messages of all sessions."""
        return sum(map(len, self.received))

    def message(self, generation: int, payload: str | bytes) -> None:
        """Note a message of a session; sessions are numbered from 1."""
        if generation != self._generation:
            self._generation = generation
            while len(self.received) < generation:
                self.received.append([])
        self.received[generation - 1].append(payload)

    def down(self, generation: int, reason: str, at: float) -> OutageRecord:
        """Note the marker of a session's end."""
        if self.outages and self.outages[-1].generation == generation:
            self.outages[-1].downs += 1
        else:
            self.outages.append(OutageRecord(generation, reason, at))
        return self.outages[-1]

    def outage(self, old: int, new: int, at: float, seconds: float, attempts: int) -> OutageRecord | None:
        """Note the marker of a new session's beginning; None if it fits to no end."""
        record = self.outages[-1] if self.outages else None
        if record is None or record.generation != old or new != old + 1:
            self.stray += 1
            return None
        record.outages += 1
        record.until, record.seconds, record.attempts = at, seconds, attempts
        while len(self.received) < new:
            self.received.append([])
        return record


@dataclass(frozen=True, slots=True)
class SessionVerdict:
    """One session beside its source.

    Attributes:
        written: messages that the server wrote.
        received: messages that arrived.
        ended_by: what ended it, in words.
        problem: what is wrong with it; empty if nothing is.
    """

    written: int
    received: int
    ended_by: str
    problem: str = ""

    @property
    def destroyed(self) -> int:
        """Messages that were written and did not arrive."""
        return self.written - self.received


@dataclass(frozen=True, slots=True)
class RunVerdict:
    """The whole run.

    Attributes:
        sessions: each session beside its source.
        outages: times without a session, in order.
        missed: messages of the feed that were written to no session.
        problems: what is wrong, one line each; empty if nothing is.
    """

    sessions: Sequence[SessionVerdict]
    outages: Sequence[OutageRecord]
    missed: int
    problems: Sequence[str]

    @property
    def written(self) -> int:
        """Messages that the server wrote."""
        return sum(session.written for session in self.sessions)

    @property
    def received(self) -> int:
        """Messages that arrived."""
        return sum(session.received for session in self.sessions)

    @property
    def destroyed(self) -> int:
        """Messages that a reset destroyed on their way."""
        return self.written - self.received


def judge(
    feed: Sequence[str | bytes],
    ledger: Ledger,
    sent: Sequence[SentSession],
    channels: Sequence[str],
    outages: int | None = None,
) -> RunVerdict:
    """Compare the client's side with the server's.

    Args:
        feed: all messages.
        ledger: the client's side.
        sent: the sessions that got ready, in order.
        channels: what is subscribed to, in order.
        outages: how many times without a session there have to be at least; None if that is not known, as after Ctrl-C.
    """
    problems = []
    if len(ledger.received) > len(sent):
        problems.append(f"the client tells of {len(ledger.received)} sessions, the server of {len(sent)}")
    sessions = [
        _session(feed, ledger.received[number] if number < len(ledger.received) else [], one)
        for number, one in enumerate(sent)
    ]
    problems += [f"session {number}: {one.problem}" for number, one in enumerate(sessions, 1) if one.problem]
    for number, one in enumerate(sent, 1):
        if list(one.subscribed) != list(channels):
            problems.append(f"session {number} subscribed to {_listed(one.subscribed)}, not to {_listed(channels)}")
    problems += _markers(ledger, len(sent), outages)
    missed, unmarked = _missed(len(feed), sent)
    if unmarked:
        problems.append(f"{unmarked:,} messages were missed during a session, not between two")
    return RunVerdict(sessions, ledger.outages, missed, problems)


def silent_gaps(count: int, sent: Sequence[SentSession], marked: Collection[int] = ()) -> int:
    """Count the holes in what the server wrote that nothing in the consumer's stream told of.

    What was written to nobody between two sessions, and until everything was subscribed to again, is one hole, behind
    the earlier session; so is what is missing at the end.

    Args:
        count: messages of the feed.
        sent: the sessions that got ready, in order.
        marked: the sessions behind which there is a marker, numbered from 1.
    """
    gaps = 0
    following = sent[0].ready_from if sent else 0
    for earlier, session in enumerate(sent):
        ready_from = max(following, session.ready_from)
        whole = [index for index in session.indexes if index >= ready_from]
        holes = sum(index != last + 1 for last, index in pairwise([ready_from - 1, *whole]))
        is_late = bool(whole) and whole[0] > ready_from
        is_hole = earlier > 0 and (is_late or not set(range(following, ready_from)) <= set(session.indexes))
        gaps += holes - (is_late and earlier > 0) + (is_hole and earlier not in marked)
        following = whole[-1] + 1 if whole else ready_from
    return gaps + (following < count and len(sent) not in marked)


def _session(feed: Sequence[str | bytes], received: Sequence[str | bytes], sent: SentSession) -> SessionVerdict:
    expected = [feed[index] for index in sent.indexes]
    problem = ""
    if list(received) != expected[: len(received)]:
        pairs = zip(received, expected, strict=False)
        place = next((i for i, (got, wanted) in enumerate(pairs) if got != wanted), min(len(received), len(expected)))
        problem = f"message {place:,} is not the one that was written"
    elif len(received) < len(expected) and not sent.may_lack_last:
        problem = f"{len(expected) - len(received):,} of {len(expected):,} messages lost"
    return SessionVerdict(len(expected), len(received), sent.ended_by, problem)


def _markers(ledger: Ledger, sessions: int, outages: int | None) -> list[str]:
    last = ledger.outages[-1] if ledger.outages else None
    problems = [
        f"the end of session {record.generation} was marked {record.downs} times, what followed {record.outages} times"
        for record in ledger.outages
        if record.downs != 1 or record.outages not in ((0, 1) if record is last else (1,))
    ]
    if ledger.stray:
        problems.append(f"{ledger.stray} markers fit to nothing")
    marked = sum(record.outages for record in ledger.outages)
    if marked != max(sessions - 1, 0):
        problems.append(f"{sessions} sessions, but {marked} outages marked between them")
    if outages is not None and marked < outages:
        problems.append(f"{outages} faults end a session, but {marked} outages were marked")
    return problems


def _missed(count: int, sent: Sequence[SentSession]) -> tuple[int, int]:
    """How many messages were written to nobody; and how many of those while there was a session that was ready."""
    if not sent:
        return count, 0
    written = {index for session in sent for index in session.indexes}
    between = set(range(sent[-1].indexes[-1] + 1, count)) if sent[-1].indexes else set()
    end = 0
    for session in sent:
        between.update(range(end, session.ready_from))
        end = session.indexes[-1] + 1 if session.indexes else session.ready_from
    missed = set(range(count)) - written
    return len(missed), len(missed - between)


def _listed(names: Sequence[str]) -> str:
    shown: Final = ", ".join(names[:_SHOWN])
    return f"{shown} … ({len(names)})" if len(names) > _SHOWN else shown or "nothing"


_SHOWN: Final = 4
