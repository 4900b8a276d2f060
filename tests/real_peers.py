"""Servers made with the libraries of others, each in a process of its own: `websockets`, aiohttp, node's ws.

The programs are in `foreign/`. All do the same at the same path, which may have the query `id`:

    /echo                           sends each message back as it came
    /fragments?size                 the same, in fragments of so many characters or bytes
    /pings                          sends a Ping, and after its Pong the text "answered"
    /request                        sends headers of the request, as JSON
    /burst?count&size               sends binary messages, which begin with their number in eight bytes
    /goodbye?count&size&code&reason the same, and closes behind them
    /sink?stalled                   takes all messages; with `stalled`, as soon as somebody has connected to
    /go?id                          ... which lets it begin
    /ended?id                       sends how the connection of that identity has ended, and what it had received
"""

from __future__ import annotations

import contextlib
import json
import sys
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import fastws
from daemons import binary, free_ports, running
from peers import authority_pem, server_pem

PEERS = ("websockets", "aiohttp", "ws")

FORGETFUL = {"server_no_context_takeover": True, "client_no_context_takeover": True}

DEFLATE: Mapping[str, dict[str, Any]] = {
    "deflate": {},
    "forgetful": FORGETFUL,
    "narrow": {"server_max_window_bits": 9, "client_max_window_bits": 9},
    "wide": {"server_max_window_bits": 15},
    "threshold": FORGETFUL | {"threshold": 1024},
}
"""What the server of a listener wants of permessage-deflate. aiohttp's does as the client wishes at all of them; only
node's ws has a threshold.
"""


SMALL_SIZE = 1 << 20
"""Bytes of a message that the listener "small" accepts; the others have no limit."""


class RealPeer:
    """A server that runs."""

    def __init__(self, name: str, ports: Mapping[str, int]) -> None:
        self.name = name
        self._ports = ports

    def url(self, path: str, listener: str = "plain", **query: Any) -> str:
        scheme = "wss" if listener == "tls" else "ws"
        return f"{scheme}://127.0.0.1:{self._ports[listener]}{path}?{urlencode(query)}"

    def connect(
        self,
        path: str,
        listener: str = "plain",
        *,
        query: Mapping[str, Any] = {},
        by: Any = fastws.connect,
        **options: Any,
    ) -> Any:
        """A connection made by `fastws.connect` or `fastws.sync.connect`."""
        if listener == "tls":
            options["tls"] = fastws.TlsConfig(ca=authority_pem())
        return by(self.url(path, listener, **query), **options)

    def port(self, listener: str = "plain") -> int:
        return self._ports[listener]

    async def ended(self, identity: str) -> dict[str, Any]:
        """How a connection has ended for the server."""
        async with self.connect("/ended", query={"id": identity}) as ws:
            return json.loads(await ws.recv())

    async def go(self, identity: str) -> None:
        async with self.connect("/go", query={"id": identity}) as ws:
            await ws.wait_closed()


def new_identity() -> str:
    return uuid.uuid4().hex


@contextlib.contextmanager
def real_peer(name: str, folder: Path) -> Iterator[RealPeer]:
    pem = folder / "server.pem"
    pem.write_bytes(server_pem())
    kinds = ["plain", "tls", "small", *(kind for kind in DEFLATE if kind != "threshold" or name == "ws")]
    ports = dict(zip(kinds, free_ports(len(kinds)), strict=True))
    listeners = [
        {
            "port": port,
            "pem": str(pem) if kind == "tls" else None,
            "deflate": DEFLATE.get(kind),
            "max_size": SMALL_SIZE if kind == "small" else None,
        }
        for kind, port in ports.items()
    ]
    foreign = Path(__file__).parent / "foreign"
    if name == "ws":
        modules = Path(binary("ws")).parent
        command = ["env", f"NODE_PATH={modules}", binary("node"), str(foreign / "ws_peer.js")]
    else:
        command = [sys.executable, str(foreign / f"{name}_peer.py")]
    with running(*ports.values(), command=[*command, json.dumps(listeners)], log=folder / f"{name}.log"):
        yield RealPeer(name, ports)
