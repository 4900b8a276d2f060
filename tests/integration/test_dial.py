"""Where a connection goes: addresses, sockets of one's own, and descriptors that are not to be had (dial.py)."""

import asyncio
import contextlib
import errno
import os
import socket
import subprocess
import sys
import textwrap
import threading

import pytest

import fastws
from daemons import free_port
from peers import Peer, Wire, authority_pem, no_descriptor_left, request_of, server_context
from programs import run_program

pytestmark = pytest.mark.also_sync


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


@pytest.fixture
def resolved(monkeypatch):
    """Lets the resolver find these addresses of every name."""

    def resolved(*addresses):
        def getaddrinfo(host, port, family, kind):
            found = ((socket.AF_INET6 if ":" in address[0] else socket.AF_INET, address) for address in addresses)
            return [
                (of, kind, 6, "", (*address, 0, 0) if of == socket.AF_INET6 else address)
                for of, address in found
                if family in (0, of)
            ]

        monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)

    return resolved


async def test_a_time_out_of_the_systems_own_is_an_error_of_looking_up(monkeypatch):
    def getaddrinfo(*_):
        raise TimeoutError(errno.ETIMEDOUT, "Connection timed out")  # EAI_SYSTEM, and that is errno

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    for given in ({}, {"dns_timeout": 20}):
        with pytest.raises(fastws.DialError) as caught:
            await fastws.connect("ws://h.example/", **given)
        assert str(caught.value) == "ws://h.example/: the host 'h.example' was not found: Connection timed out"
        assert caught.value.is_retryable


@pytest.mark.also_sync(False)
def test_lookups_that_hang_keep_neither_the_users_threads_nor_the_end_of_the_program(loop_name):
    run_program(
        loop_name,
        """
        import socket

        gate = Gate()  # nobody opens it
        socket.getaddrinfo = lambda *_: gate.wait()

        async def main():
            for number in range(os.cpu_count() + 5):  # more than asyncio's executor has threads
                try:
                    await fastws.connect(f"ws://h{number}.example/", dns_timeout=0.01)
                except fastws.DialError as error:
                    assert "no name server has answered" in str(error), error
            return await asyncio.wait_for(asyncio.to_thread(lambda: "ok"), 10)

        print(run(main()))
        """,
    )


@contextlib.contextmanager
def port_that_refuses():
    """A port of this machine where nobody listens, or will."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield bound.getsockname()[1]


@contextlib.contextmanager
def port_that_is_silent():
    """A port of this machine that does not answer: its queue of connections is full."""
    with socket.socket() as listener, contextlib.ExitStack() as stack:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for _ in range(3):
            filler = stack.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex(listener.getsockname())
        yield listener.getsockname()[1]


@pytest.mark.parametrize("delay", [0.25, None])
async def test_the_next_address_is_tried_when_one_refuses(delay, resolved, open_fds):
    async with no_descriptor_left(open_fds):
        with Peer() as peer, port_that_refuses() as refused:
            resolved(("127.0.0.1", refused), ("127.0.0.1", peer.port))
            async with fastws.connect(f"ws://two.example:{peer.port}/", happy_eyeballs_delay=delay) as ws:
                assert ws.remote_address[1] == peer.port
            assert dict(request_of(peer)[1])["Host"] == f"two.example:{peer.port}"


@pytest.mark.parametrize("delay", [0.01, None])
async def test_the_error_names_every_address_and_why(delay, resolved, open_fds):
    async with no_descriptor_left(open_fds):
        with port_that_refuses() as one, port_that_refuses() as two:
            resolved(("127.0.0.1", one), ("127.0.0.1", two))
            with pytest.raises(fastws.DialError) as caught:
                await fastws.connect("ws://two.example/", happy_eyeballs_delay=delay)
        said = "connection refused: nothing listens there"
        assert caught.value.attempts == ((f"127.0.0.1:{one}", said), (f"127.0.0.1:{two}", said))
        assert str(caught.value) == (
            f"ws://two.example/: no connection: 127.0.0.1:{one}: {said}; 127.0.0.1:{two}: {said}"
        )
        assert (caught.value.phase, caught.value.kind, caught.value.errno) == ("tcp", "refused", errno.ECONNREFUSED)


async def test_an_address_that_is_silent_does_not_hold_up_the_next_one(resolved, open_fds):
    async with no_descriptor_left(open_fds):
        with Peer() as peer, port_that_is_silent() as silent:
            resolved(("127.0.0.1", silent), ("127.0.0.1", peer.port))
            async with fastws.connect("ws://two.example/", happy_eyeballs_delay=0.01) as ws:
                assert ws.remote_address[1] == peer.port


async def test_open_timeout_names_the_addresses_that_were_tried(resolved, open_fds):
    async with no_descriptor_left(open_fds):
        with port_that_is_silent() as silent, port_that_refuses() as refused:
            resolved(("127.0.0.1", refused), ("127.0.0.1", silent))
            with pytest.raises(fastws.OpenTimeout) as caught:
                await fastws.connect("ws://two.example/", open_timeout=1)
        assert caught.value.phase == "tcp"
        assert f"127.0.0.1:{refused}: connection refused" in str(caught.value)
        assert f"127.0.0.1:{silent}: no answer yet" in str(caught.value)


async def test_options_are_set_before_each_address_is_connected_to(resolved):
    with Peer() as peer, port_that_refuses() as refused:
        resolved(("127.0.0.1", refused), ("127.0.0.1", peer.port))
        kept = (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        async with fastws.connect("ws://two.example/", sockopts=[kept]) as ws:
            with socket.socket(fileno=os.dup(ws.fileno())) as same:
                assert same.getsockopt(*kept[:2]) == 1
                assert same.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) == 1
        with pytest.raises(fastws.SocketOptionError, match=r"does not take sockopts \(1, 9999, 1\)"):
            await fastws.connect("ws://two.example/", sockopts=[(socket.SOL_SOCKET, 9999, 1)])


async def test_family_chooses_among_the_addresses(resolved):
    with Peer() as peer:
        resolved(("::1", peer.port), ("127.0.0.1", peer.port))
        async with fastws.connect("ws://two.example/", family=socket.AF_INET) as ws:
            assert ws.remote_address == ("127.0.0.1", peer.port)


async def test_a_name_without_an_address_is_not_found(resolved):
    resolved()
    with pytest.raises(fastws.DialError, match=r"'none\.example' was not found: it has no address"):
        await fastws.connect("ws://none.example/")


async def test_an_address_of_another_family_is_not_found():
    with pytest.raises(fastws.DialError, match=r"127\.0\.0\.1' was not found with family=AF_INET6") as caught:
        await fastws.connect("ws://127.0.0.1/", family=socket.AF_INET6)
    assert caught.value.phase == "dns"


async def test_local_addr_is_where_it_connects_from(resolved, open_fds):
    async with no_descriptor_left(open_fds):
        with Peer() as peer:
            port = free_port()
            async with peer.connect(local_addr=("127.0.0.1", port)) as ws:
                assert ws.local_address == ("127.0.0.1", port)
            resolved(("127.0.0.2", 1), ("127.0.0.1", peer.port))
            async with fastws.connect("ws://two.example/", local_addr=("127.0.0.1", 0)) as ws:
                assert ws.local_address[0] == "127.0.0.1"


async def test_a_local_addr_that_is_not_to_be_had_is_named(open_fds):
    async with no_descriptor_left(open_fds):
        with Peer() as peer:
            for local, match in (
                ("192.0.2.1", r"127\.0\.0\.1:\d+: not from local_addr= 192\.0\.2\.1:0: Cannot assign"),
                ("::1", r"local_addr= has no address of its kind \(AF_INET\)"),
            ):
                with pytest.raises(fastws.DialError, match=match) as caught:
                    await peer.connect(local_addr=(local, 0))
                assert caught.value.phase == "tcp"
    with pytest.raises(fastws.DialError, match=r"'nowhere\.invalid' was not found.*; it is that of local_addr="):
        await fastws.connect("ws://127.0.0.1/", local_addr=("nowhere.invalid", 0))


@pytest.mark.also_sync(False)
async def test_cancelling_while_addresses_are_tried_leaves_nothing(resolved, open_fds):
    async with no_descriptor_left(open_fds):
        with port_that_is_silent() as silent, port_that_is_silent() as other:
            resolved(("127.0.0.1", silent), ("127.0.0.1", other))
            for turns in range(1, 12, 2):
                task = asyncio.create_task(fastws.connect("ws://two.example/", happy_eyeballs_delay=0.001)._open())
                for _ in range(turns):
                    await asyncio.sleep(0)
                task.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await task
            await asyncio.sleep(0)


# Unix sockets.


@contextlib.contextmanager
def unix_peer(path, script):
    """A server at a Unix socket, in a thread, for one connection."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen()
        listener.settimeout(20)

        def serve():
            sock, _ = listener.accept()
            with sock:
                sock.settimeout(20)
                wire = Wire(sock)
                requests.append(wire)
                script(wire)

        requests = []
        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield requests
        thread.join(20)
        assert not thread.is_alive()


def upgraded(wire):
    wire.upgrade()
    wire.answer_close()


@pytest.mark.parametrize("form", ["unix_connect", "uri", "path-like"])
async def test_a_unix_socket_is_named_by_its_path(form, tmp_path, open_fds):
    path = tmp_path / "feed.sock"
    async with no_descriptor_left(open_fds):
        with unix_peer(str(path), upgraded) as wires:
            opening = {
                "unix_connect": lambda: fastws.unix_connect(str(path), "ws://localhost/v5?token=hunter2"),
                "path-like": lambda: fastws.unix_connect(path, "ws://localhost/v5?token=hunter2"),
                "uri": lambda: fastws.connect(f"ws+unix://{path}:/v5?token=hunter2"),
            }[form]()
            async with opening as ws:
                assert ws.remote_address == str(path)
                assert "hunter2" not in ws.uri
        assert wires[0].request.startswith(b"GET /v5?token=hunter2 HTTP/1.1\r\nHost: localhost\r\n")


@pytest.mark.also_sync(False)
async def test_a_client_has_a_unix_socket_by_its_path(tmp_path):
    path = tmp_path / "feed.sock"
    with unix_peer(str(path), upgraded) as wires:
        async with fastws.WebSocketClient(f"ws+unix://{path}:/v5?token=hunter2") as client:
            assert client.uri == f"ws+unix://{path}:/v5?***"
    assert wires[0].request.startswith(b"GET /v5?token=hunter2 HTTP/1.1\r\nHost: localhost\r\n")


async def test_tls_by_a_unix_socket(tmp_path):
    def script(wire):
        wire.sock = server_context().wrap_socket(wire.sock, server_side=True)
        upgraded(wire)

    path = tmp_path / "feed.sock"
    with unix_peer(str(path), script):
        tls = fastws.TlsConfig(ca=authority_pem())
        async with fastws.connect(f"wss+unix://{path}:/v5", tls=tls) as ws:
            assert ws.uri == f"wss+unix://{path}:/v5"


@pytest.mark.skipif(sys.platform != "linux", reason="abstract names are Linux's")
async def test_a_unix_socket_may_have_an_abstract_name():
    name = "\0fastws-" + os.urandom(8).hex()
    with unix_peer(name, upgraded):
        async with fastws.unix_connect(name):
            pass


async def test_a_unix_socket_that_is_not_there_or_full_is_named(tmp_path, open_fds):
    async with no_descriptor_left(open_fds):
        missing = tmp_path / "none.sock"
        with pytest.raises(fastws.DialError, match=r"the Unix socket '.*none\.sock': No such file") as caught:
            await fastws.unix_connect(missing)
        assert caught.value.phase == "tcp"
        with pytest.raises(fastws.DialError, match="too long"):
            await fastws.unix_connect("/" + "x" * 200)
        with socket.socket(socket.AF_UNIX) as listener, contextlib.ExitStack() as stack:
            listener.bind(str(tmp_path / "full.sock"))
            listener.listen(0)
            for _ in range(3):
                filler = stack.enter_context(socket.socket(socket.AF_UNIX))
                filler.setblocking(False)
                filler.connect_ex(listener.getsockname())
            with pytest.raises(fastws.DialError, match="its queue of connections is full") as caught:
                await fastws.unix_connect(tmp_path / "full.sock")
            assert (caught.value.kind, caught.value.errno) == ("tcp", errno.EAGAIN)


async def test_a_port_where_nobody_listens_is_named(open_fds):
    async with no_descriptor_left(open_fds):
        with port_that_refuses() as port, pytest.raises(fastws.DialError) as caught:
            await fastws.connect(f"ws://127.0.0.1:{port}/")
        assert isinstance(caught.value, OSError)
        said = "connection refused: nothing listens there"
        assert str(caught.value) == f"ws://127.0.0.1:{port}/: no connection: 127.0.0.1:{port}: {said}"
        assert caught.value.attempts == ((f"127.0.0.1:{port}", said),)
        assert (caught.value.kind, caught.value.errno) == ("refused", errno.ECONNREFUSED)


@pytest.mark.loop_driver("behind a transport of uvloop's the socket has no error to ask for any more")
async def test_a_given_socket_that_cannot_be_connected_has_the_number_of_why():
    sock = socket.socket()
    sock.setblocking(False)
    with port_that_refuses() as port:
        sock.connect_ex(("127.0.0.1", port))
    with pytest.raises(fastws.DialError, match="nothing listens there") as caught:
        await fastws.connect("ws://venue.example/", sock=sock)
    assert (caught.value.kind, caught.value.errno) == ("refused", errno.ECONNREFUSED)


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


@pytest.mark.also_sync(False)
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


SILENT_NAME_SERVER = """
import ctypes

NEWNS, NEWUSER, NEWNET, BIND, PRIVATE = 0x20000, 0x10000000, 0x40000000, 4096, 1 << 18
libc = ctypes.CDLL(None, use_errno=True)

def must(result):
    if result:
        print("not permitted:", os.strerror(ctypes.get_errno()))
        sys.exit(0)

faulthandler.cancel_dump_traceback_later()  # its thread would not be of the new user's
must(libc.unshare(NEWNS | NEWNET) and libc.unshare(NEWUSER | NEWNS | NEWNET))
faulthandler.dump_traceback_later(30, exit=True)
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
    import fcntl
    fcntl.ioctl(any_socket, 0x8914, b"lo".ljust(16, b"\\0") + b"\\x49\\0".ljust(16, b"\\0"))  # SIOCSIFFLAGS: lo is up
must(libc.mount(b"none", b"/", None, 0x4000 | PRIVATE, None))
folder = tempfile.mkdtemp()
for name, text in (("resolv.conf", "nameserver 127.0.0.1\\noptions timeout:1 attempts:1\\n"),
                   ("nsswitch.conf", "hosts: dns\\n")):
    with open(f"{folder}/{name}", "w") as file:
        file.write(text)
    must(libc.mount(f"{folder}/{name}".encode(), f"/etc/{name}".encode(), None, BIND, None))
silent = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
silent.bind(("127.0.0.1", 53))

def check(error):
    assert isinstance(error, fastws.DialError), error
    assert (error.phase, error.kind, error.is_retryable) == ("dns", "dns", True), error
    assert str(error) == (
        "ws://host.example/: the host 'host.example' was not found within dns_timeout=0.05 s: "
        "no name server has answered"
    ), error
    silent.recv(4096)  # it was asked
"""


@pytest.mark.skipif(sys.platform != "linux", reason="name servers of a test's own need Linux's namespaces")
def test_a_name_server_that_is_silent_costs_dns_timeout(loop_name):
    call = (
        """
        try:
            fastws.sync.connect("ws://host.example/", dns_timeout=0.05, open_timeout=9)
        except fastws.ConnectError as error:
            check(error)
            print("ok")
        """
        if loop_name == "sync"
        else """
        async def main():
            with contextlib.suppress(asyncio.CancelledError):
                try:
                    await fastws.connect("ws://host.example/", dns_timeout=0.05, open_timeout=9)
                except fastws.ConnectError as error:
                    check(error)
                    print("ok")

        run(main())
        """
    )
    source = "import socket, tempfile, contextlib, fastws.sync\n" + SILENT_NAME_SERVER + textwrap.dedent(call)
    result = run_program("asyncio" if loop_name == "sync" else loop_name, source, expect="")
    if "not permitted" in result.stdout:
        pytest.skip(f"namespaces are not to be had here: {result.stdout.strip()}")
    assert result.stdout.strip() == "ok"
