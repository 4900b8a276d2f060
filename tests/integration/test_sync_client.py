"""fastws.sync.WebSocketClient against real servers: what it receives, what it sends, and how it begins and ends."""

import asyncio
import concurrent.futures
import contextlib
import gc
import sys
import threading
import time
import weakref

import orjson
import pytest

import fastws
import fastws.sync
from fastws.errors import AlreadyRunning, ClientStopped, MaybeSent, NotConnected, NotSent
from fastws.events import Connected, Connecting, Disconnected, Ready, Shutdown
from fastws.testing import Echo, Expect, Fault, Send, SendClose, Server
from peers import PATIENCE, Peer, received, text, until_receiving, while_open
from sync_clients import CONFIG, client_of, client_threads, in_turn, take


@pytest.fixture(params=[False, True], ids=["tcp", "tls"])
def server(request):
    with Server(tls=request.param, record=True) as server:
        yield server


@pytest.fixture
def plain():
    with Server(record=True) as server:
        yield server


@pytest.fixture
def threads():
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        yield pool


# What it receives.


@pytest.mark.parametrize(
    ("step", "kind"),
    [(Fault("reset"), "error"), (Fault("eof"), "error"), (SendClose(1012, "restart"), "server_closed")],
    ids=["reset", "eof", "1012"],
)
def test_after_any_end_it_comes_again_and_what_lay_between_is_marked(server, step, kind):
    server.script("/end", [Send("a"), Send("b"), Expect(1), step])
    server.script("/again", [Send("c"), Echo()])
    with client_of(in_turn(server.url("/end"), server.url("/again")), server) as client:
        stream = client.stream(markers=True)
        assert [item.data for item in take(stream, 2)] == ["a", "b"]
        with stream, client.stream() as other:
            client.send("go")
            down, outage, message = take(stream, 3)
            assert (down.generation, down.reason.kind) == (1, kind)
            assert stream.last_outage is outage
            assert (outage.old_generation, outage.new_generation, outage.attempts) == (1, 2, 1)
            assert (message.data, message.seq, message.generation, message.connection_id) == ("c", 3, 2, 2)
            assert (stream.seq, stream.generation, stream.connection_id, stream.outages) == (3, 2, 2, 1)
            assert stream.received_ns == message.received_ns
            assert other.recv(timeout=PATIENCE) == "c"
            assert (other.outages, other.seq) == (1, 3)
        assert client.snapshot().reconnect_count == 1


def test_messages_come_in_order_and_without_loss_over_many_sessions(plain):
    """Each session is cut within a message; between them nothing is sent."""
    count, each = 40, 250
    uris = []
    for session in range(count):
        numbers = [Send(str(session * each + number)) for number in range(each)]
        plain.script(f"/{session}", [*numbers, Fault("reset" if session % 2 else "truncate")])
        uris.append(plain.url(f"/{session}"))
    plain.script("/last", [Send("end"), Echo()])
    with client_of(in_turn(*uris, plain.url("/last"))) as client:
        got, generations = [], []
        stream = client.stream()
        for message in stream:
            if message == "end":
                break
            got.append(int(message))
            generations.append(stream.generation)
        assert got == sorted(set(got))
        # What the peer's reset threw away in this host's kernel was never received.
        assert set(range(0, count * each, 2 * each)) <= set(got)
        assert generations == [number // each + 1 for number in got]
        assert stream.outages == count


def test_a_flood_is_complete_and_every_message_says_where_it_is(plain):
    with client_of(plain.url("/blast?n=100000&size=32&text=1")).start(PATIENCE) as client:
        stream = client.stream()
        numbers, stamps = [], []
        for message in stream:
            numbers.append(stream.seq)
            stamps.append(stream.received_ns)
            if len(numbers) == 100_000:
                break
            assert isinstance(message, str)
        assert numbers == list(range(1, 100_001))
        assert stamps == sorted(stamps)
        assert len(set(stamps)) > 1


def test_a_stream_that_is_not_read_makes_the_server_wait(plain):
    config = CONFIG.replace(queue_messages=100, queue_bytes=10_000)
    with client_of(plain.url("/blast?size=100"), config=config) as client:
        stream = client.stream()
        stream.recv(timeout=PATIENCE)
        while not client._thread.client._ring.is_full:
            pass
        messages, _ = stream.lag
        assert messages < 20_000  # what waits in the client, what was read in a turn, and what was carried
        assert len(take(stream, 2000)) == 2000
        assert stream.seq == 2001


@pytest.mark.parametrize("policy", ["drop_oldest", fastws.Conflate(fastws.keys.json("k"))], ids=["drop", "conflate"])
def test_a_stream_that_may_lose_is_as_fresh_as_on_an_event_loop(plain, policy):
    """What a slow reader gets is what was newest when it asked, not what was carried long before."""
    first = [Send(f'{{"k":1,"n":{number}}}') for number in range(10)]
    second = [Send(f'{{"k":1,"n":{number}}}') for number in range(10, 2000)]
    plain.script("/feed", [*first, Expect(1), *second, Echo()])
    with client_of(plain.url("/feed")) as client:
        marks = client.stream(decode=orjson.loads)
        stream = client.stream(policy=policy, capacity=10, decode=orjson.loads)
        while marks.recv(timeout=PATIENCE)["n"] < 9:
            pass
        client.send("go")
        while marks.recv(timeout=PATIENCE)["n"] < 1999:
            pass
        got = stream.recv(timeout=PATIENCE)["n"]
        assert got >= 1989
        assert stream.dropped + stream.conflated > 1900


def test_a_stream_that_fails_when_it_is_too_slow_says_so_and_others_go_on(plain):
    plain.script("/feed", [Expect(1), *(Send(str(number)) for number in range(100)), Echo()])
    with client_of(plain.url("/feed")) as client:
        steady = client.stream()
        hasty = client.stream(policy="fail", capacity=10)
        client.send("go")
        assert take(steady, 100) == [str(number) for number in range(100)]
        for _ in range(2):
            with pytest.raises(fastws.SubscriberOverflow):
                take(hasty, 100)
        with pytest.raises(fastws.SubscriberOverflow):
            list(hasty)


def test_what_cannot_be_decoded_is_told_at_its_place(plain):
    plain.script(
        "/feed", [Expect(1), Send("[1]"), Send("[2]"), Send("no"), Send("[3]"), Send("no"), Send("[4]"), Echo()]
    )
    with client_of(plain.url("/feed")) as client:
        stream = client.stream(decode=orjson.loads)
        skipping = client.stream(decode=orjson.loads, on_decode_error="skip")
        client.send("go")
        got = []
        while len(got) < 6:
            try:
                got.append((stream.recv(timeout=PATIENCE), stream.seq))
            except fastws.DecodeError as error:
                got.append(error.data)
        assert got == [([1], 1), ([2], 2), b"no", ([3], 4), b"no", ([4], 6)]
        got = [(skipping.recv(timeout=PATIENCE), skipping.seq) for _ in range(4)]
        assert got == [([1], 1), ([2], 2), ([3], 4), ([4], 6)]
        assert skipping.skipped == 2


def test_filtered_messages_keep_their_numbers(plain):
    numbers = [Send(f"{'a' if number % 3 else 'b'}{number}") for number in range(1, 31)]
    plain.script("/feed", [Expect(1), *numbers, Echo()])
    with client_of(plain.url("/feed")) as client:
        by_bytes, by_call = client.stream(filter=b"b"), client.stream(filter=lambda data: data[:1] == b"b")
        client.send("go")
        expected = [(f"b{number}", number) for number in range(3, 31, 3)]
        assert [(by_bytes.recv(timeout=PATIENCE), by_bytes.seq) for _ in expected] == expected
        assert [(by_call.recv(timeout=PATIENCE), by_call.seq) for _ in expected] == expected


def test_batches_have_their_limits_and_end_with_the_stream(plain):
    plain.script("/feed", [*(Send(str(number)) for number in range(1000)), Expect(1), SendClose(1000)])
    client = client_of(plain.url("/feed"), retry=fastws.NoRetry())
    with pytest.raises(fastws.RetriesExhausted), client:
        stream = client.stream(markers=True)
        assert stream.recv(timeout=PATIENCE).data == "0"  # what was carried with it comes in batches too
        got = []
        for batch in stream.batches(max_messages=64):
            assert 0 < len(batch) <= 64
            assert (batch.first_seq, batch.last_seq) == (len(got) + 2, len(got) + 1 + len(batch))
            assert stream.seq == batch.last_seq
            assert batch.generation == 1
            got.extend(batch)
            if len(got) == 999:
                break
        assert got == [str(number) for number in range(1, 1000)]
        client.send_nowait("bye")
        with pytest.raises(fastws.RetriesExhausted):
            for item in stream.batches():
                assert isinstance(item, fastws.markers.Down)


def test_a_batch_waits_for_more(plain):
    plain.script("/feed", [Send("a"), Expect(1), Send("b"), Expect(1), Send("c"), Echo()])
    with client_of(plain.url("/feed")) as client:
        watch, stream = client.stream(), client.stream(start="oldest")
        batches = stream.batches(max_messages=3, max_wait=PATIENCE)

        def go_on():
            watch.recv(timeout=PATIENCE)
            client.send("b")
            watch.recv(timeout=PATIENCE)
            client.send("c")

        thread = threading.Thread(target=go_on)
        thread.start()
        assert list(next(batches)) in (["a", "b", "c"], ["b", "c"])
        thread.join()


# What it sends.


def test_everything_that_sends_sends(server):
    with client_of(server.url("/echo"), server) as client:
        stream = client.stream()
        client.send("a")
        client.send(b"b", text=True)
        client.send_nowait(b"c")
        client.send_many(["d", b"e"], timeout=PATIENCE, expires=PATIENCE)
        assert client.send_json({"f": 1}, receipt=True).result(PATIENCE) is None
        assert client.send_text("g", receipt=True, expires=PATIENCE).result(PATIENCE) is None
        assert client.sender().send_binary(b"h", receipt=True, urgent=True).result(PATIENCE) is None
        client.send_timeout("i", 5)
        client.send_threadsafe("j").result(PATIENCE)
        client.sender().send("k")
        assert client.send("l", receipt=True).result(PATIENCE) is None
        assert take(stream, 12) == ["a", "b", b"c", "d", b"e", '{"f":1}', "g", b"h", "i", "j", "k", "l"]
        assert 0 < client.ping(timeout=PATIENCE) < PATIENCE
        assert client.request({"n": 1}, match=lambda m: m["n"] == 1, decode=orjson.loads) == {"n": 1}
        assert client.is_healthy(60)
        assert client.stats().messages_sent >= 13


def test_many_threads_send_and_one_reads(plain, threads):
    with client_of(plain.url("/echo")) as client:
        stream = client.stream()

        def send(number):
            sender = client.sender()
            for count in range(0, 300, 3):
                sender.send(f"{number} {count}")
                client.send_many([f"{number} {count + 1}", f"{number} {count + 2}"])

        sending = [threads.submit(send, number) for number in range(6)]
        got = [[] for _ in range(6)]
        for message in take(stream, 1800):
            number, count = map(int, message.split())
            got[number].append(count)
        for each in sending:
            each.result(PATIENCE)
        assert got == [list(range(300))] * 6


def test_receipts_say_what_became_of_messages():
    def script(wire):
        wire.reset()

    with Peer(script, buffers=16_384) as peer:
        config = CONFIG.replace(ping_interval=None)
        client = client_of(peer.url, retry=fastws.NoRetry(), config=config)
        with pytest.raises(fastws.RetriesExhausted), client:
            outcomes = []
            with pytest.raises((NotConnected, fastws.RetriesExhausted)):
                while True:
                    outcomes.append(client.send(b"x" * 1_000_000, receipt=True))
            for receipt in outcomes:
                error = receipt.exception(PATIENCE)
                assert error is None or isinstance(error, NotSent | MaybeSent)


def test_a_receipt_that_nobody_waits_for_any_more_is_in_nobodys_way(plain, caplog):
    client = client_of(plain.url("/echo"), config=CONFIG, rate_limit=fastws.RateLimit(1, 0.5, burst=1))
    with client:
        stream = client.stream()
        client.send("a")
        receipt = client.send("b", receipt=True)
        assert receipt.cancel()
        client.send("c", receipt=True).result(PATIENCE)
        assert [stream.recv(timeout=PATIENCE) for _ in range(3)] == ["a", "b", "c"]
    assert not [record for record in caplog.records if record.name == "asyncio"]


def test_subscriptions_are_confirmed_and_come_again(plain):
    plain.script("/first", [Echo(1), Expect(1), SendClose(1012)])
    client = client_of(in_turn(plain.url("/first"), plain.url("/echo")))
    client.subscriptions.add("a", message="sub a", ack=lambda message: message == "sub a")
    with client:
        client.subscriptions.confirmed("a", timeout=PATIENCE)
        events = client.events()
        assert isinstance(events.recv(timeout=PATIENCE), Ready)
        client.send("go")
        while not isinstance(events.recv(timeout=PATIENCE), Ready):
            pass
        client.subscriptions.confirmed("a", timeout=PATIENCE)
        assert client.subscriptions.states() == {"a": fastws.SubscriptionState.CONFIRMED}
        with pytest.raises(KeyError):
            client.subscriptions.confirmed("b")


# Callbacks.


def test_a_callback_may_not_make_a_call_that_waits(plain):
    client = client_of(plain.url("/echo"))
    stream = client.stream()
    raised = []

    def refuse(_event):
        for call in (
            stream.recv,
            lambda: next(iter(stream)),
            client.events().recv,
            client.ping,
            client.wait_ready,
            client.start,
            client.run,
            lambda: client.send("x"),
            lambda: client.send_many(["x"]),
            lambda: client.request("x", match=bool),
            lambda: client.subscriptions.confirmed("k"),
            lambda: client.register_extension(fastws.Extension()),
        ):
            try:
                call()
            except RuntimeError as error:
                raised.append(str(error))
        client.subscriptions.add("k", message="sub")
        client.send_threadsafe("later")
        client.send_nowait("at once")
        assert client.snapshot().generation == 1

    remove = client.on(Ready, refuse)
    with client:
        assert sorted(take(stream, 3)) == ["at once", "later", "sub"]
        remove()
        client.reconnect()
    assert len(raised) == 12
    assert all("wait" in text or "runs already" in text for text in raised)


def test_a_callback_may_shut_it_down(plain):
    client = client_of(plain.url("/echo"))
    client.on(Ready, lambda _event: client.shutdown())
    client.run()
    assert not client.is_running
    assert not client_threads()


def test_decoders_and_matches_are_called_in_the_thread_of_the_client(plain):
    where = set()

    def decode(data):
        where.add(threading.current_thread().name)
        return data

    with client_of(plain.url("/echo")) as client:
        stream = client.stream(decode=decode)
        client.send("a")
        stream.recv(timeout=PATIENCE)
        client.on(None, lambda _event: where.add(threading.current_thread().name))
        client.reconnect()
    assert where == {f"fastws client {client.uri}"}


# How it begins and ends.


def test_it_leaves_no_thread_and_no_descriptor_and_runs_again(server, open_fds):
    client = client_of(server.url("/echo"), server)
    with client:
        client.ping(timeout=PATIENCE)
    before = open_fds()
    stream = client.stream()
    for number in range(3):
        with client:
            client.send(str(number))
            assert stream.recv(timeout=PATIENCE) == str(number)
            assert len(client_threads()) == 1
        assert not client_threads()
        with pytest.raises(ClientStopped):
            stream.recv()
        with pytest.raises(ClientStopped):
            client.send("late")
    gc.collect()
    for pause in while_open(open_fds, before):
        time.sleep(pause)


@pytest.mark.parametrize("moment", [Connecting, Connected, Ready, Disconnected, Shutdown, None], ids=str)
def test_shutdown_at_any_moment_leaves_nothing(plain, moment):
    plain.script("/end", [Send("a"), SendClose(1012)])
    client = client_of(plain.url("/end"))
    stream = client.stream()
    reached = threading.Event()
    client.on(moment, lambda _event: reached.set())
    runner = threading.Thread(target=client.run)
    runner.start()
    if moment is Shutdown:
        while not client.is_running:
            pass
        client.shutdown()
    assert reached.wait(PATIENCE)
    client.shutdown()
    runner.join(PATIENCE)
    assert not runner.is_alive()
    assert not client_threads()
    assert set(stream) <= {"a"}


def test_a_shutdown_just_after_the_start_ends_it(plain):
    for _ in range(20):
        client = client_of(plain.url("/echo"))
        runner = threading.Thread(target=client.run)
        runner.start()
        while not client.is_running and runner.is_alive():
            pass
        client.shutdown()
        runner.join(PATIENCE)
        assert not runner.is_alive()


def test_a_shutdown_ends_what_waits_in_other_threads(plain, threads):
    client = client_of(plain.url("/echo"))
    client.subscriptions.add("k", message="sub", ack=lambda _: False)
    client.start(PATIENCE)
    streams, events = [client.stream() for _ in range(2)], client.events()
    waiting = [
        threads.submit(lambda: [*streams[0]]),
        threads.submit(lambda: [*events]),
        threads.submit(client.subscriptions.confirmed, "k"),
        threads.submit(client.request, "x", match=lambda _: False, timeout=None),
        threads.submit(lambda: [streams[1].recv() for _ in range(100)]),
    ]
    while client.stats().messages_sent < 2:
        pass
    client.shutdown()
    assert set(waiting[0].result(PATIENCE)) <= {"x", "sub"}
    assert isinstance(waiting[1].result(PATIENCE)[-1], Shutdown)
    for each in waiting[2:]:
        assert isinstance(each.exception(PATIENCE), fastws.errors.ClientError)


def test_what_was_received_can_be_read_after_the_end(plain):
    plain.script("/feed", [*(Send(str(number)) for number in range(3000)), Expect(1), Fault("reset")])
    client = client_of(plain.url("/feed"), retry=fastws.NoRetry())
    with client:
        first = client.stream()
        while client.snapshot().messages_received < 3000:
            pass
        client.shutdown()
    later = client.stream(start="oldest")
    assert list(first) == [str(number) for number in range(3000)]
    assert list(later) == []
    unread = client_of(plain.url("/feed"), retry=fastws.NoRetry())
    with unread:
        while unread.snapshot().messages_received < 3000:
            pass
    assert list(unread.stream()) == [str(number) for number in range(3000)]


def test_it_runs_once_at_a_time(plain):
    client = client_of(plain.url("/echo"))
    with client:
        for again in (client.run, client.start, client.__enter__):
            with pytest.raises(AlreadyRunning):
                again()
        assert client.ping(timeout=PATIENCE)
    with client.start(timeout=PATIENCE) as same:
        assert same is client


def test_an_error_of_the_body_is_not_hidden_and_one_of_the_client_is_told(plain):
    plain.script("/end", [Expect(1), SendClose(1000)])
    with pytest.raises(ZeroDivisionError), client_of(plain.url("/end"), retry=fastws.NoRetry()) as client:
        client.send("x")
        with pytest.raises(fastws.RetriesExhausted):
            client.stream().recv(timeout=PATIENCE)
        raise ZeroDivisionError
    client = client_of(plain.url("/end"), retry=fastws.NoRetry())
    with pytest.raises(fastws.RetriesExhausted), client:
        client.send("x")
        client.stream().close()
        with contextlib.suppress(fastws.RetriesExhausted):
            client.stream().recv(timeout=PATIENCE)


def test_a_refusal_is_raised_where_it_is_started(plain):
    with pytest.raises(fastws.InvalidStatus), client_of(plain.url("/status/401")):
        pass
    with pytest.raises(fastws.InvalidStatus):
        client_of(plain.url("/status/401")).run()
    assert not client_threads()


def test_several_clients_have_a_thread_each(plain):
    blocked, free = threading.Event(), threading.Event()
    with client_of(plain.url("/echo")) as slow, client_of(plain.url("/echo")) as fast:
        slow.on(None, lambda _event: (blocked.set(), free.wait(PATIENCE)))
        slow.reconnect()
        assert blocked.wait(PATIENCE)
        assert fast.ping(timeout=PATIENCE)
        assert len(client_threads()) == 2
        free.set()


def test_a_second_reader_is_refused_and_the_first_goes_on(plain, threads):
    with client_of(plain.url("/echo")) as client:
        stream = client.stream()
        reader = threads.submit(received, stream)
        until_receiving(stream)
        client.send("a")
        assert reader.result(PATIENCE) == "a"


def test_a_stream_that_nobody_holds_is_in_nobodys_way(plain):
    config = CONFIG.replace(queue_messages=10)
    with client_of(plain.url("/blast?size=10"), config=config) as client:
        read, left = client.stream(), client.stream()
        take(read, 5)
        gone = weakref.ref(left)
        while not left.lag[0]:
            read.recv(timeout=PATIENCE)
        with pytest.raises(TimeoutError):
            while True:
                read.recv(timeout=0.2)
        del left
        assert gone() is None
        take(read, 1000)


def test_a_client_that_nobody_holds_warns_and_ends(plain):
    client = client_of(plain.url("/echo")).start(PATIENCE)
    with pytest.warns(ResourceWarning, match=r"unclosed <fastws\.sync\.WebSocketClient"):
        del client
        gc.collect()
    deadline = time.monotonic() + PATIENCE
    while client_threads() and time.monotonic() < deadline:
        pass
    assert not client_threads()


@pytest.mark.parametrize("kind", ["asyncio", "uvloop"])
def test_it_runs_on_uvloop_where_that_is_installed(plain, monkeypatch, kind):
    if kind == "asyncio":
        monkeypatch.setitem(sys.modules, "uvloop", None)
    where = []
    with client_of(plain.url("/blast?n=50000&size=64")) as client:
        client.on(None, lambda _event: where.append(type(asyncio.get_running_loop()).__module__.partition(".")[0]))
        assert len(take(client.stream(), 50_000)) == 50_000
        client.reconnect()
    assert set(where) == {kind}


def test_peers_that_send_while_it_starts_lose_nothing():
    def script(wire):
        wire.send(*(text(str(number)) for number in range(100)))
        wire.answer_close()

    with Peer(script) as peer, client_of(peer.url) as client:
        assert take(client.stream(), 100) == [str(number) for number in range(100)]
