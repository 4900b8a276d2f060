"""rust/py/src/hub/direct.rs: the only connection of a loop, watched by the loop itself."""

import asyncio
import gc
import os
import resource

import pytest

import fastws
from fastws.testing import Server

pytestmark = pytest.mark.loop_driver("a transport is watched by its loop")


def descriptors_of(inode):
    """How many there are of a socket in this process."""

    def is_of(fd):
        try:
            return os.fstat(fd).st_ino == inode
        except OSError:
            return False

    return sum(is_of(int(fd)) for fd in os.listdir("/proc/self/fd"))


def inode_of(ws):
    return os.fstat(ws.fileno()).st_ino


async def alone(ws):
    """Exchanges messages until the loop watches the connection."""
    inode = inode_of(ws)
    for number in range(300):
        await ws.send(str(number))
        assert await ws.recv() == str(number)
        if descriptors_of(inode) == 2:
            return inode
    raise AssertionError("the loop does not watch it")


async def exchange(ws, count=20):
    for number in range(count):
        await ws.send(f"{number}")
        assert await ws.recv() == f"{number}"


async def until(condition):
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0)


async def test_it_is_watched_twice_until_another_one_comes():
    with Server() as server:
        async with fastws.connect(server.url("/echo")) as first:
            inode = await alone(first)
            async with fastws.connect(server.url("/echo")) as second:
                assert descriptors_of(inode) == 1
                await asyncio.gather(exchange(first), exchange(second))
                assert descriptors_of(inode) == descriptors_of(inode_of(second)) == 1
            assert await alone(first) == inode
        assert descriptors_of(inode) == 0


@pytest.mark.parametrize("way", ["close", "theirs"])
async def test_nothing_is_left_behind_its_end(way):
    with Server() as server:
        ws = await fastws.connect(server.url("/echo?fault=close:1000@30" if way == "theirs" else "/echo"))
        inode = inode_of(ws)
        if way == "theirs":
            with pytest.raises(fastws.ConnectionClosed):
                await exchange(ws, 40)
        else:
            await alone(ws)
            await ws.close()
        await ws.wait_closed()
        assert descriptors_of(inode) == 0


async def test_one_that_nobody_holds_is_closed_and_let_go_by_the_loop():
    with Server() as server:
        ws = await fastws.connect(server.url("/echo"))
        inode = await alone(ws)
        # Not inside of the hub's call, which holds it.
        await asyncio.sleep(0)
        with pytest.warns(ResourceWarning, match="unclosed"):
            del ws
            gc.collect()
        await until(lambda: descriptors_of(inode) == 0)
        await until(lambda: server.connections()[0].ended_ns is not None)


async def test_a_connection_whose_consumer_pauses_is_the_pollers_again_and_loses_nothing():
    count = 3000
    with Server() as server:
        async with fastws.connect(server.url("/echo"), max_queue=16) as ws:
            inode = await alone(ws)
            sender = asyncio.create_task(ws.send_many([str(number) for number in range(count)]))
            await until(lambda: descriptors_of(inode) == 1)
            assert [await ws.recv() for _ in range(count)] == [str(number) for number in range(count)]
            await sender
            assert await alone(ws) == inode


async def test_timers_and_other_threads_are_heard():
    with Server() as server:
        async with fastws.connect(server.url("/echo"), ping_interval=0.02, ping_timeout=20) as ws:
            await alone(ws)
            before = ws.stats().pings_sent
            async with asyncio.timeout(20):
                while ws.stats().pings_sent < before + 3:
                    await exchange(ws, 1)
            await asyncio.to_thread(ws.send_threadsafe, "from a thread")
            assert await ws.recv() == "from a thread"


async def test_without_a_descriptor_to_spare_all_stays_as_it_was(request):
    with Server() as server:
        async with fastws.connect(server.url("/echo")) as ws:
            inode = inode_of(ws)
            soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
            request.addfinalizer(lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard)))
            resource.setrlimit(resource.RLIMIT_NOFILE, (len(os.listdir("/proc/self/fd")), hard))
            # What is below the limit and free is taken.
            taken = []
            try:
                while True:
                    taken.append(os.dup(0))
            except OSError:
                pass
            try:
                for number in range(300):
                    await ws.send(str(number))
                    assert await ws.recv() == str(number)
            finally:
                for fd in taken:
                    os.close(fd)
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
            assert descriptors_of(inode) in (1, 2)
            assert await alone(ws) == inode


def test_a_loop_that_is_closed_before_it_keeps_nothing(run):
    with Server() as server:
        kept = []

        async def leave():
            ws = await fastws.connect(server.url("/echo"))
            inode = await alone(ws)
            kept.append(ws)
            return inode

        inode = run(leave())
        with pytest.warns(ResourceWarning, match="unclosed"):
            kept.clear()
            gc.collect()
        assert descriptors_of(inode) == 0
