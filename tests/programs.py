"""Tests that are a process of their own: what goes wrong in them ends the process."""

import os
import subprocess
import sys
import textwrap
from pathlib import Path

TESTS = Path(__file__).parent

PRELUDE = """
import asyncio, faulthandler, gc, os, signal, sys, threading, warnings, weakref
sys.path.insert(0, {tests!r})
faulthandler.dump_traceback_later(30, exit=True)
# What runs the tests may have been started with it ignored, as shells do in the background.
signal.signal(signal.SIGINT, signal.default_int_handler)
from peers import *
from fastws.runner import loop_factory
import fastws

make_loop = loop_factory({loop!r}) or asyncio.new_event_loop

def quiet(wire):
    with contextlib.suppress(OSError):
        return wire.read_to_end()

def mute(wire):
    with contextlib.suppress(OSError):
        while wire.sock.recv(65536):
            pass

def run(coroutine):
    with asyncio.Runner(loop_factory=make_loop) as runner:
        return runner.run(coroutine)

def refused(call):
    # What a process may not do with what another one made.
    try:
        call()
    except RuntimeError as error:
        assert "process" in str(error), error
    else:
        raise AssertionError("not refused")

def in_a_child(act):
    # Forks; the child does this and is gone, and it went well.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        child = os.fork()
    if child == 0:
        try:
            act()
        except BaseException:
            import traceback
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    assert status == 0, status

def is_open(fd):
    try:
        os.fstat(fd)
    except OSError:
        return False
    return True

"""


def run_program(loop_name, program, *, expect="ok", warned=(), code=0):
    """Runs a program in a new interpreter; it must end well and print what is expected last."""
    source = PRELUDE.format(tests=str(TESTS), loop=loop_name) + textwrap.dedent(program)
    result = subprocess.run(
        [sys.executable, "-X", "dev", "-W", "always", "-c", source],
        capture_output=True,
        text=True,
        timeout=50,
        env={**os.environ, "PYTHONASYNCIODEBUG": ""},
        check=False,
    )
    report = f"exit code {result.returncode}\n--- out\n{result.stdout}\n--- err\n{result.stderr}"
    assert result.returncode == code, report
    assert result.stdout.strip().endswith(expect), report
    for text in warned:
        assert text in result.stderr, report
    assert "panicked" not in result.stderr, report
    assert "Fatal" not in result.stderr, report
    return result
