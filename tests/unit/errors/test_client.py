"""What a client raises, but of what it sends (errors/_client.py)."""

import pytest

from fastws import errors


@pytest.mark.parametrize(
    ("error", "retryable"),
    [
        (errors.HandshakeError("no"), True),
        (errors.HandshakeError("no", kind="closed", code=4401), True),
        (errors.HandshakeError("no", kind="protocol"), False),
        (errors.AuthFailed("no"), False),
        (errors.HandshakeTimeout("no"), True),
        (errors.AuthFailed("no", retryable=True), True),
        (errors.HandshakeTimeout("no", retryable=False), False),
    ],
)
def test_a_handshake_that_was_refused_is_final_unless_its_handshaker_knows_better(error, retryable):
    assert error.is_retryable is errors.is_retryable(error) is retryable


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (errors.HandshakeError("no answer", handshaker="sub"), "the handshake 'sub' failed: no answer"),
        (errors.AuthFailed("bad key"), "the handshake 'auth' was refused: bad key"),
        (errors.DecodeError(b"abc", 2, 17), "decode failed on a message of generation 2, 3 bytes"),
        (
            errors.ExtensionError("it raised ValueError", name="log", hook="on_message"),
            "the extension 'log', on_message: it raised ValueError",
        ),
        (errors.ConfigError("no", field="x"), "no"),
    ],
)
def test_an_error_says_what_happened_and_never_what_a_message_says(error, text):
    assert str(error) == text
    assert "abc" not in repr(error)


def test_what_decode_raised_is_named_and_not_quoted():
    with pytest.raises(errors.DecodeError, match=r"3 bytes: ValueError$") as caught:
        try:
            raise ValueError("secret")
        except ValueError as error:
            raise errors.DecodeError(b"abc", 2, 17) from error
    assert caught.value.data == b"abc"
