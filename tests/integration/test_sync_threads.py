"""fastws.sync from several threads, and what is left behind: descriptors, threads, warnings."""

import concurrent.futures
import gc
import threading
import weakref

import pytest

import fastws
import fastws.sync
import fastws.testing
from fastws import ConcurrencyError, ConnectionClosedError, ConnectionClosedOK
from peers import (
    PATIENCE,
    PING,
    PONG,
    TEXT,
    Frame,
    Gate,
    Peer,
    authority_pem,
    frame,
    numbered,
    received,
    text,
    until_receiving,
)


def connect(peer, **options):
    if peer.url.startswith("wss:"):
        options.setdefault("tls", fastws.TlsConfig(ca=authority_pem()))
    return fastws.sync.connect(peer.url, **options)


@pytest.fixture(params=[True, False], ids=["helped", "alone"])
def background(request):
    return request.param


@pytest.fixture
def threads():
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        yield pool


def test_a_second_reader_is_refused_and_the_first_goes_on(threads, background):
    gate = Gate()
    with Peer(lambda wire: (gate.wait(), wire.send(text("a")), wire.answer_close())) as peer:
        with connect(peer, background=background) as ws:
            reader = threads.submit(received, ws)
            until_receiving(ws)
            with pytest.raises(ConcurrencyError, match="another call"):
                ws.recv()
            with pytest.raises(ConcurrencyError, match="another call"):
                next(ws)
            gate.open()
            assert reader.result(PATIENCE) == "a"


def test_a_send_of_another_thread_leaves_while_one_receives(threads, background):
    with Peer(lambda wire: (wire.send(text(wire.read_frame().payload.decode())), wire.answer_close())) as peer:
        with connect(peer, background=background) as ws:
            reader = threads.submit(received, ws)
            until_receiving(ws)
            ws.send("hello")
            assert reader.result(PATIENCE) == "hello"


def test_close_of_another_thread_ends_a_recv(threads, background):
    with Peer() as peer:
        ws = connect(peer, background=background)
        reader = threads.submit(received, ws)
        until_receiving(ws)
        ws.close(4000)
        with pytest.raises(ConnectionClosedError) as caught:
            reader.result(PATIENCE)
        assert caught.value.sent.code == 4000


def test_close_of_another_thread_ends_a_recv_though_the_peer_says_nothing(threads, background):
    gate = Gate()
    with Peer(lambda wire: gate.wait()) as peer:
        ws = connect(peer, background=background, close_timeout=0.05, ping_interval=None)
        reader = threads.submit(received, ws)
        until_receiving(ws)
        ws.close()
        with pytest.raises(ConnectionClosedError):
            reader.result(PATIENCE)
        gate.open()


def test_all_who_close_at_once_are_done(threads, background):
    with Peer() as peer:
        ws = connect(peer, background=background)
        reader = threads.submit(ws.recv)
        for closer in [threads.submit(ws.close) for _ in range(6)]:
            closer.result(PATIENCE)
        with pytest.raises(ConnectionClosedOK):
            reader.result(PATIENCE)


def test_many_send_while_one_receives(threads, background):
    with fastws.testing.Server() as server, fastws.sync.connect(server.url("/echo"), background=background) as ws:

        def send(number):
            for count in range(500):
                ws.send(f"{number} {count} " + "x" * (count * 37 % 3000))

        senders = [threads.submit(send, number) for number in range(4)]
        got = [[] for _ in range(4)]
        for _ in range(2000):
            number, count, _ = ws.recv(timeout=PATIENCE).split(" ")
            got[int(number)].append(int(count))
        for sender in senders:
            sender.result(PATIENCE)
    assert got == [list(range(500))] * 4


def test_many_send_into_a_full_queue(threads, background):
    gate = Gate()

    def script(wire):
        gate.wait()
        return len(wire.answer_close())

    with Peer(script, buffers=16_384) as peer:
        with connect(peer, background=background, max_send_bytes=200_000) as ws:
            senders = [threads.submit(lambda: [ws.send(b"x" * 50_000) for _ in range(50)]) for _ in range(4)]
            gate.open()
            for sender in senders:
                sender.result(PATIENCE)
    assert peer.results == [201]


@pytest.mark.parametrize("whole", [False, True], ids=["fragments", "whole"])
def test_a_message_waits_for_another_one_in_fragments(threads, background, whole):
    begun, trying, gate = Gate(), Gate(), Gate()

    def pieces():
        yield "a"
        yield "b"
        begun.open()
        gate.wait()
        yield "c"

    def others():
        yield "x"
        trying.open()
        yield "y"

    frames = []
    with Peer(lambda wire: frames.extend(wire.answer_close())) as peer, connect(peer, background=background) as ws:
        first = threads.submit(ws.send, pieces())
        begun.wait()
        second = threads.submit(ws.send, "xy" if whole else others())
        if not whole:
            trying.wait()
        concurrent.futures.wait([second], timeout=0.05)  # it has the time to do wrong
        assert not second.done()
        gate.open()
        first.result(PATIENCE)
        second.result(PATIENCE)
    assert [(each.opcode, each.payload, each.fin) for each in frames[:-1]] == [
        (TEXT, b"a", False),
        (0, b"b", False),
        (0, b"c", True),
        *([(TEXT, b"xy", True)] if whole else [(TEXT, b"x", False), (0, b"y", True)]),
    ]


def test_a_blocked_send_does_not_keep_messages_from_the_reader(threads):
    gate = Gate()

    def script(wire):
        gate.wait()
        wire.send(text("meanwhile"))
        wire.answer_close()

    with Peer(script, buffers=16_384) as peer:
        with connect(peer, write_limit=1000) as ws:
            sender = threads.submit(ws.send, b"x" * 20_000_000)
            reader = threads.submit(ws.recv)
            gate.open()
            assert reader.result(PATIENCE) == "meanwhile"
            sender.result(PATIENCE)


def test_a_ping_is_measured_while_another_thread_receives(threads, background):
    def script(wire):
        wire.send(frame(PONG, wire.read_frame().payload), text("a"))
        wire.answer_close()

    with Peer(script) as peer, connect(peer, background=background) as ws:
        reader = threads.submit(received, ws)
        until_receiving(ws)
        assert ws.ping().result(PATIENCE) < PATIENCE
        assert reader.result(PATIENCE) == "a"


def test_pings_are_answered_while_a_thread_computes_and_others_send(threads):
    def script(wire):
        wire.send(frame(PING, b"now"))
        while (got := wire.read_frame()).opcode == TEXT:
            pass
        wire.answer_close()
        return got

    with Peer(script) as peer, connect(peer) as ws:
        while ws.stats().pongs_sent == 0:
            ws.send("busy")
    assert peer.results == [Frame(PONG, b"now")]


def test_nothing_is_lost_between_the_helper_and_calls():
    """The helper comes and goes: calls with pauses of about its patience."""
    with (
        Peer(lambda wire: (wire.send(numbered(range(20_000))), wire.close())) as peer,
        connect(peer, max_queue=64) as ws,
    ):
        got = []
        pause = threading.Event()
        for number, message in enumerate(ws):
            got.append(message)
            if number % 1000 == 0:
                pause.wait(0.08 + number % 3000 / 60_000)
    assert got == [str(number) for number in range(20_000)]


# What is left.


def helpers():
    import os

    names = []
    for task in os.listdir("/proc/self/task"):
        try:
            with open(f"/proc/self/task/{task}/comm") as comm:
                names.append(comm.read().strip())
        except (FileNotFoundError, ProcessLookupError):
            pass
    return names.count("fastws-sync")


@pytest.mark.parametrize("end", ["close", "reset", "refused", "timeout"])
def test_no_descriptor_and_no_thread_is_left(end, open_fds):
    def script(wire):
        if end == "refused":
            wire.read_request()
            wire.send(b"HTTP/1.1 404 Not Found\r\n\r\n")
        elif end == "timeout":
            gate.wait()
        elif end == "reset":
            wire.upgrade()
            wire.reset()
        else:
            wire.upgrade()
            wire.answer_close()

    gate = Gate()
    with Peer(script, upgrade=False) as peer:
        # This thread's own descriptor is there from its first wait on.
        with pytest.raises(fastws.OpenTimeout), Peer(lambda _: gate.wait(), upgrade=False) as other:
            try:
                connect(other, open_timeout=0.01)
            finally:
                gate.open()
        before = open_fds()
        match end:
            case "close":
                connect(peer).close()
            case "reset":
                with pytest.raises(ConnectionClosedError), connect(peer) as ws:
                    ws.recv()
            case "refused":
                with pytest.raises(fastws.InvalidStatus):
                    connect(peer)
            case "timeout":
                gate = Gate()
                with pytest.raises(fastws.OpenTimeout):
                    connect(peer, open_timeout=0.01)
                gate.open()
        ws = None
        for thread in list(peer._threads):
            thread.join(PATIENCE)
        peer._wires.clear()
        # A helper that has only begun has not its name yet.
        while helpers() or open_fds() > before:
            pass


@pytest.mark.parametrize("background", [True, False])
def test_an_unclosed_connection_warns_and_is_closed(background):
    with Peer(lambda wire: wire.read_to_end()) as peer:
        ws = connect(peer, background=background)
        with pytest.warns(ResourceWarning, match="unclosed <fastws.sync.Connection"):
            del ws
            while not peer.results:
                gc.collect()
    assert peer.results == [[]]


def test_a_cycle_with_a_connection_is_collected():
    class Owner:
        pass

    with Peer(lambda wire: wire.read_to_end()) as peer:
        owner = Owner()
        owner.ws = connect(peer)
        owner.ping = owner.ws.ping()
        owner.ping.owner = owner
        gone = weakref.ref(owner)
        with pytest.warns(ResourceWarning, match="unclosed"):
            del owner
            while gone() is not None:
                gc.collect()
