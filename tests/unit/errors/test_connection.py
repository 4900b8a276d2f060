"""How a connection ended, in words (errors/_connection.py)."""

import pytest

from fastws import errors


def info(code=1006, reason="", initiator=None, cause=None, rcvd=None, sent=None):
    return errors.CloseInfo(code, reason, initiator, cause, rcvd, sent)


@pytest.mark.parametrize(
    ("close", "text"),
    [
        (info(), "no Close frame received"),
        (
            info(1006, "", "local", None, None, errors.Close(1000, "")),
            "closing: the peer has not answered our Close frame yet; sent 1000",
        ),
        (info(cause=errors.FastwsError("the peer hung up")), "the peer hung up"),
        (
            info(1000, "bye", "remote", None, errors.Close(1000, "bye"), errors.Close(1000, "")),
            'received 1000 "bye"; then sent 1000',
        ),
        (
            info(1000, "", "local", None, errors.Close(1000, ""), errors.Close(1000, "done")),
            'received 1000; after we sent 1000 "done"',
        ),
        (
            info(1006, "", "local", errors.ProtocolError("bad"), None, errors.Close(1002, "bad")),
            "bad; sent 1002",
        ),
    ],
)
def test_a_closed_connection_says_who_sent_what(close, text):
    assert str(errors.ConnectionClosedError(close)) == text


def test_who_closed_first_is_known_only_if_both_did():
    both = info(1000, "", "remote", None, errors.Close(1000, ""), errors.Close(1000, ""))
    assert errors.ConnectionClosedOK(both).rcvd_then_sent is True
    assert errors.ConnectionClosedError(info()).rcvd_then_sent is None
    assert errors.ConnectionClosedError(info()).code == 1006
