"""TLS: what `sslopt` says, and what comes of it."""

import contextlib
import hashlib
import select
import ssl

import pytest

import peers
from certificates import Authority
from fastws.compat import websocket_client as websocket
from fastws.compat.websocket_client import _tls
from fastws.compat.websocket_client._line import Line
from fastws.testing import Server
from fastws.tls import TlsConfig
from peers import Peer
from websocket_client_side import echo


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    """A file with the authority of the peers' certificates."""
    file = tmp_path_factory.mktemp("tls") / "ca.pem"
    file.write_bytes(peers.authority_pem())
    return str(file)


def connected(peer, sslopt, **options):
    return contextlib.closing(websocket.create_connection(peer.url, peers.PATIENCE, sslopt=sslopt, **options))


@pytest.mark.parametrize("by", ["ca_certs", "context", "cert_none"])
def test_messages(by, bundle):
    sslopt = {
        "ca_certs": {"ca_certs": bundle},
        "context": {"context": ssl.create_default_context(cafile=bundle)},
        "cert_none": {"cert_reqs": ssl.CERT_NONE},
    }[by]
    if by == "cert_none":
        sslopt["check_hostname"] = False
    with Peer(echo, tls=True) as peer, connected(peer, sslopt) as ws:
        assert isinstance(ws.sock, Line)
        assert ws.is_ssl()
        for message in ("text", b"bytes", "x" * 100_000):
            ws.send(message, websocket.ABNF.OPCODE_TEXT if isinstance(message, str) else websocket.ABNF.OPCODE_BINARY)
            assert ws.recv() == message
        assert ws.sock.version().startswith("TLSv1.")
        assert ws.sock.cipher()[0]
        if by != "cert_none":
            assert ws.sock.getpeercert()["subjectAltName"]
        assert len(hashlib.sha256(ws.sock.getpeercert(binary_form=True)).digest()) == 32


def test_rustls_does_it_where_nothing_is_said(bundle, monkeypatch):
    monkeypatch.setenv("SSL_CERT_FILE", bundle)
    with Peer(echo, tls=True) as peer, connected(peer, {}) as ws:
        ws.send("text")
        assert ws.recv() == "text"
        assert ws.is_ssl()
        with pytest.raises(ValueError, match="rustls"):
            ws.sock.getpeercert()


def test_the_environment_names_a_bundle(bundle, monkeypatch):
    monkeypatch.setenv("WEBSOCKET_CLIENT_CA_BUNDLE", bundle)
    with Peer(echo, tls=True) as peer, connected(peer, None) as ws:
        assert ws.connected


def test_certificates_are_checked(tmp_path):
    other = tmp_path / "other.pem"
    other.write_bytes(Authority("Other Root").pem)
    with Server(tls=True) as server:
        for sslopt in ({"ca_certs": str(other)}, {}):
            with pytest.raises(ssl.SSLCertVerificationError, match="certificate verify failed"):
                websocket.create_connection(server.url("/"), peers.PATIENCE, sslopt=sslopt)
        with pytest.raises(ssl.SSLCertVerificationError, match=r"sslopt=\{'ca_certs': \.\.\.\}") as raised:
            websocket.create_connection(server.url("/"), peers.PATIENCE)
        assert "TlsConfig" not in str(raised.value)


def test_names_are_checked(tmp_path):
    ca = tmp_path / "ca.pem"
    with Server(tls=True) as server:
        ca.write_bytes(server.ca_pem)
        wrong = {"ca_certs": str(ca), "server_hostname": "other.example"}
        with pytest.raises(ssl.SSLCertVerificationError, match=r"other\.example") as raised:
            websocket.create_connection(server.url("/"), peers.PATIENCE, sslopt=wrong)
        assert (raised.value.verify_code, raised.value.reason) == (62, "CERTIFICATE_VERIFY_FAILED")
        unchecked = {**wrong, "check_hostname": False}
        with contextlib.closing(websocket.create_connection(server.url("/"), peers.PATIENCE, sslopt=unchecked)) as ws:
            assert ws.connected


def test_a_server_without_tls():
    def script(wire):
        wire.sock.recv(1)
        wire.send(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        wire.sock.close()

    with Peer(script, upgrade=False) as peer, pytest.raises(ssl.SSLError):
        websocket.create_connection(peer.url.replace("ws:", "wss:"), peers.PATIENCE)


def test_timeouts_without_waiting(bundle):
    with Peer(echo, tls=True) as peer, connected(peer, {"ca_certs": bundle}) as ws:
        ws.settimeout(0)
        with pytest.raises(ssl.SSLWantReadError):
            ws.recv()


def test_what_is_read_already_is_pending(bundle):
    def script(wire):
        wire.send(peers.numbered(range(3)))
        return wire.answer_close()

    with Peer(script, tls=True) as peer, connected(peer, {"ca_certs": bundle}) as ws:
        received = []
        while len(received) < 3:
            assert select.select([ws.sock], [], [], peers.PATIENCE)[0]
            assert ws.sock.pending()
            received.append(ws.recv())
        assert not ws.sock.pending()
        assert received == list("012")


def test_an_app(bundle):
    def script(wire):
        wire.send(peers.text("one"), peers.close(1001, "away"))
        return wire.read_to_end()

    noted = []
    with Peer(script, tls=True) as peer:
        app = websocket.WebSocketApp(
            peer.url,
            on_message=lambda _, message: noted.append(message),
            on_close=lambda _, code, reason: noted.append((code, reason)),
        )
        assert not app.run_forever(sslopt={"ca_certs": bundle})
    assert noted == ["one", (1001, "away")]


@pytest.mark.parametrize(
    "sslopt",
    [
        {},
        {"cert_reqs": ssl.CERT_REQUIRED, "server_hostname": "other.example"},
        {"suppress_ragged_eofs": True, "do_handshake_on_connect": True},
    ],
)
def test_what_rustls_does(sslopt):
    assert isinstance(_tls.chosen(_tls.complete(sslopt)), TlsConfig)


@pytest.mark.parametrize(
    "sslopt",
    [
        {"cert_reqs": ssl.CERT_NONE},
        {"check_hostname": False},
        {"ciphers": "ECDHE+AESGCM"},
        {"ssl_version": ssl.PROTOCOL_TLS_CLIENT},
        {"ecdh_curve": "prime256v1"},
    ],
)
def test_what_openssl_does(sslopt):
    if sslopt.get("cert_reqs") == ssl.CERT_NONE:
        sslopt = {**sslopt, "check_hostname": False}
    context = _tls.chosen(_tls.complete(sslopt))
    assert isinstance(context, ssl.SSLContext)
    assert context.verify_mode == sslopt.get("cert_reqs", ssl.CERT_REQUIRED)
    assert context.check_hostname is sslopt.get("check_hostname", True)


@pytest.mark.parametrize(
    ("sslopt", "text"),
    [
        ({"ca_certs": "/does/not/exist"}, "CA certificate loading failed"),
        ({"certfile": "/does/not/exist"}, "client certificate loading failed"),
        ({"ciphers": "NONE-SUCH"}, "cipher configuration failed"),
        ({"ecdh_curve": "none-such"}, "ECDH curve configuration failed"),
        ({"cert_chain": ("/does/not/exist", None, None)}, "client certificate configuration failed"),
        ({"cert_reqs": ssl.CERT_NONE, "check_hostname": True}, "check_hostname cannot be enabled"),
    ],
)
def test_options_that_cannot_be_used(sslopt, text):
    with Peer(peers.ignoring_the_end(lambda wire: wire.read_request()), upgrade=False) as peer:
        url = peer.url.replace("ws:", "wss:")
        with pytest.raises(websocket.WebSocketException, match=text):
            websocket.create_connection(url, peers.PATIENCE, sslopt=sslopt)


def test_a_chain_that_is_none():
    with pytest.raises(ValueError, match="cert_chain must be"):
        _tls.context_of({"cert_chain": "file.pem"})


def test_a_client_certificate(bundle, tmp_path):
    authority = Authority("Clients' Root")
    certificate, key = tmp_path / "client.pem", tmp_path / "client.key"
    issued = authority.issue("client")
    certificate.write_bytes(issued.pem)
    key.write_bytes(issued.key_pem(b"secret"))
    context = _tls.context_of({"certfile": str(certificate), "keyfile": str(key), "password": "secret"})
    assert isinstance(context, ssl.SSLContext)
    with pytest.raises(websocket.WebSocketException, match="client certificate loading failed"):
        _tls.context_of({"certfile": str(certificate), "keyfile": str(key), "password": "wrong"})
