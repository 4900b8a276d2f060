"""What the drop-in logs at level DEBUG, beside what the real websockets client logs of the same."""

import asyncio
import logging
import re
import socket
import ssl
import subprocess
import sys

import pytest
import websockets
import websockets.asyncio.client
import websockets.sync.client

import fastws.compat.websockets.asyncio.client
import fastws.compat.websockets.sync.client
from compat_peers import websockets_server
from peers import Peer, authority_pem, frame

BLOCKING = websockets.sync.client, fastws.compat.websockets.sync.client
ON_LOOP = websockets.asyncio.client, fastws.compat.websockets.asyncio.client


class Lines(logging.Handler):
    """A logger of its own, and what it was told."""

    def __init__(self, level=logging.DEBUG):
        super().__init__()
        self.logger = logging.Logger("test", level)  # noqa: LOG001 - of nobody else's
        self.logger.addHandler(self)
        self.texts, self.records = [], []

    def emit(self, record):
        self.texts.append(record.getMessage())
        self.records.append(record)

    def beginning(self, *signs):
        return [text for text in self.texts if text.startswith(signs)]

    def frames(self):
        return [text for text in self.beginning("<", ">") if text.endswith("]") and "[body]" not in text]

    def without_values(self):
        """All lines; of those of header fields, the names."""
        split = [text.partition(": ") for text in self.texts if not text.startswith("!")]
        is_field = re.compile(r"[<>] [\w-]+").fullmatch
        return [f"{name}:" if value and is_field(name) else name + value for name, _, value in split]


def handler(ws):
    ws.send("hello")
    ws.send(["frag", "ments"])
    ws.send(bytes(range(200)))
    ws.send("é" * 300)
    ws.send("")
    assert ws.recv() == "zażółć"
    assert ws.ping(b"ping").wait(10)
    ws.send("over")
    for _ in ws:
        pass


def blocking(connect, uri, **options):
    with connect(uri, ping_interval=None, **options) as ws:
        for _ in range(5):
            ws.recv()
        ws.send("zażółć")
        assert ws.recv() == "over"
        ws.close(4000, "enough")


def on_loop(connect, uri, **options):
    async def main():
        async with connect(uri, ping_interval=None, **options) as ws:
            for _ in range(5):
                await ws.recv()
            await ws.send("zażółć")
            assert await ws.recv() == "over"
            await ws.close(4000, "enough")

    asyncio.run(main())


@pytest.mark.parametrize("compression", [None, "deflate"])
@pytest.mark.parametrize("tls", [False, True], ids=["tcp", "tls"])
@pytest.mark.parametrize(("modules", "talk"), [(BLOCKING, blocking), (ON_LOOP, on_loop)], ids=["sync", "asyncio"])
def test_the_lines_are_those_of_websockets(modules, talk, tls, compression):
    options = {"compression": compression}
    if tls:
        options["ssl"] = ssl.create_default_context(cadata=authority_pem().decode())
    both = [Lines(), Lines()]
    with websockets_server(handler, tls=tls) as uri:
        for module, lines in zip(modules, both, strict=True):
            talk(module.connect, uri, logger=lines.logger, **options)
    theirs, ours = both
    assert ours.frames() == theirs.frames()
    assert "> CLOSE 4000 (private use) enough [8 bytes]" in ours.frames()
    assert ours.without_values() == theirs.without_values()
    assert {record.levelname for record in ours.records} == {"DEBUG"}
    assert all(hasattr(record, "websocket") for record in ours.records)


@pytest.mark.parametrize("module", [BLOCKING[1], ON_LOOP[1]], ids=["sync", "asyncio"])
def test_a_refusal_is_told_and_secrets_are_not(module):
    def refuse(wire):
        wire.read_request()  # one that is not read makes the end a reset
        wire.send(b"HTTP/1.1 403 Forbidden\r\nSet-Cookie: a=b\r\nContent-Length: 4\r\n\r\nnope")

    lines = Lines()
    with Peer(refuse, upgrade=False) as peer, pytest.raises(websockets.InvalidStatus):
        uri = peer.url.replace("ws://", "ws://user:password@") + "?key=secret"
        if module is BLOCKING[1]:
            module.connect(uri, logger=lines.logger)
        else:
            asyncio.run(module.connect(uri, logger=lines.logger).connect())
    assert lines.texts[:2] == ["= connection is CONNECTING", "> GET /?*** HTTP/1.1"]
    assert "> Authorization: ***" in lines.texts
    assert "< Set-Cookie: ***" in lines.texts
    assert "< HTTP/1.1 403 Forbidden" in lines.texts
    of_tcp = [] if module is BLOCKING[1] else ["x half-closing TCP connection"]
    end = ["< [body] (4 bytes)", "> EOF", *of_tcp, "= connection is CLOSED"]
    assert lines.texts[-len(end) :] == end
    assert not any("secret" in text or "password" in text for text in lines.texts)


def ends_first(wire):
    wire.close(1011, "first")


def is_cut(wire):
    wire.send(frame(1, b"before"))


def refuses(wire):
    wire.read_request()
    wire.send(b"HTTP/1.1 401 No\r\nContent-Length: 4\r\n\r\nnope")


@pytest.mark.parametrize("script", [ends_first, is_cut, refuses])
def test_the_end_is_told_as_by_websockets(script):
    async def main(module, lines):
        with Peer(script, upgrade=script is not refuses) as peer:
            with pytest.raises((websockets.ConnectionClosedError, websockets.InvalidStatus)):
                async with module.connect(peer.url, logger=lines.logger, compression=None) as ws:
                    while True:
                        await ws.recv()

    both = [Lines(), Lines()]
    for module, lines in zip(ON_LOOP, both, strict=True):
        asyncio.run(main(module, lines))
    theirs, ours = both
    assert ours.without_values() == theirs.without_values()


@pytest.mark.parametrize("module", [BLOCKING[1], ON_LOOP[1]], ids=["sync", "asyncio"])
def test_of_a_connection_that_was_never_there_nothing_is_told(module):
    lines = Lines()
    with socket.socket() as sock:  # nobody listens
        sock.bind(("127.0.0.1", 0))
        uri = f"ws://127.0.0.1:{sock.getsockname()[1]}/"
        with pytest.raises(ConnectionRefusedError):
            if module is BLOCKING[1]:
                module.connect(uri, logger=lines.logger)
            else:
                asyncio.run(module.connect(uri, logger=lines.logger).connect())
    assert lines.texts == []


def test_what_is_no_frame_is_told_and_harms_nothing():
    def talk(wire):
        wire.send(frame(1, b"before"), b"\x8b\x00")
        return wire.read_to_close()

    async def main(uri):
        async with ON_LOOP[1].connect(uri, logger=lines.logger) as ws:
            assert await ws.recv() == "before"
            with pytest.raises(websockets.ConnectionClosedError, match="1002"):
                await ws.recv()

    lines = Lines()
    with Peer(talk) as peer:
        asyncio.run(main(peer.url))
    assert "< TEXT 'before' [6 bytes]" in lines.texts
    assert "! what is received cannot be shown any more" in lines.texts
    assert lines.beginning("> CLOSE 1002")


def test_nothing_is_said_above_debug():
    lines = Lines(logging.INFO)
    with websockets_server(handler) as uri:
        blocking(BLOCKING[1].connect, uri, logger=lines.logger)
    assert lines.texts == []


ALONE = """
import sys
sys.modules["websockets"] = None  # as if it were not installed
from fastws.compat.websockets.frames import Frame, Opcode

for opcode, data, fin in eval(sys.argv[1]):
    print(Frame(Opcode(opcode), data, fin))
"""

FRAMES = [
    (1, b"hello", True),
    (1, b"", True),
    (1, b"x", False),
    (1, b"\xff\xfe", True),
    (0, b"\xff" * 30, True),
    (0, b"and so on", True),
    (2, bytes(range(256)), True),
    (2, b"text", True),
    (2, bytes(100), True),
    (1, b"a\nb\x7f", True),
    (1, "ż".encode() * 200, True),
    (1, b"x" * 73, True),
    (1, b"x" * 74, True),
    (8, b"\x03\xe8", True),
    (8, b"\x0f\xa0because", True),
    (8, b"", True),
    (9, b"ping", True),
    (10, b"\x00\xff\xff\x01", True),
]


def test_frames_are_shown_as_websockets_shows_them():
    theirs = [str(websockets.frames.Frame(websockets.frames.Opcode(opcode), data, fin)) for opcode, data, fin in FRAMES]
    done = subprocess.run([sys.executable, "-c", ALONE, repr(FRAMES)], capture_output=True, text=True, check=False)
    assert done.stdout.splitlines() == theirs, done.stderr
