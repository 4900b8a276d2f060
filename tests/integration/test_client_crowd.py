"""A thousand clients in one process: what an idle one takes, and what happens when their server restarts."""

import asyncio
import contextlib
import gc
import subprocess
import sys
import time
import tracemalloc
from collections import Counter

import pytest

import fastws
from daemons import free_port
from fastws.events import Ready, ReconnectScheduled
from fastws.testing import Fault, SendClose, Server
from virtual_time import run_virtual

COUNT = 1000
QUIET = fastws.ClientConfig(receive_timeout=None, ping_interval=None, close_timeout=2)
TARGET = 12 * 1024


SERVER = """
import sys
from fastws.testing import SendClose, Server
with Server() as server:
    server.script("/end", [SendClose(1000)])
    print(server.url("/"), flush=True)
    sys.stdin.read()
"""


@contextlib.contextmanager
def server_apart():
    """A server in a process of its own, whose memory and CPU time are not ours."""
    with subprocess.Popen(
        [sys.executable, "-c", SERVER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            yield process.stdout.readline().strip().removesuffix("/")
        finally:
            process.stdin.close()


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


IDLE = """
import asyncio, gc, os, sys
import fastws
from fastws.runner import loop_factory

def resident():
    gc.collect()
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")

async def main(url, count, at_once):
    config = fastws.ClientConfig(receive_timeout=None, ping_interval=None, close_timeout=2)
    clients = []

    async def start():
        client = fastws.WebSocketClient(url, config=config)
        await client.__aenter__()
        clients.append(client)

    # What is made once for all.
    await asyncio.gather(*(start() for _ in range(50)))
    before = resident()
    for _ in range(count // at_once):
        await asyncio.gather(*(start() for _ in range(at_once)))
    assert all(client.is_ready for client in clients)
    print((resident() - before) / count, flush=True)
    os._exit(0)  # closing them is no part of it

with asyncio.Runner(loop_factory=loop_factory(sys.argv[1])) as runner:
    runner.run(main(sys.argv[2], int(sys.argv[3]), int(sys.argv[4])))
"""


@pytest.mark.timing
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
@pytest.mark.parametrize("at_once", [1, COUNT], ids=["one at a time", "all at once"])
def test_an_idle_client_takes_12_kib_of_the_process_with_its_connection(loop_name, at_once):
    """In a process of its own: what others have freed would be used again, and the server is in this one."""
    with Server() as server:
        program = [sys.executable, "-c", IDLE, loop_name, server.url("/sink"), str(COUNT), str(at_once)]
        result = subprocess.run(program, capture_output=True, text=True, timeout=60, check=False)
    assert result.returncode == 0, result.stderr
    each = float(result.stdout)
    print(f"an idle client, {at_once} at a time: {each / 1024:.1f} KiB of the process, its connection included")
    assert 4096 < each <= TARGET


@pytest.mark.slow
def test_a_thousand_clients_survive_a_restart_of_their_server_without_a_stampede(run):
    """The server is a venue: it demands a token, and each subscription is confirmed before a client is Ready."""
    longest, rate, at_once = 1.0, 400, 50
    strategy = fastws.ExponentialBackoff(0.1, longest, 2.0, jitter=0.5)

    def open_venue(server):
        server.add_feed("ticks", [(0.0, "text", b'{"n":0}')])
        return server.add_venue("/venue", "ticks", tokens=["token"], autostart=False)

    async def main():
        limiter = fastws.ConnectLimiter(rate, 1.0, max_concurrent=at_once)
        port = free_port()  # nobody else gets it while the server is away
        server = Server(port=port)
        url = open_venue(server).url
        clients = [
            fastws.WebSocketClient(
                url,
                handshake=fastws.AuthHandshaker("token").json(),
                config=QUIET.replace(restore_timeout=10),
                retry=strategy,
                connect_limiter=limiter,
            )
            for _ in range(COUNT)
        ]
        again = asyncio.Semaphore(0)
        for client in clients:
            client.subscriptions.add(
                "all",
                message={"type": "subscribe", "channel": "all"},
                ack=lambda message: isinstance(message, dict) and message.get("type") == "subscribed",
            )
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
            sessions = open_venue(server)
            began = time.monotonic()
            for _ in clients:
                await again.acquire()
            took = time.monotonic() - began
            assert all(client.is_ready for client in clients)
            states = {state for client in clients for state in client.subscriptions.states().values()}
            assert {str(state) for state in states} == {"confirmed"}
            report = sessions.report()
            assert len(report.sessions) == COUNT
            accepted = sorted(report.accepted_ns / 1e9 for report in server.connections())
            assert len(accepted) == COUNT
            each = Counter(int((at - accepted[0]) * 2) for at in accepted)
            busiest = max(sum(1 for at in accepted if start <= at < start + 0.5) for start in accepted)
            print(
                f"{COUNT} clients authenticated and subscribed {took:.2f} s after the restart; connects in each 0.5 s: "
                f"{', '.join(str(each[half]) for half in range(max(each) + 1))}, in the busiest {busiest}"
            )
            # A loop that had no turn for a while lets in at once who was due meanwhile; no limit lets in all.
            stall = 0.25
            assert busiest <= (0.5 + stall) * rate + at_once
            # The longest delay of the strategy, then all of them at the limiter's rate, which is what is waited for,
            # and what a busy machine may add: one after the other they would take ten times as long.
            assert took <= 2 * (longest + COUNT / rate)
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


ENDS = {"close": SendClose(1000), "eof": Fault("eof"), "reset": Fault("reset")}


@pytest.mark.parametrize("end", ENDS)
def test_a_server_that_closes_at_once_is_dialled_as_often_as_the_strategy_says(end):
    """A real server, and a clock that stands still while it is waited for: the moments are exact."""
    away = False

    class Dials(fastws.DefaultConnector):
        async def connect(self, uri, options):
            nonlocal away
            away = True
            attempts.append(asyncio.get_running_loop().time())
            return await super().connect(uri, options)

    def scheduled(event):
        nonlocal away
        away = False

    async def main(url):
        strategy = fastws.ExponentialBackoff(1.0, 16.0, 2.0, jitter=0)
        client = fastws.WebSocketClient(url, connector=Dials(), retry=strategy, config=QUIET)
        client.on(ReconnectScheduled, scheduled)
        running = asyncio.create_task(client.run())
        await asyncio.sleep(60)
        await client.shutdown()
        await running

    attempts = []
    with Server() as server:
        server.script("/end", [ENDS[end]])
        run_virtual(main(server.url("/end")), outside=lambda: away)
        assert attempts == [0, 1, 3, 7, 15, 31, 47]
        assert len(server.connections()) == len(attempts)


@pytest.mark.timing
def test_a_server_that_closes_at_once_costs_no_cpu(run):
    async def main(url):
        client = fastws.WebSocketClient(url, retry=fastws.FixedDelay(0.5), config=QUIET)
        ready = []
        client.on(Ready, ready.append)
        async with client:
            used, began = time.process_time(), time.monotonic()
            count = len(ready)
            await asyncio.sleep(3)
            used, took = time.process_time() - used, time.monotonic() - began
            count = len(ready) - count
        print(f"{count} connects in {took:.2f} s: CPU {used * 1e3:.1f} ms, {used / took:.2%} of a core")
        assert 4 <= count <= took / 0.5 + 1
        assert used < 0.02 * took

    with server_apart() as url:
        run(main(f"{url}/end"))


class Refusing:
    name = "refusing"

    async def connect(self, uri, options):
        raise ConnectionRefusedError("connection refused")
