"""The venue of the embedded server, as a plain connection sees it: one clock, tokens, channels, scheduled faults."""

import asyncio
import contextlib
import json
import time
from itertools import pairwise

import pytest

import fastws
from fastws.testing import CloseAt, CutAt, DropAt, ExpireAt, RefuseAt, ResetAt, Server, SilenceAt

COUNT = 400
FEED = [(i * 0.001, "text", f'{{"n":{i}}}'.encode()) for i in range(COUNT)]
TICK = 0.001
"""Seconds between two messages of the feed."""
SLOW = 0.005
"""The same of one during which the client has something to do in time."""


@pytest.fixture(params=[False, True], ids=["tcp", "tls"])
def server(request):
    with Server(tls=request.param) as server:
        server.add_feed("feed", FEED)
        server.add_feed("slow", [(i * SLOW, *rest) for i, (_, *rest) in enumerate(FEED)])
        yield server


def connect(server, venue, **options):
    tls = fastws.TlsConfig(ca=server.ca_pem) if server.ca_pem else None
    return fastws.connect(venue.url, tls=tls, **options)


async def ask(ws, **request):
    """Sends a request and returns its answer; what comes before it is thrown away."""
    await ws.send(json.dumps(request))
    while True:
        answer = json.loads(await ws.recv())
        if "type" in answer:
            return answer


async def subscribed(ws, channel="all"):
    assert await ask(ws, type="subscribe", channel=channel) == {"type": "subscribed", "channel": channel}


async def numbers(ws, until=COUNT - 1):
    """The numbers of the messages that come, up to one of them or the end of the connection."""
    got = []
    try:
        while not got or got[-1] < until:
            got.append(json.loads(await ws.recv())["n"])
    except fastws.ConnectionClosed:
        pass
    return got


async def due(ws, venue, position):
    """Waits until so many messages were due; the numbers of those that came meanwhile."""
    got = []
    while venue.position < position:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(0):
                got.append(json.loads(await ws.recv())["n"])
        await asyncio.sleep(0)
    return got


async def over(venue, sessions=1):
    """The report, once so many sessions have ended: the server learns of an end after the client does."""
    while True:
        report = venue.report()
        if sum(session.ended_ns is not None for session in report.sessions) >= sessions:
            return report
        await asyncio.sleep(0)


async def test_who_is_away_misses_messages_and_who_comes_late_joins_in_the_middle(server):
    venue = server.add_venue("/v", "slow")
    async with connect(server, venue) as early:
        assert venue.started_ns is None
        await subscribed(early)
        async with connect(server, venue) as late:
            first = await numbers(early, until=50)
            await subscribed(late)
            rest, tail = await asyncio.gather(numbers(early), numbers(late))
    assert first + rest == list(range(COUNT))
    assert tail == list(range(tail[0], COUNT))
    assert tail[0] > 50
    report = await over(venue, 2)
    one, two = report.sessions
    assert (one.written, one.first_index, one.ended_by) == (COUNT, 0, "client")
    assert venue.indexes(one) == first + rest
    assert venue.indexes(two) == tail
    assert two.written == len(tail)
    assert report.position == venue.position == COUNT
    assert (report.accepted, len(report.accepted_ns), report.refused) == (2, 2, 0)
    assert {one.connection_id, two.connection_id} == {c.id for c in server.connections()}


async def test_messages_come_at_their_times_divided_by_the_speed(server):
    venue = server.add_venue("/v", "feed", speed=4)
    async with connect(server, venue) as ws:
        await subscribed(ws)
        assert await numbers(ws) == list(range(COUNT))
        took = (time.monotonic_ns() - venue.started_ns) / 1e9
    assert took >= (COUNT - 1) * TICK / 4


async def test_the_owner_can_start_the_clock(server):
    venue = server.add_venue("v", "feed", speed=100, autostart=False)
    async with connect(server, venue) as ws:
        await subscribed(ws)
        assert venue.started_ns is None
        venue.start()
        assert await numbers(ws) == list(range(COUNT))


async def test_a_token_is_demanded(server):
    venue = server.add_venue("/v", "feed", speed=50, tokens=["one"])
    async with connect(server, venue) as ws:
        assert await ask(ws, type="auth", token="two") == {"type": "error", "error": "unauthorized"}
        with pytest.raises(fastws.ConnectionClosedError) as caught:
            await ws.recv()
        assert (caught.value.code, caught.value.reason) == (4401, "unauthorized")
    async with connect(server, venue) as ws:
        assert (await ask(ws, type="subscribe", channel="all"))["error"] == "unauthorized"
    async with connect(server, venue) as ws:
        assert await ask(ws, type="auth", token="one", id=1) == {"type": "authenticated", "id": 1}
        await subscribed(ws)
        assert await numbers(ws) == list(range(COUNT))
    sessions = (await over(venue, 3)).sessions
    assert [s.refused_tokens for s in sessions] == [1, 0, 0]
    assert [s.close_code for s in sessions] == [4401, 4401, None]
    assert [s.authenticated_ns is not None for s in sessions] == [False, False, True]


async def test_a_token_expires(server):
    venue = server.add_venue("/v", "slow", tokens=["one", "two"], faults=[ExpireAt(0.05)])
    async with connect(server, venue) as ws:
        await ask(ws, type="auth", token="one")
        await subscribed(ws)
        first = await numbers(ws)
        assert ws.close_info.code == 4401
    async with connect(server, venue) as ws:
        assert (await ask(ws, type="auth", token="one"))["error"] == "unauthorized"
    async with connect(server, venue) as ws:
        assert (await ask(ws, type="auth", token="two"))["type"] == "authenticated"
        await subscribed(ws)
        rest = await numbers(ws)
    one, _, three = (await over(venue, 3)).sessions
    assert (venue.indexes(one), venue.indexes(three)) == (first, rest)
    assert (one.faults, one.close_code) == (("expire",), 4401)
    assert first == list(range(len(first)))


async def test_a_channel_is_sent_to_those_who_subscribed_to_it(server):
    channels = [("A", "B", None)[i % 3] for i in range(COUNT)]
    venue = server.add_venue("/v", "slow", channels=channels)
    async with connect(server, venue) as ws:
        assert (await ask(ws, type="subscribe", channel="C"))["error"] == "unknown channel"
        await subscribed(ws, "A")
        first = await numbers(ws, until=30)
        await ws.send('{"type":"subscribe","channel":"B"}')
        rest = []
        while not rest or rest[-1] < COUNT - 1:
            message = json.loads(await ws.recv())
            if "n" in message:
                rest.append(message["n"])
    assert {n % 3 for n in first} == {0, 2}
    assert {n % 3 for n in rest[-30:]} == {0, 1, 2}
    report = await over(venue)
    session = report.sessions[0]
    assert venue.indexes(session) == first + rest
    assert [s.channel for s in session.subscribed] == ["A", "B"]


async def test_snapshots_are_those_of_the_present(server):
    table = [(i, json.dumps({"type": "snapshot", "upto": i})) for i in range(0, COUNT, 10)]
    venue = server.add_venue("/v", "feed", snapshots={"all": table})
    async with connect(server, venue) as ws:
        assert await ask(ws, type="snapshot", channel="all", id="x") == {"id": "x", "type": "snapshot", "upto": 0}
        await subscribed(ws)
        seen = (await numbers(ws, until=100))[-1]
        answer = await ask(ws, type="snapshot", channel="all", id=5)
        assert answer["id"] == 5
        assert seen - 10 <= answer["upto"] <= venue.position
        assert (await ask(ws, type="snapshot", channel="none"))["error"] == "no snapshot"
        assert (await ask(ws, type="dance"))["error"] == "unknown type"
    assert (await over(venue)).sessions[0].snapshots == 2


async def test_a_reset_a_close_and_a_refusal_come_on_schedule(server):
    faults = [ResetAt(0.1), CloseAt(0.7, 1012, "restart"), RefuseAt(0.7, 0.6, retry_after=7)]
    venue = server.add_venue("/v", "slow", faults=faults)
    parts = []
    async with connect(server, venue) as ws:
        await subscribed(ws)
        parts.append(await numbers(ws))
        assert ws.close_info.code == 1006
    async with connect(server, venue) as ws:
        await subscribed(ws)
        parts.append(await numbers(ws))
        assert (ws.close_info.code, ws.close_info.reason) == (1012, "restart")
    refusals = []
    while True:
        try:
            async with connect(server, venue) as ws:
                await subscribed(ws)
                parts.append(await numbers(ws))
                break
        except fastws.InvalidStatus as error:
            refusals.append((error.response.status_code, error.response.headers["Retry-After"]))
    report = await over(venue, 3)
    one, two, three = report.sessions
    # What a reset destroyed in flight was written and did not arrive.
    assert venue.indexes(one)[: len(parts[0])] == parts[0]
    assert [venue.indexes(two), venue.indexes(three)] == parts[1:]
    assert [s.ended_by for s in report.sessions] == ["reset", "close", "client"]
    assert [s.faults for s in report.sessions] == [("reset",), ("close",), ()]
    assert set(refusals) == {(503, "7")}
    assert report.refused == len(report.refused_ns) == len(refusals)
    assert all(0.7e9 <= at - report.started_ns < 1.3e9 for at in report.refused_ns)
    assert three.first_index >= 1.3 / SLOW
    assert all(one < two for one, two in pairwise(report.accepted_ns))


async def test_a_silence_answers_no_pings_and_what_was_due_is_missed(server):
    venue = server.add_venue("/v", "slow", faults=[SilenceAt(50 * SLOW, 1)])
    async with connect(server, venue, ping_interval=None) as ws:
        await subscribed(ws)
        got = await due(ws, venue, 52)
        pong = await ws.ping()
        got += await numbers(ws)
        assert not pong.done()
        assert await (await ws.ping()) > 0
    [(last, first)] = [(one, two) for one, two in pairwise(got) if two != one + 1]
    assert last < 51
    assert first >= 50 + 1 / SLOW - 1
    session = (await over(venue)).sessions[0]
    assert venue.indexes(session) == got
    assert session.segments == (range(last + 1), range(first, COUNT))


async def test_during_a_cut_nothing_moves_and_then_everything_arrives_late(server):
    venue = server.add_venue("/v", "feed", faults=[CutAt(0.05, 0.1)])
    async with connect(server, venue) as ws:
        await subscribed(ws)
        first = await due(ws, venue, 52)
        rest, pong, late = await asyncio.gather(numbers(ws), ws.ping(), connect(server, venue))
        await pong
        async with late:
            await subscribed(late)
    assert first + rest == list(range(COUNT))
    report = await over(venue, 2)
    answered = {c.id: c.answered_ns for c in server.connections()}
    assert answered[report.sessions[1].connection_id] - report.started_ns >= 150e6


async def test_dropped_messages_are_sent_to_nobody(server):
    venue = server.add_venue("/v", "feed", faults=[DropAt(0.0205, 5)])
    async with connect(server, venue) as ws:
        await subscribed(ws)
        got = await numbers(ws)
    report = await over(venue)
    assert report.dropped == (range(21, 26),)
    assert got == [n for n in range(COUNT) if n not in range(21, 26)] == venue.indexes(report.sessions[0])


def test_what_is_wrong_is_said(server):
    for wrong, text in [
        ({"speed": 0}, "speed must be above 0"),
        ({"channels": ["A"]}, "channels has 1 entries for 400 messages"),
        ({"faults": [ResetAt(-1)]}, "at must be zero or more seconds"),
        ({"snapshots": {"A": [(0, "[1]")]}}, "a snapshot is a JSON object"),
    ]:
        with pytest.raises(ValueError, match=text):
            server.add_venue("/v", "feed", **wrong)
    with pytest.raises(ValueError, match='no feed is called "other"'):
        server.add_venue("/v", "other")
    with pytest.raises(TypeError, match="list of str"):
        server.add_venue("/v", "feed", tokens="secret")
    with pytest.raises(TypeError, match="not a fault"):
        server.add_venue("/v", "feed", faults=["reset"])
