"""Bad certificates, one by one and on every backend: a typed error each, in words that say what is wrong."""

import re
import time

import pytest

import fastws
from certificates import CLIENT, DAY, Authority, new_key, now, own_authority, pin, self_signed
from fastws import TlsConfig
from peers import while_open
from tls_peers import GOOD, OTHER, ROOT, accepted, asking, refusal

BACKENDS = ["system", "webpki", "openssl"]
WAYS = ["asyncio", "sync"]

BETWEEN = Authority("Test Between", above=ROOT)


def day(moment):
    return f"{moment:%Y-%m-%d %H:%M:%S} UTC"


THEN, SOON = now() - DAY / 2, now() + DAY / 2


@pytest.fixture(scope="module", autouse=True)
def _awake():
    """A thread that waited on a blocking connection once has a descriptor of its own."""
    accepted(GOOD, loop="sync")


# What the server shows, besides `ca=ROOT` what the client is told, what is said of it, and in a word.
MATRIX = {
    "expired": (
        ROOT.issue("localhost", not_before=now() - 2 * DAY, not_after=THEN),
        {},
        f'the server\'s certificate "localhost" expired on {day(THEN)}',
        "expired",
    ),
    "not yet valid": (
        ROOT.issue("localhost", not_before=SOON, not_after=now() + 2 * DAY),
        {},
        f"is not valid before {day(SOON)}",
        "not_yet_valid",
    ),
    "wrong host": (
        ROOT.issue("a.example", "b.example", "10.0.0.1"),
        {},
        "is not for localhost but for a.example, b.example, 10.0.0.1",
        "name",
    ),
    "self-signed": (
        self_signed("localhost"),
        {},
        'certificate "localhost" is self-signed',
        "self_signed",
    ),
    "unknown authority": (
        OTHER.issue("localhost", above=(OTHER.certificate,)),
        {},
        'unknown issuer: the authority "Other Root", whose certificate it sent, is not trusted',
        "untrusted",
    ),
    "wrong use": (
        ROOT.issue("localhost", use=CLIENT),
        {},
        "not for the use by a server .* only for client authentication",
        "purpose",
    ),
    "weak key": (
        ROOT.issue("localhost", key=new_key(1024)),
        {},
        "weak key: RSA of 1024 bits, and at least 2048 are wanted",
        "other",
    ),
    "missing intermediate": (
        BETWEEN.issue("localhost"),
        {},
        'unknown issuer: "Test Between" is not trusted, .* certificate of it; pass that .* the server is to send it',
        "untrusted",
    ),
    "revoked": (
        GOOD,
        {"crls": [ROOT.revocation_list(GOOD)]},
        r'"localhost" is revoked \(serial number [0-9a-f:]+\)',
        "revoked",
    ),
    "no list of its issuer": (
        GOOD,
        {"crls": [OTHER.revocation_list()]},
        'none of TlsConfig.crls=....* is of its issuer "Test Root"',
        "other",
    ),
    "list out of date": (
        GOOD,
        {"crls": [ROOT.revocation_list(until=THEN)]},
        f"is revoked is not known: .* was good until {day(THEN)}|CRL has expired",
        "other",
    ),
    "not pinned": (
        GOOD,
        {"pins": [pin(OTHER)]},
        f"but no key of its chain is among TlsConfig.pins=....: the pin of its own key is {re.escape(pin(GOOD))}",
        "pin",
    ),
}


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("case", MATRIX)
@pytest.mark.parametrize("way", WAYS)
def test_a_bad_certificate_is_refused_and_said_to_be_what_it_is(way, case, backend, open_fds):
    shown, told, words, fault = MATRIX[case]
    before = open_fds()
    error = refusal(shown.server_context(), TlsConfig(backend=backend, ca=ROOT.pem, **told), way)
    assert type(error) is fastws.CertificateError
    assert (error.phase, error.kind, error.is_retryable, error.lost) == ("tls", "certificate", False, False)
    assert re.search(words, str(error)), str(error)
    assert error.fault == fault
    del error
    for pause in while_open(open_fds, before):
        time.sleep(pause)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("version", ["TLSv1.2", "TLSv1.3"])
@pytest.mark.parametrize("case", ["missing", "refused", "for another use"])
@pytest.mark.parametrize("way", WAYS)
def test_a_client_certificate_that_the_server_does_not_take_is_said(way, case, version, backend):
    given = {
        "missing": None,
        "refused": OTHER.issue("client.example", use=CLIENT),
        "for another use": ROOT.issue("client.example"),
    }[case]
    tls = TlsConfig(
        backend=backend,
        ca=ROOT.pem,
        maximum_version=version,
        certificate=given and given.pem,
        key=given and given.key_pem(),
    )
    error = refusal(asking(), tls, way)
    assert (error.phase, error.lost) == ("tls", False)
    words = {
        "missing": "wants a client certificate, and none was given",
        "refused": 'refused the client certificate "client.example", issued by "Other Root": it does not know its i',
        "for another use": 'refused the client certificate "client.example", issued by "Test Root": it is of a kind or',
    }[case]
    if backend == "openssl":
        words = re.sub(' ".*?", issued by ".*?"', "", words)
    if (backend, case, version) == ("openssl", "missing", "TLSv1.2"):
        # The alert says no more, and OpenSSL does not tell that it was asked for a certificate.
        assert type(error) is fastws.TlsError
        words = "wants what is not offered: a client certificate"
    else:
        assert type(error) is fastws.CertificateError
        assert error.fault == "client"
    assert re.search(words, str(error)), str(error)


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_each_loop_gives_the_same_error(loop):
    if loop == "uvloop":
        pytest.importorskip("uvloop", reason="uvloop is not installed on this platform")
    error = refusal(self_signed("localhost").server_context(), TlsConfig(ca=ROOT.pem), loop)
    assert type(error) is fastws.CertificateError
    assert "is self-signed" in str(error)


def test_an_authority_that_is_out_of_date_is_named():
    old = Authority("Test Old", above=ROOT, not_before=now() - 2 * DAY, not_after=THEN)
    shown = old.issue("localhost", above=(old.certificate,))
    error = refusal(shown.server_context(), TlsConfig(ca=ROOT.pem))
    assert f'the certificate of the authority "Test Old" expired on {day(THEN)}' in str(error)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("way", WAYS)
def test_good_certificates_are_accepted(way, backend):
    """What makes the matrix mean something."""
    told = {"backend": backend, "loop": way}
    assert accepted(GOOD, **told)
    assert accepted(BETWEEN.issue("localhost", above=(BETWEEN.certificate,)), **told)
    assert accepted(GOOD, crls=[ROOT.revocation_list(OTHER), OTHER.revocation_list()], **told)


@pytest.mark.parametrize("usage", [False, True], ids=["no key usage", "key usage"])
@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("way", WAYS)
def test_a_certificate_of_an_authoritys_kind_that_is_trusted_itself_is_a_servers(way, backend, usage):
    """As `openssl req -x509` makes them."""
    shown = own_authority("localhost", usage=usage)
    assert accepted(shown, ca=shown.pem, backend=backend, loop=way)
    assert accepted(shown, ca=shown.pem, backend=backend, loop=way, pins=[pin(shown)])


@pytest.mark.parametrize("backend", ["system", "webpki"])
def test_it_may_be_renewed_with_its_key(backend):
    before = own_authority("localhost")
    assert accepted(own_authority("localhost", key=before.key), ca=before.pem, backend=backend)


KEY = new_key()
THEMSELVES = {
    "over": (own_authority("localhost", key=KEY, not_before=THEN - DAY, not_after=THEN), {}, "expired on", "expired"),
    "not yet": (
        own_authority("localhost", key=KEY, not_before=SOON, not_after=SOON + DAY),
        {},
        "is not valid before",
        "not_yet_valid",
    ),
    "another host": (own_authority("localhost", "a.example", key=KEY), {}, "is not for localhost but for a.ex", "name"),
    "another use": (own_authority("localhost", key=KEY, use=CLIENT), {}, "only for client auth", "purpose"),
    "another key": (own_authority("localhost"), {}, "is self-signed, and not trusted: pass it", "self_signed"),
    "another name": (own_authority("other", "localhost", key=KEY), {}, "is self-signed, and", "self_signed"),
    "lists of others": (
        own_authority("localhost", key=KEY),
        {"crls": [ROOT.revocation_list()]},
        'whether the server\'s certificate "localhost" is revoked is not known',
        "other",
    ),
}


@pytest.mark.parametrize("backend", ["system", "webpki"])
@pytest.mark.parametrize("case", THEMSELVES)
def test_nothing_else_is_forgiven_a_certificate_that_is_trusted_itself(case, backend):
    shown, told, words, fault = THEMSELVES[case]
    trusted = own_authority("localhost", key=KEY).pem + ROOT.pem
    error = refusal(shown.server_context(), TlsConfig(backend=backend, ca=trusted, **told))
    assert words in str(error)
    assert error.fault == fault


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_pin_is_of_any_key_of_the_chain(backend):
    chain = BETWEEN.issue("localhost", above=(BETWEEN.certificate,))
    for one in (chain, BETWEEN, ROOT):
        assert accepted(chain, backend=backend, pins=[pin(OTHER), "sha256/" + pin(one)])


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_certificate_that_is_sent_besides_the_chain_meets_no_pin(backend):
    shown = ROOT.issue("localhost", above=(OTHER.certificate,))
    error = refusal(shown.server_context(), TlsConfig(backend=backend, ca=ROOT.pem, pins=[pin(OTHER)]))
    assert "no key of its chain" in str(error)


def test_names_that_would_deceive_a_reader_are_shown_escaped_and_cut():
    shown = Authority("evil\n\x1b[31mroot", above=None).issue("localhost", subject="x")
    said = str(refusal(shown.server_context(), TlsConfig(ca=ROOT.pem)))
    assert r'"evil\n\u{1b}[31mroot" is not trusted' in said
    assert said.isprintable()
    many = ROOT.issue(*(f"{'x' * 60}.{'y' * 60}.n{number}.example" for number in range(100)), subject="many")
    said = str(refusal(many.server_context(), TlsConfig(ca=ROOT.pem)))
    assert "n9.example and 90 more" in said
    assert len(said) < 2_000
