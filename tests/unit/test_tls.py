"""The native contexts of TLS settings: made once, off the loop, and not kept without end."""

import asyncio
import re
import threading

import pytest

from fastws import TlsConfig, _core, _tls_files, tls
from fastws.testing import Server


@pytest.fixture(scope="module")
def pem():
    with Server(tls=True) as server:
        return server.ca_pem


@pytest.fixture
def makers(monkeypatch):
    """The threads in which contexts are made."""
    made = []

    def make(options):
        made.append(threading.current_thread())
        return real(options)

    real = _core.TlsContext
    monkeypatch.setattr(_core, "TlsContext", make)
    monkeypatch.setattr(tls, "_contexts", {})
    return made


def test_a_context_is_made_once_and_never_in_the_loops_thread(pem, makers):
    async def main():
        first, *others = await asyncio.gather(*(tls.context_for(TlsConfig(ca=pem)) for _ in range(20)))
        assert all(other is first for other in others)
        assert await tls.context_for(TlsConfig(ca=bytearray(pem))) is first

    asyncio.run(main())
    assert len(makers) == 1
    assert makers[0] is not threading.current_thread()


def test_contexts_are_kept_up_to_a_number(pem, makers):
    async def main():
        for number in range(tls._MAX_CONTEXTS + 6):
            await tls.context_for(TlsConfig(ca=b"# %d\n" % number + pem))
        assert len(tls._contexts) == tls._MAX_CONTEXTS
        # One that was let go is made again, and not here.
        await tls.context_for(TlsConfig(ca=b"# 0\n" + pem))

    asyncio.run(main())
    assert len(makers) == tls._MAX_CONTEXTS + 7
    assert threading.current_thread() not in makers


@pytest.mark.parametrize(
    ("cut", "match"),
    [
        (lambda pem: pem[:200], "an -----END CERTIFICATE----- is missing"),
        (lambda pem: b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "cannot be used: BadEncoding"),
        (lambda pem: b"", "holds no certificate"),
    ],
    ids=["cut off", "garbage", "nothing"],
)
def test_authorities_that_cannot_be_used_are_said_in_words(pem, cut, match):
    with pytest.raises(ValueError, match=match):
        asyncio.run(tls.context_for(TlsConfig(ca=cut(pem))))


@pytest.mark.parametrize(
    ("given", "kind", "says"),
    [
        ({"backend": "gnutls"}, ValueError, "TlsConfig.backend must be"),
        ({"ca": 5}, TypeError, "TlsConfig.ca is a path"),
        ({"ca": "-----BEGIN CERTIFICATE-----"}, ValueError, "give PEM itself as bytes: ca=pem.encode()"),
        ({"ca": ""}, ValueError, "TlsConfig.ca is a path, and a path is not empty"),
        ({"ca_only": 1}, TypeError, "TlsConfig.ca_only is True or False"),
        ({"ca_only": True}, ValueError, "TlsConfig.ca_only trusts nothing but ca"),
        ({"verify": False, "pins": ["A" * 43 + "="]}, ValueError, "leave out pins, or leave out verify=False"),
        ({"verify": False, "crls": [b""]}, ValueError, "leave out crls"),
        ({"key": b"k"}, ValueError, "TlsConfig.key is for a client certificate"),
        ({"password": "p"}, ValueError, "TlsConfig.password is for a client certificate"),
        ({"certificate": b"c", "password": 5}, TypeError, "TlsConfig.password is str or bytes"),
        ({"minimum_version": "1.2"}, ValueError, 'TlsConfig.minimum_version must be "TLSv1.2" or "TLSv1.3"'),
        (
            {"minimum_version": "TLSv1.3", "maximum_version": "TLSv1.2"},
            ValueError,
            "TlsConfig.minimum_version 'TLSv1.3' is above maximum_version 'TLSv1.2'",
        ),
        ({"alpn": "http/1.1"}, TypeError, "TlsConfig.alpn is a sequence"),
        ({"alpn": [""]}, ValueError, "TlsConfig.alpn has names of protocols"),
        ({"pins": "A" * 44}, TypeError, "TlsConfig.pins is a sequence"),
        ({"pins": ["nonsense"]}, ValueError, "TlsConfig.pins has SHA-256 digests in base64"),
        ({"crls": b"pem"}, TypeError, "TlsConfig.crls is a sequence"),
        ({"crls": [5]}, TypeError, "TlsConfig.crls is a path, or"),
        ({"keylog": 5}, TypeError, "TlsConfig.keylog is a path"),
        ({"resumption": "on"}, TypeError, "TlsConfig.resumption is True or False"),
    ],
)
def test_a_wrong_setting_is_named_when_it_is_made(given, kind, says):
    with pytest.raises(kind, match=re.escape(says)):
        TlsConfig(**given)


def test_paths_are_shown_and_what_files_hold_is_not():
    config = TlsConfig(ca="nofile.pem", certificate="own.pem", key=b"topsecret", crls=["one.crl", b"two"])
    assert "ca='nofile.pem', " in repr(config)
    assert "certificate='own.pem', key=<9 bytes>" in repr(config)
    assert "crls=('one.crl', <3 bytes>)" in repr(config)
    assert repr(TlsConfig()).startswith("TlsConfig(backend='system', ca_only=False, ")


def test_secrets_are_never_shown():
    config = TlsConfig(certificate=b"topsecret", key=b"topsecret", password="topsecret", ca=b"topsecret")
    assert "topsecret" not in repr(config)
    assert "topsecret" not in repr(_tls_files.gather(config))
    for given in ({"key": "-----BEGIN PRIVATE KEY-----\ntopsecret"}, {"password": ["topsecret"]}):
        with pytest.raises((TypeError, ValueError)) as caught:
            TlsConfig(**{"certificate": b"c"} | given)
        assert "topsecret" not in str(caught.value)


def test_equal_settings_are_equal_however_they_are_given(tmp_path):
    assert TlsConfig(ca=bytearray(b"x"), alpn=["a"]) == TlsConfig(ca=memoryview(b"x"), alpn=("a",))
    assert TlsConfig(ca=tmp_path) == TlsConfig(ca=str(tmp_path))
    assert hash(TlsConfig(pins=["sha256/" + "A" * 43 + "="])) == hash(TlsConfig(pins=("A" * 43 + "=",)))
