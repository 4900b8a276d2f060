"""The server that clients are measured against: fastws.testing.Server in a process and on a core of its own.

As a program it prints a line of JSON with its URLs and serves until its standard input ends.

``FASTWS_BENCH_WS`` names another server to measure against, such as ``ws://127.0.0.1:9001``; it must offer ``/echo``,
``/blast?n=N&size=SIZE`` (N binary messages, then Close 1000) and ``/sink``, whatever its query. Scenarios that need
more are left out then.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import secrets
import socket
import socketserver
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import descriptors
import machine

FEED = "session"
"""The generated feed that every peer can replay."""

FEED_SIZE = 100_000

RECORDED = "recorded"
"""The feed that is sent compressed: recorded sessions, if they are there."""

RECORDED_SIZE = 100_000

WINDOWS = (12, 15)
"""Window bits that clients offer: the feed is compressed for each before anyone asks for it."""

PARTS = "/parts"
"""A path that sends ``part`` numbered messages of 64 bytes whenever it is sent one, a hundred times."""

SPIN = 0.1
"""Seconds that a punctual server looks for what is to be done before it sleeps. Asleep, it is 50 to 100 µs late."""

CONNECTIONS = 4_000
"""More than any scenario opens."""

PATIENCE = 10.0
"""Seconds until the server has read what a connection left behind."""


@dataclass(frozen=True)
class Peer:
    """Where a server listens."""

    ws: str
    wss: str = ""
    ca_pem: str = ""
    feed_messages: int = 0
    recorded_messages: int = 0
    punctual_ws: str = ""
    punctual_wss: str = ""
    """Where a server listens that does not sleep between two messages."""
    counts: int = 0
    """Port that tells what was received; 0: nobody does, and only the plainest targets can be asked for."""

    def url(self, target: str, *, tls: bool = False, punctual: bool = False) -> str:
        if punctual:
            return (self.punctual_wss if tls else self.punctual_ws) + target
        return (self.wss if tls else self.ws) + target

    def mark(self) -> str:
        """What the target of a connection has to contain, so that ``received`` finds it."""
        return secrets.token_hex(8)

    def received(self, mark: str) -> int:
        """Messages that the server had received on the marked connection, at its end."""
        with socket.create_connection(("127.0.0.1", self.counts), timeout=PATIENCE * 2) as control:
            control.sendall(f"{mark}\n".encode())
            answer = control.makefile().readline()
        if not answer.strip():
            raise RuntimeError("the server did not see the end of the connection")
        return int(answer)


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
        process.stdout.close()
        process.wait(30)


class Counts(socketserver.ThreadingTCPServer):
    """Tells how many messages a connection brought: a line with its mark, a line with the number."""

    daemon_threads = True

    def __init__(self, servers: list[Any]) -> None:
        super().__init__(("127.0.0.1", 0), Answer)
        self.servers = servers
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def find(self, mark: str) -> int | None:
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            for server in self.servers:
                for report in server.connections():
                    if mark in report.target and report.ended_ns is not None:
                        return int(report.messages_in)
            time.sleep(0.05)
        return None


class Answer(socketserver.StreamRequestHandler):
    def handle(self) -> None:
        assert isinstance(self.server, Counts)
        count = self.server.find(self.rfile.readline().decode().strip())
        self.wfile.write(b"\n" if count is None else f"{count}\n".encode())


def compress_ahead(url: str) -> None:
    """Asks for a feed once in every way that clients do, so that it is compressed when they come."""
    import fastws.sync

    for bits in WINDOWS:
        for alone in (False, True):
            terms = fastws.Deflate(server_max_window_bits=bits, server_no_context_takeover=alone)
            with fastws.sync.connect(url, compression=terms) as ws:
                ws.recv()


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
    with contextlib.suppress(descriptors.TooFew):  # the client, which needs as many, says so
        descriptors.ensure(CONNECTIONS, "the server")

    import recorded
    from fastws.demo.market import simulate
    from fastws.testing import Blast, Expect, Server

    messages = [
        (event.t, "text", event.payload.encode() if isinstance(event.payload, str) else event.payload)
        for event in (simulate(7, FEED_SIZE) if args.feed else ())
        if event.direction == "recv"
    ]
    sessions = [(0.0, "text", text.encode()) for text in (recorded.texts(RECORDED_SIZE) if args.feed else ())]
    most = max(20_000, args.connections)
    with (
        Server(args.host, max_connections=most) as plain,
        Server(args.host, tls=True, names=[args.host], max_connections=most) as secure,
        Server(spin=SPIN) as punctual,
        Server(tls=True, spin=SPIN) as punctual_secure,
    ):
        for server in (plain, secure):
            server.script(PARTS, [Expect(1), Blast(args.part, 64, numbered=True)] * 100)
            if messages:
                server.add_feed(FEED, messages)
        if sessions:
            plain.add_feed(RECORDED, sessions)
            compress_ahead(plain.url(f"/replay/{RECORDED}?speed=0"))
        peer = Peer(
            ws=plain.url("/").removesuffix("/"),
            wss=secure.url("/").removesuffix("/"),
            punctual_ws=punctual.url("/").removesuffix("/"),
            punctual_wss=punctual_secure.url("/").removesuffix("/"),
            ca_pem=(secure.ca_pem + punctual_secure.ca_pem).decode(),
            feed_messages=len(messages),
            recorded_messages=len(sessions),
            counts=Counts([plain, secure]).server_address[1],
        )
        print(json.dumps(asdict(peer)), flush=True)
        sys.stdin.read()
    return 0


if __name__ == "__main__":
    sys.exit(main())
