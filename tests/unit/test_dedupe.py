"""Which messages came before (dedupe.py)."""

import asyncio
import json

import pytest

import fastws
from fastws.dedupe import Deduplicator
from fastws.errors import ConfigError


def test_a_message_is_new_once():
    dedupe = Deduplicator(lambda message: message[0])
    assert [dedupe.is_new(message) for message in ("a1", "b1", "a2", "c1", "b2")] == [True, True, False, True, False]
    assert dedupe.duplicates == 2
    assert "a" in dedupe
    assert "d" not in dedupe


def test_without_a_key_everything_is_new():
    dedupe = Deduplicator(lambda message: None)
    assert dedupe.is_new("a")
    assert dedupe.is_new("a")
    assert dedupe.duplicates == 0


def test_the_oldest_keys_are_forgotten():
    dedupe = Deduplicator(int, window=3)
    assert all(dedupe.is_new(str(number)) for number in range(5))
    assert [number in dedupe for number in range(5)] == [False, False, True, True, True]


@pytest.mark.parametrize("window", [0, -1, 1.5, True, None])
def test_a_wrong_window_is_named(window):
    with pytest.raises(ConfigError, match="window"):
        Deduplicator(len, window)


def test_a_message_is_new_again_when_everything_was_forgotten():
    dedupe = Deduplicator(lambda message: message)
    dedupe.is_new("a")
    dedupe.clear()
    assert "a" not in dedupe
    assert dedupe.is_new("a")
    assert not dedupe.is_new("a")


def cancelled(message):
    raise asyncio.CancelledError  # as result() of a task that was cancelled does


@pytest.mark.parametrize(
    ("key", "shown"),
    [
        (json.loads, "JSONDecodeError"),
        (lambda message: [message], "unhashable"),
        (lambda: None, "TypeError"),
        (cancelled, "CancelledError"),
    ],
)
def test_a_message_whose_key_fails_is_new_and_the_first_failure_is_logged(key, shown, caplog):
    dedupe = Deduplicator(key, name="line 1")
    assert [dedupe.is_new("no json") for _ in range(3)] == [True, True, True]
    assert dedupe.key("no json") is None
    assert dedupe.duplicates == 0
    (record,) = caplog.records
    assert record.name == "fastws.client"
    assert record.getMessage().startswith("line 1: ")
    assert shown in record.getMessage()


def test_what_is_no_failure_of_the_key_is_raised():
    def key(message):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Deduplicator(key).is_new("a")


@pytest.mark.parametrize("payload", ['{"sequence": 7}', b'{"sequence": 7}'])
def test_native_keys_take_whatever_a_message_is(payload, caplog):
    dedupe = Deduplicator(fastws.keys.json("sequence"))
    assert dedupe.key(payload) == 7
    assert [dedupe.is_new(payload), dedupe.is_new(payload)] == [True, False]
    assert not caplog.records
