"""What the drop-in sends before a connection is open."""

import asyncio
import errno
import importlib
import socket

import pytest
import websockets

from fastws.compat.websockets import _policy
from fastws.compat.websockets._dialling import Way
from fastws.compat.websockets._facade import Facade
from fastws.compat.websockets.asyncio.client import connect
from fastws.compat.websockets.sync import client as blocking
from fastws.compat.websockets.uri import parse_uri
from peers import Gate, Peer, Wire


@pytest.mark.parametrize(
    ("value", "sent"),
    [
        ("plain", b"plain"),
        ("abraão", b"abra\xe3o"),
        # UTF-8 as a program hands it to websockets.
        ("abraão".encode().decode("latin-1"), "abraão".encode()),
    ],
)
async def test_header_values_are_the_bytes_that_websockets_sends(value, sent):
    seen = []

    def script(wire):
        request = wire.read_request()
        seen.extend(line for line in request.split(b"\r\n") if line.lower().startswith(b"username:"))
        wire.sock.sendall(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n")

    with Peer(script, upgrade=False) as peer:
        with pytest.raises(Exception, match="403"):
            await connect(peer.url, additional_headers={"username": value})
    assert seen == [b"username: " + sent]


async def test_a_header_may_be_a_number_and_is_shown_as_it_was_sent():
    name = "abraão".encode().decode("latin-1")
    with Peer(Wire.read_to_end) as peer:
        async with connect(peer.url, additional_headers={"X-Account": 42, "X-Name": name}, close_timeout=0.01) as ws:
            assert (ws.request.headers["X-Account"], ws.request.headers["X-Name"]) == ("42", name)


async def test_the_address_is_of_the_family_and_from_where_it_is_told():
    with Peer() as peer:
        async with connect(peer.url, family=socket.AF_INET, local_addr=("127.0.0.2", 0)) as ws:
            assert ws.local_address[0] == "127.0.0.2"
        with pytest.raises(OSError, match=r"127\.0\.0\.1"):
            await connect(peer.url, family=socket.AF_INET6)


@pytest.mark.parametrize(
    ("given", "raced"),
    [
        ({}, (None, 0)),
        ({"happy_eyeballs_delay": 0.5}, (0.5, 1)),
        ({"happy_eyeballs_delay": 0.5, "interleave": 2}, (0.5, 2)),
        ({"interleave": 1}, (None, 1)),
    ],
)
def test_addresses_are_raced_as_asyncio_races_them(given, raced):
    way = Way.of(parse_uri("ws://host/"), None, given)
    opening = way.opening("ws://host/", Facade(parse_uri("ws://host/")), headers=None, user_agent=None, limits={})
    dialling = opening._plan.dialling
    assert (dialling.happy_eyeballs_delay, dialling.interleave) == raced


def test_a_blocking_one_is_from_where_it_is_told():
    with Peer() as peer, blocking.connect(peer.url, source_address=("127.0.0.3", 0)) as ws:
        assert ws.local_address[0] == "127.0.0.3"


async def test_a_server_that_ends_the_tls_handshake_is_lost():
    with Peer(lambda wire: wire.sock.recv(1), upgrade=False) as peer:
        with pytest.raises(ConnectionResetError) as lost:
            await connect(peer.url.replace("ws:", "wss:"))
    assert lost.value.errno == errno.ECONNRESET


async def test_a_proxy_that_has_no_address():
    with pytest.raises(socket.gaierror):
        await connect("ws://host.invalid/", proxy="http://no-such-host.invalid:1")


@pytest.mark.parametrize(
    ("number", "kind"),
    [
        (errno.ECONNRESET, ConnectionResetError),
        (errno.EPIPE, BrokenPipeError),
        (errno.ETIMEDOUT, TimeoutError),
        (None, ConnectionResetError),
    ],
)
def test_what_the_system_says_keeps_its_number(number, kind):
    error = _policy._lost(number, "TLS: a text that ends in the number of another (os error 32)")
    assert (type(error), error.errno) == (kind, number)


@pytest.mark.parametrize("skin", ["asyncio", "sync"])
def test_a_reset_is_the_systems_error_with_its_number_as_with_websockets(skin):
    def cause(package):
        client, gate = importlib.import_module(f"{package}.{skin}.client"), Gate()
        with Peer(lambda wire: (gate.wait(), wire.reset())) as peer:

            async def met():
                async with client.connect(peer.url) as ws:
                    gate.open()
                    with pytest.raises(websockets.ConnectionClosedError) as closed:
                        await ws.recv()
                return closed.value.__cause__

            if skin == "asyncio":
                return asyncio.run(asyncio.wait_for(met(), 10))
            with client.connect(peer.url) as ws:
                gate.open()
                with pytest.raises(websockets.ConnectionClosedError) as closed:
                    ws.recv()
            return closed.value.__cause__

    ours, theirs = cause("fastws.compat.websockets"), cause("websockets")
    assert (type(ours), ours.errno) == (type(theirs), theirs.errno) == (ConnectionResetError, errno.ECONNRESET)


REFUSAL = (
    b"HTTP/1.1 403 d\xe9j\xc3\xa0 vu\r\nX-Utf8: \xe2\x82\xac \xc3\xa0\r\nX-Latin: \xe9\r\nContent-Length: 0\r\n\r\n"
)


@pytest.mark.parametrize("skin", ["asyncio", "sync"])
def test_answers_are_read_as_websockets_reads_them(skin):
    def refusal(package):
        client = importlib.import_module(f"{package}.{skin}.client")
        with Peer(lambda wire: (wire.read_request(), wire.sock.sendall(REFUSAL)), upgrade=False) as peer:
            with pytest.raises(websockets.InvalidStatus) as refused:
                if skin == "sync":
                    client.connect(peer.url)
                else:
                    asyncio.run(asyncio.wait_for(client.connect(peer.url), 10))
        return refused.value.response

    ours, theirs = refusal("fastws.compat.websockets"), refusal("websockets")
    assert ours.reason_phrase == theirs.reason_phrase
    assert list(ours.headers.raw_items()) == list(theirs.headers.raw_items())
    assert ours.headers.serialize() == REFUSAL.partition(b"\r\n")[2]
    assert ours.headers["X-Utf8"].encode("iso-8859-1").decode() == "€ à"


async def test_headers_of_an_accepted_upgrade_are_bytes_too():
    def script(wire):
        wire.upgrade(headers="X-Name: abraão\r\n")
        wire.read_to_end()

    with Peer(script, upgrade=False) as peer:
        async with connect(peer.url, close_timeout=0.01) as ws:
            assert ws.response.headers["X-Name"].encode("iso-8859-1") == "abraão".encode()


async def test_what_has_no_bytes_in_iso_8859_1_is_refused():
    for arguments in {"additional_headers": {"X": "€"}}, {"user_agent_header": "€"}, {"origin": "€"}:
        with pytest.raises((ValueError, websockets.InvalidHeaderValue), match="header"):
            await connect("ws://localhost", **arguments)
