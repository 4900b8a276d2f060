"""Gaps in numbered feeds: found, marked, and closed by a resynchronisation.

``Sequences`` is the decision alone: messages in, actions out, no clock and no I/O. ``SequenceTracker`` is the same for
a stream, with the resynchronisations carried out.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Hashable
from dataclasses import dataclass
from datetime import timedelta
from enum import Enum
from typing import Any, Final, Literal, NamedTuple

from ._checks import choice, count, optional_duration
from ._core import Cursor, Message
from ._interrupt import in_a_moment, leave, users_code
from .markers import Down, Gap, Marker

__all__ = [
    "IN_BAND",
    "Action",
    "Deliver",
    "Duplicate",
    "Extract",
    "InBand",
    "Quarantined",
    "Resync",
    "SequenceStats",
    "SequenceTracker",
    "Sequences",
    "Snapshot",
]


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What ``extract`` returns for a message that is the whole state up to and with number ``last``."""

    key: Hashable
    last: int


Extract = Callable[[Any], tuple[Hashable, int] | tuple[Hashable, int, int] | Snapshot | None]
"""Gives a message's sequence and number, or its first and last number, or None if it has none."""


class InBand(Enum):
    """See ``IN_BAND``."""

    IN_BAND = "in band"


IN_BAND: Final = InBand.IN_BAND
"""Returned by ``resync``: a ``Snapshot`` has been asked for and will come as a message."""


class Deliver(NamedTuple):
    """The message is due."""

    message: Any


class Quarantined(NamedTuple):
    """The message is held until its sequence is in order again."""

    key: Hashable


class Duplicate(NamedTuple):
    """The message's numbers were all seen before."""

    key: Hashable


class Resync(NamedTuple):
    """The sequence needs a resynchronisation: ``attempt`` 0 is the first, more mean that the last was not enough."""

    key: Hashable
    expected: int
    got: int
    attempt: int = 0


Action = Deliver | Gap | Quarantined | Duplicate | Resync


@dataclass(slots=True)
class SequenceStats:
    """Counters of ``Sequences``.

    Attributes:
        gaps: Gaps found.
        missing: Numbers that were missing in them.
        duplicates: Messages whose numbers were all seen before.
        superseded: Held messages that a snapshot contains, or that a new connection made void.
        dropped: Held messages that were given up because too many were.
    """

    gaps: int = 0
    missing: int = 0
    duplicates: int = 0
    superseded: int = 0
    dropped: int = 0


class Sequences:
    """Decides, message by message, what is in order.

    The first number of a sequence is taken as it is. After that a message is due if it contains the number expected,
    ``first <= expected <= last``. If it begins later there is a gap: a ``Gap`` is returned, and then either the message
    (without ``resync``) or a ``Resync``; all messages of the sequence are then held, until ``resynced`` or a
    ``Snapshot``. Other sequences go on meanwhile.

    Args:
        extract: Gives a message's sequence and numbers.
        resync: Whether gaps are to be closed.
        duplicates: ``"drop"`` or ``"deliver"`` messages whose numbers were all seen.
        max_quarantine: Messages held in one sequence; of more, the oldest are dropped. If the snapshot does not contain
            them, another ``Resync`` is wanted.
        across_generations: Whether numbers go on over a reconnect. By default every connection begins anew.
    """

    __slots__ = ("_across", "_extract", "_keys", "_max", "_resync", "_to_drop", "stats")

    def __init__(
        self,
        extract: Extract,
        *,
        resync: bool = False,
        duplicates: Literal["drop", "deliver"] = "drop",
        max_quarantine: int = 10_000,
        across_generations: bool = False,
    ) -> None:
        if not callable(extract):
            raise TypeError(f"extract is a callable that gets a message, not {type(extract).__name__}")
        self._extract = extract
        self._resync = resync
        self._to_drop = choice("duplicates", duplicates, ("drop", "deliver")) == "drop"
        self._max = count("max_quarantine", max_quarantine, "messages")
        self._across = across_generations
        self._keys: dict[Hashable, _Sequence] = {}
        self.stats = SequenceStats()

    def feed(self, message: Any, generation: int = 0, received_ns: int = 0, seq: int = 0) -> list[Action]:
        """What is to be done now that ``message`` has come.

        Raises:
            ValueError: ``extract`` gave a last number below the first.
        """
        try:
            found = self._extract(message)
        except Exception as error:
            if isinstance(message, Message):
                error.add_note("extract= got a Message, as the stream has markers=True: its payload is item.data")
            raise
        if found is None:
            return [Deliver(message)]
        if isinstance(found, Snapshot):
            sequence = self._sequence(found.key, generation)
            return [Deliver(message), *self._continue(found.key, sequence, found.last)]
        key, first, last = found if len(found) == 3 else (*found, found[1])
        if last < first:
            raise ValueError(f"the last number of a message, {last}, is below its first, {first}")
        sequence = self._sequence(key, generation)
        numbered = _Numbered(message, first, last, generation, received_ns, seq)
        if sequence.held is None:
            return self._judge(key, sequence, numbered)
        if len(sequence.held) == self._max:
            sequence.held.popleft()
            self.stats.dropped += 1
        sequence.held.append(numbered)
        return [Quarantined(key)]

    def resynced(self, key: Hashable, last: int | None = None) -> list[Action]:
        """What is to be done now that a resynchronisation of ``key`` has succeeded. Nothing if it is in order.

        Args:
            key: The sequence.
            last: The last number that it contains: held messages up to it are superseded, the next due is ``last + 1``.
                None: the held messages are due as they are.
        """
        sequence = self._keys.get(key)
        if sequence is None or sequence.held is None:
            return []
        return self._continue(key, sequence, last)

    def is_quarantined(self, key: Hashable) -> bool:
        """Whether messages of ``key`` are held."""
        sequence = self._keys.get(key)
        return sequence is not None and sequence.held is not None

    @property
    def quarantined(self) -> int:
        """Messages that are held."""
        return sum(len(sequence.held) for sequence in self._keys.values() if sequence.held is not None)

    def wanted(self) -> list[Resync]:
        """The resynchronisations that were wanted and have not succeeded."""
        return [
            Resync(key, sequence.expected, sequence.held[0].first, sequence.attempt)
            for key, sequence in self._keys.items()
            if sequence.held and sequence.expected is not None
        ]

    def lost(self, generation: int) -> None:
        """The connection of ``generation`` is lost: what is held of it is superseded, unless numbers go on."""
        if self._across:
            return
        for key, sequence in list(self._keys.items()):
            if sequence.held is not None and sequence.generation == generation:
                self.forget(key)

    def forget(self, key: Hashable | None = None) -> None:
        """Begins ``key`` anew, or everything: what is held is superseded."""
        for name in list(self._keys) if key is None else [key]:
            sequence = self._keys.pop(name, None)
            self.stats.superseded += len(sequence.held or ()) if sequence is not None else 0

    def _sequence(self, key: Hashable, generation: int) -> _Sequence:
        sequence = self._keys.get(key)
        if sequence is not None and sequence.generation != generation:
            if self._across:
                sequence.generation = generation
            else:
                self.forget(key)
                sequence = None
        if sequence is None:
            sequence = self._keys[key] = _Sequence(generation)
        return sequence

    def _judge(self, key: Hashable, sequence: _Sequence, numbered: _Numbered) -> list[Action]:
        message, first, last, generation, received_ns, seq = numbered
        expected = sequence.expected
        if expected is not None and last < expected:
            self.stats.duplicates += 1
            return [Duplicate(key)] if self._to_drop else [Duplicate(key), Deliver(message)]
        if expected is None or first <= expected:
            sequence.expected = last + 1
            return [Deliver(message)]
        self.stats.gaps += 1
        self.stats.missing += first - expected
        gap = Gap(key=key, expected=expected, got=first, seq=seq, generation=generation, received_ns=received_ns)
        if not self._resync:
            sequence.expected = last + 1
            return [gap, Deliver(message)]
        sequence.held = deque([numbered])
        sequence.attempt = 0
        return [gap, Quarantined(key), Resync(key, expected, first)]

    def _continue(self, key: Hashable, sequence: _Sequence, last: int | None) -> list[Action]:
        held = sequence.held or deque()
        sequence.expected = None if last is None else last + 1
        while last is not None and held and held[0].last <= last:
            held.popleft()
            self.stats.superseded += 1
        if last is not None and held and held[0].first > last + 1:
            sequence.held = held
            sequence.attempt += 1
            return [Resync(key, last + 1, held[0].first, sequence.attempt)]
        sequence.held = None
        actions: list[Action] = []
        while held:
            actions += self._judge(key, sequence, held.popleft())
            if sequence.held is not None:
                sequence.held.extend(held)
                break
        return actions


class SequenceTracker:
    """Finds gaps in a stream, marks them, and closes them.

    ::

        async def resync(key, expected, got):
            book = await fetch_book(key)
            books[key] = book
            return book.last_update

        tracker = fastws.SequenceTracker(lambda m: (m["symbol"], m["seq"]), resync=resync)
        async for item in tracker.track(client.stream(decode=orjson.loads)):
            if isinstance(item, fastws.Gap): ...

    Of a stream with ``markers=True`` ``extract`` gets ``Message`` objects: ``(m.data["symbol"], m.data["seq"])``.

    In front of the first message behind a gap there is a ``Gap``. With ``resync`` the messages of that sequence are
    held until it returns; those of others come meanwhile. What is held when the connection is lost is superseded: it
    never comes behind ``Down``. Each sequence has one ``resync`` under way at most. If it
    raises, takes longer than ``resync_timeout``, or its snapshot leaves a hole before the first held message, it is
    called again, after a delay that doubles from 0.5 s to 30 s.

    Leaving the loop ends what is under way. Who tracks the same stream again goes on where it was left: nothing is
    lost, and a ``resync`` that had not returned begins again.

    Args:
        extract: Gets an item of the stream that is no marker; returns ``(key, number)``, ``(key, first, last)``, a
            ``Snapshot``, or None for an item without a number, which is passed on.
        on_gap: Called with each ``Gap``, before it is delivered. What it raises is logged.
        resync: ``async resync(key, expected, got)``: brings the user's own state up to date and returns the last number
            that it contains; or None, to go on with what is held; or ``IN_BAND`` if it only asked for a ``Snapshot``.
        resync_timeout: Seconds (or a ``timedelta``) for one call of it, 30 by default, in band the snapshot's arrival
            included; None for no limit.
        duplicates: ``"drop"`` or ``"deliver"`` messages whose numbers were all seen.
        max_quarantine: Messages held in one sequence, 10,000 by default; of more, the oldest are dropped.
        across_generations: Whether numbers go on over a reconnect. By default every connection begins anew, and what
            was missed meanwhile is for the ``Outage`` to tell.

    Attributes:
        sequences: The decisions, with their counters.
        resyncs: Calls of ``resync`` so far.
    """

    __slots__ = (
        "_called",
        "_coming",
        "_due",
        "_ending",
        "_loop",
        "_on_gap",
        "_over",
        "_resync",
        "_source",
        "_tasks",
        "_timeout",
        "resyncs",
        "sequences",
    )

    def __init__(
        self,
        extract: Extract,
        *,
        on_gap: Callable[[Gap], object] | None = None,
        resync: Callable[[Any, int, int], Awaitable[int | InBand | None]] | None = None,
        resync_timeout: float | timedelta | None = 30.0,
        duplicates: Literal["drop", "deliver"] = "drop",
        max_quarantine: int = 10_000,
        across_generations: bool = False,
    ) -> None:
        for name, value in (("on_gap", on_gap), ("resync", resync)):
            if not (value is None or callable(value)):
                raise TypeError(f"{name} is a callable or None, not {type(value).__name__}")
        self.sequences = Sequences(
            extract,
            resync=resync is not None,
            duplicates=duplicates,
            max_quarantine=max_quarantine,
            across_generations=across_generations,
        )
        self._on_gap = on_gap
        self._resync = resync
        self._timeout = optional_duration("resync_timeout", resync_timeout, "no limit")
        self._tasks: dict[Hashable, asyncio.Task[int | InBand | None]] = {}
        self._ending: set[asyncio.Task[Any]] = set()
        self._over = asyncio.Event()
        self._called: dict[Hashable, float] = {}  # when those were that have not returned
        self._due: deque[Any] = deque()
        self._source: AsyncIterable[Any] | None = None
        self._coming: asyncio.Task[Any] | None = None
        self._loop: object = None
        self.resyncs = 0

    async def track(self, source: AsyncIterable[Any]) -> AsyncIterator[Any]:
        """The items of ``source`` that are in order, and ``Gap`` markers.

        When ``source`` ends, resynchronisations under way may end too, without another attempt. An exception of
        ``source`` is raised here.
        """
        await self._leave()  # a loop that was left is closed only later, by the event loop
        if self._source is not source:
            self._source, self._coming = source, None
        loop = self._loop = object()
        items, due = aiter(source), self._due
        self._over.clear()
        try:
            self._carried_out([*self.sequences.wanted()])
            while True:
                while due:
                    yield due.popleft()
                if not self._tasks and self._coming is None:
                    # Nothing else can happen, so the message path costs no task.
                    item = await anext(items, _END)
                else:
                    coming = self._coming = self._coming or asyncio.ensure_future(_next(items))
                    await asyncio.wait({coming, *self._tasks.values()}, return_when=asyncio.FIRST_COMPLETED)
                    due += self._ended(again=True)
                    if due or not coming.done():
                        continue
                    self._coming = None
                    item = coming.result()
                if item is _END:
                    break
                due += self._fed(item, source)
            self._over.set()
            while self._tasks:
                await asyncio.wait(self._tasks.values(), return_when=asyncio.FIRST_COMPLETED)
                due += self._ended(again=False)
                while due:
                    yield due.popleft()
        finally:
            if self._loop is loop:
                await self._leave()

    async def _leave(self) -> None:
        """Ends what is under way. What has come, and is not given yet, is for who tracks again."""
        for key in list(self._tasks):
            self._drop(key)
        coming = self._coming
        if coming is not None:
            coming.cancel()
        ending = [*self._ending]
        if not await in_a_moment(ending):
            for task in ending:
                if not task.done():
                    leave(task)
        if coming is not None:
            await asyncio.wait([coming])
            if coming.cancelled():
                self._coming = None
            else:
                coming.exception()  # whoever tracks again has it

    def _fed(self, item: Any, source: AsyncIterable[Any]) -> list[Any]:
        if isinstance(item, Marker):
            if isinstance(item, Down):
                # Nothing of this connection is given behind it, and a resynchronisation is of no use any more.
                self.sequences.lost(item.generation)
                self._drop_idle()
            return [item]
        # Of a plain item only its stream, which has just given it, knows more.
        about = source if isinstance(source, Cursor) and not isinstance(item, Message) else item
        generation, received_ns, seq = (getattr(about, name, 0) for name in ("generation", "received_ns", "seq"))
        actions = self.sequences.feed(item, generation, received_ns, seq)
        if len(actions) == 1 and isinstance(actions[0], Deliver) and not self._tasks:
            return [actions[0].message]
        due = self._carried_out(actions)
        self._drop_idle()
        return due

    def _drop_idle(self) -> None:
        """A snapshot came in band, or another connection made a resynchronisation void."""
        for key in list(self._tasks):
            if not self.sequences.is_quarantined(key):
                self._drop(key)
                self._called.pop(key, None)

    def _carried_out(self, actions: list[Action], *, again: bool = True) -> list[Any]:
        due: list[Any] = []
        for action in actions:
            match action:
                case Deliver(message):
                    due.append(message)
                case Gap():
                    self._tell(action)
                    due.append(action)
                case Resync() if again or action.attempt == 0:
                    self._drop(action.key)
                    self._tasks[action.key] = asyncio.ensure_future(self._resynced(action))
        return due

    def _drop(self, key: Hashable) -> None:
        task = self._tasks.pop(key, None)
        if task is not None:
            self._ending.add(task)
            task.add_done_callback(self._ending.discard)
            task.cancel()

    def _ended(self, *, again: bool) -> list[Any]:
        due: list[Any] = []
        for key, task in list(self._tasks.items()):
            if not task.done():
                continue
            del self._tasks[key]
            if not task.cancelled() and not isinstance(last := task.result(), InBand):
                due += self._carried_out(self.sequences.resynced(key, last), again=again)
        return due

    async def _resynced(self, wanted: Resync) -> int | InBand | None:
        """Calls ``resync`` until it succeeds. ``IN_BAND``: the source is over and nothing more will come."""
        assert self._resync is not None, "who cannot resynchronise is not asked to"
        attempt, now = wanted.attempt, asyncio.get_running_loop().time
        while True:
            delay = min(_LONGEST_DELAY, _FIRST_DELAY * 2 ** min(attempt - 1, 10)) if attempt else 0.0
            if not attempt and (left := self._called.get(wanted.key)) is not None:
                delay = left + _FIRST_DELAY - now()  # who tracks again and again does not call it again and again
            if delay > 0:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(delay):
                        await self._over.wait()
                if self._over.is_set():
                    return IN_BAND
            self.resyncs += 1
            self._called[wanted.key] = now()
            try:
                async with asyncio.timeout(self._timeout):
                    with users_code:
                        result = await self._resync(wanted.key, wanted.expected, wanted.got)
                    if not isinstance(result, InBand):
                        self._called.pop(wanted.key, None)
                        return result
                    await self._over.wait()  # or until the snapshot comes, and this task is cancelled
                    return IN_BAND
            except Exception:
                attempt += 1
                _LOGGER.exception("resync(%r, ...) failed, attempt %d", wanted.key, attempt)

    def _tell(self, gap: Gap) -> None:
        if self._on_gap is not None:
            try:
                with users_code:
                    self._on_gap(gap)
            except Exception:
                _LOGGER.exception("on_gap(%r) raised", gap)


class _Numbered(NamedTuple):
    message: Any
    first: int
    last: int
    generation: int
    received_ns: int
    seq: int


class _Sequence:
    """``held`` is None while the sequence is in order."""

    __slots__ = ("attempt", "expected", "generation", "held")

    def __init__(self, generation: int) -> None:
        self.generation = generation
        self.expected: int | None = None
        self.held: deque[_Numbered] | None = None
        self.attempt = 0


async def _next(items: AsyncIterator[Any]) -> Any:
    return await anext(items, _END)


_END: Final = object()

_FIRST_DELAY: Final = 0.5

_LONGEST_DELAY: Final = 30.0

_LOGGER: Final = logging.getLogger("fastws.gaps")
