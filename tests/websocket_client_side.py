"""Connections of the drop-in for websocket-client, and a peer that answers them."""

import contextlib

import peers
from fastws.compat import websocket_client as websocket
from peers import CLOSE


def connected(peer, **options):
    options.setdefault("timeout", peers.PATIENCE)
    return contextlib.closing(websocket.create_connection(peer.url, **options))


def echo(wire):
    while (received := wire.read_frame()).opcode != CLOSE:
        wire.send(peers.frame(received.opcode, received.payload, fin=received.fin))
    wire.send(peers.frame(CLOSE, received.payload))
    wire.end()
