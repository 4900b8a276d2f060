"""Connections whose upgrade was done elsewhere: `_start(…, opened=True)` and `_open(…, opened=True)`."""

import asyncio
import socket

import pytest

import fastws
import fastws.sync
from fastws import State, _core, _policy
from fastws._aside import on_loop
from fastws._loop_io import _Protocol
from fastws._options import Special
from fastws.connection import Connection
from fastws.listener import Callbacks
from fastws.sync import _policy as sync_policy
from fastws.sync.connection import Connection as BlockingConnection
from peers import PONG, TEXT, Frame, Wire, close, frame, text


def settings(**options):
    return fastws.connect("ws://h/", **options)._settings


def pair():
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    return ours, Wire(theirs)


async def started(ours, listener=None, request=None, **options):
    ws = Connection(asyncio.get_running_loop(), _policy, settings(**options))
    await ws._start(ours.detach(), request, "ws://elsewhere/", listener=listener, opened=True)
    return ws


async def test_frames_are_all_that_an_opened_connection_sends_and_expects():
    ours, wire = pair()
    wire.send(text("before"), frame(9, b"p"))
    ws = await started(ours)
    assert ws.state is State.OPEN
    assert (ws._phase, ws.uri, ws._request, ws.response) == ("open", "ws://elsewhere/", None, None)
    assert await ws.recv() == "before"
    await ws.send("after")
    assert sorted(wire.read_frames(2)) == [Frame(TEXT, b"after"), Frame(PONG, b"p")]
    closing = asyncio.create_task(ws.close())
    await asyncio.sleep(0)
    assert (await asyncio.to_thread(wire.answer_close))[-1].payload == b"\x03\xe8"
    await closing
    assert ws.close_code == 1000


async def test_its_settings_hold_and_its_listener_is_told():
    told = []

    class Listen(fastws.Listener):
        def on_open(self, ws):
            told.append(("open", ws.state))

        def on_message(self, ws, message):
            told.append(message)

        def on_close(self, ws, info):
            told.append(("close", info.code))

    ours, wire = pair()
    wire.send(frame(TEXT, b"a", fin=False), frame(0, b"b"), close(1001))
    ws = await started(ours, Callbacks(Listen()), _special=Special("mixed"))
    await asyncio.to_thread(wire.read_to_close)
    wire.end()
    await ws.wait_closed()
    assert told == [("open", State.OPEN), "ab", ("close", 1001)]


async def test_pings_of_keepalive_begin_at_once():
    ours, wire = pair()
    ws = await started(ours, ping_interval=0.01, ping_timeout=None)
    assert (await asyncio.to_thread(wire.read_frame)).opcode == 9
    ws._abort("over")
    await ws.wait_closed()
    wire.sock.close()


async def test_the_request_that_was_sent_may_be_told():
    ours, wire = pair()
    request = _core.Request("ws://h/path", [], [], None, None, [])
    ws = await started(ours, request=request)
    assert ws.request.path == "/path"
    ws._abort("over")
    await ws.wait_closed()
    wire.sock.close()


async def test_by_a_transport():
    ours, wire = pair()
    loop = asyncio.get_running_loop()
    ws = Connection(loop, _policy, settings())
    transport, _ = await loop.create_connection(lambda: _Protocol(ws), sock=ours)
    wire.send(text("hello"))
    await ws._start(transport.get_extra_info("socket").fileno(), None, "", opened=True)
    assert await ws.recv() == "hello"
    await ws.send("hi")
    assert await asyncio.to_thread(wire.read_frame) == Frame(TEXT, b"hi")
    ws._abort("over")
    await ws.wait_closed()
    wire.sock.close()


async def test_a_transport_tells_of_no_more_than_its_buffer_has():
    ours, wire = pair()
    ws = Connection(asyncio.get_running_loop(), _policy, settings())
    protocol = _Protocol(ws)
    with ours:
        received = text("hello")
        protocol.get_buffer(-1)[:] = received
        protocol.buffer_updated(2 * len(received))
    wire.sock.close()


async def test_what_cannot_be_opened_is_refused():
    loop = asyncio.get_running_loop()
    with socket.socket() as unconnected:
        ws = Connection(loop, _policy, settings())
        with pytest.raises(ValueError, match="not connected"):
            ws._start(unconnected.fileno(), None, "", opened=True)
        with pytest.raises(ValueError, match="by a request"):
            ws._start(unconnected.fileno(), None, "")
    ours, wire = pair()
    tls = await fastws.connect("wss://h/")._plan.tls.context(on_loop)
    with ours, pytest.raises(ValueError, match="TLS"):
        ws._start(ours.fileno(), None, "", tls, "h", opened=True)
    wire.sock.close()


def test_a_blocking_connection_too():
    ours, wire = pair()
    wire.send(text("before"))
    ws = BlockingConnection(sync_policy, settings(), True)
    assert ws._open(ours.detach(), None, "ws://elsewhere/", opened=True) is True
    assert ws.recv(timeout=10) == "before"
    ws.send("after")
    assert wire.read_frame() == Frame(TEXT, b"after")
    ws._abort("over")
    wire.sock.close()
    assert ws.state is State.CLOSED
    with socket.socket() as unconnected, pytest.raises(ValueError, match="not connected"):
        BlockingConnection(sync_policy, settings(), True)._open(unconnected.fileno(), None, "", opened=True)
