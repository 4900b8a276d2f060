"""What became of messages, in words (errors/_sending.py)."""

import pytest

from fastws import errors


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (errors.NotConnected("reconnecting", message="abc"), "not connected: reconnecting (text of 3 characters)"),
        (errors.NotSent("reset", message=b"abc"), "not sent: reset (binary of 3 bytes)"),
        (errors.MaybeSent("reset"), "maybe sent: reset"),
        (errors.SendQueueFull("no room"), "no room"),
        (
            errors.ConnectionLost("reset", outcome="maybe_sent", message="abc"),
            "no answer, and the request was maybe sent: reset (text of 3 characters)",
        ),
        (
            errors.ShutdownTimeout("late", unsent=(errors.Unsent("abc", "not_sent", "reset"),)),
            "late; unsent messages: 1",
        ),
        (errors.ShutdownTimeout("late"), "late"),
    ],
)
def test_an_error_says_what_happened_and_never_what_a_message_says(error, text):
    assert str(error) == text
    assert "abc" not in repr(error)


def test_a_size_is_that_of_the_message():
    assert errors.NotSent("x", message="äö").size == 2
    assert errors.NotSent("x", message="äö".encode()).size == 4
    assert errors.NotSent("x").size is None


def test_an_unsent_message_is_not_shown():
    unsent = errors.Unsent("secret", "maybe_sent", "reset")
    assert repr(unsent) == "Unsent(text of 6 characters, outcome='maybe_sent', why='reset')"
    assert unsent.message == "secret"
