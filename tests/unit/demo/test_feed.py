from __future__ import annotations

import gzip
import hashlib
import random
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastws.demo.feed import Event, FeedDigest, FeedError, read_feed, received, steps_back, write_feed

MESSAGES = st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=8) | st.binary(max_size=8), max_size=12)


def written(tmp_path, *lines):
    path = tmp_path / "feed.jsonl.gz"
    path.write_bytes(gzip.compress(b"\n".join(lines) + b"\n"))
    return path


def test_what_is_written_is_read_back(tmp_path):
    events = [
        Event(1.5, "open", "wss://host/feed"),
        Event(2.0, "send", '{"subscribe":"ä"}'),
        Event(2.25, "recv", "取引 \U0001f4c8 \u2028"),
        Event(2.25, "recv", b"\x1f\x8b\x00\xff"),
        Event(1618677816.8434298, "recv", ""),
        Event(1618677816.8434298, "recv", b""),
    ]
    path = tmp_path / "x.jsonl.gz"
    write_feed(path, events)
    assert read_feed(path) == events
    assert received(events) == [event.payload for event in events[2:]]


def test_the_same_events_give_the_same_file(tmp_path):
    events = [Event(float(n), "recv", f"message {n}") for n in range(100)]
    write_feed(tmp_path / "one", events)
    write_feed(tmp_path / "two", iter(events))
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


def test_blank_lines_unknown_fields_and_whole_seconds_are_fine(tmp_path):
    path = written(tmp_path, b'{"t": 3, "dir": "recv", "text": "a", "more": 1}', b"", b"  ")
    assert read_feed(path) == [Event(3.0, "recv", "a")]


def test_time_may_step_back_and_is_counted():
    events = [Event(t, "recv", "") for t in (1.0, 3.0, 2.0, 2.0, 1.0)]
    assert steps_back(events) == 2
    assert steps_back([]) == 0


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        (b"{", "not JSON"),
        (b'{"t": 1, "dir": "recv", "text": "\xff"}', "not JSON"),
        (b"[1]", "an event is a JSON object, not list"),
        (b'{"dir": "recv", "text": "a"}', 'the field "t" is missing'),
        (b'{"t": 1, "text": "a"}', 'the field "dir" is missing'),
        (b'{"t": "1", "dir": "recv", "text": "a"}', "\"t\" is a number of seconds, not '1'"),
        (b'{"t": true, "dir": "recv", "text": "a"}', '"t" is a number of seconds, not True'),
        (b'{"t": 1, "dir": "receive", "text": "a"}', "\"dir\" is one of open, send, recv, not 'receive'"),
        (b'{"t": 1, "dir": ["recv"], "text": "a"}', "\"dir\" is one of open, send, recv, not ['recv']"),
        (b'{"t": 1, "dir": "recv"}', 'the field "text" or "b64" is missing'),
        (b'{"t": 1, "dir": "recv", "text": "a", "b64": "YQ=="}', 'an event has "text" or "b64", not both'),
        (b'{"t": 1, "dir": "recv", "text": 5}', '"text" is a string, not int'),
        (b'{"t": 1, "dir": "recv", "b64": 5}', '"b64" is a string, not int'),
        (b'{"t": 1, "dir": "recv", "b64": "a?=="}', '"b64" is not base64'),
        (b'{"t": 1, "dir": "recv", "b64": "YQ"}', '"b64" is not base64'),
        ('{"t": 1, "dir": "recv", "b64": "ä"}'.encode(), '"b64" is not base64'),
    ],
)
def test_a_bad_line_is_named(tmp_path, line, problem):
    path = written(tmp_path, b'{"t": 0, "dir": "open", "text": "wss://host"}', line)
    with pytest.raises(FeedError) as caught:
        read_feed(path)
    assert caught.value.line == 2
    assert caught.value.path == path
    assert str(caught.value).startswith(f"{path}, line 2: {problem}")


def test_a_file_need_not_be_compressed(tmp_path):
    path = tmp_path / "feed.jsonl"
    path.write_text('{"t": 0, "dir": "open", "text": "wss://host"}\n')
    assert [event.payload for event in read_feed(path)] == ["wss://host"]


def test_a_file_of_another_kind_is_named(tmp_path):
    path = tmp_path / "feed.bin"
    path.write_bytes(bytes(range(256)))
    with pytest.raises(FeedError, match="not JSON") as caught:
        read_feed(path)
    assert str(path) in str(caught.value)
    assert caught.value.line == 1


@pytest.mark.parametrize("damage", ["cut", "flip"])
def test_damaged_gzip_is_named(tmp_path, damage):
    path = written(tmp_path, *[b'{"t": %d, "dir": "recv", "text": "a"}' % n for n in range(1000)])
    data = bytearray(path.read_bytes())
    if damage == "cut":
        del data[len(data) // 2 :]
    else:
        data[len(data) // 2 : len(data) // 2 + 8] = b"\xff" * 8
    path.write_bytes(data)
    with pytest.raises(FeedError, match=r"cut short or damaged|not a gzip file"):
        read_feed(path)


def test_a_missing_file_is_an_os_error(tmp_path):
    with pytest.raises(FileNotFoundError):
        read_feed(tmp_path / "none.jsonl.gz")


def digest(*batches):
    it = FeedDigest()
    for batch in batches:
        it.update(batch)
    return it.hexdigest()


@given(MESSAGES, st.integers())
def test_batches_make_no_difference_to_the_digest(messages, seed):
    cut = random.Random(seed)
    batches, rest = [], list(messages)
    while rest:
        n = cut.randint(0, len(rest))
        batches.append(rest[:n])
        rest = rest[n:]
    assert digest(*batches) == digest(messages) == digest(*[[message] for message in messages])


@given(MESSAGES, MESSAGES)
def test_only_equal_sequences_have_equal_digests(one, other):
    same = [(type(m), m) for m in one] == [(type(m), m) for m in other]
    assert (digest(one) == digest(other)) == same


def test_the_digest_sees_order_kind_and_borders():
    base = digest(["ab", "c"])
    assert base != digest(["c", "ab"])
    assert base != digest(["a", "bc"])
    assert base != digest(["abc"])
    assert base != digest([b"ab", "c"])
    assert base != digest(["ab", "c", ""])
    assert base != digest([b"ab", b"c"])


def test_the_digest_is_the_documented_one():
    messages = ["ä", b"\x00\x01", ""]
    payloads = hashlib.sha256("ä".encode() + b"\x00\x01")
    lengths = hashlib.sha256(struct.pack("<qqq", 1, ~2, 0))
    assert digest(messages) == hashlib.sha256(lengths.digest() + payloads.digest()).hexdigest()


def test_the_digest_counts_messages_and_utf8_bytes():
    it = FeedDigest()
    it.update(["ä€", b"123"])
    it.update([])
    assert (it.count, it.bytes) == (2, 8)


@pytest.mark.parametrize("message", [None, 5, ["a"], bytearray(b"a")])
def test_the_digest_takes_only_messages(message):
    with pytest.raises(TypeError, match="str or bytes"):
        FeedDigest().update(["a", message])
