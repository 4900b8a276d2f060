"""Loops in threads, sub-interpreters, free threading: docs/howto/threads.md."""

import asyncio
import ctypes
import re
import subprocess
import sys
import threading
from pathlib import Path

import pytest

import fastws
import fastws.sync
from fastws.runner import loop_factory
from peers import PATIENCE
from programs import run_program

ROOT = Path(__file__).parents[2]


async def test_attributes_that_only_tell_may_be_read_anywhere(fastws_server):
    names = ("uri", "state", "close_code", "close_info", "request", "response", "subprotocol", "latency", "compression")
    names += ("local_address", "remote_address", "seq", "received_ns")
    async with fastws.connect(fastws_server.url("/echo"), compression="deflate") as ws:

        def look():
            return [getattr(ws, name) for name in names if name not in ("request", "response")] + [repr(ws)]

        assert await asyncio.to_thread(look) == look()

        def others():
            assert ws.request.headers["Upgrade"] == "websocket"
            assert ws.response.status_code == 101
            with pytest.raises(RuntimeError, match="belongs to the event loop of the thread"):
                ws.stats()

        await asyncio.to_thread(others)


@pytest.fixture(params=["system", "openssl"])
def server(request, fastws_server_factory):
    server = fastws_server_factory(tls=True)
    # One configuration, and so one context and its sessions, for all threads.
    server.tls = fastws.TlsConfig(backend=request.param, ca=server.ca_pem)
    return server


def in_threads(*functions):
    """Runs each in a thread of its own, at once; what one raises is raised."""
    failed = []
    started = threading.Barrier(len(functions))

    def run(function):
        try:
            started.wait(PATIENCE)
            function()
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=run, args=(function,)) for function in functions]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE * 2)
        assert not thread.is_alive()
    if failed:
        raise failed[0]


async def converse(server, name):
    async def one(number):
        async with fastws.connect(server.url("/echo"), tls=server.tls) as ws:
            for count in range(40):
                message = f"{name} {number} {count} " + "x" * (count * 331 % 20_000)
                await ws.send(message)
                assert await ws.recv() == message

    for _ in range(2):  # connections that end while others begin
        await asyncio.gather(*map(one, range(3)))


def test_several_loops_and_blocking_connections_in_several_threads_do_not_meet(server):
    def loop(kind, name):
        def run():
            with asyncio.Runner(loop_factory=loop_factory(kind)) as runner:
                runner.run(converse(server, name))

        return run

    def blocking():
        for _ in range(2):
            with fastws.sync.connect(server.url("/echo"), tls=server.tls) as ws:
                for count in range(40):
                    ws.send(b"%d" % count + b"x" * (count * 331 % 20_000))
                    assert ws.recv(timeout=PATIENCE).startswith(b"%d" % count)

    in_threads(loop("asyncio", "a"), loop("uvloop", "b"), loop("asyncio", "c"), loop("uvloop", "d"), blocking, blocking)


def test_a_thread_sends_on_connections_of_several_loops(server):
    """`send_threadsafe` is what a foreign thread may call."""
    homes = [asyncio.new_event_loop() for _ in range(2)]
    connections = []
    ready = threading.Semaphore(0)

    async def count():
        async with fastws.connect(server.url("/echo"), tls=server.tls) as ws:
            connections.append(ws)
            ready.release()
            assert sorted([int(await ws.recv()) for _ in range(300)]) == list(range(300))

    def home(loop):
        return lambda: loop.run_until_complete(count())

    def foreign():
        for _ in homes:
            assert ready.acquire(timeout=PATIENCE)
        for number in range(300):
            for ws in connections:
                ws.send_threadsafe(str(number)).result(PATIENCE)
        for ws in connections:
            with pytest.raises(RuntimeError, match="send_threadsafe"):
                ws.send_nowait("x")

    try:
        in_threads(*map(home, homes), foreign)
    finally:
        for loop in homes:
            loop.close()


NAMED = pytest.mark.skipif(sys.version_info < (3, 13), reason="CPython 3.13 names the module _interpreters")

REFUSED = """
import _interpreters

def refused():
    for kind in ("isolated", "legacy"):
        made = _interpreters.create(kind)
        error = _interpreters.exec(made, f"import sys; sys.path[:0] = {sys.path}; import fastws")
        assert error.type.__name__ == "ImportError", error
        assert "fastws" in error.msg and "interpreters" in error.msg, error
        _interpreters.destroy(made)
"""


@NAMED
def test_sub_interpreters_are_refused_while_the_main_one_has_connections():
    run_program(
        "asyncio",
        REFUSED
        + """
async def main():
    async with peer.connect() as ws:
        refused()
        await ws.send("x")

with Peer() as peer:
    run(main())
refused()
print("ok")
""",
    )


@NAMED
def test_the_main_interpreter_may_come_after_a_sub_interpreter(fastws_server):
    program = f"""
import sys
{REFUSED}
refused()
import fastws.sync
with fastws.sync.connect({fastws_server.url("/echo")!r}) as ws:
    ws.send("x")
    assert ws.recv(timeout=20) == "x"
print("ok")
"""
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=50, check=False)
    assert (result.returncode, result.stdout, result.stderr) == (0, "ok\n", "")


# Free threading: no word of it, until it is tested.


@pytest.mark.skipif(not (3, 13) <= sys.version_info < (3, 15), reason="where the slot is, and looked at")
def test_the_module_does_not_say_that_it_needs_no_lock():
    module = ctypes.PyDLL(fastws._core.__file__)
    module.PyInit__core.restype = ctypes.c_void_p
    # PyModuleDef: a base of five words; name, documentation, size, methods; slots.
    [slots] = ctypes.cast(module.PyInit__core() + 9 * 8, ctypes.POINTER(ctypes.c_void_p))[:1]
    words = ctypes.cast(slots, ctypes.POINTER(ctypes.c_size_t))
    found = {}
    while words[2 * len(found)]:
        found[words[2 * len(found)] & 0xFFFFFFFF] = words[2 * len(found) + 1]
    exec_slot, gil_slot = 2, 4
    assert exec_slot in found
    assert found[gil_slot] == 0  # Py_MOD_GIL_USED


def test_the_package_does_not_say_that_it_is_for_free_threading():
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert "Free Threading" not in project
    assert not re.search(r"cp3\d+t", project)
    assert "gil_used = true" in (ROOT / "rust/py/src/lib.rs").read_text(encoding="utf-8")
