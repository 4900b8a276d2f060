"""What ``tests/sync`` of websockets needs to run against the drop-in: a pytest plugin.

The tests stay as they are. What is adapted is how ``test_connection`` gets its connection: it makes one by hand of a
protocol and a socket pair; ours comes out of ``connect``, which is answered at the other end.
"""

import base64
import hashlib
import importlib
import socket
import threading

import fastws.compat

fastws.compat.install("websockets")


def pytest_collection_modifyitems(items):
    for item in items:
        if item.module.__name__ == "tests.sync.test_connection" and item.cls.LOCAL.name == "CLIENT":
            item.cls.setUp = _set_up


def _set_up(self):
    test_module = importlib.import_module("tests.sync.test_connection")
    intercepting = importlib.import_module("tests.sync.connection").InterceptingConnection
    client = importlib.import_module("fastws.compat.websockets.sync.client")
    ours, remote = socket.socketpair()
    answering = threading.Thread(target=_answer, args=(remote,))
    answering.start()
    self.connection = client.connect(
        "ws://localhost/",
        sock=ours,
        compression=None,
        ping_interval=None,
        close_timeout=2 * test_module.MS,
        legacy=True,
    )
    answering.join()
    self.remote_connection = intercepting(remote, test_module.RecordingProtocol(self.REMOTE))


def _answer(sock):
    """Answers an upgrade request, so that the other side is open."""
    request = b""
    while not request.endswith(b"\r\n\r\n"):
        request += sock.recv(4096)
    key = next(line for line in request.split(b"\r\n") if line.startswith(b"Sec-WebSocket-Key: "))[19:]
    accept = base64.b64encode(hashlib.sha1(key + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest())
    sock.sendall(
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Accept: " + accept + b"\r\n\r\n",
    )
