"""fastws.testing from Python: every path and every fault, as the client sees them (rust/server has more)."""

import asyncio
import errno
import hashlib
import re
import time

import pytest

import fastws
from fastws.testing import (
    Accept,
    Answer,
    Blast,
    Echo,
    End,
    Expect,
    Fault,
    Paced,
    PingEvery,
    Refuse,
    Replay,
    Send,
    SendClose,
    SendFragments,
    SendPing,
    SendPong,
    SendRaw,
    Server,
    Wait,
)


async def receive_all(ws):
    """All messages, and how it ended: None or the exception."""
    messages = []
    try:
        while True:
            messages.append(await ws.recv())
    except fastws.ConnectionClosed as error:
        return messages, error


@pytest.fixture(params=[False, True], ids=["tcp", "tls"])
def server(request, fastws_server_factory):
    return fastws_server_factory(tls=request.param)


def connect(server, target, **options):
    tls = fastws.TlsConfig(ca=server.ca_pem) if server.ca_pem else None
    return fastws.connect(server.url(target), tls=tls, **options)


# Paths.


async def test_echo_in_kind(server):
    async with connect(server, "/echo") as ws:
        for message in ("text", b"binary", "", b"", "ż" * 70_000):
            await ws.send(message)
            assert await ws.recv() == message


async def test_an_answer_that_takes_thought_comes_that_much_later(server):
    async with connect(server, "/echo?think_us=30000") as ws:
        for message in ("text", b"x" * 300_000):
            start = time.perf_counter()
            await ws.send(message)
            assert await ws.recv() == message
            assert time.perf_counter() - start >= 0.03


async def test_blast_is_as_long_and_as_numbered_as_asked_for(server):
    async with connect(server, "/blast?n=5000&size=64&seq=1") as ws:
        messages, error = await receive_all(ws)
    assert [int.from_bytes(message[:8], "little") for message in messages] == list(range(5000)) or [
        int.from_bytes(message[:8], "big") for message in messages
    ] == list(range(5000))
    assert {len(message) for message in messages} == {64}
    assert error.code == 1000


async def test_paced_keeps_its_rate(server):
    start = time.perf_counter()
    async with connect(server, "/paced?rate=200&n=60&size=32") as ws:
        messages, _ = await receive_all(ws)
    assert len(messages) == 60
    assert time.perf_counter() - start > 0.25


async def test_a_feed_of_ones_own_is_replayed_in_order_and_at_its_pace(server):
    feed = [(0.02 * number, "text" if number % 3 else "binary", b"message %d" % number) for number in range(20)]
    server.add_feed("mine", feed)
    for speed, least in ((1, 0.35), (0, 0)):
        start = time.perf_counter()
        async with connect(server, f"/replay/mine?speed={speed}") as ws:
            messages, error = await receive_all(ws)
        assert time.perf_counter() - start >= least
        assert error.code == 1000
        assert [m.encode() if isinstance(m, str) else m for m in messages] == [payload for _, _, payload in feed]
        assert [isinstance(message, str) for message in messages] == [kind == "text" for _, kind, _ in feed]
    assert server.replay_started_ns("mine") > 0


async def test_sink_counts_and_reports():
    with Server(record=True) as server:
        async with fastws.connect(server.url("/sink")) as ws:
            await ws.send("one")
            await ws.send(b"two!")
        (report,) = server.connections()
        assert (report.messages_in, report.bytes_in) == (2, 7)
        assert [frame.payload for frame in report.frames if frame.opcode in (1, 2)] == [b"one", b"two!"]
        assert report.close_received == (1000, "")
        assert report.target == "/sink"
        assert dict(report.headers)["Host"] == f"127.0.0.1:{server.port}"
        stats = server.stats()
        assert (stats.accepted, stats.messages_in, stats.bytes_in) == (1, 2, 7)


@pytest.mark.parametrize(
    "target", ["/close?code=4001&reason=session+over", "/close?code=4001&reason=session+over&after_ms=20"]
)
async def test_close_by_the_server(server, target):
    async with connect(server, target) as ws:
        _, error = await receive_all(ws)
    assert (error.code, error.reason) == (4001, "session over")


async def test_a_delayed_answer_and_bytes_glued_to_it(server):
    start = time.perf_counter()
    async with connect(
        server, "/echo?accept_ms=60&glue=810474657874&header=X-Shard:7&subprotocol=v2", subprotocols=["v2"]
    ) as ws:
        assert time.perf_counter() - start > 0.05
        assert await ws.recv() == "text"
        assert ws.response.headers["x-shard"] == "7"
        assert ws.subprotocol == "v2"


async def test_pings_of_the_server_are_answered(server):
    async with connect(server, "/sink?ping_ms=10") as ws:
        while ws.stats().pongs_sent < 3:
            await asyncio.sleep(0.005)


# Faults.


@pytest.mark.parametrize(
    ("fault", "count", "code", "cause"),
    [
        ("close:4002:so:it:goes@10", 10, 4002, None),
        ("reset@10", 10, 1006, "reset|ended the stream"),
        ("eof@10", 10, 1006, "ended the stream without a Close frame"),
        ("half-close@10", 10, 1006, "ended the stream without a Close frame"),
        ("garbage:ff00@10", 10, 1006, "reserved"),
        ("garbage:8101ff@10", 10, 1006, "UTF-8"),
        ("garbage:827fffffffffffffffff@10", 10, 1006, "most significant bit"),
    ],
)
async def test_a_fault_at_a_message_gives_those_before_it_and_its_name(server, fault, count, code, cause):
    async with connect(server, f"/blast?n=1000&size=32&fault={fault}", close_timeout=1) as ws:
        messages, error = await receive_all(ws)
    assert len(messages) == count
    assert error.code == code
    if cause is None:
        assert error.reason == "so:it:goes"
        assert error.__cause__ is None
    else:
        assert error.__cause__ is not None
        assert re.search(cause, str(error.__cause__)), str(error.__cause__)


async def test_a_drip_changes_nothing_but_the_time(server):
    async with connect(server, "/blast?n=20&size=50&fault=drip:7:1") as ws:
        messages, error = await receive_all(ws)
    assert len(messages) == 20
    assert error.code == 1000


async def test_a_server_that_stalls_reading_makes_the_client_wait(server):
    async with connect(server, "/sink?fault=stall:300") as ws:
        start = time.perf_counter()
        total = 0
        while time.perf_counter() - start < 0.2:
            try:
                await ws.send(b"x" * 100_000, timeout=0.05)
            except TimeoutError:
                break
            total += 100_000
        await ws.send(b"last", timeout=10)
    assert server.stats().messages_in >= total // 100_000


async def test_silence_is_found_by_keepalive(server):
    async with connect(
        server, "/blast?n=1000&size=32&fault=silence@10", ping_interval=0.05, ping_timeout=0.5, close_timeout=0.1
    ) as ws:
        messages, error = await receive_all(ws)
    assert len(messages) == 10
    assert isinstance(error.__cause__, fastws.KeepaliveTimeout)


@pytest.mark.parametrize("target", ["/echo?fault=status:503@request", "/status/503?header=Retry-After:3&body=later"])
async def test_a_refused_upgrade(server, target):
    with pytest.raises(fastws.InvalidStatus) as caught:
        await connect(server, target)
    assert caught.value.response.status_code == 503


@pytest.mark.parametrize("fault", ["reset", "eof", "freeze"])
async def test_a_fault_instead_of_an_answer(server, fault):
    with pytest.raises((fastws.InvalidHandshake, fastws.OpenTimeout, fastws.ConnectError)) as caught:
        await connect(server, f"/echo?fault={fault}@request", open_timeout=1)
    assert caught.value.phase == "upgrade"


@pytest.mark.parametrize(
    ("target", "match"),
    [
        ("/nowhere", "no such path"),
        ("/echo?colour=red", "no parameter"),
        ("/echo?fault=explode@3", "unknown fault"),
        ("/blast?n=many", "n is"),
        ("/replay/unknown", "unknown"),
    ],
)
async def test_a_wrong_target_is_refused_and_says_what_is_wrong(fastws_server, target, match):
    with pytest.raises(fastws.InvalidStatus, match=match):
        await fastws.connect(fastws_server.url(target))


# Scripts.


async def test_every_step_of_a_script(server):
    server.script(
        "/all",
        [
            Accept(headers=(("X-Server", "scripted"),), subprotocol="v1", glued=bytes((0x81, 1)) + b"!"),
            Expect(1),
            Send("text"),
            Send(b"binary"),
            SendFragments(("a", "b", "c")),
            SendPing(b"ping"),
            SendPong(b"pong"),
            SendRaw(bytes((0x82, 2)) + b"ok"),
            Echo(1),
            Blast(3, size=4),
            Paced(2, rate=1000, size=32),
            PingEvery(0.01),
            Wait(0.3),
            SendClose(4003, "done"),
            End(),
        ],
    )
    async with connect(server, "/all", subprotocols=["v1"]) as ws:
        assert ws.response.headers["X-Server"] == "scripted"
        assert await ws.recv() == "!"
        await ws.send("go")
        assert [await ws.recv() for _ in range(4)] == ["text", b"binary", "abc", b"ok"]
        await ws.send("echo me")
        assert await ws.recv() == "echo me"
        messages, error = await receive_all(ws)
    assert [len(message) for message in messages] == [4, 4, 4, 32, 32]
    assert (error.code, error.reason) == (4003, "done")
    assert ws.stats().pings_received >= 2
    assert ws.stats().pongs_received == 1


async def test_scripts_that_refuse_answer_and_fail(server):
    server.script("/refuse", [Refuse(418, (("X-Pot", "short"),), b"a teapot")])
    with pytest.raises(fastws.InvalidStatus, match="418") as caught:
        await connect(server, "/refuse")
    assert caught.value.response.body == b"a teapot"
    server.script("/answer", [Answer(b"HTTP/1.1 101 Fine\r\nUpgrade: websocket\r\nConnection: upgrade\r\n"
                                     b"Sec-WebSocket-Accept: {accept}\r\n\r\n"), Send("hello")])  # fmt: skip
    async with connect(server, "/answer") as ws:
        assert await ws.recv() == "hello"
    server.script("/fault", [Send("1"), Fault("reset")])
    async with connect(server, "/fault") as ws:
        messages, error = await receive_all(ws)
    assert messages == ["1"]
    assert error.code == 1006


def test_a_port_that_is_taken_is_an_os_error():
    with Server() as server:
        with pytest.raises(OSError, match=rf"cannot listen on 127\.0\.0\.1:{server.port}: ") as caught:
            Server(port=server.port)
        assert caught.value.errno == errno.EADDRINUSE


def test_a_feed_that_is_none_is_named(tmp_path):
    path = tmp_path / "feed.jsonl.gz"
    path.write_bytes(b"no gzip")
    with Server() as server:
        with pytest.raises(ValueError, match=r"feed\.jsonl\.gz"):
            server.load_feed("x", path)
        with pytest.raises(FileNotFoundError, match=r"missing\.jsonl\.gz"):
            server.load_feed("x", tmp_path / "missing.jsonl.gz")


@pytest.mark.parametrize(
    ("arguments", "error", "match"),
    [
        ({"host": 5}, TypeError, "host is an address"),
        ({"port": "1"}, TypeError, "port is a number from 0 to 65535, not '1'"),
        ({"tls": "yes"}, TypeError, "tls is True or False, not 'yes'"),
        ({"names": "localhost"}, TypeError, "names is a sequence"),
        ({"cpus": [0.5]}, TypeError, "cpus is a sequence"),
        ({"threads": 0}, ValueError, "threads must be between 1 and 256"),
        ({"spin": "1"}, TypeError, "spin is seconds"),
        ({"timeout": -1}, ValueError, "timeout is zero or more seconds"),
        ({"headers": ["ab"]}, TypeError, "headers is a mapping or pairs"),
        ({"subprotocols": [1]}, TypeError, "subprotocols is a sequence"),
        ({"max_message": 0}, ValueError, "max_message must be at least 1"),
        ({"record": None}, TypeError, "record is True or False"),
    ],
)
def test_a_wrong_argument_of_the_server_is_named(arguments, error, match):
    with pytest.raises(error, match=match):
        Server(**arguments)


@pytest.mark.parametrize(
    ("step", "error", "match"),
    [
        (5, TypeError, "5 is no step such as Send"),
        (Send, TypeError, "is no step such as Send"),
        (Send(5), TypeError, r"Send\.message is str or bytes, not 5"),
        (SendFragments(("a", b"b")), TypeError, r"SendFragments\.fragments: all of a message must be of one type"),
        (SendFragments("ab"), TypeError, r"SendFragments\.fragments is a tuple"),
        (SendPing("x"), TypeError, r"SendPing\.data is bytes, not 'x'"),
        (SendClose(70_000), ValueError, r"SendClose\.code must be from 0 to 65535, not 70000"),
        (Expect("many"), TypeError, r"Expect\.count is a number \(int\) or None, not 'many'"),
        (Blast(-1), ValueError, r"Blast\.count must be 0 or more, not -1"),
        (Paced(1, rate=0), ValueError, r"Paced\.rate must be from 1e-06"),
        (Wait(float("nan")), ValueError, r"Wait\.seconds must be 0 or more, not nan"),
        (Accept(headers=("ab",)), TypeError, r"Accept\.headers is pairs of str"),
        (Refuse(99), ValueError, r"Refuse\.status must be from 100 to 999, not 99"),
        (Replay("x", subscribe="all"), TypeError, r"""Replay\.subscribe is "ignore", "any" or "json", not 'all'"""),
        (Fault("nope"), ValueError, 'unknown fault "nope"'),
    ],
)
def test_a_wrong_step_is_named(fastws_server, step, error, match):
    with pytest.raises(error, match=match):
        fastws_server.script("/wrong", [step])


def test_what_is_no_list_of_steps_or_of_messages_is_shown(fastws_server):
    with pytest.raises(TypeError, match=r"steps is a list of steps such as Send\(\.\.\.\), not End"):
        fastws_server.script("/wrong", End())
    with pytest.raises(TypeError, match="path is a str, not 5"):
        fastws_server.script(5, [])
    with pytest.raises(TypeError, match="messages is a list"):
        fastws_server.add_feed("wrong", None)
    with pytest.raises(TypeError, match=r"a message of a feed is .*, not \(0, 'txt', b''\)"):
        fastws_server.add_feed("wrong", [(0, "txt", b"")])
    with pytest.raises(ValueError, match="the time of a feed's message is zero or more seconds, not -1"):
        fastws_server.add_feed("wrong", [(-1, "text", b"")])


async def test_stop_ends_all_connections_and_is_done_once():
    server = Server()
    ws = await fastws.connect(server.url("/echo"))
    server.stop()
    server.stop()
    with pytest.raises(fastws.ConnectionClosed):
        await ws.recv()
    with pytest.raises(fastws.DialError):
        await fastws.connect(server.url())


async def test_many_clients_at_once_get_each_their_own():
    with Server(threads=2) as server:
        server.add_feed("f", [(0, "text", str(number).encode() * 10) for number in range(500)])

        async def one(number):
            target = "/replay/f?speed=0" if number % 2 else "/blast?n=300&size=100"
            async with fastws.connect(server.url(target)) as ws:
                digest = hashlib.sha256()
                messages, error = await receive_all(ws)
                for message in messages:
                    digest.update(message.encode() if isinstance(message, str) else message)
                return len(messages), error.code, digest.hexdigest()

        results = await asyncio.gather(*(one(number) for number in range(40)))
        assert len({result for number, result in enumerate(results) if number % 2}) == 1
        assert {result[:2] for number, result in enumerate(results) if number % 2} == {(500, 1000)}
        assert {result[:2] for number, result in enumerate(results) if not number % 2} == {(300, 1000)}
