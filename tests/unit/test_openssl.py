"""What OpenSSL's errors are called, and the sessions that are kept."""

import ssl
from types import SimpleNamespace

import pytest

from fastws import _openssl


def failed(reason):
    error = ssl.SSLError(1, reason)
    error.reason = reason
    return error


@pytest.mark.parametrize(
    ("reason", "shows", "says"),
    [
        ("WRONG_VERSION_NUMBER", None, "use ws://"),
        ("TLSV1_ALERT_PROTOCOL_VERSION", None, "none of the TLS versions"),
        ("SSLV3_ALERT_HANDSHAKE_FAILURE", False, "a client certificate (TlsConfig(certificate=...)), or other"),
        ("SSL/TLS_ALERT_HANDSHAKE_FAILURE", False, "a client certificate (TlsConfig(certificate=...)), or other"),
        ("TLSV1_ALERT_NO_APPLICATION_PROTOCOL", None, "(ALPN)"),
        (
            "TLSV13_ALERT_CERTIFICATE_REQUIRED",
            False,
            "certificate/client: the server wants a client certificate,",
        ),
        (
            "TLSV13_ALERT_CERTIFICATE_REQUIRED",
            None,
            "certificate/client: the server wants a client certificate,",
        ),
        (
            "TLSV1_ALERT_UNKNOWN_CA",
            True,
            "certificate/client: the server refused the client certificate: it",
        ),
        (
            "TLSV1_ALERT_UNKNOWN_CA",
            None,
            "certificate/client: the server refused the client certificate, if",
        ),
        ("SSLV3_ALERT_BAD_CERTIFICATE", True, "it does not say why (alert bad certificate)"),
        ("TLSV1_ALERT_UNKNOWN_CA", False, "tlsv1 alert unknown ca"),
        ("DECRYPTION_FAILED_OR_BAD_RECORD_MAC", None, "decryption failed or bad record mac"),
    ],
)
def test_an_error_says_what_it_means(reason, shows, says):
    assert says in _openssl._words(failed(reason), shows)


def test_a_context_is_as_python_makes_them(monkeypatch):
    monkeypatch.delenv("SSLKEYLOGFILE", raising=False)
    theirs, ours = ssl.create_default_context(), _openssl._new_context()
    for name in ("protocol", "options", "verify_mode", "verify_flags", "check_hostname", "minimum_version"):
        assert getattr(ours, name) == getattr(theirs, name), name


def test_what_is_no_error_of_tls_is_the_contexts_own():
    assert _openssl._words(LookupError("card"), None) == "the context's own code raised LookupError('card')"


def session(has_ticket=True):
    return SimpleNamespace(has_ticket=has_ticket)


def test_sessions_are_used_once_and_the_oldest_goes():
    context = _openssl.Context(ssl.create_default_context(), resumption=True)
    first = session()
    context.keep("a", first)
    assert context.session("a") is first
    assert context.session("a") is None
    context.keep("a", session(has_ticket=False))
    context.keep("a", None)
    assert context.session("a") is None
    for number in range(_openssl._MAX_SESSIONS + 1):
        context.keep(f"{number}", session())
    assert context.session("0") is None
    assert context.session("1") is not None


def test_without_resumption_none_is_kept():
    context = _openssl.Context(ssl.create_default_context())
    context.keep("a", session())
    assert context.session("a") is None
