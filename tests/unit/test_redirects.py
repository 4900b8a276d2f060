"""Which redirects are followed, and what goes along (redirects.py)."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

import fastws
from fastws import redirects
from fastws._opening import Leg
from fastws.http import Headers, Response
from fastws.target import Target
from fastws.tls import Security


def redirect(location, status=302):
    return Response(status, "Found", Headers([("Location", location)]))


def followed(source, location, *, most=10, before=()):
    chain = [*(Target.parse(uri) for uri in before), Target.parse(source)]
    return redirects.follow(chain[-1], redirect(location), chain, most)


@pytest.mark.parametrize(
    ("source", "location", "to"),
    [
        ("ws://h/a/b?c=1", "/d", "ws://h/d"),
        ("ws://h/a/b", "d?e=2", "ws://h/a/d?e=2"),
        ("ws://h/a", "?e=2", "ws://h/a?e=2"),
        ("wss://h:8443/a", "//other/b", "wss://other/b"),
        ("wss://h/a", "wss://other/b", "wss://other/b"),
        ("wss://h/a", "https://h/b/", "wss://h/b/"),
        ("ws://h/a", "http://h:81/b", "ws://h:81/b"),
        ("ws://h/a", "https://h/b", "wss://h/b"),
        ("ws://h/a", " /b ", "ws://h/b"),
        ("ws://h/a", "/b#there", "ws://h/b"),
        ("ws://u:p@h/a", "/b", "ws://u:p@h/b"),
        ("ws://u:p@h/a", "ws://H:80/b", "ws://u:p@H:80/b"),
        ("ws://u:p@h/a", "ws://v:q@h/b", "ws://v:q@h/b"),
        ("ws://u:p@h/a", "ws://other/b", "ws://other/b"),
        ("ws+unix:///run/s:/a", "/b", "ws://localhost/b"),
    ],
)
def test_a_redirect_is_read_as_a_browser_reads_it(source, location, to):
    target = followed(source, location)
    assert target.uri == to
    assert target.unix == Target.parse(source).unix


@pytest.mark.parametrize(
    ("source", "location", "match"),
    [
        ("wss://h/a?token=hunter2", "ws://h/a?token=hunter2", "leaves TLS"),
        ("wss://h/a", "http://h/a", "leaves TLS"),
        ("ws://h/a", "ftp://h/a", "not to a WebSocket URI"),
        ("ws://h/a", "ws://[::1/a", "not to a WebSocket URI"),
        ("ws://h/a", "http://u:hunter2@/", "not to a WebSocket URI"),
        ("ws://h/a", "ws+unix:///run/s:/", "to a Unix socket"),
        ("ws+unix:///run/s:/a", "ws://h/a", "leaves the Unix socket"),
        ("ws://h/a", "ws://h\x1b[31m/", "not to a WebSocket URI"),
    ],
)
def test_a_redirect_that_is_not_followed_says_why_and_shows_no_secret(source, location, match):
    try:
        followed(source, location)
    except fastws.RedirectError as error:
        said, refused = str(error), error
    else:
        pytest.fail("it is followed")
    assert match in said
    assert " → " in said
    assert "hunter2" not in said
    assert said.isprintable()
    assert refused.chain[0] == Target.parse(source).shown
    assert not refused.is_retryable


@given(st.sampled_from(["ws://h/a", "wss://u:p@h/", "ws+unix:///s:/a"]), st.text())
def test_whatever_a_location_is_it_is_followed_or_refused(source, location):
    try:
        target, said = followed(source, location), ""
    except fastws.RedirectError as error:
        said = str(error)
    else:
        assert target.secure or not source.startswith("wss")
    assert said.isprintable()


def test_redirects_are_bounded_and_the_error_names_the_chain():
    before = [f"ws://h/{number}" for number in range(2)]
    assert followed("ws://h/2", "/3", before=before, most=3).uri == "ws://h/3"
    with pytest.raises(fastws.RedirectError, match="more than 2 redirects, which is max_redirects") as caught:
        followed("ws://h/2", "/3", before=before, most=2)
    assert str(caught.value).endswith("ws://h/0 → ws://h/1 → ws://h/2 → ws://h/3")
    assert caught.value.chain == ("ws://h/0", "ws://h/1", "ws://h/2", "ws://h/3")
    assert caught.value.uri == "ws://h/0"
    assert caught.value.fault == "redirects"


@pytest.mark.parametrize(("status", "is_one"), [(301, True), (308, True), (300, False), (304, False), (401, False)])
def test_what_a_redirect_is(status, is_one):
    assert redirects.is_redirect(redirect("/", status)) is is_one
    assert not redirects.is_redirect(Response(status, "", Headers()))


FIELDS = [
    ("Authorization", "Bearer hunter2"),
    ("COOKIE", "a=hunter2"),
    ("X-Api-Key", "hunter2"),
    ("Host", "h"),
    ("X-Challenge", "hunter2"),
    ("Origin", "https://o"),
    ("X-Client", "bot"),
]


def leg(uri, **tls):
    target = Target.parse(uri)
    config = Security(fastws.TlsConfig(**tls)) if target.secure else None
    return Leg(target, "10.0.0.1", 99, FIELDS, config, frozenset({"x-challenge"}))


def test_at_the_same_origin_everything_goes_along():
    before = leg("wss://h/a", server_hostname="x", ca=b"pem")
    after = before.to(Target.parse("wss://h/b"))
    assert (after.host, after.port, after.headers, after.tls) == ("10.0.0.1", 99, FIELDS, before.tls)


@pytest.mark.parametrize("place", ["wss://other/b", "wss://h:444/b"])
def test_at_another_origin_secrets_and_what_was_said_of_the_first_stay_behind(place):
    mine = {"certificate": b"mine", "key": b"its key", "password": "sesame"}
    after = leg("wss://h/a", server_hostname="x", ca=b"pem", **mine).to(Target.parse(place))
    assert after.headers == [("Origin", "https://o"), ("X-Client", "bot")]
    assert (after.host, after.port) == (after.target.host, after.target.port)
    assert after.tls == Security(fastws.TlsConfig(ca=b"pem"))


def test_tls_begins_where_a_redirect_leads_to_it():
    after = leg("ws://h/a").to(Target.parse("wss://h/a"))
    assert after.tls == Security(fastws.TlsConfig())
    assert after.port == 443


def test_what_answers_a_challenge_replaces_fields_of_its_name():
    after = leg("ws://h/a").answering([("authorization", "Digest x")])
    assert [name for name, _ in after.headers if name.lower() == "authorization"] == ["authorization"]
    assert after.answered == {"authorization"}
