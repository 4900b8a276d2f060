"""fastws.sync over TLS by Python's `ssl`, which lets go of the interpreter's lock in the middle of its work."""

import array
import concurrent.futures
import contextlib
import fcntl
import socket
import ssl
import sys
import termios

import pytest

import fastws
import fastws.sync
from certificates import CLIENT
from fastws import ConnectionClosedError, ConnectionClosedOK, TlsConfig
from fastws.testing import Server
from peers import (
    CLOSE,
    PATIENCE,
    PING,
    PONG,
    Gate,
    Peer,
    authority_pem,
    frame,
    ignoring_the_end,
    numbered,
    received,
    text,
    until_receiving,
)
from tls_peers import GOOD, ROOT, Answering, asking


def own_context(kind=ssl.SSLObject):
    context = ssl.create_default_context(cadata=authority_pem().decode())
    context.sslobject_class = kind
    return context


@pytest.fixture(params=["context", "openssl"])
def tls(request):
    return own_context() if request.param == "context" else TlsConfig(backend="openssl", ca=authority_pem())


@pytest.fixture(params=[True, False], ids=["helped", "alone"])
def background(request):
    return request.param


@pytest.fixture
def threads():
    """Threads that change places often, also in the middle of each other's work."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            yield pool
    finally:
        sys.setswitchinterval(before)


def echo(wire):
    while (received := wire.read_frame()).opcode != CLOSE:
        wire.send(frame(received.opcode, received.payload))
    wire.send(frame(CLOSE, received.payload))
    wire.end()


def test_messages_of_all_sizes_come_back(tls, background):
    with Peer(echo, tls=True) as peer:
        with fastws.sync.connect(peer.url, tls=tls, background=background) as ws:
            for size in (0, 1, 125, 126, 16_384, 16_385, 65_536, 3_000_000):
                ws.send(b"x" * size, timeout=PATIENCE)
                assert ws.recv(timeout=PATIENCE) == b"x" * size
            ws.send("grüß")
            assert ws.recv(timeout=PATIENCE) == "grüß"
        assert ws.close_code == 1000


def test_a_flood_arrives_whole_in_order_and_ends(tls, background):
    with Peer(lambda wire: (wire.send(numbered(range(20_000))), wire.close()), tls=True) as peer:
        with fastws.sync.connect(peer.url, tls=tls, background=background) as ws:
            assert list(ws) == [str(number) for number in range(20_000)]
        assert ws.close_info.code == 1000


def test_pings_are_answered_while_the_program_computes(tls):
    def script(wire):
        wire.send(frame(PING, b"1"))
        answer = wire.read_frame()
        wire.answer_close()
        return answer.opcode

    with Peer(script, tls=True) as peer, fastws.sync.connect(peer.url, tls=tls) as ws:
        while ws.stats().pongs_sent == 0:
            sum(range(1000))
    assert peer.results == [PONG]


def half_close(wire):
    """FIN; `SSLSocket.shutdown` would give up TLS in both directions."""
    socket.socket.shutdown(wire.sock, socket.SHUT_WR)


@pytest.mark.parametrize("end", ["cut", "reset", "half-closed", "close_notify"])
def test_an_end_without_close_is_an_error(end, tls, background):
    @ignoring_the_end
    def script(wire):
        wire.send(text("last"))
        wire.read_frame()
        if end == "half-closed":
            half_close(wire)
            wire.read_to_end()
        else:
            {"cut": wire.cut, "reset": wire.reset, "close_notify": wire.end}[end]()

    with Peer(script, tls=True) as peer:
        ws = fastws.sync.connect(peer.url, tls=tls, background=background)
        assert ws.recv(timeout=PATIENCE) == "last"
        ws.send("go")
        with pytest.raises(ConnectionClosedError) as caught:
            ws.recv(timeout=PATIENCE)
        assert caught.value.code == 1006
        ws.close()


@pytest.mark.parametrize("backend", ["system", "openssl"])
def test_a_connection_that_is_over_with_its_first_words_was_open(backend, background):
    """The upgrade, a Close and the end come at once; our answer arrives nevertheless."""

    def script(wire):
        wire.upgrade(frame(CLOSE, b"\x03\xe8"))
        half_close(wire)
        return wire.read_to_end()

    tls = TlsConfig(backend=backend, ca=authority_pem())
    with Peer(script, tls=True, upgrade=False) as peer:
        ws = fastws.sync.connect(peer.url, tls=tls, background=background)
        with pytest.raises(ConnectionClosedOK):
            ws.recv(timeout=PATIENCE)
        ws.close()
    assert [got.opcode for got in peer.results[0]] == [CLOSE]


def test_a_client_certificate_is_shown(background):
    mine = ROOT.issue("client.example", use=CLIENT)
    tls = TlsConfig(backend="openssl", ca=ROOT.pem, certificate=mine.pem, key=mine.key_pem())
    with Answering(asking()) as server, pytest.raises(fastws.InvalidStatus):
        fastws.sync.connect(server.url, tls=tls, host="127.0.0.1", background=background)
    assert server.seen.client


def test_a_context_with_everything_of_its_own(tmp_path):
    context = ssl.create_default_context(cadata=ROOT.pem.decode())
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["feed"])
    context.keylog_filename = str(tmp_path / "keys")
    served = GOOD.server_context()
    served.set_alpn_protocols(["feed"])
    with Answering(served) as server, pytest.raises(fastws.InvalidStatus):
        fastws.sync.connect(server.url, tls=context, host="127.0.0.1")
    assert (server.seen.version, server.seen.protocol) == ("TLSv1.2", "feed")
    assert "CLIENT_RANDOM" in (tmp_path / "keys").read_text()


def test_sessions_are_resumed(fastws_server_factory):
    server = fastws_server_factory(tls=True)
    for _ in range(3):
        with fastws.sync.connect(server.url("/echo"), tls=TlsConfig(backend="openssl", ca=server.ca_pem)) as ws:
            ws.send("x")
            assert ws.recv(timeout=PATIENCE) == "x"
    assert server.stats().resumed == 2


# What the context's own code does.


def test_what_the_contexts_code_raises_in_the_handshake_is_the_error(open_fds):
    class Raises(ssl.SSLObject):
        def do_handshake(self):
            raise LookupError("no such smart card")

    with Peer(ignoring_the_end(echo), tls=True, upgrade=False) as peer:
        peer._errors = _Ignored()
        with pytest.raises(fastws.TlsError, match="no such smart card") as caught:
            fastws.sync.connect(peer.url, tls=own_context(Raises))
        assert not caught.value.lost


def test_what_it_raises_on_sending_ends_the_connection_for_a_thread_that_receives(threads, background):
    class Raises(ssl.SSLObject):
        def write(self, data):
            if failing.is_open:
                raise LookupError("the card is gone")
            return super().write(data)

    failing = Gate()
    with Peer(lambda wire: wire.read_to_end(), tls=True) as peer:
        ws = fastws.sync.connect(peer.url, tls=own_context(Raises), background=background, ping_interval=None)
        reader = threads.submit(received, ws)
        until_receiving(ws)
        failing.open()
        with contextlib.suppress(fastws.ConnectionClosed):
            ws.send("x")  # which may know already
        with pytest.raises(ConnectionClosedError, match="the card is gone"):
            reader.result(PATIENCE)
        ws.close()


def test_ctrl_c_in_the_middle_of_its_work_is_raised_and_ends_the_connection(background):
    class Interrupted(ssl.SSLObject):
        def read(self, *arguments):
            if armed.is_open:
                raise KeyboardInterrupt
            return super().read(*arguments)

    armed = Gate()
    with Peer(
        ignoring_the_end(lambda wire: (wire.read_frame(), wire.send(text("a")), wire.read_to_end())), tls=True
    ) as peer:
        ws = fastws.sync.connect(peer.url, tls=own_context(Interrupted), background=background, close_timeout=1)
        armed.open()
        ws.send("go")
        with pytest.raises(KeyboardInterrupt):
            ws.recv(timeout=PATIENCE)
        with pytest.raises(ConnectionClosedError, match="interrupted"):
            ws.recv(timeout=PATIENCE)
        ws.close()


# One thread in the middle of TLS, and others that come meanwhile.


class _Ignored(list):
    def append(self, _):
        pass


@pytest.fixture
def held():
    """A class of SSL objects whose next `write` after `held.arm()` waits for `held.gate`."""

    class Held(ssl.SSLObject):
        def write(self, data):
            if Held.armed:
                Held.armed = False
                Held.reached.open()
                Held.gate.wait()
            return super().write(data)

    Held.armed, Held.reached, Held.gate = False, Gate(), Gate()

    def hold(threads, ws):
        """A thread that is in the middle of sending."""
        Held.armed = True
        sending = threads.submit(ws.send, "held")
        Held.reached.wait()
        return sending

    Held.hold = hold
    return Held


def unread(ws):
    """Bytes in the socket that nobody has read."""
    count = array.array("i", [0])
    fcntl.ioctl(ws.fileno(), termios.FIONREAD, count)
    return count[0]


def test_what_comes_while_another_thread_sends_is_received(threads, background, held):
    """The records are read then, and worked through by who sends: the reader sleeps, and is to be woken."""
    go, sent = Gate(), Gate()

    def script(wire):
        go.wait()
        wire.send(text("meanwhile"))
        sent.open()
        assert wire.read_frame().payload == b"held"
        wire.answer_close()

    with Peer(script, tls=True) as peer:
        with fastws.sync.connect(peer.url, tls=own_context(held), background=background, ping_interval=None) as ws:
            reader = threads.submit(received, ws)
            until_receiving(ws)
            sending = held.hold(threads, ws)
            go.open()
            sent.wait()
            while unread(ws):
                pass
            held.gate.open()
            assert reader.result(PATIENCE) == "meanwhile"
            sending.result(PATIENCE)


@pytest.mark.parametrize("size", [1, 100_000])
def test_what_is_sent_while_another_thread_sends_leaves(size, threads, background, held):
    """It is encrypted by the other thread: who sent it, and waits for it to leave, is to be woken."""
    with Peer(lambda wire: [len(got.payload) for got in wire.answer_close()], tls=True) as peer:
        with fastws.sync.connect(
            peer.url, tls=own_context(held), background=background, ping_interval=None, write_limit=1000
        ) as ws:
            first = held.hold(threads, ws)
            second = threads.submit(ws.send, b"x" * size)
            while ws.stats().messages_sent < 2:
                pass
            held.gate.open()
            first.result(PATIENCE)
            second.result(PATIENCE)
    assert peer.results[0][:2] == [4, size]


def test_close_while_another_thread_sends_is_said_to_the_peer(threads, background, held):
    with Peer(lambda wire: wire.answer_close(), tls=True) as peer:
        ws = fastws.sync.connect(peer.url, tls=own_context(held), background=background, ping_interval=None)
        first = held.hold(threads, ws)
        closing = threads.submit(ws.close, 4000)
        while ws.state is fastws.State.OPEN:
            pass
        held.gate.open()
        first.result(PATIENCE)
        closing.result(PATIENCE)
        assert ws.close_info.cause is None, ws.close_info
    assert [got.payload[:4] for got in peer.results[0]] == [b"held", b"\x0f\xa0"]


def test_a_close_of_the_peer_while_another_thread_sends_is_answered(threads, background, held):
    def script(wire):
        go.wait()
        wire.send(frame(CLOSE, b"\x03\xe8"))
        sent.open()
        frames = wire.read_to_close()
        wire.end()
        return frames

    go, sent = Gate(), Gate()
    with Peer(script, tls=True) as peer:
        ws = fastws.sync.connect(peer.url, tls=own_context(held), background=background, ping_interval=None)
        reader = threads.submit(received, ws)
        until_receiving(ws)
        first = held.hold(threads, ws)
        go.open()
        sent.wait()
        while unread(ws):
            pass
        held.gate.open()
        first.result(PATIENCE)
        with pytest.raises(ConnectionClosedOK):
            reader.result(PATIENCE)
        ws.close()
    assert [got.payload for got in peer.results[0]] == [b"held", b"\x03\xe8"]


def test_close_while_the_answer_to_the_peers_is_encrypted_does_not_cut_it_off(threads, background, held):
    def script(wire):
        go.wait()
        wire.send(frame(CLOSE, b"\x03\xe8"))
        frames = wire.read_to_close()
        wire.end()
        return frames

    go = Gate()
    with Peer(script, tls=True) as peer:
        ws = fastws.sync.connect(peer.url, tls=own_context(held), background=background, ping_interval=None)
        reader = threads.submit(received, ws)
        until_receiving(ws)
        held.armed = True
        go.open()
        held.reached.wait()
        closing = threads.submit(ws.close)
        for _ in range(3):
            ws.flush()
        with pytest.raises(TimeoutError):
            ws.wait_closed(0.01)
        held.gate.open()
        closing.result(PATIENCE)
        with pytest.raises(ConnectionClosedOK):
            reader.result(PATIENCE)
    assert [got.payload for got in peer.results[0]] == [b"\x03\xe8"]


def test_giving_it_up_while_another_thread_sends_ends_all_calls(threads, background, held):
    with Peer(lambda wire: wire.read_to_end(), tls=True) as peer:
        ws = fastws.sync.connect(peer.url, tls=own_context(held), background=background, ping_interval=None)
        reader = threads.submit(received, ws)
        until_receiving(ws)
        first = held.hold(threads, ws)
        ws._abort("enough")
        with pytest.raises(ConnectionClosedError, match="enough"):
            reader.result(PATIENCE)
        held.gate.open()
        concurrent.futures.wait([first], PATIENCE)
        assert ws.fileno() == -1


def test_many_send_while_one_receives(threads, background, tls):
    with Peer(echo, tls=True) as peer:
        with fastws.sync.connect(peer.url, tls=tls, background=background) as ws:

            def send(number):
                for count in range(250):
                    ws.send(f"{number} {count} " + "x" * (count * 37 % 3000))

            senders = [threads.submit(send, number) for number in range(4)]
            got = [[] for _ in range(4)]
            for _ in range(1000):
                number, count, _ = ws.recv(timeout=PATIENCE).split(" ")
                got[int(number)].append(int(count))
            for sender in senders:
                sender.result(PATIENCE)
    assert got == [list(range(250))] * 4


def test_no_descriptor_and_no_reference_is_left(open_fds, background):
    with Peer(ignoring_the_end(echo), tls=True) as peer:
        tls = own_context()

        def use():
            with fastws.sync.connect(peer.url, tls=tls, background=background) as ws:
                ws.send(b"x")
                assert ws.recv(timeout=PATIENCE) == b"x"

        use()
        for thread in peer._threads:
            thread.join(PATIENCE)
        before = open_fds()
        use()
        for thread in peer._threads:
            thread.join(PATIENCE)
        while open_fds() > before:
            pass


def test_messages_stay_what_they_are_while_threads_meet_in_pythons_tls(threads):
    with Server(tls=True) as server:
        context = ssl.create_default_context(cadata=server.ca_pem.decode())
        for _ in range(5):
            with fastws.sync.connect(server.url("/echo"), tls=context, background=False) as ws:

                def send(number, ws=ws):
                    for count in range(250):
                        ws.send(f"{number} {count} " + "x" * (count * 37 % 3000))

                senders = [threads.submit(send, number) for number in range(4)]
                got = [[] for _ in range(4)]
                for _ in range(1000):
                    number, count, rest = ws.recv(timeout=PATIENCE).split(" ")
                    got[int(number)].append(int(count))
                    assert rest == "x" * (int(count) * 37 % 3000)
                for sender in senders:
                    sender.result()
                assert got == [list(range(250))] * 4
