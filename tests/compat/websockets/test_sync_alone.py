"""The drop-in's blocking client where websockets is not installed, in interpreters of their own."""

import subprocess
import sys

PROGRAM = """
import sys
sys.modules["websockets"] = None  # as if it were not installed
import fastws.testing
from fastws.compat.websockets.exceptions import ConnectionClosedOK, InvalidStatus, InvalidURI
from fastws.compat.websockets.protocol import State
from fastws.compat.websockets.sync.client import connect, reconnect

assert ConnectionClosedOK.__module__.startswith("fastws.")
with fastws.testing.Server() as server:
    with connect(server.url()) as ws:
        ws.send("grüß")
        assert ws.recv() == "grüß"
        ws.send([b"a", b"b"])
        assert ws.recv() == b"ab"
        assert ws.ping().wait(5)
        assert ws.request.headers["Upgrade"] == "websocket"
        assert ws.response.status_code == 101
        assert ws.state is State.OPEN
    try:
        ws.recv()
    except ConnectionClosedOK as error:
        assert str(error) == "sent 1000 (OK); then received 1000 (OK)", error
    for ws in reconnect(server.url()):
        ws.send("again")
        assert ws.recv() == "again"
        break
try:
    connect("http://localhost/")
except InvalidURI as error:
    print(error)
try:
    connect("ws://localhost:1/")
except ConnectionRefusedError:
    print("refused")
try:
    from fastws.compat.websockets.sync.server import serve
except ImportError as error:
    print("pip install websockets" in str(error))
"""


def test_it_needs_no_websockets():
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=False)
    assert done.stdout.splitlines() == [
        "http://localhost/ isn't a valid URI: scheme isn't ws or wss",
        "refused",
        "True",
    ], done.stderr
