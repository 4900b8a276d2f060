import asyncio
import contextlib
import gc
import logging
import pickle
import weakref

import pytest

import fastws
from fastws import events
from fastws.events import (
    CAPACITY,
    Connected,
    Connecting,
    Disconnected,
    DisconnectReason,
    Error,
    EventHub,
    FatalError,
    Ready,
    ReconnectScheduled,
    Shutdown,
)
from virtual_time import run_virtual


@pytest.mark.parametrize(
    ("reason", "text"),
    [
        (DisconnectReason("normal", code=1000, initiator="remote"), "normal closure"),
        (DisconnectReason("error", cause=OSError("reset")), "error: reset"),
        (DisconnectReason("error", cause=ValueError()), "error: ValueError"),
        (DisconnectReason("error"), "error"),
        (DisconnectReason("receive_timeout"), "timeout"),
        (DisconnectReason("receive_timeout", cause=TimeoutError("peer silent")), "timeout: peer silent"),
        (DisconnectReason("shutdown", cause=ValueError("x")), "shutdown"),
        (DisconnectReason("server_closed", 4401, "auth expired"), "server closed (code: 4401): auth expired"),
        (DisconnectReason("server_closed", 1012), "server closed (code: 1012)"),
        (DisconnectReason("server_closed", 1012, "\x1b[31m"), "server closed (code: 1012): \\x1b[31m"),
    ],
)
def test_a_reason_reads_as_the_model_has_it(reason, text):
    assert str(reason) == text


def test_every_kind_of_reason_has_words():
    assert set(events._TEXTS) == set(events.DisconnectKind.__args__)


def test_events_say_when_and_are_equal_if_they_say_the_same():
    first, second = Connecting(1, at_ns=5), Connecting(1)
    assert first.at_ns == 5
    assert second.at_ns > 1_600_000_000 * 10**9
    assert first == second != Connecting(2)
    assert repr(Ready(1, 2)) == "Ready(id=1, generation=2)"
    with pytest.raises(AttributeError):
        first.attempt = 2
    assert pickle.loads(pickle.dumps(first)).at_ns == 5


def test_what_a_client_tells_does_not_show_messages():
    unsent = fastws.Unsent("the order", "not_sent", "the session ended")
    assert "order" not in repr(Disconnected(DisconnectReason("error"), (unsent,)))


async def read(stream):
    return [event async for event in stream]


def test_a_stream_has_all_events_in_order_and_ends_behind_shutdown():
    async def main():
        hub = EventHub()
        told = [Connecting(1), Error(OSError(), 1), ReconnectScheduled(1.0, 2), Connecting(2), Connected(1), Shutdown()]
        stream = hub.stream()
        reading = asyncio.create_task(read(stream))
        for event in told:
            hub.publish(event)
            await asyncio.sleep(0)
        assert await reading == told
        hub.publish(Connecting(1))
        assert await read(stream) == []

    run_virtual(main())


def test_a_stream_begins_with_the_state_as_it_is():
    async def main():
        hub = EventHub()
        early = hub.stream()
        hub.publish(Connecting(1))
        hub.publish(Ready(1, 1))
        error = Error(OSError(), 1)
        hub.publish(error)
        late = hub.stream()
        hub.publish(Shutdown())
        assert await read(early) == [Connecting(1), Ready(1, 1), error, Shutdown()]
        assert await read(late) == [Ready(1, 1), Shutdown()]
        assert await read(hub.stream()) == [Shutdown()]

    run_virtual(main())


def test_a_client_that_runs_again_has_new_streams():
    async def main():
        hub = EventHub()
        hub.publish(Shutdown())
        hub.publish(Connecting(1))
        stream = hub.stream()
        hub.publish(Shutdown())
        assert await read(stream) == [Connecting(1), Shutdown()]

    run_virtual(main())


def test_a_stream_made_between_two_runs_has_the_second_unless_it_was_read_before():
    async def main():
        hub = EventHub()
        hub.publish(Shutdown())
        early, read_before, closed = hub.stream(), hub.stream(), hub.stream()
        assert await anext(read_before) == Shutdown()
        closed.close()
        await hub.aclose()
        hub.publish(Connecting(1))
        hub.publish(Shutdown())
        assert await read(early) == [Connecting(1), Shutdown()]
        assert await read(read_before) == []
        assert await read(closed) == []
        hub.publish(Connecting(1))
        assert await read(early) == []

    run_virtual(main())


def test_a_stream_not_read_drops_the_oldest_and_counts():
    async def main():
        hub = EventHub()
        stream = hub.stream()
        for attempt in range(CAPACITY + 10):
            hub.publish(Connecting(attempt))
        assert stream.dropped == 10
        hub.publish(Shutdown())
        assert stream.dropped == 11
        seen = await read(stream)
        assert len(seen) == CAPACITY
        assert seen[0] == Connecting(11)
        assert seen[-1] == Shutdown()

    run_virtual(main())


def test_a_reader_that_is_cancelled_loses_nothing():
    async def main():
        hub = EventHub()
        stream = hub.stream()
        reading = asyncio.create_task(anext(stream))
        await asyncio.sleep(0)
        hub.publish(Connecting(1))
        reading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reading
        assert await anext(stream) == Connecting(1)

    run_virtual(main())


def test_a_second_reader_is_told_so_and_the_first_goes_on():
    async def main():
        hub = EventHub()
        stream = hub.stream()
        first = asyncio.create_task(anext(stream))
        await asyncio.sleep(0)
        with pytest.raises(fastws.ConcurrencyError):
            await anext(stream)
        hub.publish(Connecting(1))
        assert await first == Connecting(1)

    run_virtual(main())


@pytest.mark.parametrize("leave", ["aclose", "close", "async with", "with"])
def test_a_stream_that_was_left_ends_and_is_detached(leave):
    async def main():
        hub = EventHub()
        stream = hub.stream()
        hub.publish(Connecting(1))
        match leave:
            case "aclose":
                await stream.aclose()
            case "close":
                stream.close()
            case "async with":
                async with stream:
                    pass
            case "with":
                with stream:
                    pass
        hub.publish(Connecting(2))
        assert await read(stream) == []
        assert not hub._streams

    run_virtual(main())


def test_closing_ends_the_reader_that_waits():
    async def main():
        hub = EventHub()
        stream = hub.stream()
        reading = asyncio.create_task(read(stream))
        await asyncio.sleep(0)
        stream.close()
        assert await reading == []

    run_virtual(main())


def test_a_stream_nobody_holds_is_detached():
    hub = EventHub()
    hub.stream()
    gc.collect()
    assert not hub._streams


def test_a_task_that_only_waits_for_events_is_not_collected():
    async def main():
        hub = EventHub()
        seen = []

        async def watch():
            seen.extend([event async for event in hub.stream()])

        task = weakref.ref(asyncio.create_task(watch()))
        await asyncio.sleep(0)
        gc.collect()
        assert task() is not None
        hub.publish(Shutdown())
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert seen == [Shutdown()]

    run_virtual(main())


def test_callbacks_get_the_events_of_their_class():
    hub = EventHub()
    every, ready = [], []
    remove = hub.on(None, every.append)
    hub.on(Ready, ready.append)
    hub.publish(Connecting(1))
    hub.publish(Ready(1, 1))
    remove()
    remove()
    hub.publish(Ready(2, 2))
    assert every == [Connecting(1), Ready(1, 1)]
    assert ready == [Ready(1, 1), Ready(2, 2)]


def test_a_callback_may_remove_itself():
    hub = EventHub()
    seen = []

    def once(event):
        seen.append(event)
        remove()

    remove = hub.on(None, once)
    hub.on(None, seen.append)
    hub.publish(Connecting(1))
    hub.publish(Connecting(2))
    assert seen == [Connecting(1), Connecting(1), Connecting(2)]


def test_an_event_of_a_callback_is_told_after_the_one_before():
    hub = EventHub()
    seen = []
    hub.on(Connecting, lambda event: hub.publish(Connected(event.attempt)))
    hub.on(None, seen.append)
    hub.publish(Connecting(1))
    assert seen == [Connecting(1), Connected(1)]


def test_what_a_callback_raises_is_logged_with_its_name(caplog):
    hub = EventHub()
    seen = []

    def broken(event):
        raise ValueError("mine")

    def cancelled(event):
        raise asyncio.CancelledError

    hub.on(None, broken)
    hub.on(None, cancelled)
    hub.on(None, seen.append)
    with caplog.at_level(logging.ERROR, "fastws"):
        hub.publish(Connecting(1))
    assert seen == [Connecting(1)]
    assert "broken raised at the event Connecting" in caplog.text
    assert "cancelled raised at the event Connecting" in caplog.text
    assert "mine" in caplog.text


def test_ctrl_c_in_a_callback_is_not_held_back():
    hub = EventHub()

    def interrupted(event):
        raise KeyboardInterrupt

    remove = hub.on(None, interrupted)
    with pytest.raises(KeyboardInterrupt):
        hub.publish(Connecting(1))
    remove()
    seen = []
    hub.on(None, seen.append)
    hub.publish(Connecting(2))
    assert seen == [Connecting(2)]


def test_async_callbacks_run_as_tasks_and_what_they_raise_is_logged(caplog):
    async def main():
        hub = EventHub()
        seen = []

        async def slow(event):
            await asyncio.sleep(1)
            seen.append(event)

        async def broken(event):
            raise ValueError("mine")

        hub.on(Connecting, slow)
        hub.on(Connecting, broken)
        hub.publish(Connecting(1))
        gc.collect()
        await hub.aclose(timeout=None)
        assert seen == [Connecting(1)]
        assert not hub._tasks

    run_virtual(main())
    assert "broken raised at the event Connecting" in caplog.text


def test_closing_the_hub_waits_for_async_callbacks_and_then_cancels_them():
    async def main():
        hub = EventHub()
        seen = []

        async def slow(event):
            try:
                await asyncio.sleep(event.attempt)
                seen.append(event.attempt)
            except asyncio.CancelledError:
                seen.append("cancelled")
                raise

        hub.on(Connecting, slow)
        hub.publish(Connecting(1))
        hub.publish(Connecting(100))
        stream = hub.stream()
        reading = asyncio.create_task(read(stream))
        await hub.aclose(timeout=2)
        assert asyncio.get_running_loop().time() == 2
        assert seen == [1, "cancelled"]
        assert await reading == [Connecting(100)]
        await hub.aclose()

    run_virtual(main())


def test_a_callback_that_cannot_be_cancelled_is_named_and_left(caplog):
    async def main():
        hub = EventHub()
        gate = asyncio.get_running_loop().create_future()

        async def stubborn(event):
            while not gate.done():
                with contextlib.suppress(asyncio.CancelledError):
                    await asyncio.shield(gate)

        hub.on(Connecting, stubborn)
        hub.publish(Connecting(1))
        await asyncio.sleep(1)
        await hub.aclose()
        assert asyncio.get_running_loop().time() < 2
        assert "stubborn does not end" in caplog.text
        await hub.aclose(None)  # it is not waited for again
        gate.set_result(None)
        await asyncio.sleep(0.1)

    run_virtual(main())


def test_a_callback_that_closes_the_hub_does_not_wait_for_itself():
    async def main():
        hub = EventHub()

        async def ends(event):
            await hub.aclose(timeout=None)
            done.set()

        done = asyncio.Event()
        hub.on(FatalError, ends)
        hub.publish(FatalError(OSError()))
        await done.wait()
        await hub.aclose(timeout=None)

    run_virtual(main())


@pytest.mark.parametrize("kind", ["ready", int, Ready(1, 1), Exception])
def test_only_classes_of_events_can_be_listened_to(kind):
    with pytest.raises(TypeError, match=r"fastws\.events"):
        EventHub().on(kind, print)


def test_a_callback_can_be_called():
    with pytest.raises(TypeError, match="callback"):
        EventHub().on(None, "print")
