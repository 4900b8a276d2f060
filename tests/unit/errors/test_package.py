"""What all of them share: names, bases, pickles (errors/__init__.py, errors/_base.py)."""

import base64
import inspect
import json
import pickle
import traceback
from pathlib import Path
from typing import get_type_hints

import pytest

import fastws
from fastws import errors


def answer(status, *fields):
    return fastws.Response(status, "", fastws.Headers(fields))


def named(error):
    return type(error).__name__


def exceptions():
    return [each for _, each in inspect.getmembers(errors, inspect.isclass) if issubclass(each, Exception)]


EXAMPLES = [
    errors.DialError("no connection", uri="ws://h/", phase="tcp", attempts=(("[::1]:80", "refused"),)),
    errors.DialError("no connection", uri="ws://h/", phase="tcp", errno=111),
    errors.SocketOptionError("no such option", uri="ws://h/", option="quickack=True", errno=92),
    errors.OpenTimeout("not open", uri="ws://h/", phase="tls"),
    errors.InvalidHandshake("no upgrade", uri="ws://h/", fault="lost"),
    errors.CertificateError("expired", uri="wss://h/", fault="expired"),
    errors.TlsError("not TLS", uri="wss://h/", phase="tls"),
    errors.ConnectionClosedError(errors.CloseInfo(1006, "", None, None, None, None)),
    errors.KeepaliveTimeout("peer silent 20 s"),
    errors.InvalidURI("no host"),
    errors.ConnectError("the proxy refused", uri="ws://h/", phase="tcp", kind="proxy"),
    errors.ProxyError("it refused", uri="ws://h/", proxy="http://p:3128", response=answer(407)),
    errors.ProxyError("it refused", uri="ws://h/", proxy="socks5://p:1080", reply="General failure", denied=True),
    errors.ProxyError("it cannot be reached", uri="ws://h/", proxy="http://p:3128", errno=111),
    errors.RedirectError("too far", uri="ws://h/", chain=("ws://h/", "ws://i/"), response=answer(302)),
    errors.TlsError("lost", uri="wss://h/", lost=True),
    errors.InvalidStatus("503", uri="ws://h/", response=answer(503, ("Retry-After", "3"))),
    errors.HandshakeError("no answer", kind="closed", handshaker="auth", code=4401, retryable=False),
    errors.AuthFailed("bad token"),
    errors.HandshakeTimeout("no answer", handshaker="auth", timeout=30.0),
    errors.NotConnected("reconnecting", message="order"),
    errors.NotSent("reset", message=b"order"),
    errors.MaybeSent("reset"),
    errors.SendQueueFull("no room"),
    errors.ConnectionLost("reset", outcome="maybe_sent", message="order"),
    errors.RequestTimeout("no answer", timeout=3.0),
    errors.DecodeError(b"data", 3, 17),
    errors.SubscriberOverflow("not read"),
    errors.ReceiveTimeout("silence", timeout=20.0),
    errors.DataTimeout("silence", timeout=20.0),
    errors.ExtensionError("it raised", name="log", hook="on_message"),
    errors.AlreadyRunning("it runs"),
    errors.ClientStopped("it ended"),
    errors.ShutdownTimeout("late", timeout=3.0, unsent=(errors.Unsent("order", "maybe_sent", "reset"),)),
    errors.RetriesExhausted("enough", attempts=4),
    errors.ConfigError("no", field="receive_timeout"),
    errors.FastwsError("the peer hung up"),
    errors.ProtocolError("bad"),
    errors.PayloadTooBig("big"),
    errors.ConcurrencyError("twice"),
    errors.ConnectionClosed(errors.CloseInfo(1006, "", "local", None, None, errors.Close(1000, ""))),
    errors.ConnectionClosedOK(
        errors.CloseInfo(1000, "bye", "remote", None, errors.Close(1000, "bye"), errors.Close(1000, ""))
    ),
    errors.ClientError("no"),
    errors.SendError("no", message="order"),
    errors.ReceiveError("no"),
    errors.RecordingError("the disk is full", path=Path("/var/feed.fwr")),
]

PICKLES = json.loads(Path(__file__).with_name("pickles.json").read_text(encoding="ascii"))
"""Of the same, made when `fastws.errors` was one file, by CPython 3.11."""


def test_every_exception_is_a_fastws_error_and_public():
    assert len(exceptions()) > 15
    for cls in exceptions():
        assert issubclass(cls, fastws.FastwsError), cls
        assert cls.__name__ in errors.__all__
        assert getattr(fastws, cls.__name__) is cls


@pytest.mark.parametrize(
    ("exception", "base"),
    [
        (fastws.InvalidURI, ValueError),
        (fastws.DialError, OSError),
        (fastws.SocketOptionError, OSError),
        (fastws.OpenTimeout, TimeoutError),
        (fastws.KeepaliveTimeout, TimeoutError),
        (fastws.ConcurrencyError, RuntimeError),
        (fastws.CertificateError, fastws.TlsError),
        (fastws.InvalidStatus, fastws.InvalidHandshake),
        (fastws.PayloadTooBig, fastws.ProtocolError),
        (fastws.AuthFailed, fastws.HandshakeError),
        (fastws.HandshakeTimeout, TimeoutError),
        (fastws.RequestTimeout, TimeoutError),
        (fastws.ReceiveTimeout, TimeoutError),
        (fastws.DataTimeout, TimeoutError),
        (fastws.ShutdownTimeout, TimeoutError),
        (fastws.ConfigError, ValueError),
        (fastws.AlreadyRunning, RuntimeError),
        (fastws.SendQueueFull, fastws.SendError),
        (fastws.NotConnected, fastws.SendError),
        (fastws.ConnectionLost, fastws.SendError),
        (fastws.DecodeError, fastws.ReceiveError),
        (fastws.SendError, fastws.ClientError),
        (fastws.ReceiveError, fastws.ClientError),
        (fastws.HandshakeError, fastws.ClientError),
    ],
)
def test_exceptions_are_also_what_python_would_raise(exception, base):
    assert issubclass(exception, base)


@pytest.mark.parametrize("error", EXAMPLES, ids=named)
def test_an_exception_survives_pickling_as_process_pools_do(error):
    restored = pickle.loads(pickle.dumps(error))
    assert type(restored) is type(error)
    assert str(restored) == str(error)
    assert vars(restored) == vars(error)
    assert getattr(restored, "errno", None) == getattr(error, "errno", None)


def test_each_exception_has_an_example():
    assert {*map(named, EXAMPLES)} == {cls.__name__ for cls in exceptions()}


@pytest.mark.parametrize(("name", "kept"), PICKLES.items(), ids=PICKLES)
def test_an_exception_that_was_pickled_when_all_were_in_one_file_is_read(name, kept):
    error = next(each for each in EXAMPLES if named(each) == name)
    restored = pickle.loads(base64.b64decode(kept))
    assert type(restored) is type(error)
    assert (str(restored), repr(restored)) == (str(error), repr(error))
    assert vars(restored) == vars(error)


@pytest.mark.parametrize("error", EXAMPLES, ids=named)
def test_an_exception_that_is_pickled_now_is_read_by_releases_that_had_all_in_one_file(error):
    assert b"fastws.errors._" not in pickle.dumps(error)


def test_they_are_all_of_the_package_to_users():
    for name in (*errors.__all__, "is_unsent", "tell_unsent", "unsent_messages"):
        each = getattr(errors, name)
        if inspect.isclass(each) or inspect.isfunction(each):
            assert each.__module__ == "fastws.errors", name
    with pytest.raises(errors.NotSent) as raised:
        raise errors.NotSent("reset")
    assert traceback.format_exception(raised.value)[-1] == "fastws.errors.NotSent: not sent: reset\n"


def test_annotations_of_fields_are_resolved_in_the_package():
    assert get_type_hints(errors.CloseInfo)["cause"] == errors.FastwsError | None
    assert get_type_hints(errors.Unsent)["outcome"] == errors.Outcome
    assert get_type_hints(errors.ConnectError)["unsent"] == tuple[errors.Unsent, ...]


def test_context_adds_what_was_under_way_and_gives_the_error_back():
    error = errors.NotSent("reset")
    assert error.context("while subscribing to BTC-USD") is error
    assert error.__notes__ == ["while subscribing to BTC-USD"]
    assert pickle.loads(pickle.dumps(error)).__notes__ == error.__notes__
