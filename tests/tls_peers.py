"""TLS servers for one connection each, and what becomes of it."""

import asyncio
import contextlib
import socket
import ssl
import threading
from types import SimpleNamespace

import pytest

import fastws
import fastws.sync
from certificates import Authority, Issued
from fastws import TlsConfig
from fastws.runner import loop_factory

ROOT = Authority("Test Root")
OTHER = Authority("Other Root")
GOOD = ROOT.issue("localhost")


def asking():
    """The context of a server that wants a client certificate."""
    context = GOOD.server_context()
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(cadata=ROOT.pem.decode())
    return context


class Server:
    """A TLS server that says nothing and reads to the end, on a thread."""

    def __init__(self, context):
        self.context = context

    def __enter__(self):
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.thread = threading.Thread(target=self.serve)
        self.thread.start()
        return self

    @property
    def url(self):
        return f"wss://localhost:{self.listener.getsockname()[1]}/"

    def serve(self):
        sock, _ = self.listener.accept()
        with contextlib.suppress(OSError), sock, self.context.wrap_socket(sock, server_side=True) as secured:
            while secured.recv(1 << 16):
                pass

    def __exit__(self, *_):
        self.thread.join(30)
        self.listener.close()


def opened(server, tls, loop="asyncio"):
    """Opens a connection: on this loop, or with "sync" on none."""
    if loop == "sync":
        fastws.sync.connect(server.url, tls=tls, host="127.0.0.1", open_timeout=30).close()
        return
    with asyncio.Runner(loop_factory=loop_factory(loop)) as runner:
        runner.run(asyncio.wait_for(fastws.connect(server.url, tls=tls, host="127.0.0.1")._open(), 30))


def refusal(context, tls, loop="asyncio"):
    """The error of a connection to a server with this context."""
    with Server(context) as server, pytest.raises(fastws.TlsError) as caught:
        opened(server, tls, loop)
    return caught.value


class Answering(Server):
    """One that answers the upgrade: not found."""

    def serve(self):
        sock, _ = self.listener.accept()
        with contextlib.suppress(OSError), sock, self.context.wrap_socket(sock, server_side=True) as secured:
            self.seen = SimpleNamespace(
                version=secured.version(),
                protocol=secured.selected_alpn_protocol(),
                client=secured.getpeercert(),
                resumed=secured.session_reused,
                request=secured.recv(1 << 16),
            )
            secured.sendall(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")


def accepted(shown, *, ca=ROOT.pem, loop="asyncio", **told):
    """A connection to a server with this certificate or context gets as far as HTTP; what the server saw of it."""
    context = shown.server_context() if isinstance(shown, Issued) else shown
    with Answering(context) as server, pytest.raises(fastws.InvalidStatus):
        opened(server, TlsConfig(ca=ca, **told), loop)
    return server.seen
