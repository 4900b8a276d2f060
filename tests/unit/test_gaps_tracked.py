"""Sequence gaps, with resynchronisations, in virtual time."""

import asyncio
import contextlib
from itertools import pairwise
from types import SimpleNamespace

import pytest

from fastws import Gap, SequenceTracker
from fastws.gaps import IN_BAND, Snapshot
from fastws.markers import Down
from gap_items import extract
from virtual_time import run_virtual
from wires import MemoryConnector, cancelled_inside, client_of


async def timed(*items):
    """A stream: a number is a wait in seconds, everything else an item."""
    for item in items:
        if isinstance(item, int | float):
            await asyncio.sleep(item)
        else:
            yield item


def tracked(tracker, *items):
    """What comes out, each with the time at which it came."""

    async def main():
        loop = asyncio.get_running_loop()
        return [(loop.time(), item) async for item in tracker.track(timed(*items))]

    return run_virtual(main())


def test_without_resync_gaps_are_marked_and_told():
    told = []
    out = tracked(SequenceTracker(extract, on_gap=told.append), ("a", 1), 1, ("a", 3), "x")
    assert out == [(0, ("a", 1)), (1, Gap("a", 2, 3)), (1, ("a", 3)), (1, "x")]
    assert told == [Gap("a", 2, 3)]


def test_other_markers_are_passed_on():
    down = Down(generation=1, last_received_ns=0, detected_ns=0, reason=None)
    tracker = SequenceTracker(lambda item: ("a", item.seq))
    first, second = SimpleNamespace(seq=1, generation=1), SimpleNamespace(seq=1, generation=2)
    assert [item for _, item in tracked(tracker, first, down, second)] == [first, down, second]


def test_generation_and_time_are_those_of_the_item():
    item = SimpleNamespace(seq=5, generation=2, received_ns=7)
    tracker = SequenceTracker(lambda item: ("a", item.seq))
    out = tracked(tracker, SimpleNamespace(seq=1, generation=2), item)
    assert out[1][1] == Gap("a", 2, 5, seq=5, generation=2, received_ns=7)


def test_messages_come_when_their_resync_is_done_and_others_meanwhile():
    calls = []

    async def resync(key, expected, got):
        calls.append((key, expected, got))
        await asyncio.sleep(5)
        return 4

    tracker = SequenceTracker(extract, resync=resync)
    out = tracked(tracker, ("a", 1), ("a", 5), 1, ("a", 6), ("b", 1), 1, ("a", 7), 10, ("a", 8))
    assert calls == [("a", 2, 5)]
    assert out == [
        (0, ("a", 1)),
        (0, Gap("a", 2, 5)),
        (1, ("b", 1)),
        (5, ("a", 5)),
        (5, ("a", 6)),
        (5, ("a", 7)),
        (12, ("a", 8)),
    ]
    assert tracker.resyncs == 1


def test_each_key_has_its_own_resync():
    running, most = set(), []

    async def resync(key, expected, got):
        assert key not in running
        running.add(key)
        most.append(len(running))
        await asyncio.sleep(1)
        running.discard(key)
        return got - 1

    items = [(key, number) for number in (1, 5, 9, 20) for key in "abc"]
    out = tracked(SequenceTracker(extract, resync=resync), *items)
    assert sorted(item for _, item in out if not isinstance(item, Gap)) == sorted(items)
    assert max(most) == 3


def test_a_resync_that_fails_is_tried_again_ever_more_slowly(caplog):
    times = []

    async def resync(key, expected, got):
        times.append(asyncio.get_running_loop().time())
        if len(times) < 9:
            raise ValueError("the venue says no")
        return 4

    out = tracked(SequenceTracker(extract, resync=resync), ("a", 1), ("a", 5), 1000)
    assert [later - earlier for earlier, later in pairwise(times)] == [0.5, 1, 2, 4, 8, 16, 30, 30]
    assert out[-1] == (times[-1], ("a", 5))
    assert len(caplog.records) == 8


def test_a_snapshot_that_is_too_old_is_asked_for_again_after_a_delay():
    numbers = iter([2, 3, 4])
    times = []

    async def resync(key, expected, got):
        times.append((asyncio.get_running_loop().time(), expected))
        return next(numbers)

    out = tracked(SequenceTracker(extract, resync=resync), ("a", 1), ("a", 5), 1000)
    assert times == [(0, 2), (0.5, 3), (1.5, 4)]
    assert out == [(0, ("a", 1)), (0, Gap("a", 2, 5)), (1.5, ("a", 5))]


def test_a_resync_has_a_time_limit(caplog):
    async def resync(key, expected, got):
        if asyncio.get_running_loop().time() < 1:
            await asyncio.Event().wait()
        return 4

    out = tracked(SequenceTracker(extract, resync=resync, resync_timeout=10), ("a", 1), ("a", 5), 1000)
    assert out[-1] == (10.5, ("a", 5))


def test_a_snapshot_may_come_in_band(caplog):
    async def resync(key, expected, got):
        return IN_BAND

    tracker = SequenceTracker(extract, resync=resync)
    out = tracked(tracker, ("a", 1), ("a", 5), 1, Snapshot("a", 4), 1, ("a", 6))
    assert out[2:] == [(1, Snapshot("a", 4)), (1, ("a", 5)), (2, ("a", 6))]
    assert caplog.records == []


def test_a_gap_close_behind_a_snapshot_in_band_has_its_resynchronisation_at_once():
    times = []

    async def resync(key, expected, got):
        times.append(asyncio.get_running_loop().time())
        return IN_BAND

    tracker = SequenceTracker(extract, resync=resync)
    tracked(tracker, ("a", 1), ("a", 5), 0.1, Snapshot("a", 5), ("a", 9), 1)
    assert times == [0, 0.1]


def test_a_snapshot_in_band_that_does_not_come_is_asked_for_again(caplog):
    times = []

    async def resync(key, expected, got):
        times.append(asyncio.get_running_loop().time())
        return IN_BAND

    tracker = SequenceTracker(extract, resync=resync)
    out = tracked(tracker, ("a", 1), ("a", 5), 40, Snapshot("a", 5))
    assert times == [0, 30.5]
    assert out[-1] == (40, Snapshot("a", 5))


def test_the_end_waits_for_what_is_under_way_and_for_nothing_more(caplog):
    async def slow(key, expected, got):
        await asyncio.sleep(5)
        if key == "bad":
            raise ValueError
        return IN_BAND if key == "band" else 4

    tracker = SequenceTracker(extract, resync=slow)
    items = [(key, number) for key in ("a", "bad", "band") for number in (1, 5)]
    out = tracked(tracker, *items)
    assert out[-1] == (5, ("a", 5))
    assert tracker.resyncs == 3  # none of them twice
    assert tracker.sequences.quarantined == 2


def test_leaving_cancels_what_is_under_way():
    cancelled = []

    async def resync(key, expected, got):
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.append(key)
            raise

    async def main():
        tracker = SequenceTracker(extract, resync=resync)
        items = tracker.track(timed(("a", 1), ("a", 5), 1, ("b", 1), 1000))
        async for item in items:
            if item == ("b", 1):
                break
        await items.aclose()

    run_virtual(main())  # which fails if a task is left
    assert cancelled == ["a"]


def test_a_resynchronisation_that_cannot_be_cancelled_does_not_keep_who_leaves_waiting(caplog):
    async def stubborn(key, expected, got):
        while not gate.done():
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.shield(gate)

    async def main():
        nonlocal gate
        gate, tracker = asyncio.get_running_loop().create_future(), SequenceTracker(extract, resync=stubborn)
        items = tracker.track(timed(("a", 1), ("a", 5), 1, ("b", 1), 1000))
        while await anext(items) != ("b", 1):
            pass
        async with asyncio.timeout(1):
            await items.aclose()
        assert "stubborn does not end" in caplog.text
        gate.set_result(None)
        await asyncio.sleep(0.1)

    gate = None
    run_virtual(main())


def test_an_exception_of_the_stream_is_raised():
    async def resync(key, expected, got):
        await asyncio.sleep(10)

    async def stream():
        yield ("a", 1)
        yield ("a", 5)
        await asyncio.sleep(1)
        raise ConnectionError("lost")

    async def main():
        with pytest.raises(ConnectionError, match="lost"):
            async for _ in SequenceTracker(extract, resync=resync).track(stream()):
                pass

    run_virtual(main())


def test_what_on_gap_raises_is_logged(caplog):
    def on_gap(gap):
        raise ValueError("mistake")

    out = tracked(SequenceTracker(extract, on_gap=on_gap), ("a", 1), ("a", 3))
    assert len(out) == 3
    assert "on_gap" in caplog.text


@pytest.mark.parametrize("markers", [False, True])
def test_on_a_stream_a_gap_is_told_with_the_number_of_its_message_and_a_new_session_begins_anew(markers):
    async def main():
        connector = MemoryConnector()
        client = client_of(connector)
        tracker = SequenceTracker(lambda item: (None, int(item.data if markers else item)))

        async def read():
            return [item async for item in tracker.track(client.stream(markers=markers))]

        async with client:
            reading = asyncio.create_task(read())
            connector.wires[0].deliver("100", "101", "103")
            await asyncio.sleep(1)
            connector.wires[0].reset()
            second = await connector.wire(2)
            second.deliver("1", "2", "5")
            await asyncio.sleep(2)
        gaps = [item for item in await reading if isinstance(item, Gap)]
        assert [(gap.expected, gap.got, gap.seq, gap.generation) for gap in gaps] == [(102, 103, 3, 1), (3, 5, 6, 2)]
        assert all(gap.received_ns > 0 for gap in gaps)

    run_virtual(main())


def test_what_is_held_when_the_connection_is_lost_never_comes_behind_its_down():
    async def main():
        connector = MemoryConnector()
        client = client_of(connector)

        async def resync(key, expected, got):
            await asyncio.sleep(5)
            return 3

        tracker = SequenceTracker(lambda item: ("k", int(item.data)), resync=resync)
        items = []

        async def read():
            items.extend([item async for item in tracker.track(client.stream(markers=True))])

        async with client:
            reading = asyncio.create_task(read())
            connector.wires[0].deliver("1", "2", "4", "5")
            await asyncio.sleep(1)
            connector.wires[0].reset()
            (await connector.wire(2)).deliver("9")
            await asyncio.sleep(20)
        await reading
        shown = [getattr(item, "data", type(item).__name__) for item in items]
        assert shown == ["1", "2", "Gap", "Down", "Outage", "9", "Down"]
        assert tracker.sequences.stats.superseded == 2

    run_virtual(main())


def test_a_resynchronisation_that_was_cancelled_inside_is_called_again():
    calls = []

    async def resync(key, expected, got):
        calls.append(expected)
        if len(calls) == 1:
            await cancelled_inside()
        return got - 1

    async def main():
        tracker = SequenceTracker(extract, resync=resync)
        return [item async for item in tracker.track(timed(("a", 1), ("a", 5), 1.0, ("a", 6)))]

    items = run_virtual(main())
    assert [item for item in items if not isinstance(item, Gap)] == [("a", 1), ("a", 5), ("a", 6)]
    assert calls == [2, 2]


class Lines:
    """A stream that goes on after an exception, as a client's does after one that did not decode."""

    def __init__(self, *items):
        self.items = iter(items)

    def __aiter__(self):
        return self

    async def __anext__(self):
        for item in self.items:
            if isinstance(item, Exception):
                raise item
            if not isinstance(item, int | float):
                return item
            await asyncio.sleep(item)
        raise StopAsyncIteration


def test_who_tracks_again_after_an_exception_gets_what_is_held_and_the_resynchronisation_begins_again():
    calls = []

    async def resync(key, expected, got):
        calls.append((asyncio.get_running_loop().time(), expected, got))
        await asyncio.sleep(2)
        return got - 1

    async def main():
        source = Lines(("a", 1), ("a", 5), 1, ValueError("not decoded"), ("a", 6), ("b", 1))
        tracker = SequenceTracker(extract, resync=resync)
        items = []
        with pytest.raises(ValueError, match="not decoded"):
            async for item in tracker.track(source):
                items.append(item)  # noqa: PERF401 - up to the exception
        items += [item async for item in tracker.track(source)]
        assert calls == [(0, 2, 5), (1, 2, 5)]
        return items

    assert run_virtual(main()) == [("a", 1), Gap("a", 2, 5), ("b", 1), ("a", 5), ("a", 6)]


def test_resynchronisations_of_who_tracks_again_and_again_keep_their_distance():
    times = []

    async def resync(key, expected, got):
        times.append(asyncio.get_running_loop().time())
        await asyncio.sleep(2)
        return got - 1

    async def main():
        source = Lines(("a", 1), ("a", 5), *[0.1, ValueError("not decoded")] * 10, 3)
        tracker = SequenceTracker(extract, resync=resync)
        items = []
        for _ in range(11):
            with contextlib.suppress(ValueError):
                items += [item async for item in tracker.track(source)]
        return items

    assert run_virtual(main()) == [("a", 5)]
    assert times == pytest.approx([0, 0.5, 1.0, 1.5])


def test_nothing_is_lost_to_who_leaves_and_tracks_again():
    async def resync(key, expected, got):
        await asyncio.sleep(1)
        return got - 1

    async def main():
        # Left behind the gap, with an item on its way, and between what was held.
        source = Lines(("a", 1), ("a", 5), ("b", 1), ("a", 6), ("b", 2), ("b", 3), 5, ("a", 7), ("b", 4))
        tracker = SequenceTracker(extract, resync=resync)
        items = []
        for _ in range(8):
            async for item in tracker.track(source):  # the last one is closed only while this one runs
                items.append(item)
                break
        return items

    expected = [("a", 1), Gap("a", 2, 5), ("b", 1), ("b", 2), ("b", 3), ("a", 5), ("a", 6), ("a", 7)]
    assert run_virtual(main(), leaves_tasks=True) == expected


def test_who_leaves_at_a_gap_without_a_resynchronisation_has_the_message_behind_it_next():
    async def main():
        source, tracker, items = Lines(("a", 1), ("a", 5), ("a", 6)), SequenceTracker(extract), []
        async for item in tracker.track(source):
            items.append(item)
            if isinstance(item, Gap):
                break
        return items + [item async for item in tracker.track(source)]

    assert run_virtual(main(), leaves_tasks=True) == [("a", 1), Gap("a", 2, 5), ("a", 5), ("a", 6)]
