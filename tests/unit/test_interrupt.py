"""Ending one task's wait from elsewhere (_interrupt.py)."""

import asyncio

import pytest

from fastws._interrupt import Interrupt, Interrupted
from virtual_time import run_virtual


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
