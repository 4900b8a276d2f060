"""Which errors a later attempt may not meet again (errors/_retryable.py)."""

import asyncio

import pytest

from fastws import errors


@pytest.mark.parametrize(
    ("error", "retryable"),
    [
        (None, True),
        (errors.ConnectionClosedError(errors.CloseInfo(1006, "", None, None, None, None)), True),
        (errors.KeepaliveTimeout("silence"), True),
        (errors.ReceiveTimeout("silence"), True),
        (errors.ProtocolError("bad"), True),
        (errors.ExtensionError("bad", name="x", hook="on_message"), True),
        (errors.FastwsError("the peer hung up"), True),
        (ConnectionResetError(), True),
        (TimeoutError(), True),
        (errors.ConfigError("bad", field="x"), False),
        (errors.RetriesExhausted("enough", attempts=1), False),
        (errors.ClientStopped("over"), False),
        (errors.AlreadyRunning("twice"), False),
        (errors.ConcurrencyError("twice"), False),
        (ValueError("a mistake in code"), False),
        (asyncio.CancelledError(), False),
        (KeyboardInterrupt(), False),
    ],
)
def test_other_errors_are_retryable_if_the_network_or_the_peer_made_them(error, retryable):
    assert errors.is_retryable(error) is retryable
