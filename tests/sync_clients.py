"""Blocking clients of tests, and what their tests ask of them."""

import threading

import fastws
import fastws.sync
from peers import PATIENCE

CONFIG = fastws.ClientConfig(handshake_retry_delay=0.01, shutdown_timeout=5, close_timeout=2)
RETRY = fastws.FixedDelay(0.01)


def client_of(uri, server=None, **options):
    options.setdefault("retry", RETRY)
    options.setdefault("config", CONFIG)
    if server is not None and server.ca_pem:
        options["tls"] = fastws.TlsConfig(ca=server.ca_pem)
    return fastws.sync.WebSocketClient(uri, **options)


def in_turn(*uris):
    """A callable that gives one URI after the other, then the last one."""
    left = list(uris)
    return lambda: left.pop(0) if len(left) > 1 else left[0]


def take(stream, count):
    return [stream.recv(timeout=PATIENCE) for _ in range(count)]


def client_threads():
    return [thread for thread in threading.enumerate() if thread.name.startswith("fastws client")]
