"""What each setting of a `TlsConfig` does, seen from the server."""

import asyncio
import re
import ssl
import subprocess
import sys

import pytest

import fastws
from certificates import CLIENT, Authority, new_key
from fastws import TlsConfig, _core
from fastws.tls import context_for
from tls_peers import GOOD, OTHER, ROOT, accepted, asking, refusal

BACKENDS = ["system", "webpki", "openssl"]
MINE = ROOT.issue("client.example", use=CLIENT)


@pytest.fixture
def certificates(tmp_path, monkeypatch):
    """Files in the present folder: who gives them by relative paths gets them."""
    monkeypatch.chdir(tmp_path)
    files = {
        "root.pem": ROOT.pem,
        "other.pem": OTHER.pem,
        "mine.pem": MINE.pem,
        "mine.key": MINE.key_pem(),
        "both.pem": MINE.key_pem() + MINE.pem,
        "secret.key": MINE.key_pem(b"sesame"),
        "mine.p12": MINE.pkcs12(b"sesame"),
        "open.p12": MINE.pkcs12(None),
        "root.crl": ROOT.revocation_list(),
    }
    for name, content in files.items():
        tmp_path.joinpath(name).write_bytes(content)
    return tmp_path


@pytest.mark.parametrize("backend", BACKENDS)
def test_an_authority_is_bytes_a_file_or_a_directory(backend, certificates):
    folder = certificates / "authorities"
    folder.mkdir()
    folder.joinpath("README").write_text("no certificate")
    folder.joinpath("one.pem").write_bytes(OTHER.pem)
    folder.joinpath("two.pem").write_bytes(ROOT.pem)
    folder.joinpath("0123abcd.0").symlink_to("two.pem")
    folder.joinpath("gone.0").symlink_to("nothing")
    for ca in (ROOT.pem, bytearray(ROOT.pem), "root.pem", certificates / "root.pem", folder):
        assert accepted(GOOD, backend=backend, ca=ca)
        assert accepted(GOOD, backend=backend, ca=ca, ca_only=True)


@pytest.mark.parametrize("backend", BACKENDS)
def test_authorities_are_trusted_besides_the_roots_or_instead_of_them(backend, certificates, monkeypatch):
    monkeypatch.setenv("SSL_CERT_FILE", "root.pem")
    if backend != "webpki":
        assert accepted(GOOD, backend=backend, ca=OTHER.pem)
        assert accepted(GOOD, backend=backend, ca=None)
    else:
        assert "unknown issuer" in str(refusal(GOOD.server_context(), TlsConfig(backend=backend, ca=OTHER.pem)))
    only = TlsConfig(backend=backend, ca=OTHER.pem, ca_only=True)
    assert re.search("unknown issuer|local issuer", str(refusal(GOOD.server_context(), only)))


def test_the_environment_says_where_the_systems_roots_are(certificates, monkeypatch):
    assert "unknown issuer" in str(refusal(GOOD.server_context(), TlsConfig()))
    monkeypatch.setenv("SSL_CERT_FILE", str(certificates / "root.pem"))
    assert accepted(GOOD, ca=None)
    monkeypatch.delenv("SSL_CERT_FILE")
    folder = certificates / "hashed"
    folder.mkdir()
    folder.joinpath(hashed("root.pem")).write_bytes(ROOT.pem)
    monkeypatch.setenv("SSL_CERT_DIR", str(folder))
    assert accepted(GOOD, ca=None)
    monkeypatch.setenv("SSL_CERT_DIR", str(certificates / "nowhere"))
    with pytest.raises(ValueError, match=r"no trusted certificates.*SSL_CERT_FILE"):
        asyncio.run(context_for(TlsConfig()))


@pytest.mark.parametrize("by", ["SSL_CERT_FILE", "SSL_CERT_DIR"])
@pytest.mark.parametrize("backend", ["system", "openssl"])
def test_roots_of_the_environments_that_were_renewed_are_taken_with_the_next_connection(
    backend, by, certificates, monkeypatch
):
    folder = certificates / "hashed"
    folder.mkdir()
    bundle = folder / hashed("other.pem") if by == "SSL_CERT_DIR" else certificates / "bundle.pem"
    bundle.write_bytes(OTHER.pem)
    monkeypatch.setenv(by, str(folder if by == "SSL_CERT_DIR" else bundle))
    config = TlsConfig(backend=backend)
    assert re.search("unknown issuer|local issuer", str(refusal(GOOD.server_context(), config)))
    first = asyncio.run(context_for(config))
    assert asyncio.run(context_for(config)) is first
    renewed = folder / hashed("root.pem") if by == "SSL_CERT_DIR" else bundle
    renewed.write_bytes(ROOT.pem)
    assert accepted(GOOD, backend=backend, ca=None)
    assert asyncio.run(context_for(config)) is not first


def hashed(name):
    """What OpenSSL looks for in a directory."""
    shown = subprocess.run(
        ["openssl", "x509", "-hash", "-noout", "-in", name], check=True, capture_output=True, text=True
    )
    return shown.stdout.strip() + ".0"


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(
    "given",
    [
        {"certificate": "mine.pem", "key": "mine.key"},
        {"certificate": MINE.pem, "key": MINE.key_pem()},
        {"certificate": "both.pem"},
        {"certificate": "mine.pem", "key": "secret.key", "password": "sesame"},
        {"certificate": MINE.pem + MINE.key_pem(b"sesame"), "password": b"sesame"},
        {"certificate": "mine.p12", "password": "sesame"},
        {"certificate": "open.p12"},
    ],
    ids=["files", "bytes", "one file", "encrypted", "encrypted in one", "PKCS#12", "PKCS#12 without password"],
)
def test_a_client_certificate_goes_together_with_an_authority(backend, given, certificates):
    seen = accepted(asking(), backend=backend, **given)
    assert seen.client["subject"] == ((("commonName", "client.example"),),)


def test_the_certificates_between_are_shown_too(certificates):
    between = Authority("Between", above=ROOT)
    mine = between.issue("deep.example", use=CLIENT, above=(between.certificate,))
    assert accepted(asking(), certificate=mine.pem, key=mine.key_pem()).client
    assert accepted(asking(), certificate=mine.pkcs12(b"x"), password=b"x").client


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"ca": "gone.pem"}, r"TlsConfig\.ca: the file 'gone.pem' cannot be read: No such file"),
        ({"ca": b"nothing"}, r"TlsConfig\.ca holds no certificate"),
        ({"certificate": "gone.pem"}, r"TlsConfig\.certificate: the file"),
        ({"certificate": "mine.pem"}, r"TlsConfig\.key holds no private key"),
        ({"certificate": "mine.key"}, r"TlsConfig\.certificate holds no certificate"),
        ({"certificate": "mine.pem", "key": "gone.key"}, r"TlsConfig\.key: the file"),
        ({"certificate": "mine.pem", "key": "secret.key"}, r"TlsConfig\.key is encrypted: give TlsConfig\.password"),
        (
            {"certificate": "mine.pem", "key": "secret.key", "password": "wrong"},
            r"TlsConfig\.key cannot be decrypted with TlsConfig\.password",
        ),
        ({"certificate": "mine.pem", "key": "mine.key", "password": "x"}, r"TlsConfig\.password .* not encrypted"),
        ({"certificate": "mine.p12", "password": "wrong"}, r"neither PEM nor PKCS#12 that TlsConfig\.password opens"),
        ({"certificate": b"\0rubbish"}, r"TlsConfig\.certificate is neither PEM nor PKCS#12"),
        ({"crls": ["gone.crl"]}, r"TlsConfig\.crls: the file"),
        ({"crls": [b"nothing"]}, r"TlsConfig\.crls holds no revocation list"),
        ({"keylog": "no/such/folder"}, r"the key log .* cannot be written"),
    ],
)
@pytest.mark.parametrize("backend", BACKENDS)
def test_what_cannot_be_read_is_said_with_the_setting(backend, given, says, certificates):
    with pytest.raises(ValueError, match=says):
        asyncio.run(context_for(TlsConfig(backend=backend, **given)))


def test_a_key_of_another_certificate_is_said(certificates):
    other = ROOT.issue("x", key=new_key())
    with pytest.raises(ValueError, match=r"TlsConfig\.key is not the key of TlsConfig\.certificate"):
        asyncio.run(context_for(TlsConfig(certificate=MINE.pem, key=other.key_pem())))


def test_without_cryptography_that_is_said(certificates, monkeypatch):
    monkeypatch.setitem(sys.modules, "cryptography.hazmat.primitives", None)
    for given in ({"certificate": "mine.p12"}, {"certificate": "mine.pem", "key": "secret.key"}):
        with pytest.raises(ValueError, match="pip install cryptography"):
            asyncio.run(context_for(TlsConfig(password="sesame", **given)))


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("version", ["TLSv1.2", "TLSv1.3"])
def test_versions_are_bounded(backend, version):
    assert accepted(GOOD, backend=backend, minimum_version=version, maximum_version=version).version == version
    context = GOOD.server_context()
    other = {"TLSv1.2": ssl.TLSVersion.TLSv1_3, "TLSv1.3": ssl.TLSVersion.TLSv1_2}[version]
    context.minimum_version = context.maximum_version = other
    error = refusal(context, TlsConfig(backend=backend, ca=ROOT.pem, minimum_version=version, maximum_version=version))
    assert type(error) is fastws.TlsError
    assert "version" in str(error).lower()


@pytest.mark.parametrize("backend", BACKENDS)
def test_protocols_are_offered(backend):
    context = GOOD.server_context()
    context.set_alpn_protocols(["feed", "http/1.1"])
    assert accepted(context, backend=backend).protocol == "http/1.1"
    assert accepted(context, backend=backend, alpn=["http/1.1", "feed"]).protocol in ("feed", "http/1.1")
    assert accepted(context, backend=backend, alpn=["feed"]).protocol == "feed"
    assert accepted(context, backend=backend, alpn=()).protocol is None


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("by", ["setting", "environment"])
def test_secrets_are_logged_where_that_is_asked_for(backend, by, tmp_path, monkeypatch):
    path = tmp_path / "keys"
    if by == "environment":
        monkeypatch.setenv("SSLKEYLOGFILE", str(path))
    assert accepted(GOOD, backend=backend, **({"keylog": path} if by == "setting" else {}))
    labels = {line.split()[0] for line in path.read_text().splitlines() if not line.startswith("#")}
    assert {"CLIENT_HANDSHAKE_TRAFFIC_SECRET", "SERVER_TRAFFIC_SECRET_0"} <= labels
    assert path.stat().st_mode & 0o077 == 0


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_key_log_of_the_environments_that_cannot_be_written_is_a_wrong_setting(backend, tmp_path, monkeypatch):
    monkeypatch.setenv("SSLKEYLOGFILE", str(tmp_path / "no/such/folder"))
    with pytest.raises(ValueError, match=r"the key log .*folder. cannot be written: No such file"):
        asyncio.run(context_for(TlsConfig(backend=backend)))
    for verify in (True, False):
        asyncio.run(context_for(TlsConfig(backend=backend, verify=verify, keylog=tmp_path / "keys")))


@pytest.mark.parametrize("backend", BACKENDS)
def test_sessions_are_resumed_unless_that_is_turned_off(backend, fastws_tls_server):
    async def main(tls):
        before = fastws_tls_server.stats().resumed
        for _ in range(3):
            async with fastws.connect(fastws_tls_server.url(), tls=tls) as ws:
                await ws.send("x")
                await ws.recv()
        return fastws_tls_server.stats().resumed - before

    ca = fastws_tls_server.ca_pem
    assert asyncio.run(main(TlsConfig(backend=backend, ca=ca, alpn=["http/1.1"]))) == 2
    assert asyncio.run(main(TlsConfig(backend=backend, ca=ca, resumption=False))) == 0


def test_a_renewed_file_is_taken_with_the_next_connection(certificates):
    config = TlsConfig(ca="root.pem", certificate="mine.pem", key="mine.key")

    async def main():
        first = await context_for(config)
        assert await context_for(config) is first
        newer = ROOT.issue("client.example", use=CLIENT)
        certificates.joinpath("mine.pem").write_bytes(newer.pem)
        certificates.joinpath("mine.key").write_bytes(newer.key_pem())
        second = await context_for(config)
        assert isinstance(second, _core.TlsContext)
        assert second is not first

    asyncio.run(main())
