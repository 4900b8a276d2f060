"""Which messages came before (dedupe.py)."""

import pytest

from fastws.dedupe import Deduplicator
from fastws.errors import ConfigError


def test_a_message_is_new_once():
    dedupe = Deduplicator(lambda message: message[0])
    assert [dedupe.is_new(message) for message in ("a1", "b1", "a2", "c1", "b2")] == [True, True, False, True, False]
    assert dedupe.duplicates == 2
    assert "a3" in dedupe
    assert "d1" not in dedupe


def test_without_a_key_everything_is_new():
    dedupe = Deduplicator(lambda message: None)
    assert dedupe.is_new("a")
    assert dedupe.is_new("a")
    assert dedupe.duplicates == 0


def test_the_oldest_keys_are_forgotten():
    dedupe = Deduplicator(int, window=3)
    assert all(dedupe.is_new(str(number)) for number in range(5))
    assert "4" in dedupe
    assert "2" in dedupe
    assert "1" not in dedupe


@pytest.mark.parametrize("window", [0, -1, 1.5, True, None])
def test_a_wrong_window_is_named(window):
    with pytest.raises(ConfigError, match="window"):
        Deduplicator(len, window)
