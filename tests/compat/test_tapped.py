"""Frames off the front of what a tap is told of, and the heads of the handshake as they may be shown."""

import pytest
import websockets.frames

from fastws.compat._tapped import field, request_line, take_frame


@pytest.mark.parametrize("size", [0, 5, 125, 126, 65_535, 65_536])
@pytest.mark.parametrize("mask", [False, True], ids=["a server's", "a client's"])
def test_a_frame_is_taken_when_it_is_whole(mask, size):
    payload = bytes(number % 251 for number in range(size))
    raw = websockets.frames.Frame(websockets.frames.Opcode.BINARY, payload).serialize(mask=mask)
    data = bytearray(raw[:-1])
    assert take_frame(data) is None
    assert bytes(data) == raw[:-1]
    data += raw[-1:] + b"next"
    taken = take_frame(data)
    assert (taken.fin, taken.opcode, taken.payload, taken.raw) == (True, 2, payload, raw)
    assert (taken.rsv1, taken.rsv2, taken.rsv3) == (False, False, False)
    assert bytes(data) == b"next"


def test_bits_are_each_their_own():
    for at, bit in enumerate((128, 64, 32, 16)):
        taken = take_frame(bytearray([bit | 1, 0]))
        assert [taken.fin, taken.rsv1, taken.rsv2, taken.rsv3] == [place == at for place in range(4)]


def test_secrets_are_masked():
    assert request_line("GET /feed?key=secret HTTP/1.1") == "GET /feed?*** HTTP/1.1"
    assert field("Authorization: Bearer secret") == ("Authorization", "***")
    assert field("Host:  a:80 ") == ("Host", "a:80")
