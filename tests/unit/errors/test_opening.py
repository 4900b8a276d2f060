"""A connection that could not be opened: its kind, and whether to come again (errors/_opening.py)."""

import errno
import os

import pytest

import fastws
from fastws import errors


def answer(status, *fields):
    return fastws.Response(status, "", fastws.Headers(fields))


def refusal(status, *fields):
    return errors.InvalidStatus("no", uri="ws://h/", response=answer(status, *fields))


def dial_error(phase, *attempts, number=None):
    return errors.DialError("no", uri="ws://h/", phase=phase, attempts=attempts, errno=number)


def test_errors_of_opening_say_where_and_when():
    error = dial_error("tcp", ("1.2.3.4:80", "refused"), number=errno.ECONNREFUSED)
    assert (str(error), error.uri, error.phase, error.attempts, error.errno) == (
        "no",
        "ws://h/",
        "tcp",
        (("1.2.3.4:80", "refused"),),
        errno.ECONNREFUSED,
    )


def proxy_error(status=None, *fields, denied=False):
    response = None if status is None else answer(status, *fields)
    return errors.ProxyError("no", uri="", proxy="http://p:1", response=response, denied=denied)


@pytest.mark.parametrize(
    ("error", "kind", "retryable", "delay"),
    [
        (errors.InvalidURI("no host"), "invalid_url", False, None),
        (dial_error("dns"), "dns", True, 0.5),
        (dial_error("tcp"), "tcp", True, None),
        (dial_error("tcp", ("a:1", "no"), number=errno.ECONNREFUSED), "refused", True, 2.0),
        (dial_error("tcp", ("a:1", "no"), number=errno.EHOSTUNREACH), "tcp", True, None),
        (dial_error("tcp", ("a:1", os.strerror(errno.ECONNREFUSED))), "tcp", True, None),
        (errors.SocketOptionError("no", uri="", option="x", errno=errno.EPERM), "io", False, None),
        (errors.SocketOptionError("no", uri="", option="x", errno=errno.ENOBUFS), "io", True, None),
        (errors.SocketOptionError("no", uri="", option="x", errno=None), "io", False, None),
        (errors.TlsError("no", uri="", phase="tls"), "tls", False, None),
        (errors.TlsError("no", uri="", lost=True), "io", True, None),
        (errors.CertificateError("no", uri=""), "certificate", False, None),
        (errors.OpenTimeout("no", uri="", phase="dns"), "timeout", True, 5.0),
        (errors.InvalidHandshake("no", uri=""), "upgrade", True, None),
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
