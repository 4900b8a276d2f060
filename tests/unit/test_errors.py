import asyncio
import errno
import inspect
import os
import pickle

import pytest

import fastws
from fastws import errors


def info(code=1006, reason="", initiator=None, cause=None, rcvd=None, sent=None):
    return errors.CloseInfo(code, reason, initiator, cause, rcvd, sent)


def answer(status, *fields):
    return fastws.Response(status, "", fastws.Headers(fields))


def refusal(status, *fields):
    return errors.InvalidStatus("no", uri="ws://h/", response=answer(status, *fields))


def dial_error(phase, *attempts):
    return errors.DialError("no", uri="ws://h/", phase=phase, attempts=attempts)


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
        errors.InvalidHandshake("no upgrade", uri="ws://h/", fault="lost"),
        errors.CertificateError("expired", uri="wss://h/", fault="expired"),
        errors.TlsError("not TLS", uri="wss://h/", phase="tls"),
        errors.ConnectionClosedError(errors.CloseInfo(1006, "", None, None, None, None)),
        errors.KeepaliveTimeout("peer silent 20 s"),
        errors.InvalidURI("no host"),
        errors.ConnectError("the proxy refused", uri="ws://h/", phase="tcp", kind="proxy"),
        errors.ProxyError("it refused", uri="ws://h/", proxy="http://p:3128", response=answer(407)),
        errors.ProxyError("it refused", uri="ws://h/", proxy="socks5://p:1080", reply="General failure", denied=True),
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
    ],
    ids=lambda error: type(error).__name__,
)
def test_an_exception_survives_pickling_as_process_pools_do(error):
    restored = pickle.loads(pickle.dumps(error))
    assert type(restored) is type(error)
    assert str(restored) == str(error)
    assert vars(restored) == vars(error)
    assert getattr(restored, "errno", None) == getattr(error, "errno", None)


REFUSED = os.strerror(errno.ECONNREFUSED)


def proxy_error(status=None, *fields, denied=False):
    response = None if status is None else answer(status, *fields)
    return errors.ProxyError("no", uri="", proxy="http://p:1", response=response, denied=denied)


@pytest.mark.parametrize(
    ("error", "kind", "retryable", "delay"),
    [
        (errors.InvalidURI("no host"), "invalid_url", False, None),
        (dial_error("dns"), "dns", True, 0.5),
        (dial_error("tcp"), "tcp", True, None),
        (dial_error("tcp", ("a:1", REFUSED)), "refused", True, 2.0),
        (dial_error("tcp", ("a:1", f"{REFUSED} (os error 111)"), ("b:1", REFUSED)), "refused", True, 2.0),
        (dial_error("tcp", ("a:1", REFUSED), ("b:1", "No route to host")), "tcp", True, None),
        (errors.SocketOptionError("no", uri="", option="x", errno=errno.EPERM), "io", False, None),
        (errors.SocketOptionError("no", uri="", option="x", errno=errno.ENOBUFS), "io", True, None),
        (errors.SocketOptionError("no", uri="", option="x", errno=None), "io", False, None),
        (errors.TlsError("no", uri="", phase="tls"), "tls", False, None),
        (errors.TlsError("no", uri="", lost=True), "io", True, None),
        (errors.CertificateError("no", uri=""), "certificate", False, None),
        (errors.OpenTimeout("no", uri="", phase="dns"), "timeout", True, 5.0),
        (errors.InvalidHandshake("no", uri=""), "upgrade", True, None),
        (dial_error("tcp", ("a:1", "connection refused: nothing listens there")), "refused", True, 2.0),
        (errors.ConnectError("no", uri="", phase="tcp", kind="proxy"), "proxy", True, None),
        (proxy_error(), "proxy", True, None),
        (proxy_error(denied=True), "proxy", False, None),
        (proxy_error(407), "proxy", False, None),
        (proxy_error(403), "proxy", False, None),
        (proxy_error(502), "proxy", True, None),
        (proxy_error(503, ("Retry-After", "7")), "proxy", True, 7.0),
        (errors.RedirectError("no", uri="", chain=(), response=answer(302)), "upgrade", False, None),
        (errors.ConnectError("no", uri="", phase="upgrade", kind="certificate"), "certificate", False, None),
        (errors.ConnectError("no", uri="", phase="uri"), "invalid_url", False, None),
        (errors.ConnectError("no", uri="", phase="tls"), "tls", False, None),
        (refusal(503, ("Retry-After", "7")), "upgrade", True, 7.0),
        (refusal(503), "upgrade", True, None),
        (refusal(401, ("Retry-After", "7")), "upgrade", False, 7.0),
    ],
)
def test_an_error_of_opening_says_its_kind_and_whether_to_come_again(error, kind, retryable, delay):
    assert (error.kind, error.is_retryable, error.suggested_delay) == (kind, retryable, delay)
    assert errors.is_retryable(error) is retryable


def test_only_the_server_asks_to_be_left_alone():
    assert refusal(429, ("Retry-After", "7")).retry_after == 7.0
    assert errors.OpenTimeout("no", uri="", phase="dns").retry_after is None


@pytest.mark.parametrize("status", [400, 401, 403, 404, 405, 406, 410, 426, 451, 418, 499])
def test_a_refusal_that_stays_is_final(status):
    assert not refusal(status).is_retryable


@pytest.mark.parametrize("status", [200, 302, 408, 425, 429, 500, 502, 503, 504, 599])
def test_a_refusal_that_may_pass_is_not(status):
    assert refusal(status).is_retryable


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
    ("error", "retryable"),
    [
        (None, True),
        (errors.ConnectionClosedError(info()), True),
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


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (errors.HandshakeError("no answer", handshaker="sub"), "the handshake 'sub' failed: no answer"),
        (errors.AuthFailed("bad key"), "the handshake 'auth' was refused: bad key"),
        (errors.NotConnected("reconnecting", message="abc"), "not connected: reconnecting (text of 3 characters)"),
        (errors.NotSent("reset", message=b"abc"), "not sent: reset (binary of 3 bytes)"),
        (errors.MaybeSent("reset"), "maybe sent: reset"),
        (errors.SendQueueFull("no room"), "no room"),
        (
            errors.ConnectionLost("reset", outcome="maybe_sent", message="abc"),
            "no answer, and the request was maybe sent: reset (text of 3 characters)",
        ),
        (errors.DecodeError(b"abc", 2, 17), "decode failed on a message of generation 2, 3 bytes"),
        (
            errors.ExtensionError("it raised ValueError", name="log", hook="on_message"),
            "the extension 'log', on_message: it raised ValueError",
        ),
        (
            errors.ShutdownTimeout("late", unsent=(errors.Unsent("abc", "not_sent", "reset"),)),
            "late; unsent messages: 1",
        ),
        (errors.ShutdownTimeout("late"), "late"),
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


def test_a_size_is_that_of_the_message():
    assert errors.NotSent("x", message="äö").size == 2
    assert errors.NotSent("x", message="äö".encode()).size == 4
    assert errors.NotSent("x").size is None


def test_context_adds_what_was_under_way_and_gives_the_error_back():
    error = errors.NotSent("reset")
    assert error.context("while subscribing to BTC-USD") is error
    assert error.__notes__ == ["while subscribing to BTC-USD"]
    assert pickle.loads(pickle.dumps(error)).__notes__ == error.__notes__


def test_an_unsent_message_is_not_shown():
    unsent = errors.Unsent("secret", "maybe_sent", "reset")
    assert repr(unsent) == "Unsent(text of 6 characters, outcome='maybe_sent', why='reset')"
    assert unsent.message == "secret"
