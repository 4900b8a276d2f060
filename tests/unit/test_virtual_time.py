import asyncio
import socket
import threading

import pytest

from fastws import _core
from virtual_time import VirtualTimeError, run_virtual
from wires import MemoryConnector, client_of


def test_half_an_hour_passes_at_once_and_exactly():
    async def main():
        loop = asyncio.get_running_loop()
        seen = [loop.time()]
        for _ in range(1800):
            await asyncio.sleep(1)
        seen.append(loop.time())
        return seen

    assert run_virtual(main()) == [0.0, 1800.0]


def test_timers_fire_in_order_and_time_stands_still_meanwhile():
    async def main():
        loop = asyncio.get_running_loop()
        seen = []
        for delay in (3, 1, 2):
            loop.call_later(delay, lambda delay=delay: seen.append((delay, loop.time())))
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(2.5):
                await asyncio.Event().wait()
        await asyncio.sleep(1)
        return seen

    assert run_virtual(main()) == [(1, 1.0), (2, 2.0), (3, 3.0)]


@pytest.mark.skipif(not _core._clock_at(), reason="a release build goes by the real clock; `make test` builds another")
def test_the_native_module_goes_by_the_same_time():
    async def main():
        loop, connector, ends = asyncio.get_running_loop(), MemoryConnector(), []
        async with client_of(connector) as client:
            batches = client.stream().batches(max_wait=5)
            for began in (10, 20, 1000):
                await asyncio.sleep(began - loop.time())
                connector.wires[0].deliver("a")
                assert (await anext(batches)).messages == ["a"]
                ends.append(loop.time())
        return ends

    assert run_virtual(main(), look_ns=1) == pytest.approx([15, 25, 1005])


def test_a_hang_fails_and_says_where():
    async def waits_for_godot():
        await asyncio.Event().wait()

    async def main():
        await asyncio.sleep(5)
        await waits_for_godot()

    with pytest.raises(VirtualTimeError, match=r"hangs at 5 s(.|\n)*waits_for_godot"):
        run_virtual(main())


def test_spinning_fails():
    async def main():
        while True:
            await asyncio.sleep(0)

    with pytest.raises(VirtualTimeError, match="spins"):
        run_virtual(main())


def test_the_limit_is_of_virtual_time():
    async def main():
        await asyncio.sleep(11)

    with pytest.raises(VirtualTimeError, match="longer than 10 s"):
        run_virtual(main(), limit=10)
    run_virtual(main(), limit=11)


def test_tasks_left_behind_fail():
    async def main():
        main.task = asyncio.create_task(asyncio.sleep(100), name="left")

    with pytest.raises(VirtualTimeError, match=r"left behind(.|\n)*left"):
        run_virtual(main())
    assert main.task.cancelled()
    run_virtual(main(), leaves_tasks=True)


def test_sockets_within_the_loop_take_no_time():
    async def main():
        loop = asyncio.get_running_loop()
        a, b = socket.socketpair()
        with a, b:
            a.setblocking(False)
            b.setblocking(False)
            receiving = asyncio.create_task(loop.sock_recv(b, 10))
            await asyncio.sleep(0)
            await loop.sock_sendall(a, b"x")
            return await receiving, loop.time()

    assert run_virtual(main()) == (b"x", 0.0)


def test_the_clock_stands_still_while_something_outside_is_waited_for():
    async def main():
        loop = asyncio.get_running_loop()
        ours, theirs = socket.socketpair()
        with ours, theirs:
            ours.setblocking(False)
            ticking = asyncio.create_task(asyncio.sleep(60))
            await asyncio.sleep(5)
            waiting.append(theirs)
            # The thread writes when the loop has begun to wait.
            threading.Timer(0.05, theirs.sendall, (b"x",)).start()
            assert await loop.sock_recv(ours, 1) == b"x"
            waiting.clear()
            assert loop.time() == 5
            await ticking
            assert loop.time() == 60

    waiting = []
    run_virtual(main(), outside=lambda: bool(waiting))


def test_threads_run_in_line():
    def fails():
        raise OSError("no")

    async def main():
        loop = asyncio.get_running_loop()
        assert await asyncio.to_thread(lambda: 3) == 3
        with pytest.raises(OSError, match="no"):
            await loop.run_in_executor(None, fails)
        return loop.time()

    assert run_virtual(main()) == 0.0


def test_what_it_raises_is_raised():
    async def main():
        raise ValueError("mine")

    with pytest.raises(ValueError, match="mine"):
        run_virtual(main())
