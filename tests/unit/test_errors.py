import inspect
import pickle

import pytest

import fastws
from fastws import errors


def info(code=1006, reason="", initiator=None, cause=None, rcvd=None, sent=None):
    return errors.CloseInfo(code, reason, initiator, cause, rcvd, sent)


def test_every_exception_is_a_fastws_error_and_public():
    found = [c for _, c in inspect.getmembers(errors, inspect.isclass) if issubclass(c, Exception)]
    assert len(found) > 15
    for cls in found:
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
    ],
)
def test_exceptions_are_also_what_python_would_raise(exception, base):
    assert issubclass(exception, base)


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
            "received 1000 bye; then sent 1000",
        ),
        (
            info(1000, "", "local", None, errors.Close(1000, ""), errors.Close(1000, "done")),
            "received 1000; after we sent 1000 done",
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


def test_errors_of_opening_say_where_and_when():
    error = errors.DialError("no", uri="ws://h/", phase="tcp", attempts=(("1.2.3.4:80", "refused"),))
    assert (str(error), error.uri, error.phase, error.attempts) == (
        "no",
        "ws://h/",
        "tcp",
        (("1.2.3.4:80", "refused"),),
    )


@pytest.mark.parametrize(
    "error",
    [
        errors.DialError("no connection", uri="ws://h/", phase="tcp", attempts=(("[::1]:80", "refused"),)),
        errors.SocketOptionError("no such option", uri="ws://h/", option="quickack=True", errno=92),
        errors.OpenTimeout("not open", uri="ws://h/", phase="tls"),
        errors.InvalidHandshake("no upgrade", uri="ws://h/"),
        errors.TlsError("not TLS", uri="wss://h/", phase="tls"),
        errors.ConnectionClosedError(errors.CloseInfo(1006, "", None, None, None, None)),
        errors.KeepaliveTimeout("peer silent 20 s"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_an_exception_survives_pickling_as_process_pools_do(error):
    restored = pickle.loads(pickle.dumps(error))
    assert type(restored) is type(error)
    assert str(restored) == str(error)
    assert vars(restored) == vars(error)
    assert getattr(restored, "errno", None) == getattr(error, "errno", None)
