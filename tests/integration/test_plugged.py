"""Handshakers, extensions, a recorder and a gap tracker, plugged into one client."""

import gzip
import json
import logging

import pytest

import fastws
from fastws.demo.feed import read_feed
from fastws.testing import Expect, Send

TOKEN = "hunter2-is-the-token"


async def test_all_of_them_in_one_session(fastws_server, tmp_path, caplog):
    caplog.set_level(logging.DEBUG)
    fastws_server.script(
        "/venue",
        [
            Expect(1),
            Send('{"seq":1}'),
            Send('{"type":"auth","status":"ok"}'),
            Expect(1),
            Send('{"seq":2}'),
            Send("heartbeat"),
            Send('{"seq":5}'),
        ],
    )

    class Filters(fastws.Extension):
        name = "filters"
        handles_messages = True
        handles_outgoing = True

        def on_message(self, message, context):
            return None if message == "heartbeat" else message

        async def on_send(self, message, context):
            return message.upper()

    path = tmp_path / "session.jsonl.gz"
    viewer = fastws.AdvancedStatusViewer()
    recorder = fastws.Recorder(path)
    client = fastws.WebSocketClient(
        fastws_server.url("/venue"),
        handshake=fastws.AuthHandshaker(lambda: TOKEN).json(),
        extensions=[Filters(), viewer, fastws.LoggingExtension.verbose()],
        tap=recorder,
    )
    tracker = fastws.SequenceTracker(lambda message: (None, json.loads(message)["seq"]))
    items = []
    async with client:
        assert viewer.is_connected
        await client.send("go")
        async for item in tracker.track(client.stream()):
            items.append(item)
            if len(items) == 4:
                break
    recorder.close()
    assert items[:2] == ['{"seq":1}', '{"seq":2}']
    assert (items[2].expected, items[2].got) == (3, 5)
    assert items[3] == '{"seq":5}'
    assert (viewer.connection_count, viewer.is_connected) == (1, False)
    events = [(event.direction, event.payload) for event in read_feed(path) if event.direction != "open"]
    assert sorted(events) == sorted(
        [("recv", '{"seq":1}'), ("send", "GO"), ("recv", '{"seq":2}'), ("recv", "heartbeat"), ("recv", '{"seq":5}')]
    )
    assert TOKEN.encode() not in gzip.decompress(path.read_bytes())
    assert TOKEN not in caplog.text
    assert 'received text: {"seq":1}' in caplog.text


async def test_a_refused_token_ends_the_client(fastws_server):
    fastws_server.script("/venue", [Expect(1), Send(json.dumps({"error": f"bad token {TOKEN}"}))])
    client = fastws.WebSocketClient(fastws_server.url("/venue"), handshake=fastws.AuthHandshaker(TOKEN))
    with pytest.raises(fastws.AuthFailed, match=r"bad token \*\*\*"):
        async with client:
            raise AssertionError("it let us in")
    assert fastws_server.stats().accepted == 1
