"""fastws.sync on its way to the server: its deadline in every phase, Ctrl-C in every phase, and addresses in turn."""

import socket

import aiohappyeyeballs
import pytest
from hypothesis import given
from hypothesis import strategies as st

import fastws
import fastws.sync
from fastws.dial import Address
from fastws.sync import _io
from peers import Peer, ignoring_the_end
from programs import run_program
from proxies import proxy

# A program that can hang in each phase.
HANGS = """
import fastws.sync, socket, time
from fastws.tls import context_for
from proxies import proxy

stack = contextlib.ExitStack()
gate = Gate()
trusting = fastws.TlsConfig(ca=authority_pem())
getaddrinfo, threads = socket.getaddrinfo, threading.active_count()
for config in (fastws.TlsConfig(), fastws.TlsConfig(backend="openssl"), trusting):
    asyncio.run(context_for(config))  # which takes long the first time
waits = lambda wire: gate.wait()

def over():
    # What hangs does not any more, and nothing is left: the system's resolver could not be interrupted.
    global gate
    socket.getaddrinfo = getaddrinfo
    gate.open()
    stack.close()
    gate = Gate()
    while threading.active_count() != threads:
        time.sleep(0.001)

def silent_port():
    listener = stack.enter_context(socket.socket())
    listener.bind(("127.0.0.1", 0))
    listener.listen(0)
    for _ in range(3):
        filler = stack.enter_context(socket.socket())
        filler.setblocking(False)
        filler.connect_ex(listener.getsockname())
    return listener.getsockname()[1]

def found(*ports):
    def getaddrinfo(host, port, family=0, type=0):
        return [(socket.AF_INET, type, 6, "", ("127.0.0.1", port)) for port in ports]
    return getaddrinfo

def hanging(phase):
    match phase:
        case "dns":
            socket.getaddrinfo = lambda *_, **__: gate.wait()
            return "ws://slow.example/", {}
        case "tcp":
            return f"ws://127.0.0.1:{silent_port()}/", {}
        case "race":
            socket.getaddrinfo = found(silent_port(), silent_port())
            return "ws://two.example/", {"happy_eyeballs_delay": 0.01}
        case "tls" | "upgrade":
            peer = stack.enter_context(Peer(waits, upgrade=False))
            return f"{'wss' if phase == 'tls' else 'ws'}://127.0.0.1:{peer.port}/", {}
        case "openssl":
            peer = stack.enter_context(Peer(waits, upgrade=False))
            return f"wss://127.0.0.1:{peer.port}/", {"tls": "openssl"}
        case _:
            hop = stack.enter_context(proxy(ignoring_the_end(waits), tls=phase == "https"))
            scheme = phase.removesuffix(" in TLS")
            options = {"proxy_tls": trusting} if scheme == "https" else {}
            return "ws://h.example/", {"proxy": f"{scheme}://127.0.0.1:{hop.port}", **options}
"""

# Of each, the phase that its OpenTimeout names, and a part of the text.
PHASES = {
    "dns": ("dns", "the host's name was being looked up"),
    "tcp": ("tcp", "the TCP connection was being made: 127.0.0.1:"),
    "race": ("tcp", "no answer yet; 127.0.0.1:"),
    "tls": ("tls", "the TLS handshake was under way"),
    "openssl": ("tls", "the TLS handshake was under way"),
    "upgrade": ("upgrade", "the server had not answered the upgrade request"),
    "http": ("proxy", "the proxy http://127.0.0.1:"),
    "https": ("proxy", "had not answered"),
    "https in TLS": ("proxy", "was making the TLS connection to itself"),
    "socks5h": ("proxy", "had not answered"),
}


def process(program):
    run_program("asyncio", HANGS + program)


def test_open_timeout_ends_each_phase_and_names_it():
    process(f"""
for name, (phase, said) in {PHASES!r}.items():
    with stack:
        uri, options = hanging(name)
        started, limit = time.monotonic(), 1.5 if name == "https" else 0.5  # with TLS its handshake comes first
        try:
            fastws.sync.connect(uri, open_timeout=limit, **options)
        except fastws.OpenTimeout as error:
            assert error.phase == phase, (name, error.phase)
            assert said in str(error), (name, str(error))
            assert f"not open within {{limit:g}} s" in str(error), error
        else:
            raise AssertionError(name)
        assert limit <= time.monotonic() - started < 5 + limit
        over()
print("ok")
""")


def test_ctrl_c_ends_each_phase_at_once_and_leaves_nothing():
    process(f"""
main = threading.get_ident()

def where():
    frame, names = sys._current_frames()[main], set()
    place = frame, frame.f_lasti
    while frame is not None:
        names.add(frame.f_code.co_name)
        frame = frame.f_back
    return place if "open_in_thread" in names else None

def interrupt():
    # When it is at one place for some time: it waits.
    last, times = None, 0
    while times < 10:
        place = where()
        last, times = place, times + 1 if place is not None and place == last else 0
        time.sleep(0.002)
    del last, place
    os.kill(os.getpid(), signal.SIGINT)

def interrupted(phase, background):
    with stack:
        uri, options = hanging(phase)
        thread = threading.Thread(target=interrupt)
        thread.start()
        try:
            fastws.sync.connect(uri, open_timeout=None, background=background, **options)
        except KeyboardInterrupt:
            pass
        else:
            raise AssertionError(phase)
        thread.join()
        over()

interrupted("upgrade", True)  # from here on this thread has a descriptor of its own
known = len(os.listdir("/proc/self/fd"))
for phase in {list(PHASES)!r}:
    for background in (True, False):
        interrupted(phase, background)
        assert len(os.listdir("/proc/self/fd")) == known, phase
print("ok")
""")


# Functions that are arguments.


async def eventually(*_):
    return None


def test_an_async_function_is_refused_with_words():
    with pytest.raises(TypeError, match=r"proxy= is async.*give fastws\.sync a plain function"):
        fastws.sync.connect("ws://127.0.0.1:9/", proxy=eventually)

    def script(wire):
        wire.read_request()
        wire.send(b"HTTP/1.1 401 No\r\nContent-Length: 0\r\n\r\n")
        wire.end()

    with Peer(script, upgrade=False) as peer:
        with pytest.raises(TypeError, match="on_auth_challenge is async"):
            fastws.sync.connect(peer.url, on_auth_challenge=eventually)


def test_a_function_chooses_the_proxy_and_another_answers_a_challenge():
    asked = []

    @ignoring_the_end
    def script(wire):
        wire.read_request()
        wire.send(b"HTTP/1.1 401 No\r\nWWW-Authenticate: Digest\r\nContent-Length: 0\r\n\r\n")
        wire.end()

    with Peer(script, lambda wire: (wire.upgrade(), wire.answer_close()), upgrade=False) as peer:
        with fastws.sync.connect(
            peer.url,
            proxy=asked.append,
            on_auth_challenge=lambda response: {"Authorization": f"Digest {response.status_code}"},
        ):
            pass
        assert b"Authorization: Digest 401" in peer._wires[1].request
    assert asked == [peer.url] * 2


def test_reconnect_takes_the_same_way():
    """Its attempts go through the proxy, each."""

    @ignoring_the_end
    def refuses(wire):
        wire.read_request()
        wire.send(b"HTTP/1.1 502 Bad Gateway\r\n\r\n")
        wire.end()

    with proxy(refuses) as hop:
        attempts = fastws.sync.reconnect(
            "ws://h.example/", retry=fastws.FixedDelay(0.01, max_attempts=3), proxy=f"http://127.0.0.1:{hop.port}"
        )
        with pytest.raises(fastws.RetriesExhausted) as caught:
            next(attempts)
        assert isinstance(caught.value.__cause__, fastws.ProxyError)
        assert hop.accepted == 3


@pytest.mark.parametrize("given", [{"server_hostname": "not a name"}, {"tls": fastws.TlsConfig(server_hostname="-")}])
@pytest.mark.parametrize("background", [True, False])
def test_a_name_that_no_certificate_has_is_refused_and_nothing_stays_open(given, background, open_fds):
    with Peer(ignoring_the_end(lambda wire: wire.read_request()), upgrade=False) as peer:
        before = open_fds()
        with pytest.raises(ValueError, match="name"):
            fastws.sync.connect(peer.url.replace("ws:", "wss:"), background=background, **given)
        while open_fds() > before:
            pass


# Happy Eyeballs.

V4 = st.builds(
    lambda last, port: Address(socket.AF_INET, (f"192.0.2.{last}", port)), st.integers(1, 20), st.integers(1, 3)
)
V6 = st.builds(
    lambda last, port: Address(socket.AF_INET6, (f"2001:db8::{last}", port, 0, 0)),
    st.integers(1, 20),
    st.integers(1, 3),
)
ADDRESSES = st.lists(st.one_of(V4, V6), max_size=12, unique=True)


@given(ADDRESSES, st.integers(0, 6))
def test_interleaving_keeps_each_address_once(addresses, first):
    got = _io._interleaved(addresses, first)
    assert sorted(got) == sorted(addresses)
    for kind in (socket.AF_INET, socket.AF_INET6):
        assert [a for a in got if a.family == kind] == [a for a in addresses if a.family == kind]
    if first == 0:
        assert got == addresses


@given(ADDRESSES.filter(len), st.integers(1, 6))
def test_interleaving_is_that_of_the_other_half(addresses, first):
    """Connections on a loop are made by aiohappyeyeballs."""
    infos = [(address.family, socket.SOCK_STREAM, 6, "", address.sockaddr) for address in addresses]
    theirs = aiohappyeyeballs.impl._interleave_addrinfos(infos, first)
    assert _io._interleaved(addresses, first) == [Address(info[0], info[4]) for info in theirs]
