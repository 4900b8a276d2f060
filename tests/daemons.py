"""Programs of others, each in a process of its own, on free ports: what is installed, starting, stopping, their logs.

`python tests/daemons.py` prints which of them are missing and how to get them; with `--packages` the packages only.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import random
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

PATIENCE = 20.0
"""Seconds that a program has to listen, and to end."""

PACKAGES = {
    "tinyproxy": "tinyproxy-bin",
    "microsocks": "microsocks",
    "danted": "dante-server",
    "haproxy": "haproxy",
    "nginx": "nginx",
    "stunnel": "stunnel4",
    "node": "nodejs",
    "ws": "node-ws",
}
"""What the tests start, and the package of Debian and Ubuntu that has it. `ws` is node's module of that name."""

FOLDERS = ("/usr/sbin", "/usr/local/sbin")
"""Where programs are besides PATH."""

NODE_FOLDERS = ("/usr/share/nodejs", "/usr/lib/nodejs")
"""Where Debian has node's modules, whoever has made the node."""


def binary(name: str) -> str:
    """The path of a program; a skip (for `make test-network` a failure) says what to install."""
    path = found(name)
    if path is None:
        import pytest

        missing = pytest.fail if os.environ.get("FASTWS_TEST_NETWORK") else pytest.skip
        missing(f"{name} is not installed: apt-get install --no-install-recommends {PACKAGES[name]}")
    return path


def found(name: str) -> str | None:
    """The path of a program, if it is installed."""
    if name == "ws":
        return _node_module("ws")
    return shutil.which(name) or shutil.which(name, path=os.pathsep.join(FOLDERS))


def _node_module(name: str) -> str | None:
    """The folder of a module of node's: where NODE_PATH says, else where Debian has it."""
    folders = [*os.environ.get("NODE_PATH", "").split(os.pathsep), *NODE_FOLDERS]
    paths = (Path(folder, name) for folder in folders if folder)
    return next((str(path) for path in paths if (path / "package.json").is_file()), None)


def free_port() -> int:
    """A port at which nobody listens.

    It is none of those that the kernel gives to who does not care: before its program listens, nobody else gets it.
    """
    while True:
        port = next(_candidates)
        with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port


def free_ports(count: int) -> list[int]:
    """Different ones."""
    return [free_port() for _ in range(count)]


def _ports_in_turn() -> Iterator[int]:
    """Below those that the kernel gives away: from 32,768 on Linux, elsewhere from 49,152."""
    # From anywhere: other processes test at the same time.
    low, start, high = 10_000, random.SystemRandom().randrange(10_000, 32_768), 32_768
    return itertools.cycle([*range(start, high), *range(low, start)])


_candidates = _ports_in_turn()

_running: list[Path] = []
_failed: list[Path] = []
"""The logs of programs that run, and of those that ended as their test failed."""


@contextlib.contextmanager
def running(*ports: int, command: list[str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A program that listens at all of `ports`; it is asked to end at last, and made to."""
    with log.open("ab") as output:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output)
    _running.append(log)
    try:
        for port in ports:
            _wait_until_it_listens(process, port, log)
        yield process
    except BaseException:
        _failed.append(log)
        raise
    finally:
        _running.remove(log)
        process.terminate()
        try:
            process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait_until_it_listens(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    until = time.monotonic() + PATIENCE
    while True:
        with contextlib.suppress(ConnectionRefusedError), socket.create_connection(("127.0.0.1", port)):
            return
        with contextlib.suppress(subprocess.TimeoutExpired):
            code = process.wait(0.01)
            raise AssertionError(f"{process.args} ended with {code}: {log.read_text()}")
        assert time.monotonic() < until, f"{process.args} does not listen at {port}: {log.read_text()}"


def logs() -> Iterator[tuple[str, str]]:
    """Name and end of each log that may say why a test failed."""
    for log in (*_running, *_failed):
        yield log.name, log.read_text(errors="replace")[-4000:]
    _failed.clear()


def main() -> None:
    missing = [name for name in PACKAGES if found(name) is None]
    packages = " ".join(PACKAGES[name] for name in missing)
    if "--packages" in sys.argv:
        print(packages)
    elif missing:
        print(f"Not installed: {', '.join(missing)}. Their tests fail. On Debian and Ubuntu:")
        print(f"    apt-get install --no-install-recommends {packages}")


if __name__ == "__main__":
    main()
