"""A thousand clients in one process: what an idle one takes, and what happens when their server restarts."""

import asyncio
import gc
import os
import time
import tracemalloc

import pytest

import fastws
from fastws.events import Ready
from fastws.testing import Server

COUNT = 1000
QUIET = fastws.ClientConfig(receive_timeout=None, ping_interval=None, close_timeout=2)
TARGET = 12 * 1024


def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


async def opened(count, open_one):
    made = []
    while len(made) < count:
        made += await asyncio.gather(*(open_one() for _ in range(min(50, count - len(made)))))
    return made


def measured():
    gc.collect()
    return tracemalloc.get_traced_memory()[0]


@pytest.mark.timing
def test_an_idle_client_takes_12_kib_beyond_its_connection_and_one_task(run):
    async def main(server):
        url = server.url("/sink")

        async def connect():
            return await fastws.connect(url, ping_interval=None)

        async def start():
            client = fastws.WebSocketClient(url, config=QUIET)
            await client.__aenter__()
            return client

        for warm in (await connect(), await start()):
            await (warm.close() if isinstance(warm, fastws.Connection) else warm.__aexit__(None, None, None))
        tracemalloc.start()
        try:
            before = measured()
            connections = await opened(COUNT, connect)
            bare = measured() - before
            tasks = len(asyncio.all_tasks())
            before = measured()
            clients = await opened(COUNT, start)
            traced = measured() - before
            assert len(asyncio.all_tasks()) - tasks <= COUNT
        finally:
            tracemalloc.stop()
        await asyncio.gather(*(connection.close() for connection in connections))
        await asyncio.gather(*(client.__aexit__(None, None, None) for client in clients))
        each = (traced - bare) / COUNT
        print(f"an idle client: {each:,.0f} bytes of Python objects beyond its connection's {bare / COUNT:,.0f}")
        assert each <= TARGET

    with Server() as server:
        run(main(server))


@pytest.mark.slow
def test_a_thousand_clients_survive_a_restart_of_their_server_without_a_stampede(run):
    strategy = fastws.ExponentialBackoff(0.1, 1.0, 2.0, jitter=0.5)

    async def main():
        limiter = fastws.ConnectLimiter(400, 1.0, max_concurrent=50)
        server = Server()
        port = server.port
        clients = [
            fastws.WebSocketClient(f"ws://127.0.0.1:{port}/sink", config=QUIET, retry=strategy, connect_limiter=limiter)
            for _ in range(COUNT)
        ]
        again = asyncio.Semaphore(0)
        await asyncio.gather(*(client.__aenter__() for client in clients))
        for client in clients:
            client.on(Ready, lambda event: again.release())
        server.stop()
        while any(client.is_ready for client in clients):
            await asyncio.sleep(0.01)
        # All are refused at least once.
        while min(client.snapshot().attempts for client in clients) < 2:
            await asyncio.sleep(0.01)
        with Server(port=port) as server:
            began = time.monotonic()
            for _ in clients:
                await again.acquire()
            took = time.monotonic() - began
            accepted = sorted(report.accepted_ns / 1e9 for report in server.connections())
            assert len(accepted) == COUNT
            assert all(client.is_ready for client in clients)
            busiest = max(sum(1 for at in accepted if start <= at < start + 0.5) for start in accepted[::10])
            print(f"{COUNT} clients Ready again after {took:.2f} s; {busiest} connects in the busiest 0.5 s")
            assert busiest <= 0.5 * 400 + 50 + 10
            # The longest delay of the strategy, and the time that the limiter takes for all and for those it refused.
            assert took <= 1.0 + COUNT / 400 * 2 + 1
            assert len(asyncio.all_tasks()) <= COUNT + 1
            await asyncio.gather(*(client.__aexit__(None, None, None) for client in clients))

    run(main())


@pytest.mark.timing
def test_a_client_that_waits_for_its_next_attempt_uses_no_cpu(run):
    async def main():
        client = fastws.WebSocketClient(
            "ws://127.0.0.1:9/", retry=fastws.FixedDelay(60), connector=Refusing(), config=QUIET
        )
        running = asyncio.create_task(client.run())
        await asyncio.sleep(0.1)
        before = time.process_time()
        await asyncio.sleep(2)
        used = time.process_time() - before
        await client.shutdown()
        await running
        print(f"CPU of 2 s of backoff: {used * 1e3:.2f} ms")
        assert used < 0.01

    run(main())


class Refusing:
    name = "refusing"

    async def connect(self, uri, options):
        raise ConnectionRefusedError("connection refused")
