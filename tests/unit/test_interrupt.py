"""Ending one task's wait from elsewhere (_interrupt.py)."""

import asyncio
import contextlib

import pytest

from fastws._interrupt import (
    MOMENT,
    InnerCancellation,
    Interrupt,
    Interrupted,
    apart,
    cut,
    in_a_moment,
    users_code,
    whose_turn,
)
from virtual_time import run_virtual
from wires import cancelled_inside


def test_a_wait_is_ended_at_once_and_later_ones_do_not_begin():
    async def main():
        interrupt = Interrupt()
        loop = asyncio.get_running_loop()
        loop.call_later(2, interrupt.request)
        with pytest.raises(Interrupted):
            await interrupt.wait(asyncio.sleep(60))
        assert loop.time() == 2
        with pytest.raises(Interrupted):
            await interrupt.wait(asyncio.sleep(60))
        interrupt.clear()
        assert await interrupt.wait(asyncio.sleep(1, "done")) == "done"

    run_virtual(main())


def test_a_timeout_of_what_is_waited_for_stays_one():
    async def main():
        async def late():
            raise TimeoutError("its own")

        with pytest.raises(TimeoutError, match="its own"):
            await Interrupt().wait(late())

    run_virtual(main())


def test_a_cancellation_of_the_task_passes_through():
    async def main():
        interrupt = Interrupt()
        task = asyncio.create_task(interrupt.wait(asyncio.sleep(60)))
        await asyncio.sleep(1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert task.cancelled()

    run_virtual(main())


def test_a_cancellation_in_the_same_turn_wins():
    async def main():
        interrupt = Interrupt()
        task = asyncio.create_task(interrupt.wait(asyncio.sleep(60)))
        await asyncio.sleep(1)
        interrupt.request()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert task.cancelling() == 1

    run_virtual(main())


def test_a_cancellation_that_users_code_is_born_with_is_an_error_of_its_own():
    async def main():
        with pytest.raises(InnerCancellation, match="cancelled") as raised, users_code:
            await cancelled_inside()
        assert isinstance(raised.value.__cause__, asyncio.CancelledError)

    run_virtual(main())
    with pytest.raises(InnerCancellation), users_code:
        raise asyncio.CancelledError  # where no loop runs


def test_a_cancellation_of_the_task_passes_through_users_code():
    async def main():
        async def users():
            with users_code:
                await asyncio.sleep(60)

        task = asyncio.create_task(users())
        await asyncio.sleep(1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(1):
                await users()

    run_virtual(main())


async def stubborn(gate):
    """Lets nobody cancel it before the gate opens."""
    while not gate.done():
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.shield(gate)


def test_tasks_are_cut_and_one_that_does_not_end_is_named_and_left(caplog):
    async def main():
        loop = asyncio.get_running_loop()
        gate = loop.create_future()
        quick, slow = asyncio.create_task(asyncio.sleep(60)), asyncio.create_task(stubborn(gate))
        await asyncio.sleep(0)
        await cut([quick, slow])
        assert quick.cancelled()
        assert loop.time() == MOMENT
        assert [record.message for record in caplog.records] == [
            "stubborn does not end, though it was cancelled, and is left to itself"
        ]
        gate.set_result(None)
        await slow

    run_virtual(main())


def test_a_moment_is_given_whatever_cancels_it():
    async def main():
        loop = asyncio.get_running_loop()
        gate = loop.create_future()
        slow = asyncio.create_task(stubborn(gate))
        cutting = asyncio.create_task(in_a_moment([slow]))
        for _ in range(3):
            await asyncio.sleep(0.01)
            cutting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await cutting
        assert loop.time() == pytest.approx(MOMENT)
        gate.set_result(None)
        await slow

    run_virtual(main())


# Apart.


def test_what_runs_apart_gives_its_result_and_raises_what_it_raises():
    async def raises():
        raise KeyError("mine")

    async def cancels_itself():
        asyncio.current_task().cancel()
        await asyncio.sleep(1)

    async def main():
        assert await apart(asyncio.sleep(1, "done")) == "done"
        with pytest.raises(KeyError, match="mine"):
            await apart(raises())
        for cancelled in (cancels_itself(), cancelled_inside()):
            with pytest.raises(InnerCancellation):
                await apart(cancelled)

    run_virtual(main())


def test_what_runs_apart_knows_in_whose_place_it_runs():
    async def asks():
        return whose_turn(), await apart(deeper())

    async def deeper():
        return whose_turn(), await asyncio.create_task(another())

    async def another():
        return whose_turn() is asyncio.current_task()

    async def main():
        me = asyncio.current_task()
        assert whose_turn() is me
        assert await apart(asks()) == (me, (me, True))

    run_virtual(main())


def test_who_is_cancelled_already_lets_what_runs_apart_begin():
    async def users():
        try:
            begun.append(1)
            await asyncio.sleep(60)
        finally:
            begun.append(2)

    async def main():
        for times in (1, 2):
            begun.clear()
            for _ in range(times):
                asyncio.current_task().cancel()
            with pytest.raises(asyncio.CancelledError):
                await apart(users())
            assert begun == [1, 2]
            for _ in range(times):
                asyncio.current_task().uncancel()

    begun = []
    run_virtual(main())


def test_what_does_not_end_is_left_behind_and_its_result_is_given_back(caplog):
    async def nested(gate):
        return await apart(stubborn(gate))

    async def main():
        loop, late = asyncio.get_running_loop(), []
        for users, times in ((stubborn, 1), (stubborn, 2), (nested, 1)):
            caplog.clear()
            began, gate = loop.time(), loop.create_future()
            waiting = asyncio.create_task(apart(users(gate), late=late.append))
            await asyncio.sleep(1)
            for _ in range(times):
                waiting.cancel()
                await asyncio.sleep(0.01)
            with pytest.raises(asyncio.CancelledError):
                await waiting
            assert loop.time() - began == pytest.approx(1 + MOMENT)
            await asyncio.sleep(0.1)
            gate.set_result(None)
            await asyncio.sleep(0.1)
            assert caplog.text.count("stubborn does not end") == 1
            assert len(caplog.records) == 1
        assert late == [None, None]  # what was cancelled as well as it could be has none

    run_virtual(main())
