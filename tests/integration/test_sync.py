"""fastws.sync: what a blocking connection does, over TCP and TLS."""

import contextlib
import datetime as dt
import errno
import time

import orjson
import pytest

import fastws
import fastws.sync
import fastws.testing
from fastws import ConnectionClosedError, ConnectionClosedOK, State
from peers import (
    BINARY,
    PING,
    PONG,
    SMALL,
    TEXT,
    Frame,
    Gate,
    Peer,
    authority_pem,
    binary,
    frame,
    ignoring_the_end,
    numbered,
    peer_that_stalls,
    stalled,
    text,
)


def connect(peer, **options):
    if peer.url.startswith("wss:"):
        options.setdefault("tls", fastws.TlsConfig(ca=authority_pem()))
    return fastws.sync.connect(peer.url, **options)


@pytest.fixture(params=[False, True], ids=["tcp", "tls"])
def tls(request):
    return request.param


@pytest.fixture(params=[True, False], ids=["helped", "alone"])
def background(request):
    return request.param


def test_text_is_str_and_binary_is_bytes(tls, background):
    with Peer(lambda wire: (wire.send(text("grüß"), binary(b"\x00\xff")), wire.answer_close()), tls=tls) as peer:
        with connect(peer, background=background) as ws:
            assert ws.recv() == "grüß"
            assert ws.recv() == b"\x00\xff"
            assert ws.state is State.OPEN
        assert ws.state is State.CLOSED
        assert ws.close_code == 1000


async def test_who_enters_it_as_if_it_were_asynchronous_is_told():
    with Peer(lambda wire: wire.read_to_end()) as peer:
        ws = connect(peer)
        with pytest.raises(TypeError, match="write `with` instead of `async with`"):
            async with ws:
                pass
        ws.wait_closed(10)
        assert ws.state is State.CLOSED


def test_decode_gives_the_kind_that_is_asked_for():
    def script(wire):
        wire.send(text("ä"), binary(b"abc"), binary(b"\xff"))
        wire.answer_close()

    with Peer(script) as peer, connect(peer) as ws:
        assert ws.recv(decode=False) == "ä".encode()
        assert ws.recv(decode=True) == "abc"
        with pytest.raises(UnicodeDecodeError):
            ws.recv(decode=True)


@pytest.mark.parametrize("kind", ["auto", "bytes", "view"])
def test_messages_come_in_the_form_that_was_chosen(kind):
    with Peer(lambda wire: (wire.send(*map(text, "abc")), wire.answer_close())) as peer:
        with connect(peer, messages=kind) as ws:
            got = [ws.recv() for _ in range(3)]
    assert got == (list("abc") if kind == "auto" else [b"a", b"b", b"c"])


def test_what_is_sent_arrives(tls, background):
    with Peer(tls=tls) as peer, connect(peer, background=background) as ws:
        ws.send("grüß")
        ws.send(b"bytes")
        ws.send(bytearray(b"array"), text=True)
        ws.send(["fr", "ag", "ment"])
        ws.send_many([b"1", "2"])
        ws.send_json({"a": 1})
        with ws.cork():
            ws.send("corked")
    *frames, _ = peer.results[0]
    assert [(f.opcode, f.payload, f.fin) for f in frames] == [
        (TEXT, "grüß".encode(), True),
        (BINARY, b"bytes", True),
        (TEXT, b"array", True),
        (TEXT, b"fr", False),
        (0, b"ag", False),
        (0, b"ment", True),
        (BINARY, b"1", True),
        (TEXT, b"2", True),
        (TEXT, orjson.dumps({"a": 1}), True),
        (TEXT, b"corked", True),
    ]


@pytest.mark.parametrize("size", [0, 125, 126, 65_535, 65_536, 3_000_000])
def test_messages_of_all_sizes_come_back(size, tls, background):
    with fastws.testing.Server(tls=tls) as server:
        options = {"tls": fastws.TlsConfig(ca=server.ca_pem)} if tls else {}
        with fastws.sync.connect(server.url("/echo"), background=background, **options) as ws:
            ws.send(b"x" * size, timeout=20)
            assert ws.recv(timeout=20) == b"x" * size


def test_compression_works(background):
    with fastws.testing.Server() as server:
        with fastws.sync.connect(server.url("/echo"), background=background, compression="deflate") as ws:
            for size in (10, 10_000, 3_000_000):
                ws.send("ab" * size)
                assert ws.recv(timeout=20) == "ab" * size


def test_iteration_takes_all_and_ends_with_the_server(tls, background):
    with Peer(lambda wire: (wire.send(numbered(range(5000))), wire.close()), tls=tls) as peer:
        with connect(peer, background=background) as ws:
            assert list(ws) == [str(number) for number in range(5000)]
        assert ws.close_info.code == 1000


def test_iteration_raises_where_the_end_is_none():
    with Peer(lambda wire: (wire.send(text("a")), wire.reset())) as peer, connect(peer) as ws:
        with pytest.raises(ConnectionClosedError):
            list(ws)


def test_batches_take_what_is_here():
    def script(wire):
        wire.send(numbered(range(1000)))
        wire.close()

    with Peer(script) as peer, connect(peer) as ws:
        batches = list(ws.batches(max_messages=100))
    assert [message for batch in batches for message in batch] == [str(number) for number in range(1000)]
    assert max(map(len, batches)) <= 100
    assert batches[-1].last_seq == 1000


def test_batches_wait_for_more():
    def script(wire):
        for number in range(20):
            wire.send(text(str(number)))
        wire.close()

    with Peer(script) as peer, connect(peer) as ws:
        batches = [list(batch) for batch in ws.batches(max_messages=20, max_wait=20)]
    assert batches == [[str(number) for number in range(20)]]


def test_batches_refuse_wrong_limits_at_the_call():
    with Peer() as peer, connect(peer) as ws:
        with pytest.raises(ValueError, match="max_messages"):
            ws.batches(0)
        with pytest.raises(TypeError, match="max_wait"):
            ws.batches(max_wait="1")


def test_recv_after_the_end_gives_the_rest_and_then_the_end():
    with Peer(lambda wire: (wire.send(numbered(range(3))), wire.close(1001, "bye"))) as peer, connect(peer) as ws:
        ws.wait_closed(timeout=20)
        assert [ws.recv() for _ in range(3)] == ["0", "1", "2"]
        with pytest.raises(ConnectionClosedOK) as caught:
            ws.recv()
        assert (caught.value.rcvd.code, caught.value.rcvd.reason) == (1001, "bye")
        with pytest.raises(ConnectionClosedOK):
            ws.send("late")


# Deadlines.


@pytest.mark.parametrize("timeout", [0, 0.01, dt.timedelta(milliseconds=10)])
def test_a_recv_that_gives_up_loses_nothing(timeout, background):
    gate = Gate()

    def script(wire):
        gate.wait()
        wire.send(numbered(range(2)))
        wire.answer_close()

    with Peer(script) as peer, connect(peer, background=background) as ws:
        for _ in range(3):
            with pytest.raises(TimeoutError, match="no message within 0"):
                ws.recv(timeout)
        gate.open()
        assert ws.recv(timeout=20) == "0"
        assert ws.recv(timeout=0) == "1"


@pytest.mark.parametrize("wrong", [-1, "1", float("nan"), True])
def test_a_timeout_that_is_none_is_refused(wrong):
    with Peer() as peer, connect(peer) as ws:
        for call in (ws.recv, lambda t: ws.send("a", timeout=t), ws.wait_closed):
            with pytest.raises((TypeError, ValueError), match="timeout"):
                call(wrong)


def test_a_send_without_room_says_so_and_sent_nothing(background):
    gate = Gate()
    with peer_that_stalls(gate) as peer:
        ws = connect(peer, background=background, max_send_bytes=100_000, write_limit=50_000, close_timeout=20)
        accepted = 0
        with pytest.raises(TimeoutError, match=r"no room within 0\.05 s"):
            for number in range(10_000):
                # Without the helper the call also says that what it sent waits.
                with contextlib.nullcontext() if background else not_all_sent():
                    ws.send(str(number) + "x" * 40_000, timeout=0.05)
                accepted += 1
        gate.open()
        ws.close()
    assert [f.payload.split(b"x")[0] for f in peer.results[0]] == [b"%d" % number for number in range(accepted)]


@contextlib.contextmanager
def not_all_sent():
    try:
        yield
    except TimeoutError as error:
        if "accepted, but not all sent" not in str(error):
            raise


def test_fragments_without_room_close_the_connection():
    gate = Gate()
    with peer_that_stalls(gate) as peer:
        ws = connect(peer, max_send_bytes=100_000, close_timeout=20)
        with pytest.raises(TimeoutError, match="a part of the message was"):
            ws.send(("x" * 40_000 for _ in range(10_000)), timeout=0.1)
        gate.open()
        ws.wait_closed(20)
        assert ws.close_info.sent.code == 1011


def test_wait_closed_has_a_deadline():
    with Peer() as peer, connect(peer) as ws:
        with pytest.raises(TimeoutError):
            ws.wait_closed(0.01)


def test_close_waits_no_longer_than_close_timeout():
    gate = Gate()
    with Peer(lambda wire: (gate.wait(), wire.read_to_end())) as peer:
        ws = connect(peer, close_timeout=0.05)
        ws.close()
        assert "within close_timeout" in str(ws.close_info.cause)
        gate.open()


@pytest.mark.parametrize("phase", ["tls", "upgrade"])
def test_open_timeout_names_the_phase(phase):
    gate = Gate()
    peer = Peer(lambda _: gate.wait(), upgrade=False)
    with peer:
        url = peer.url.replace("ws:", "wss:") if phase == "tls" else peer.url
        with pytest.raises(fastws.OpenTimeout, match=r"not open within 0\.5 s") as caught:
            fastws.sync.connect(url, open_timeout=0.5, **({"tls": "webpki"} if phase == "tls" else {}))
        assert caught.value.phase == phase
        gate.open()


# Opening.


def test_a_refused_upgrade_is_an_invalid_status():
    def script(wire):
        wire.read_request()
        wire.send(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno")

    with Peer(script, upgrade=False) as peer:
        with pytest.raises(fastws.InvalidStatus, match="403 Forbidden: no"):
            connect(peer)


def test_nobody_there_is_a_dial_error():
    with pytest.raises(fastws.DialError, match="connection refused") as caught:
        fastws.sync.connect("ws://127.0.0.1:9/")
    assert (caught.value.kind, caught.value.errno) == ("refused", errno.ECONNREFUSED)
    with pytest.raises(fastws.DialError, match="was not found"):
        fastws.sync.connect("ws://nobody.invalid/")


def test_an_untrusted_certificate_is_named():
    with Peer(lambda wire: None, tls=True, upgrade=False) as peer:
        peer._errors = type("Ignored", (list,), {"append": lambda *_: None})()
        with pytest.raises(fastws.CertificateError, match="has an unknown issuer"):
            fastws.sync.connect(peer.url, tls="webpki")


def test_a_name_is_looked_up_and_unknown_arguments_are_refused():
    with Peer() as peer:
        with fastws.sync.connect(f"ws://localhost:{peer.port}/"):
            pass
    with pytest.raises(TypeError, match="listener"):
        fastws.sync.connect("ws://localhost/", listener=object())
    with pytest.raises(TypeError, match="background"):
        fastws.sync.connect("ws://localhost/", background=1)


def test_the_socket_may_be_given(tls):
    import socket

    with Peer(tls=tls) as peer:
        sock = socket.create_connection(("127.0.0.1", peer.port))
        with connect(peer, sock=sock) as ws:
            ws.send("a")
        assert sock.fileno() == -1


def test_it_tells_of_itself():
    with Peer(lambda wire: (wire.send(text("a")), wire.answer_close())) as peer:
        with connect(peer, subprotocols=["a"], additional_headers={"X-One": "1"}) as ws:
            before = time.time_ns()
            assert ws.recv() == "a"
            assert abs(ws.received_ns - before) < 20e9
            assert ws.seq == 1
            assert ws.stats().messages_received == 1
            assert ws.request.headers["X-One"] == "1"
            assert ws.response.status_code == 101
            assert ws.subprotocol is None
            assert ws.remote_address == ("127.0.0.1", peer.port)
            assert ws.local_address[0] == "127.0.0.1"
            assert ws.compression is None
            assert repr(ws) == f"<fastws.sync.Connection {peer.url} open>"


# Pings.


def test_a_ping_is_answered_and_measured(background):
    def script(wire):
        ping = wire.read_frame()
        assert ping == Frame(PING, b"data")
        wire.send(frame(PONG, b"data"), text("behind"))
        wire.answer_close()

    with Peer(script) as peer, connect(peer, background=background) as ws:
        pong = ws.ping("data")
        assert 0 < pong.result(timeout=20) < 20
        assert ws.latency == pytest.approx(pong.result(), abs=0.1)
        assert ws.recv() == "behind"


def test_a_ping_without_an_answer_ends_with_its_deadline_or_the_connection():
    with Peer() as peer:
        with connect(peer) as ws:
            pong = ws.ping()
            with pytest.raises(TimeoutError):
                pong.result(timeout=0.01)
        with pytest.raises(ConnectionClosedOK):
            pong.result()


def test_pings_are_answered_while_the_program_computes(tls):
    """No call is in progress: the helper reads."""

    def script(wire):
        wire.send(frame(PING, b"1"))
        answer = wire.read_frame()
        wire.send(text("answered"))
        wire.answer_close()
        return answer

    answered = Gate()
    with Peer(lambda wire: (script(wire), answered.open())[0], tls=tls) as peer:
        with connect(peer) as ws:
            while ws.stats().pongs_sent == 0:
                sum(range(1000))
            assert ws.recv() == "answered"
    assert peer.results[0] == Frame(PONG, b"1")


def test_without_the_helper_only_calls_read():
    opened = Gate()

    def script(wire):
        opened.wait()
        wire.send(frame(PING, b"1"), text("a"))
        assert wire.read_frame() == Frame(TEXT, b"b")
        assert wire.read_frame() == Frame(PONG, b"1")
        wire.answer_close()

    with Peer(script) as peer, connect(peer, background=False) as ws:
        opened.open()
        time.sleep(0.3)  # three times as long as a helper would wait
        assert ws.stats().frames_received == 0
        ws.send("b")
        assert ws.recv() == "a"


def test_keepalive_is_kept_while_the_program_computes():
    with fastws.testing.Server() as server, fastws.sync.connect(server.url("/echo"), ping_interval=0.02) as ws:
        while ws.stats().pongs_received < 3:
            sum(range(1000))


def test_a_silent_peer_ends_a_recv():
    gate = Gate()
    with Peer(lambda wire: gate.wait()) as peer:
        ws = connect(peer, ping_interval=0.05, ping_timeout=0.05, close_timeout=0.05)
        with pytest.raises(ConnectionClosedError, match="keepalive"):
            ws.recv(timeout=20)
        ws.close()
        gate.open()


def test_a_full_queue_stops_reading_and_loses_nothing(tls, background):
    sent = Gate()
    count = 0

    def script(wire):
        nonlocal count
        count = wire.send_until_blocked(text("x" * 4000))
        sent.open()
        wire.finish()
        wire.close()

    with Peer(script, tls=tls, buffers=SMALL) as peer:
        with connect(peer, max_queue=8, background=background) as ws:
            sent.wait()
            assert ws.stats().receive_queue_messages <= 8 + 70  # a read of 256 KiB
            assert sum(1 for _ in ws) == count + 1
            assert ws.stats().messages_discarded == 0


def test_closing_with_a_full_queue_does_not_hang():
    blocked = Gate()

    def script(wire):
        wire.send_until_blocked(text("x" * 4000))
        blocked.open()
        wire.finish()
        wire.answer_close()

    with Peer(script, buffers=SMALL) as peer:
        with connect(peer, max_queue=8) as ws:
            blocked.wait()
            assert ws.recv() == "x" * 4000
        assert ws.close_info.cause is None, ws.close_info
        assert ws.close_code == 1000


def test_a_close_of_the_server_is_answered_while_the_program_computes():
    with Peer(lambda wire: wire.close(4000)) as peer, connect(peer) as ws:
        while ws.state is not State.CLOSED:
            sum(range(1000))
        assert ws.close_code == 4000


@pytest.mark.parametrize("background", [True, False])
def test_pings_and_pongs_wait_for_nobody(background):
    gate = Gate()
    with Peer(ignoring_the_end(stalled(gate)), buffers=4096) as peer:
        ws = fastws.sync.connect(peer.url, background=background, ping_interval=None, close_timeout=0.05)
        with pytest.raises(TimeoutError):
            while True:
                ws.send(b"x" * 100_000, timeout=0.05)
                if ws.stats().send_queue_bytes > 200_000:
                    raise TimeoutError
        pong = ws.ping()
        ws.pong()
        with pytest.raises(TimeoutError):
            pong.result(timeout=0.01)
        ws._abort("enough")
        gate.open()


def test_what_nobody_is_there_to_send_is_an_error_that_says_so():
    gate = Gate()
    with Peer(stalled(gate), buffers=SMALL) as peer, connect(peer, background=False) as ws:
        with pytest.raises(TimeoutError, match=r"accepted, but not all sent in time: \d+ bytes wait"):
            ws.send(b"x" * 20_000_000, timeout=0.05)
        assert ws.pong() is None  # waits for nobody
        gate.open()
        ws.send("last")
    assert [frame.payload for frame in peer.results[0] if frame.opcode != PONG] == [b"x" * 20_000_000, b"last"]


@pytest.mark.parametrize("first", [[], [b"first, "]])
def test_a_message_in_fragments_that_nobody_is_there_to_send_is_accepted_whole(first):
    gate = Gate()
    with Peer(stalled(gate), buffers=SMALL) as peer, connect(peer, background=False) as ws:
        with pytest.raises(TimeoutError, match=r"accepted, but not all sent in time: \d+ bytes wait"):
            ws.send([*first, b"x" * 20_000_000], timeout=0.05)
        gate.open()
        ws.send("last")
        ws.close()
    frames = peer.results[0]
    assert b"".join(frame.payload for frame in frames) == b"".join([*first, b"x" * 20_000_000, b"last"])
    assert ws.close_info.sent.code == 1000


def test_fragments_that_do_not_leave_in_time_leave_no_message_unfinished():
    gate = Gate()
    with Peer(stalled(gate), buffers=SMALL) as peer:
        ws = connect(peer, background=False, max_send_bytes=30_000_000, close_timeout=20)
        with pytest.raises(TimeoutError, match="a part of the message was"):
            ws.send([b"x" * 20_000_000] * 3, timeout=0.05)
        gate.open()
        ws.wait_closed(20)
        assert ws.close_info.sent.code == 1011
