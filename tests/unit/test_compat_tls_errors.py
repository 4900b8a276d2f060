"""What the drop-ins raise of certificates, beside what ``ssl`` raises of the same."""

import socket
import ssl

import pytest

import fastws
import fastws.sync
from certificates import DAY, now, self_signed
from fastws.compat import _tls_errors
from tls_peers import GOOD, OTHER, ROOT, Server


def by_ssl(server, context, name):
    port = int(server.url.rstrip("/").rpartition(":")[2])
    with socket.create_connection(("127.0.0.1", port)) as sock:
        with pytest.raises(ssl.SSLCertVerificationError) as raised:
            context.wrap_socket(sock, server_hostname=name)
    return raised.value


def by_us(server, tls, name):
    with pytest.raises(fastws.CertificateError) as raised:
        fastws.sync.connect(server.url, host="127.0.0.1", tls=tls, server_hostname=name)
    return _tls_errors.refused(raised.value.fault, str(raised.value))


def told(error):
    said = str(error).partition(" (")[0]
    return type(error), error.errno, error.library, error.reason, error.verify_code, error.verify_message, said


@pytest.mark.parametrize("native", [True, False], ids=["native", "ssl"])
@pytest.mark.parametrize(
    ("shown", "name"),
    [
        (GOOD, "other.example"),
        (GOOD, "127.0.0.1"),
        (OTHER.issue("localhost"), "localhost"),
        (self_signed("localhost"), "localhost"),
        (ROOT.issue("localhost", not_before=now() - 2 * DAY, not_after=now() - DAY), "localhost"),
        (ROOT.issue("localhost", not_before=now() + DAY, not_after=now() + 2 * DAY), "localhost"),
    ],
    ids=["name", "address", "untrusted", "self-signed", "expired", "not yet"],
)
def test_a_certificate_that_is_refused_is_told_of_as_by_ssl(shown, name, native):
    context = ssl.create_default_context(cadata=ROOT.pem.decode())
    with Server(shown.server_context()) as server:
        theirs = by_ssl(server, context, name)
    with Server(shown.server_context()) as server:
        ours = by_us(server, fastws.TlsConfig(ca=ROOT.pem) if native else context, name)
    assert told(ours) == told(theirs)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("received corrupt message of type InvalidContentType", "WRONG_VERSION_NUMBER"),
        ("wrong version number; the port does not seem to speak TLS", "WRONG_VERSION_NUMBER"),
        ("received fatal alert: HandshakeFailure", "SSLV3_ALERT_HANDSHAKE_FAILURE"),
        ("anything else", None),
    ],
)
def test_what_else_tls_failed_by_has_a_reason_where_there_is_one(text, reason):
    error = _tls_errors.failed(text)
    assert (type(error), error.library, error.reason) == (ssl.SSLError, "SSL", reason)
    assert text in str(error)
