"""Where a connection goes: addresses, sockets of one's own, and descriptors that are not to be had (dial.py)."""

import asyncio
import os
import socket
import subprocess
import sys

import pytest

import fastws
from peers import Peer, Wire, no_descriptor_left, request_of


async def test_ipv6_literals():
    try:
        probe = socket.create_server(("::1", 0), family=socket.AF_INET6)
    except OSError:
        pytest.skip("this machine has no IPv6 loopback")
    probe.close()
    with Peer(host="::1") as peer:
        async with peer.connect() as ws:
            assert ws.remote_address[0] == "::1"
        assert dict(request_of(peer)[1])["Host"] == f"[::1]:{peer.port}"


async def test_addresses_are_those_of_the_socket():
    with Peer() as peer:
        async with peer.connect() as ws:
            assert ws.remote_address == ("127.0.0.1", peer.port)
            assert ws.local_address[0] == "127.0.0.1"
            assert ws.local_address[1] != peer.port
            assert ws.uri == peer.url


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
async def test_addresses_read_as_python_reads_them_and_stay_when_the_connection_is_over(host):
    with Peer(host=host) as peer:
        async with peer.connect() as ws:
            with socket.socket(fileno=os.dup(ws.fileno())) as same:
                known = same.getsockname(), same.getpeername()
            assert (ws.local_address, ws.remote_address) == known
        assert ws.fileno() == -1
        assert (ws.local_address, ws.remote_address) == known


@pytest.mark.parametrize("kind", ["path", "abstract", "none"])
async def test_addresses_of_a_unix_socket(kind, tmp_path):
    if kind == "abstract" and sys.platform != "linux":
        pytest.skip("abstract names are Linux's")
    name = {"path": str(tmp_path / "sock"), "abstract": b"\0fastws-" + os.urandom(8).hex().encode(), "none": ""}[kind]
    if kind == "none":
        ours, theirs = socket.socketpair()
    else:
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(name)
            listener.listen()
            ours = socket.socket(socket.AF_UNIX)
            ours.connect(name)
            theirs, _ = listener.accept()
    wire = Wire(theirs)

    def serve():
        wire.upgrade()
        wire.answer_close()

    serving = asyncio.create_task(asyncio.to_thread(serve))
    async with fastws.connect("ws://unix.example/", sock=ours) as ws:
        assert ws.remote_address == name
        assert ws.local_address == ""
    await serving
    theirs.close()


async def test_the_next_address_is_tried_when_one_refuses(monkeypatch):
    """Every address of the host is tried in order, and the error names all of them."""
    with Peer() as peer, socket.create_server(("127.0.0.1", 0)) as other:
        refused = other.getsockname()[1]
        other.close()
        loop = asyncio.get_running_loop()

        async def resolved(host, port, **options):
            return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", number)) for number in ports]

        class Loop:
            """The running loop, but for the addresses of names."""

            def __init__(self, inner):
                self._inner = inner

            def __getattr__(self, name):
                return resolved if name == "getaddrinfo" else getattr(self._inner, name)

        from fastws import dial

        real = dial.resolve
        monkeypatch.setattr(dial, "resolve", lambda _, *arguments: real(Loop(loop), *arguments))
        ports = [refused, peer.port]
        async with fastws.connect(f"ws://two.example:{peer.port}/") as ws:
            assert ws.remote_address[1] == peer.port
        assert dict(request_of(peer)[1])["Host"] == f"two.example:{peer.port}"
        ports = [refused, refused + 0]
        with pytest.raises(fastws.DialError, match=f"127.0.0.1:{refused}") as caught:
            await fastws.connect("ws://two.example/")
        assert caught.value.phase == "tcp"
        assert caught.value.attempts[0][0] == f"127.0.0.1:{refused}"


async def test_a_port_where_nobody_listens_is_named(open_fds):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    async with no_descriptor_left(open_fds):
        with pytest.raises(fastws.DialError) as caught:
            await fastws.connect(f"ws://127.0.0.1:{port}/")
        assert isinstance(caught.value, OSError)
        said = "connection refused: nothing listens there"
        assert str(caught.value) == f"ws://127.0.0.1:{port}/: no connection: 127.0.0.1:{port}: {said}"
        assert caught.value.attempts == ((f"127.0.0.1:{port}", said),)


async def test_a_host_that_does_not_exist_is_named():
    with pytest.raises(fastws.DialError, match=r"nowhere\.invalid") as caught:
        await fastws.connect("ws://nowhere.invalid/")
    assert caught.value.phase == "dns"


async def test_host_and_port_override_where_to_connect_but_not_what_is_asked_for():
    with Peer() as peer:
        async with fastws.connect("ws://exchange.example/feed", host="127.0.0.1", port=peer.port):
            pass
    head, headers = request_of(peer)
    assert head == "GET /feed HTTP/1.1"
    assert dict(headers)["Host"] == "exchange.example"


async def test_a_socket_of_ones_own_is_taken_over():
    with Peer() as peer:
        sock = socket.create_connection(("127.0.0.1", peer.port))
        async with fastws.connect(peer.url, sock=sock) as ws:
            assert sock.fileno() == -1
            assert ws.remote_address == ("127.0.0.1", peer.port)


@pytest.mark.parametrize("nodelay", [True, False])
async def test_nodelay_is_set_unless_it_is_not_wanted(nodelay):
    with Peer() as peer:
        async with peer.connect(nodelay=nodelay) as ws:
            sock = socket.socket(fileno=ws.fileno())
            try:
                assert bool(sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)) == nodelay
            finally:
                sock.detach()


# Deadlines and giving up.


async def test_a_socket_that_is_closed_or_not_connected_is_said():
    closed = socket.socket()
    closed.close()
    with pytest.raises(ValueError, match="sock is closed"):
        fastws.connect("ws://localhost/", sock=closed)
    with pytest.raises(fastws.DialError, match=r"ws://localhost/: .*not connected"):
        await fastws.connect("ws://localhost/", sock=socket.socket())
    with Peer() as peer:
        once = fastws.connect("ws://localhost/", sock=socket.create_connection(("127.0.0.1", peer.port)))
        await (await once).close()
        with pytest.raises(RuntimeError, match="taken over"):
            await once


def test_no_descriptor_left_is_said_and_nothing_stays_open(fastws_server):
    program = """
import asyncio, os, resource, sys, warnings
import fastws

warnings.simplefilter("error")

async def main():
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    failed = 0
    for spare in range(8):
        known = set(os.listdir("/proc/self/fd"))
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(map(int, known)) + spare, hard))
        try:
            async with fastws.connect(sys.argv[1]) as ws:
                await ws.send("hello")
                assert await ws.recv() == "hello"
            break
        except (fastws.DialError, OSError) as error:
            assert "Too many open files" in str(error), error
            failed += 1
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        await asyncio.sleep(0)
        assert len(os.listdir("/proc/self/fd")) == len(known)
    print("open" if 1 < failed < 7 else failed)

asyncio.run(main())
"""
    result = subprocess.run(
        [sys.executable, "-X", "dev", "-c", program, fastws_server.url()],
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    assert (result.returncode, result.stdout, result.stderr) == (0, "open\n", "")
