"""What the drop-in sends before a connection is open."""

import errno

import pytest

from fastws.compat.websockets import _policy
from fastws.compat.websockets.asyncio.client import connect
from peers import Peer, Wire


@pytest.mark.parametrize(
    ("value", "sent"),
    [
        ("plain", b"plain"),
        # Bytes of UTF-8 as a program hands them to websockets 17, which sends ISO-8859-1.
        ("abraão".encode().decode("latin-1"), "abraão".encode()),
        # What has no UTF-8 in those bytes is sent as what it is.
        ("abraão", "abraão".encode()),
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


@pytest.mark.parametrize(
    ("text", "kind", "number"),
    [
        ("Connection reset by peer (os error 104)", ConnectionResetError, errno.ECONNRESET),
        ("Broken pipe (os error 32)", BrokenPipeError, errno.EPIPE),
        ("Connection timed out (os error 110)", TimeoutError, errno.ETIMEDOUT),
        ("TLS: the stream was cut off", ConnectionResetError, None),
    ],
)
def test_what_the_system_says_keeps_its_number(text, kind, number):
    error = _policy._lost(text)
    assert (type(error), error.errno) == (kind, number)
