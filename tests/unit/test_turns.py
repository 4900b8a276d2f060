"""Who waits for room, and in which order (_turns.py)."""

import asyncio

from fastws._turns import Turns
from virtual_time import run_virtual


def test_one_at_a_time_looks_the_urgent_first():
    async def main():
        turns, order = Turns(), []

        async def look(name, **how):
            await turns.wait(**how)
            order.append(name)
            turns.offer()

        waits = [("a", {"urgent": False}), ("b", {"urgent": False}), ("u", {"urgent": True}), ("v", {"urgent": True})]
        tasks = [asyncio.create_task(look(name, **how)) for name, how in waits]
        await asyncio.sleep(1)
        turns.offer()
        turns.offer()
        await asyncio.sleep(0)
        assert order == ["u"]
        await asyncio.gather(*tasks)
        assert order == ["u", "v", "a", "b"]
        assert not turns.places

    run_virtual(main())


def test_who_finds_no_room_keeps_the_place():
    async def main():
        turns, order = Turns(), []

        async def look(name, *, urgent, looks):
            for count in range(looks):
                await turns.wait(urgent=urgent, again=count > 0)
                order.append(name)
            turns.offer()

        tasks = [
            asyncio.create_task(look("a", urgent=False, looks=2)),
            asyncio.create_task(look("b", urgent=False, looks=1)),
            asyncio.create_task(look("u", urgent=True, looks=2)),
            asyncio.create_task(look("v", urgent=True, looks=1)),
        ]
        while not all(task.done() for task in tasks):
            await asyncio.sleep(1)
            turns.offer()
        assert order == ["u", "u", "v", "a", "a", "b"]

    run_virtual(main())


def test_who_is_cancelled_is_in_nobodys_way():
    async def main():
        turns = Turns()
        tasks = [asyncio.create_task(turns.wait(urgent=False)) for _ in range(3)]
        await asyncio.sleep(1)
        tasks[0].cancel()
        await asyncio.sleep(1)
        turns.offer()
        await tasks[1]
        assert len(turns.places) == 1
        tasks[2].cancel()
        await asyncio.wait(tasks)
        assert not turns.places

    run_virtual(main())
