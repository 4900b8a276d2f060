"""`WebSocketApp`: callbacks, their order, reconnecting, pings, event loops of others."""

import contextlib
import selectors
import signal
import socket
import ssl
import threading
import time

import pytest

import peers
from fastws.compat import websocket_client as websocket
from peers import CLOSE, PING, PONG, TEXT, Gate, Peer, Wire

CALLBACKS = ("open", "reconnect", "message", "data", "cont_message", "ping", "pong", "error", "close")


def app_of(url, *names, then=None, **options):
    """An app that notes what is called, and the notes. `then` gets the app and the note of each call."""
    noted = []

    def noting(name):
        def callback(app, *arguments):
            noted.append((name, *(str(each) if isinstance(each, Exception) else each for each in arguments)))
            if then is not None:
                then(app, noted[-1])

        return callback

    callbacks = {f"on_{name}": noting(name) for name in names or CALLBACKS if name != "cont_message"}
    if "cont_message" in names:
        callbacks["on_cont_message"] = noting("cont_message")
    return websocket.WebSocketApp(url, **callbacks, **options), noted


def everything(wire):
    wire.send(
        peers.text("one"),
        peers.frame(PING, b"ping"),
        peers.frame(TEXT, b"fr\xc3", fin=False),
        peers.frame(PONG, b"pong"),
        peers.frame(0, b"\xa4gments"),
        peers.binary(b"two"),
        peers.close(1001, "away"),
    )
    return wire.read_to_end()


def test_callbacks_and_their_order():
    with Peer(everything) as peer:
        app, noted = app_of(peer.url)
        assert app.run_forever() is False
    assert noted == [
        ("open",),
        ("data", "one", TEXT, True),
        ("message", "one"),
        ("ping", b"ping"),
        ("pong", b"pong"),
        ("data", "frägments", TEXT, True),
        ("message", "frägments"),
        ("data", b"two", 2, True),
        ("message", b"two"),
        ("error", "Connection closed (code 1001): away"),
        ("close", 1001, "away"),
    ]
    assert app.sock is None
    assert not app.keep_running


def test_fragments():
    with Peer(everything) as peer:
        app, noted = app_of(peer.url, "message", "data", "cont_message", "close")
        app.run_forever(skip_utf8_validation=True)
    assert noted == [
        ("data", b"one", TEXT, True),
        ("message", b"one"),
        ("data", b"fr\xc3", TEXT, True),
        ("message", b"fr\xc3"),
        ("data", b"\xa4gments", 0, 1),
        ("cont_message", b"\xa4gments", 1),
        ("data", b"two", 2, True),
        ("message", b"two"),
        ("close", 1001, "away"),
    ]


def test_text_as_bytes():
    with Peer(everything) as peer:
        app, noted = app_of(peer.url, "message")
        app.run_forever(skip_utf8_validation=True)
    assert noted == [("message", b"one"), ("message", "frägments".encode()), ("message", b"two")]


def test_a_close_frame_says_what_it_says():
    errors = []
    with Peer(everything) as peer:
        websocket.WebSocketApp(peer.url, on_error=lambda _, error: errors.append(error)).run_forever()
    [error] = errors
    assert isinstance(error, websocket.WebSocketConnectionClosedException)
    assert (error.status_code, error.reason) == (1001, "away")


@pytest.mark.parametrize(
    ("payload", "said", "arguments"),
    [
        (peers.close(None), "Connection closed", (None, None)),
        (peers.close(), "Connection closed normally (code 1000)", (1000, None)),
        (peers.close(4000, "why"), "Connection closed (code 4000): why", (4000, "why")),
    ],
)
def test_close_frames(payload, said, arguments):
    def script(wire):
        wire.send(payload)
        return wire.read_to_end()

    with Peer(script) as peer:
        app, noted = app_of(peer.url)
        assert not app.run_forever()
    assert noted == [("open",), ("error", said), ("close", *arguments)]


def test_a_stream_that_ends():
    with Peer(Wire.end) as peer:
        app, noted = app_of(peer.url)
        assert app.run_forever() is True
    assert noted == [("open",), ("error", "Connection to remote host was lost."), ("close", None, None)]


def test_nobody_listens():
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        app, noted = app_of(f"ws://127.0.0.1:{sock.getsockname()[1]}/")
        assert app.run_forever() is True
    assert [note[0] for note in noted] == ["error", "close"]
    assert "Connection refused" in noted[0][1]


@pytest.mark.parametrize("of", ["message", "open"])
def test_a_callback_closes(of):
    def script(wire):
        wire.send(peers.text("one"), peers.text("two"))
        wire.read_to_close()
        wire.send(peers.close(4001, "fine"))
        wire.end()

    with Peer(script) as peer:
        app, noted = app_of(peer.url, then=lambda app, note: note[0] == of and app.close(status=4000, reason="enough"))
        assert app.run_forever() is False
    names = [note[0] for note in noted]
    assert names == ["open", "close"] if of == "open" else ["open", "data", "message", "close"]
    assert noted[-1] == ("close", 4001, "fine")


def test_another_thread_closes():
    opened = Gate()
    with Peer() as peer:
        app, noted = app_of(peer.url, then=lambda _, note: note[0] == "open" and opened.open())
        thread = threading.Thread(target=lambda: noted.append(app.run_forever()))
        thread.start()
        opened.wait()
        app.close()
        thread.join(peers.PATIENCE)
    assert not thread.is_alive()
    assert [note if isinstance(note, bool) else note[0] for note in noted] == ["open", "close", False]


def test_what_the_peer_answers_to_another_threads_close_reaches_on_close():
    opened, asked, may_answer = Gate(), Gate(), Gate()

    def script(wire):
        wire.read_to_close()
        asked.open()
        may_answer.wait()
        wire.send(peers.close(1000, "bye"))
        wire.end()

    with Peer(script) as peer:
        app, noted = app_of(peer.url, "open", "close", then=lambda _, note: note == ("open",) and opened.open())
        running = threading.Thread(target=app.run_forever, kwargs={"ping_timeout": 0.01})
        running.start()
        opened.wait()
        closing = threading.Thread(target=app.close)
        closing.start()
        asked.wait()
        running.join(0.3)  # by then it has seen that it is to end
        assert running.is_alive()
        may_answer.open()
        for thread in (closing, running):
            thread.join(peers.PATIENCE)
            assert not thread.is_alive()
    assert noted == [("open",), ("close", 1000, "bye")]


def test_another_thread_sends():
    def then(app, note):
        if note[0] == "open":
            threading.Thread(target=lambda: app.send("hello")).start()
        elif note[0] == "message":
            app.send_text("text")
            app.send_bytes(b"bytes")
            app.close()

    def script(wire):
        frames = wire.read_frames(1)
        wire.send(peers.text("hi"))
        return frames + wire.answer_close()

    with Peer(script) as peer:
        app, _ = app_of(peer.url, then=then)
        assert not app.ready()
        app.run_forever()
        with pytest.raises(websocket.WebSocketConnectionClosedException):
            app.send("late")
    assert [frame.payload for frame in peer.results[0]] == [b"hello", b"text", b"bytes", b"\x03\xe8"]


@pytest.mark.parametrize("of", ["open", "message", "close"])
def test_a_callback_that_fails(of):
    def then(_, note):
        if note[0] == of:
            raise RuntimeError("a fault of the callback")

    with Peer(everything) as peer:
        app, noted = app_of(peer.url, "open", "message", "error", "close", then=then)
        app.run_forever()
    at = next(at for at, note in enumerate(noted) if note[0] == of)
    assert noted[at + 1] == ("error", "a fault of the callback")


def test_on_error_that_fails_is_not_called_for_it():
    def then(_, note):
        if note[0] == "error":
            raise RuntimeError("a fault of on_error")

    with Peer(Wire.end) as peer:
        app, noted = app_of(peer.url, "error", "close", then=then)
        app.run_forever()
    assert [note[0] for note in noted] == ["error", "close"]


def test_reconnecting():
    def last(wire):
        wire.send(peers.text("last"))
        return wire.answer_close()

    with Peer(Wire.end, lambda wire: wire.close(1012), last) as peer:
        app, noted = app_of(peer.url, then=lambda app, note: note == ("message", "last") and app.close())
        assert app.run_forever(reconnect=0.01) is True
    assert [note[:2] for note in noted] == [
        ("open",),
        ("error", "Connection to remote host was lost."),
        ("reconnect",),
        ("reconnect",),
        ("data", "last"),
        ("message", "last"),
        ("close", 1000),
    ]


def test_without_on_reconnect_on_open_is_called():
    with Peer(Wire.end, Wire.answer_close) as peer:
        app, noted = app_of(peer.url, "open", then=lambda app, _: len(noted) == 2 and app.close())
        app.run_forever(reconnect=0.01)
    assert noted == [("open",), ("open",)]


def test_the_process_reconnects():
    websocket.setReconnect(0.01)
    try:
        with Peer(Wire.end, Wire.answer_close) as peer:
            app, noted = app_of(peer.url, then=lambda app, note: note == ("reconnect",) and app.close())
            app.run_forever()
    finally:
        websocket.set_reconnect(0)
    assert ("reconnect",) in noted


def test_headers_of_a_function():
    made = []

    def header():
        made.append(len(made))
        return [f"X-Attempt: {made[-1]}"]

    def script(wire):
        wire.upgrade()
        wire.end()

    with Peer(script, upgrade=False) as peer:
        app, _ = app_of(peer.url, header=header, then=lambda app, note: note == ("reconnect",) and app.close())
        app.run_forever(reconnect=0.01)
        requests = [wire.request for wire in peer._wires]
    assert all(f"X-Attempt: {number}".encode() in request for number, request in enumerate(requests))
    assert len(requests) == 2


def test_pings():
    def script(wire):
        ping = wire.read_frame()
        wire.send(peers.frame(PONG, ping.payload))
        return ping, wire.answer_close()

    with Peer(script) as peer:
        app, noted = app_of(peer.url, then=lambda app, note: note[0] == "pong" and app.close())
        app.run_forever(ping_interval=2, ping_timeout=1.9, ping_payload="alive?")
    assert ("pong", b"alive?") in noted
    assert app.ping_thread is None
    assert app.last_ping_tm == app.last_pong_tm == 0
    assert peer.results[0][0] == (PING, b"alive?", True, 0)


def test_pings_end_with_their_connection():
    threads, were_alive = [], []

    def then(app, _):
        were_alive.append([thread.is_alive() for thread in threads])
        threads.append(app.ping_thread)
        if len(threads) > 1:
            app.close()

    with Peer(Wire.end, Wire.answer_close) as peer:
        app, _ = app_of(peer.url, "open", then=then)
        app.run_forever(ping_interval=3600, reconnect=0.01)
    assert were_alive == [[], [False]]
    assert not threads[1].is_alive()


def test_a_pong_before_the_first_ping_is_none_that_is_late():
    def script(wire):
        wire.send(peers.frame(PONG), peers.text("one"))
        return wire.answer_close()

    with Peer(script) as peer:
        app, noted = app_of(
            peer.url, "pong", "message", "error", then=lambda app, note: note[0] == "message" and app.close()
        )
        assert app.run_forever(ping_interval=3600, ping_timeout=1800) is False
    assert noted == [("pong", b""), ("message", "one")]


def test_a_pong_that_does_not_come():
    with Peer(Wire.answer_close) as peer:
        app, noted = app_of(peer.url)
        assert app.run_forever(ping_interval=0.06, ping_timeout=0.05) is True
    assert noted == [("open",), ("error", "ping/pong timed out"), ("close", None, None)]


@pytest.mark.parametrize(
    ("options", "said"),
    [({}, "Connection is closed"), ({"ping_interval": 0.06, "ping_timeout": 0.05}, "ping/pong timed out")],
)
def test_a_callback_that_shuts_the_socket_down(options, said):
    def script(wire):
        wire.upgrade(behind=peers.text("one"))  # it is there before a Pong can be missing
        return wire.read_to_end()

    with Peer(script, upgrade=False) as peer:
        app, noted = app_of(
            peer.url, "message", "error", then=lambda app, note: note[0] == "message" and app.sock.shutdown()
        )
        assert app.run_forever(**options) is True
    assert noted == [("message", "one"), ("error", said)]


@pytest.mark.parametrize(
    "options", [{"ping_timeout": 0}, {"ping_interval": -1}, {"ping_interval": 1, "ping_timeout": 1}]
)
def test_pings_that_cannot_be(options):
    with pytest.raises(websocket.WebSocketException, match="Ensure"):
        websocket.WebSocketApp("ws://localhost/").run_forever(**options)


def test_it_runs_once_at_a_time():
    with Peer() as peer:
        app, noted = app_of(
            peer.url, "open", "error", then=lambda app, note: app.run_forever() if note == ("open",) else app.close()
        )
        app.run_forever()
    assert noted == [("open",), ("error", "socket is already opened")]


def test_on_close_may_run_it_again():
    with Peer(Wire.end, Wire.end) as peer:
        app, noted = app_of(
            peer.url,
            "open",
            "close",
            then=lambda app, note: note[0] == "close" and peer.accepted < 2 and app.run_forever(),
        )
        app.run_forever()
    assert [note[0] for note in noted] == ["open", "close", "open", "close"]


def test_an_interrupt_ends_it():
    def then(_, note):
        if note == ("open",):
            signal.raise_signal(signal.SIGINT)

    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored where it was inherited so
    try:
        with Peer(Wire.answer_close) as peer:
            app, noted = app_of(peer.url, then=then)
            app.run_forever()
    finally:
        signal.signal(signal.SIGINT, before)
    assert [note[0] for note in noted] == ["open", "error", "close"]


def test_an_exit_leaves_it():
    def then(_, note):
        if note == ("open",):
            raise SystemExit(3)

    with Peer(Wire.answer_close) as peer:
        app, noted = app_of(peer.url, then=then)
        with pytest.raises(SystemExit):
            app.run_forever()
    assert [note[0] for note in noted] == ["open", "error", "close"]


class Loop:
    """An event loop of the kind that `dispatcher` takes, as rel is one."""

    def __init__(self):
        self.selector = selectors.DefaultSelector()
        self.timers = []
        self.signals = []

    def signal(self, number, callback):
        self.signals.append(number)

    def abort(self):
        self.selector.close()

    def read(self, sock, callback):
        with contextlib.suppress(KeyError):
            self.selector.unregister(sock)
        self.selector.register(sock, selectors.EVENT_READ, callback)

    def timeout(self, seconds, callback, *arguments):
        self.timers.append((time.monotonic() + seconds, seconds, callback, arguments))

    def buffwrite(self, sock, data, send, disconnected):
        send(sock, data)

    def run(self, until):
        deadline = time.monotonic() + peers.PATIENCE
        while not until():
            assert time.monotonic() < deadline
            due = min((moment for moment, *_ in self.timers), default=deadline)
            for key, _ in self.selector.select(max(0, due - time.monotonic())):
                if not key.data():
                    self.selector.unregister(key.fileobj)
            now = time.monotonic()
            ready = [timer for timer in self.timers if timer[0] <= now]
            self.timers = [timer for timer in self.timers if timer[0] > now]
            for _, seconds, callback, arguments in ready:
                if callback(*arguments):
                    self.timeout(seconds, callback, *arguments)
        self.selector.close()


def test_an_event_loop_of_others():
    loop = Loop()
    with Peer(everything) as peer:
        app, noted = app_of(peer.url, "open", "message", "close")
        assert app.run_forever(dispatcher=loop) is False
        assert noted == [("open",)]
        loop.run(lambda: noted[-1][0] == "close")
    assert noted == [
        ("open",),
        ("message", "one"),
        ("message", "frägments"),
        ("message", b"two"),
        ("close", 1001, "away"),
    ]
    assert loop.signals == [2]


def test_an_event_loop_of_others_reconnects():
    loop = Loop()

    def second(wire):
        received = wire.read_frame()
        wire.send(peers.text("second"))
        return received, wire.answer_close()

    def then(app, note):
        if note == ("reconnect",):
            app.send("from the loop")
        if note == ("message", "second"):
            app.close()

    with Peer(lambda wire: wire.close(1012), second) as peer:
        app, noted = app_of(peer.url, "open", "reconnect", "message", "close", then=then)
        app.run_forever(dispatcher=loop, reconnect=0.01)
        loop.run(lambda: app.sock is None)
    assert noted == [("open",), ("reconnect",), ("message", "second")]
    assert peer.results[1][0].payload == b"from the loop"
    assert peer.results[1][1][-1].opcode == CLOSE


@pytest.mark.parametrize("tls", [False, True])
def test_an_event_loop_of_others_reconnects_once_for_each_connection(tls):
    loop = Loop()

    def last(wire):
        wire.send(peers.text("last"))
        return wire.answer_close()

    ends = (Wire.end, Wire.reset, Wire.end if tls else Wire.half_close, lambda wire: wire.close(1012), Wire.end)
    with Peer(*ends, last, tls=tls) as peer:
        app, noted = app_of(peer.url, "reconnect", "message", then=lambda app, note: len(note) > 1 and app.close())
        app.run_forever(dispatcher=loop, reconnect=0.05, sslopt={"cert_reqs": ssl.CERT_NONE} if tls else {})
        loop.run(lambda: app.sock is None)
        assert peer.accepted == len(ends) + 1
    assert noted == [("reconnect",)] * len(ends) + [("message", "last")]
    assert loop.timers == []


def test_an_event_loop_of_others_looks_after_pongs_of_one_connection():
    loop = Loop()

    def last(wire):
        wire.send(peers.text("last"))
        return wire.answer_close()

    with Peer(Wire.end, Wire.end, last) as peer:
        app, _ = app_of(peer.url, "message", then=lambda app, _: app.close())
        app.run_forever(dispatcher=loop, reconnect=0.01, ping_interval=3600, ping_timeout=0.1)
        loop.run(lambda: app.sock is None and not loop.timers)
        assert peer.accepted == 3


def test_on_open_closes_beside_an_event_loop_of_others():
    loop = Loop()
    with Peer() as peer:
        app, noted = app_of(
            peer.url, "open", "error", "close", then=lambda app, note: note == ("open",) and app.close()
        )
        assert app.run_forever(dispatcher=loop, reconnect=0.01) is False
    assert noted == [("open",), ("close", 1000, None)]
    assert loop.timers == []


def test_a_close_while_it_waits_to_reconnect_is_the_end():
    loop = Loop()

    def is_over():
        if loop.timers and app.keep_running:
            app.close()
        return not app.keep_running and not loop.timers

    with Peer(Wire.end, Wire.answer_close) as peer:
        app, noted = app_of(peer.url, "open", "close")
        app.run_forever(dispatcher=loop, reconnect=0.5)
        loop.run(is_over)
        assert peer.accepted == 1
    assert noted == [("open",), ("close", None, None)]


def test_an_event_loop_of_others_says_within_a_ping_that_the_connection_is_lost():
    lost = Gate()

    class Losing(Loop):
        def buffwrite(self, sock, data, send, disconnected):
            if lost.is_open or data[0] & 0x0F != PING:
                send(sock, data)
                return
            try:
                disconnected(ConnectionResetError("lost"))
            finally:
                lost.open()

    loop = Losing()
    with Peer(Wire.read_to_end, Wire.answer_close) as peer:
        app, noted = app_of(
            peer.url,
            "open",
            "reconnect",
            "close",
            then=lambda app, note: note == ("reconnect",) and app.close(),
            get_mask_key=lambda _: b"abcd",  # such a connection is written to by the event loop
        )
        app.run_forever(dispatcher=loop, ping_interval=0.01, reconnect=0.01)
        lost.wait()
        assert len(loop.timers) == 1
        loop.run(lambda: app.sock is None)
    assert noted == [("open",), ("reconnect",), ("close", 1000, None)]
