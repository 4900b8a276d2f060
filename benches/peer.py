"""The server that clients are measured against: fastws.testing.Server in a process and on a core of its own.

As a program it prints a line of JSON with its URLs and serves until its standard input ends.

``FASTWS_BENCH_WS`` names another server to measure against, such as ``ws://127.0.0.1:9001``; it must offer ``/echo``,
``/blast?n=N&size=SIZE`` (N binary messages, then Close 1000) and ``/sink``.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import descriptors
import machine

FEED = "session"
"""The generated feed that every peer can replay."""

FEED_SIZE = 100_000

PARTS = "/parts"
"""A path that sends ``part`` numbered messages of 64 bytes whenever it is sent one, a hundred times."""


@dataclass(frozen=True)
class Peer:
    """Where a server listens."""

    ws: str
    wss: str = ""
    ca_pem: str = ""
    feed_messages: int = 0

    def url(self, target: str, *, tls: bool = False) -> str:
        return (self.wss if tls else self.ws) + target


@contextlib.contextmanager
def running(host: str = "127.0.0.1", *, feed: bool = True, connections: int = 0, part: int = 1) -> Iterator[Peer]:
    """A peer, as long as the context lasts; without its ``feed`` it starts at once.

    ``connections`` is how many it is to hold: it raises its limit of descriptors for them. ``part``: see ``PARTS``.
    """
    other = os.environ.get("FASTWS_BENCH_WS")
    if other:
        yield Peer(other.rstrip("/"))
        return
    _, core = machine.cores()
    command = [sys.executable, Path(__file__), "--host", host, "--connections", str(connections), "--part", str(part)]
    command += [*([] if core is None else ["--core", str(core)]), *([] if feed else ["--no-feed"])]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        line = process.stdout.readline()
        if not line:
            raise SystemExit("the benchmark's server did not start")
        yield Peer(**json.loads(line))
    finally:
        process.stdin.close()
        process.wait(30)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--connections", type=int, default=0)
    parser.add_argument("--part", type=int, default=1)
    parser.add_argument("--feed", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument("--core", type=int)
    args = parser.parse_args()
    machine.pin(args.core)
    descriptors.ensure(args.connections, "the server")

    from fastws.demo.market import simulate
    from fastws.testing import Blast, Expect, Server

    messages = [
        (event.t, "text", event.payload.encode() if isinstance(event.payload, str) else event.payload)
        for event in (simulate(7, FEED_SIZE) if args.feed else ())
        if event.direction == "recv"
    ]
    most = max(20_000, args.connections)
    with (
        Server(args.host, max_connections=most) as plain,
        Server(args.host, tls=True, names=[args.host], max_connections=most) as secure,
    ):
        for server in (plain, secure):
            server.script(PARTS, [Expect(1), Blast(args.part, 64, numbered=True)] * 100)
            if messages:
                server.add_feed(FEED, messages)
        peer = Peer(
            ws=plain.url("/").removesuffix("/"),
            wss=secure.url("/").removesuffix("/"),
            ca_pem=secure.ca_pem.decode(),
            feed_messages=len(messages),
        )
        print(json.dumps(asdict(peer)), flush=True)
        sys.stdin.read()
    return 0


if __name__ == "__main__":
    sys.exit(main())
