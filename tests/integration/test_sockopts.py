"""Options of the socket: python/fastws/dial.py and _options.py; TCP_QUICKACK also in rust/py/src/extras.rs."""

import errno
import os
import socket
import statistics
import struct
import sys
import time

import pytest

import fastws
from fastws import _options, dial
from peers import Peer, Wire, answering, no_descriptor_left, text

linux = pytest.mark.skipif(sys.platform != "linux", reason="an option of Linux")

SO_BUSY_POLL = 46
KEEPALIVE = (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)


def option_of(ws, level, option, size=0):
    """What getsockopt(2) says of a connection's socket."""
    with socket.socket(fileno=os.dup(ws.fileno())) as sock:
        return sock.getsockopt(level, option, size) if size else sock.getsockopt(level, option)


echo = answering(lambda payload: text(payload.decode()))


async def test_options_are_set_in_order():
    linger = struct.pack("ii", 1, 7)
    options = [
        KEEPALIVE,
        (socket.SOL_SOCKET, socket.SO_LINGER, linger),
        (socket.IPPROTO_TCP, socket.TCP_NODELAY, 0),  # behind nodelay=True
    ]
    with Peer() as peer:
        async with peer.connect(sockopts=options) as ws:
            assert option_of(ws, socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
            assert option_of(ws, socket.SOL_SOCKET, socket.SO_LINGER, len(linger)) == linger
            assert option_of(ws, socket.IPPROTO_TCP, socket.TCP_NODELAY) == 0
        async with peer.connect() as ws:
            assert option_of(ws, socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 0


@linux
async def test_options_are_set_before_the_socket_connects():
    """What is said in the SYN cannot be changed afterwards."""
    with Peer() as peer:
        async with peer.connect(sockopts=[(socket.IPPROTO_TCP, socket.TCP_MAXSEG, 700)]) as ws:
            assert option_of(ws, socket.IPPROTO_TCP, socket.TCP_MAXSEG) <= 700


async def test_a_socket_of_ones_own_gets_them_too():
    with Peer() as peer:
        sock = socket.create_connection(("127.0.0.1", peer.port))
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) == 0
        async with peer.connect(sock=sock, sockopts=[KEEPALIVE]) as ws:
            assert option_of(ws, socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
            assert option_of(ws, socket.IPPROTO_TCP, socket.TCP_NODELAY) != 0


@pytest.mark.parametrize("own", [False, True], ids=["dialled", "sock="])
async def test_a_refused_option_is_named_and_nothing_stays_open(own, open_fds):
    wrong = (socket.SOL_SOCKET, 0x7FFF, 1)
    async with no_descriptor_left(open_fds):
        with Peer(Wire.read_to_end, upgrade=False) as peer:
            more = {"sock": socket.create_connection(("127.0.0.1", peer.port))} if own else {}
            with pytest.raises(fastws.SocketOptionError) as caught:
                await fastws.connect(peer.url, sockopts=[KEEPALIVE, wrong], **more)
            assert not own or more["sock"].fileno() == -1
    error = caught.value
    assert isinstance(error, OSError)
    assert (error.errno, error.phase, error.uri) == (errno.ENOPROTOOPT, "tcp", peer.url)
    assert error.option == f"sockopts {wrong}"
    assert str(error) == f"{peer.url}: the socket does not take {error.option}: {os.strerror(errno.ENOPROTOOPT)}"
    assert type(error.__cause__) is OSError


@linux
async def test_quickack_is_set_again_after_each_read():
    """Without it the kernel goes back to delayed acknowledgements in such an exchange."""
    with Peer(echo) as peer:
        async with peer.connect(quickack=True) as ws:
            for _ in range(20):
                await ws.send("x")
                await ws.recv()
                assert option_of(ws, socket.IPPROTO_TCP, socket.TCP_QUICKACK) == 1
        async with peer.connect() as ws:
            while option_of(ws, socket.IPPROTO_TCP, socket.TCP_QUICKACK) == 1:
                await ws.send("x")
                await ws.recv()


@linux
@pytest.mark.timing
@pytest.mark.parametrize("tls", [False, True], ids=["tcp", "tls"])
async def test_quickack_spares_the_wait_of_a_peer_with_nagles_algorithm(tls):
    """The peer's second small segment waits for the acknowledgement of its first, which is delayed by some 40 ms."""

    def script(wire):
        wire.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 0)
        for _ in range(15):
            wire.read_frame()
            wire.send(text("one"))
            wire.send(text("two"))
        wire.answer_close()

    async def median(**options):
        async with peer.connect(**options) as ws:
            waits = []
            for _ in range(15):
                start = time.perf_counter()
                await ws.send("x")
                await ws.recv()
                await ws.recv()
                waits.append(time.perf_counter() - start)
        return statistics.median(waits)

    with Peer(script, tls=tls) as peer:
        assert await median(quickack=True) < await median() / 4


@linux
async def test_so_busy_poll_is_set_in_microseconds():
    with Peer() as peer:
        try:
            ws = await peer.connect(so_busy_poll=50e-6)
        except fastws.SocketOptionError as error:
            assert error.errno == errno.EPERM  # noqa: PT017 - one of two outcomes
            pytest.skip("this kernel does not let this process set SO_BUSY_POLL")
        async with ws:
            assert option_of(ws, socket.SOL_SOCKET, SO_BUSY_POLL) == 50


@linux
def test_so_busy_poll_where_it_is_not_permitted_says_what_to_do(process):
    """Newer kernels permit it to everybody; a neighbour of the option they do not."""
    process(
        """
        from fastws import _options
        _options._SO_BUSY_POLL = 69  # SO_PREFER_BUSY_POLL

        async def main():
            try:
                await fastws.connect("ws://127.0.0.1:1/", so_busy_poll=50e-6)
            except fastws.SocketOptionError as error:
                assert error.errno == 1, error.errno
                assert isinstance(error.__cause__, PermissionError)
                assert error.option == "so_busy_poll=5e-05"
                for part in ("so_busy_poll=5e-05", "CAP_NET_ADMIN", "net.core.busy_read"):
                    assert part in str(error), error
                print("ok")

        if os.getuid() == 0:
            os.setuid(65534)  # its capabilities go with it
        run(main())
        """
    )


@linux
async def test_incoming_cpu_is_set_and_is_the_kernels_afterwards():
    options = fastws.connect("ws://h/", incoming_cpu=0)._plan.dialling.options
    with socket.socket() as sock:
        dial.configure(sock, options, "ws://h/")
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_INCOMING_CPU) == 0
    with Peer(echo) as peer:
        async with peer.connect(incoming_cpu=0) as ws:
            await ws.send("x")
            await ws.recv()
            # The core that handled the last packet.
            assert 0 <= option_of(ws, socket.SOL_SOCKET, socket.SO_INCOMING_CPU) < os.cpu_count()


async def test_an_option_of_the_other_protocol_is_no_reason_to_give_up_a_host(monkeypatch):
    """IPv6's options are unknown to an IPv4 socket: the next address is tried, and without one the option is named."""
    option = (socket.IPPROTO_IPV6, socket.IPV6_TCLASS, 0)
    with Peer(host="::1") as peer:

        async def both(*_):
            four, six = (socket.AF_INET, ("127.0.0.1", peer.port)), (socket.AF_INET6, ("::1", peer.port, 0, 0))
            return [dial.Address(*four), dial.Address(*six)]

        async def only_the_first(*arguments):
            return (await both(*arguments))[:1]

        monkeypatch.setattr(dial, "resolve", both)
        async with fastws.connect("ws://two.example/", sockopts=[option]) as ws:
            assert ws.remote_address[0] == "::1"
        monkeypatch.setattr(dial, "resolve", only_the_first)
        with pytest.raises(fastws.SocketOptionError, match="does not take sockopts"):
            await fastws.connect("ws://two.example/", sockopts=[option])


async def test_nodelay_is_no_reason_to_refuse_a_socket_that_is_not_tcp():
    one, two = socket.socketpair()
    with one, two:
        options = fastws.connect("ws://h/", sock=one)._plan.dialling.options
        dial.configure(one, options, "ws://h/")


@pytest.mark.parametrize(
    ("options", "error", "match"),
    [
        ({"quickack": 1}, TypeError, "quickack is True or False"),
        ({"kernel_timestamps": None}, TypeError, "kernel_timestamps is True or False"),
        ({"so_busy_poll": 0}, ValueError, "so_busy_poll must be more than 0"),
        ({"so_busy_poll": "1"}, TypeError, "so_busy_poll is seconds"),
        ({"so_busy_poll": 50}, ValueError, "50 µs are 50e-6"),
        ({"incoming_cpu": -1}, ValueError, "incoming_cpu is the number of a core"),
        ({"incoming_cpu": True}, TypeError, "incoming_cpu is the number of a core"),
        ({"sockopts": 5}, TypeError, r"sockopts is a sequence of \(level, option, value\)"),
        ({"sockopts": [(1, 2)]}, TypeError, r"sockopts has tuples \(level, option, value\), not \(1, 2\)"),
        ({"sockopts": (1, 2, 3)}, TypeError, "sockopts has tuples"),
        ({"sockopts": [(1, 2, "3")]}, TypeError, "the value is int or bytes"),
        ({"sockopts": [(1, 2, 2**31)]}, ValueError, "must fit a C int"),
    ],
)
def test_wrong_options_are_named(options, error, match):
    with pytest.raises(error, match=match):
        fastws.connect("ws://h/", **options)


@pytest.mark.parametrize("option", [{"quickack": True}, {"so_busy_poll": 50e-6}, {"incoming_cpu": 0}])
def test_another_platform_is_named_at_once(option, monkeypatch):
    [(name, value)] = option.items()
    with monkeypatch.context() as patch:
        patch.setattr(sys, "platform", "darwin")
        with pytest.raises(ValueError, match=f"{name}={value}: .*darwin"):
            fastws.connect("ws://h/", **option)


@linux
def test_the_numbers_of_options_are_pythons_where_it_has_them():
    for name in ("SO_TIMESTAMPNS", "SO_BUSY_POLL", "SO_INCOMING_CPU", "TCP_QUICKACK"):
        ours = getattr(_options, f"_{name}")
        assert getattr(socket, name, ours) == ours
