"""The drop-in's ``websockets.sync.connection``: what its calls do, with the real websockets server as the peer."""

import contextlib
import random
import socket
import ssl
import threading

import pytest
import websockets
from websockets.frames import Close, CloseCode
from websockets.sync.server import broadcast

from compat_peers import echo, websockets_server
from fastws.compat.websockets.sync.client import connect
from peers import PATIENCE, PING, PONG, Peer, Wire, authority_pem, frame, received, text, until_receiving


@pytest.fixture(params=[False, True], ids=["tcp", "tls"])
def tls(request):
    return request.param


@contextlib.contextmanager
def opened(handler, *, tls=False, **options):
    """A connection to a server with this handler."""
    if tls:
        options["ssl"] = ssl.create_default_context(cadata=authority_pem().decode())
    with websockets_server(handler, tls=tls) as uri, connect(uri, **options) as ws:
        yield ws


@contextlib.contextmanager
def threaded(function, *args):
    """Runs a call in a thread; gives a list that gets what it returned or raised."""
    outcome = []

    def run():
        try:
            outcome.append(function(*args))
        except Exception as error:
            outcome.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    yield outcome
    thread.join(PATIENCE)
    assert not thread.is_alive()


def test_iteration_ends_with_a_clean_close_and_raises_any_other(tls):
    def saying(code):
        def handler(ws):
            for number in range(3):
                ws.send(str(number))
            ws.close(code)

        return handler

    for code in (1000, 1001):
        with opened(saying(code), tls=tls) as ws:
            assert list(ws) == ["0", "1", "2"]
    with opened(saying(1011), tls=tls) as ws:
        seen = []
        with pytest.raises(websockets.ConnectionClosedError) as raised:
            seen.extend(ws)
        assert raised.value.rcvd == Close(1011, "")


def test_what_the_peer_says_behind_our_failure_does_not_count():
    def binary(wire):
        wire.send(frame(2, b"\xff"))
        wire.answer_close()

    with Peer(binary) as peer, connect(peer.url) as ws:
        for take in (lambda: list(ws.recv_streaming(decode=True)), ws.recv):
            with pytest.raises(websockets.ConnectionClosedError) as raised:
                take()
            assert (raised.value.rcvd, raised.value.rcvd_then_sent) == (None, None)
            assert raised.value.sent == Close(1007, "invalid start byte at position 0")
            assert isinstance(raised.value.__cause__, UnicodeDecodeError)
        assert (ws.close_code, ws.close_reason) == (1006, "")


def test_its_socket_may_be_shut_down():
    with opened(echo) as ws:
        ws.socket.shutdown(socket.SHUT_RDWR)
        with pytest.raises(websockets.ConnectionClosedError):
            ws.recv()


def test_recv_has_a_timeout_and_decodes_as_it_is_told(tls):
    with opened(echo, tls=tls) as ws:
        for timeout in (0, -1, 0.01):
            with pytest.raises(TimeoutError):
                ws.recv(timeout)
        ws.send("grüß")
        assert ws.recv(decode=False) == "grüß".encode()
        ws.send("grüß".encode())
        assert ws.recv(5, True) == "grüß"
        ws.send("grüß", text=False)
        assert ws.recv(timeout=5) == "grüß".encode()
        ws.send(b"text", text=True)
        assert ws.recv() == "text"


def test_the_end_is_told_as_websockets_tells_it():
    with opened(lambda ws: ws.close(4000, "bye")) as ws:
        with pytest.raises(websockets.ConnectionClosedError) as raised:
            ws.recv()
        assert str(raised.value) == "received 4000 (private use) bye; then sent 4000 (private use) bye"
        assert (raised.value.rcvd, raised.value.sent) == (Close(4000, "bye"), Close(4000, "bye"))
        assert raised.value.rcvd_then_sent is True
        assert raised.value.__cause__ is None
        with pytest.raises(websockets.ConnectionClosedError):
            ws.send("late")
        assert (ws.close_code, ws.close_reason, ws.protocol.close_code) == (4000, "bye", 4000)
        assert ws.protocol.close_rcvd == Close(4000, "bye")
        assert str(ws.close_exc) == str(raised.value)


def test_close_says_the_code_and_waits_for_the_other_side(tls):
    ends = []

    def handler(ws):
        try:
            ws.recv()
        except websockets.ConnectionClosed as error:
            ends.append(error)

    with opened(handler, tls=tls) as ws:
        assert ws.close_code is None
        ws.close(CloseCode.GOING_AWAY, "enough")
        assert ws.state is websockets.State.CLOSED
        ws.close()  # does nothing
        with pytest.raises(websockets.ConnectionClosedOK) as raised:
            ws.recv()
        assert str(raised.value) == "sent 1001 (going away) enough; then received 1001 (going away) enough"
        with pytest.raises(websockets.ConnectionClosedOK):
            ws.ping()
    assert ends[0].rcvd == Close(1001, "enough")


def test_close_refuses_codes_and_reasons_that_cannot_be_sent():
    with opened(echo) as ws:
        with pytest.raises(websockets.ProtocolError, match="invalid status code"):
            ws.close(1006)
        with pytest.raises(websockets.ProtocolError, match="control frame too long"):
            ws.close(1000, "x" * 124)
        ws.send("open still")
        assert ws.recv() == "open still"


def test_an_exception_in_the_block_closes_with_1011():
    ends = []

    def handler(ws):
        try:
            ws.recv()
        except websockets.ConnectionClosed as error:
            ends.append(error.rcvd.code)

    with pytest.raises(LookupError), opened(handler):
        raise LookupError
    assert ends == [1011]


def test_close_gives_up_a_peer_that_does_not_answer():
    with Peer(Wire.read_to_end) as peer, connect(peer.url, close_timeout=0.05, compression=None) as ws:
        ws.close()
        assert ws.close_code == 1006
        with pytest.raises(websockets.ConnectionClosedError) as raised:
            ws.recv()
        assert str(raised.value) == "sent 1000 (OK); no close frame received"
        assert isinstance(raised.value.__cause__, TimeoutError)


def test_a_stream_that_ends_without_a_close_frame_is_an_eof():
    with Peer(lambda wire: wire.send(text("last"))) as peer, connect(peer.url, compression=None) as ws:
        assert ws.recv() == "last"
        with pytest.raises(websockets.ConnectionClosedError) as raised:
            ws.recv()
        assert str(raised.value) == "no close frame received or sent"
        assert isinstance(raised.value.__cause__, EOFError)
        assert ws.close_code == 1006


def test_a_message_over_max_size_is_too_big():
    for max_size in (10, (10, None), (None, 10)):
        with opened(lambda ws: ws.send("x" * 11), max_size=max_size, compression=None) as ws:
            with pytest.raises(websockets.ConnectionClosedError) as raised:
                ws.recv()
            assert raised.value.sent.code == 1009
            assert isinstance(raised.value.__cause__, websockets.PayloadTooBig)


def test_queued_messages_outlive_the_connection():
    sent = threading.Event()

    def handler(ws):
        ws.send("one")
        ws.send("two")
        sent.set()

    with opened(handler) as ws:
        sent.wait()
        assert ws.wait_closed(5) is True
        assert (ws.recv(), ws.recv()) == ("one", "two")
        with pytest.raises(websockets.ConnectionClosedOK):
            ws.recv()


def test_wait_closed_says_whether_it_is():
    with opened(echo) as ws:
        assert ws.wait_closed(0) is False
        assert ws.wait_closed(timeout=0.01) is False
        ws.close()
        assert ws.wait_closed() is True


def test_a_message_is_sent_in_fragments_as_they_come(tls):
    received = []

    def handler(ws):
        received.append(list(ws.recv_streaming()))
        received.append(list(ws.recv_streaming()))

    def pieces():
        yield "grü"
        yield "ß"

    with opened(handler, tls=tls, compression=None) as ws:
        ws.send(pieces())
        ws.send([b"a", bytearray(b"b"), memoryview(b"c")])
        ws.send([])
        assert ws.wait_closed(5)
    assert received == [["grü", "ß", ""], [b"a", b"b", b"c", b""]]


@pytest.mark.parametrize("message", [{"a": 1}, None, 1, [None], ["a", b"b"]], ids=repr)
def test_what_cannot_be_sent_is_a_type_error(message):
    with opened(echo) as ws:
        with pytest.raises(TypeError):
            ws.send(message)


def test_fragments_that_cannot_be_finished_close_the_connection():
    def pieces():
        yield "one"
        raise LookupError

    with opened(echo) as ws:
        with pytest.raises(LookupError):
            ws.send(pieces())
        with pytest.raises(websockets.ConnectionClosedError) as raised:
            ws.send("more")
        assert raised.value.sent == Close(1011, "error in fragmented message")


def test_nothing_goes_between_the_fragments_of_a_message():
    begun, go_on = threading.Event(), threading.Event()

    def pieces():
        yield "one "
        begun.set()
        go_on.wait()
        yield "message"

    with opened(echo) as ws:
        with threaded(ws.send, pieces()):
            begun.wait()
            for message in ("text", b"binary", ["a"]):
                with pytest.raises(websockets.ConcurrencyError, match="already running send"):
                    ws.send(message)
            assert ws.ping().wait(5)
            go_on.set()
        assert ws.recv() == "one message"
        ws.send("two")
        assert ws.recv() == "two"


def test_close_gives_up_a_message_in_fragments():
    begun, go_on = threading.Event(), threading.Event()

    def pieces():
        yield "one "
        begun.set()
        go_on.wait()
        yield "message"

    with opened(list) as ws:
        with threaded(ws.send, pieces()) as sent:
            begun.wait()
            ws.close()
            go_on.set()
    assert isinstance(sent[0], websockets.ConnectionClosedError)
    assert sent[0].sent == Close(1011, "close during fragmented message")


def test_two_threads_do_not_receive_at_once():
    with opened(echo) as ws:
        with threaded(received, ws, websockets.ConcurrencyError) as got:
            until_receiving(ws, websockets.ConcurrencyError)
            with pytest.raises(websockets.ConcurrencyError, match="cannot call recv while another thread"):
                ws.recv()
            with pytest.raises(websockets.ConcurrencyError, match="cannot call recv_streaming while another thread"):
                list(ws.recv_streaming())
            ws.send("for the other")
        assert got == ["for the other"]


def test_a_ping_gives_an_event_that_is_set_by_its_pong(tls):
    with opened(echo, tls=tls) as ws:
        pong = ws.ping()
        assert isinstance(pong, threading.Event)
        assert pong.wait(5) is True
        assert pong.is_set()
        assert ws.latency > 0
        for data in ("text", b"bytes", bytearray(b"array"), memoryview(b"view")):
            assert ws.ping(data).wait(5)


def test_pings_that_are_not_answered_have_payloads_of_their_own(monkeypatch):
    drawn = [7, 7, 7, 8]
    monkeypatch.setattr(random, "getrandbits", lambda _: drawn.pop(0))
    with Peer() as peer, connect(peer.url, ping_interval=None) as ws:
        ws.ping()
        ws.ping()
        assert not drawn
    assert [sent.payload for sent in peer.results[0]][:2] == [bytes([0, 0, 0, 7]), bytes([0, 0, 0, 8])]


def test_a_pong_answers_the_pings_before_it_too_and_no_other():
    def script(wire):
        first, second = wire.read_frames(2)
        assert (first.payload, second.payload) == (b"this", b"that")
        wire.send(frame(PONG, b"other"), text("one"))
        wire.read_frame()
        wire.send(frame(PONG, second.payload), text("two"))
        wire.answer_close()

    with Peer(script) as peer, connect(peer.url, compression=None) as ws:
        this, that = ws.ping("this"), ws.ping("that")
        with pytest.raises(websockets.ConcurrencyError, match="already waiting for a pong with the same data"):
            ws.ping("this")
        assert ws.recv() == "one"
        assert not this.is_set()
        assert this.wait(0.001) is False
        ws.send("go on")
        assert ws.recv() == "two"
        assert this.wait(5)
        assert that.wait(5)


def test_at_the_end_only_pings_that_ask_for_it_are_acknowledged():
    with Peer(lambda wire: (wire.read_frames(2), wire.close())) as peer:
        with connect(peer.url, compression=None) as ws:
            asking, other = ws.ping("asking", ack_on_close=True), ws.ping("other")
            assert ws.wait_closed(5)
            assert asking.wait(5) is True
            assert other.wait(5) is False


def test_pings_and_pongs_carry_up_to_125_bytes():
    with opened(echo) as ws:
        for call in (ws.ping, ws.pong):
            call(b"x" * 125)
            with pytest.raises(websockets.ProtocolError, match="control frame too long"):
                call(b"x" * 126)
            with pytest.raises(TypeError, match="data must be str or bytes-like"):
                call(1)


def test_a_pong_that_answers_nothing_is_sent():
    def script(wire: Wire):
        seen = wire.read_frame()
        wire.send(text(f"{seen.opcode} {seen.payload.decode()}"))
        wire.answer_close()

    with Peer(script) as peer, connect(peer.url, compression=None) as ws:
        ws.pong("heartbeat")
        assert ws.recv() == f"{PONG} heartbeat"


def test_a_peer_that_answers_no_ping_is_given_up():
    with (
        Peer(Wire.read_to_end) as peer,
        connect(peer.url, ping_interval=0.02, ping_timeout=0.02, compression=None) as ws,
    ):
        with pytest.raises(websockets.ConnectionClosedError) as raised:
            ws.recv()
        assert raised.value.sent == Close(1011, "keepalive ping timeout")
        assert raised.value.rcvd is None


def test_the_pings_of_the_peer_are_answered_while_no_call_waits():
    def script(wire):
        wire.send(frame(PING, b"there?"))
        wire.send(text(wire.read_frame().payload.decode()))
        wire.answer_close()

    with Peer(script) as peer, connect(peer.url, compression=None) as ws:
        assert ws.recv() == "there?"


def test_attributes_of_ones_own_may_be_set():
    with opened(echo) as ws:
        ws.mine = 1
        assert ws.mine == 1
        ws.send("as before")
        assert ws.recv() == "as before"


def test_broadcast_of_websockets_takes_it():
    begun, go_on = threading.Event(), threading.Event()

    def pieces():
        yield "one "
        begun.set()
        go_on.wait()
        yield "message"

    with opened(echo) as one, opened(echo) as other, opened(echo) as ended:
        ended.close()
        broadcast([one, other, ended], "to all", raise_exceptions=True)
        assert (one.recv(), other.recv()) == ("to all", "to all")
        with threaded(one.send, pieces()):
            begun.wait()
            with pytest.raises(ExceptionGroup) as raised:
                broadcast([one, other], b"text", text=True, raise_exceptions=True)
            assert [str(error) for error in raised.value.exceptions] == ["sending a fragmented message"]
            go_on.set()
        assert (one.recv(), other.recv()) == ("one message", "text")


def test_more_than_websockets_has():
    with opened(echo) as ws:
        ws.send_many(["a", "b", "c"])
        got = []
        for batch in ws.batches():
            got.extend(batch)
            if len(got) == 3:
                break
        assert got == ["a", "b", "c"]
        assert ws.stats().messages_received == 3


def test_max_queue_pauses_reading():
    def handler(ws):
        for number in range(10):
            ws.send(str(number))
        ws.recv()

    with opened(handler, max_queue=(4, 1)) as ws:
        while not ws.stats().receive_paused:
            pass
        assert [ws.recv() for _ in range(10)] == [str(number) for number in range(10)]
        assert not ws.stats().receive_paused
    for wrong, why in (((4, 5), "high must be greater"), ((4, -1), "low must be positive")):
        with pytest.raises(ValueError, match=why):
            connect("ws://localhost:1/", max_queue=wrong)


def test_a_second_message_in_fragments_is_refused_and_harms_nothing():
    entered, go = threading.Event(), threading.Event()

    def late():
        entered.set()
        assert go.wait(20)
        yield "x"

    with opened(echo) as ws, threaded(ws.send, late()) as outcome:

        def pieces():
            yield "a"
            go.set()
            while not outcome:
                entered.wait(0.001)
            yield "b"

        assert entered.wait(20)
        ws.send(pieces())
        assert str(outcome[0]) == "cannot call send while another thread is already running send"
        assert isinstance(outcome[0], websockets.ConcurrencyError)
        assert ws.recv() == "ab"
        ws.send(["c", "d"])
        assert ws.recv() == "cd"


def test_a_message_in_fragments_has_one_time_limit():
    def pieces():
        yield "a"
        while True:
            yield "b" * 100_000

    late = threading.Event()
    with Peer(lambda _wire: late.wait(20)) as peer, connect(peer.url, compression=None, close_timeout=0.01) as ws:
        with pytest.raises(TimeoutError, match="a part of the message was"):
            ws.send(pieces(), timeout=0.05)
        late.set()


def test_a_close_frame_may_be_empty():
    with opened(lambda ws: ws.recv()) as ws:
        with pytest.raises(websockets.ProtocolError, match="cannot send a reason without a code"):
            ws.close(None, "why")
        ws.close(None)
        assert ws.protocol.close_sent == Close(1005, "")


@pytest.mark.parametrize("pieces", [[None], ["a", b"b"]])
def test_what_is_no_piece_closes_the_connection(pieces):
    with opened(echo) as ws:
        with pytest.raises(TypeError, match="iterable must contain"):
            ws.send(pieces)
        with pytest.raises(websockets.ConnectionClosedError):
            ws.recv()
        assert ws.protocol.close_sent == Close(1011, "error in fragmented message")


def test_what_fails_before_its_first_piece_harms_nothing():
    def failing():
        raise LookupError("nothing yet")
        yield

    with opened(echo) as ws:
        with pytest.raises(LookupError):
            ws.send(failing())
        ws.send("on")
        assert ws.recv() == "on"


def test_modes_of_many_threads_do_not_undo_each_other():
    with opened(echo) as ws:
        modes = [type(f"Mode{number}", (), {"__slots__": ()}) for number in range(4)]

        def change(mode):
            for _ in range(500):
                ws._enter(mode)
                assert mode in ws._own.modes
                ws._leave(mode)

        with contextlib.ExitStack() as stack:
            outcomes = [stack.enter_context(threaded(change, mode)) for mode in modes]
        assert outcomes == [[None]] * 4
        assert ws._own.modes == frozenset()


def test_a_recv_that_is_late_says_so_as_in_websockets():
    with opened(echo) as ws, pytest.raises(TimeoutError, match=r"^timed out in 0\.1s$"):
        ws.recv(timeout=0.05)


def test_it_is_shown_by_its_own_name():
    with opened(echo) as ws:
        assert repr(ws) == f"<{type(ws).__module__}.ClientConnection {ws.uri} open>"


def test_an_iterable_that_raises_leaves_the_connection_closed():
    def pieces():
        yield "x"
        raise KeyError("gone")

    with opened(echo) as ws:
        with pytest.raises(KeyError):
            ws.send(pieces())
        assert (ws.state, ws.close_code, ws.close_reason) == (websockets.State.CLOSED, 1006, "")
