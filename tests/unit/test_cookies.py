"""Which cookies an answer sets, and for which requests (cookies.py)."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastws import _core
from fastws.cookies import Cookies
from fastws.http import Headers, Response
from fastws.target import Target


def taken(*fields, by="wss://feed.example/in/login", cookies=None):
    cookies = cookies or Cookies()
    cookies.take(Target.parse(by), Response(302, "Found", Headers([("Set-Cookie", field) for field in fields])))
    return cookies


def sent(cookies, to="wss://feed.example/in/feed", fields=(), *, given_hold=False):
    found = Headers(cookies.added_to(list(fields), Target.parse(to), given_hold=given_hold))
    return found.get("Cookie")


@pytest.mark.parametrize(
    ("field", "to", "cookie"),
    [
        ("sid=1", "wss://feed.example/in/feed", "sid=1"),
        ("sid=1; HttpOnly; Secure; SameSite=Lax", "wss://FEED.example:443/in/", "sid=1"),
        ('sid="a=b,{c}"', "wss://feed.example/in/feed", 'sid="a=b,{c}"'),
        ("sid=", "wss://feed.example/in/feed", "sid="),
        # Paths (RFC 6265 §5.1.4).
        ("sid=1", "wss://feed.example/feed", None),
        ("sid=1", "wss://feed.example/inner", None),
        ("sid=1; Path=/", "wss://feed.example", "sid=1"),
        ("sid=1; Path=/v5", "wss://feed.example/v5?x=1", "sid=1"),
        ("sid=1; Path=/v5", "wss://feed.example/v5/feed", "sid=1"),
        ("sid=1; Path=/v5", "wss://feed.example/v55", None),
        ("sid=1; Path=/v5/", "wss://feed.example/v5", None),
        ("sid=1; Path=v5", "wss://feed.example/in/feed", "sid=1"),
        # Another origin, whatever the domain says.
        ("sid=1; Domain=.example; Path=/", "wss://feed.example/", "sid=1"),
        ("sid=1; Domain=.example; Path=/", "wss://other.example/", None),
        ("sid=1; Path=/", "wss://feed.example:8443/", None),
        ("sid=1; Path=/", "ws://feed.example:443/", None),
        ("sid=1; Domain=other.example; Path=/", "wss://feed.example/", None),
        ("sid=1; Domain=eed.example; Path=/", "wss://feed.example/", None),
        # Not to be kept.
        ("sid=1; Max-Age=0", "wss://feed.example/in/feed", None),
        ("sid=1; Max-Age=-1", "wss://feed.example/in/feed", None),
        ("sid=1; Expires=Thu, 01-Jan-1970 00:00:00 GMT", "wss://feed.example/in/feed", None),
        ("sid=1; Expires=Thu, 01 Jan 1970 00:00:00 GMT; Max-Age=60", "wss://feed.example/in/feed", "sid=1"),
        ("sid=1; Expires=Fri, 31 Dec 9999 23:59:59 GMT", "wss://feed.example/in/feed", "sid=1"),
        ("sid=1; Expires=Fri, 31 Dec 99999999999999 23:59:59 GMT", "wss://feed.example/in/feed", "sid=1"),
        ("sid", "wss://feed.example/in/feed", None),
        ("=1", "wss://feed.example/in/feed", None),
        ("sid=\t\x011", "wss://feed.example/in/feed", None),
        ("sid=é", "wss://feed.example/in/feed", None),
        (f"sid={'x' * 5000}", "wss://feed.example/in/feed", None),
    ],
)
def test_a_cookie_is_sent_where_it_is_for(field, to, cookie):
    assert sent(taken(field), to) == cookie


def test_a_secure_one_is_not_taken_of_a_server_without_tls():
    assert sent(taken("a=1; Secure", "b=2", by="ws://h/"), "ws://h/") == "b=2"


def test_what_is_set_later_replaces_what_was_set_before_and_what_was_given():
    cookies = taken("sid=1; Path=/", "lang=en; Path=/")
    fields = [("Cookie", "sid=0; theme=dark"), ("X-Client", "bot"), ("cookie", "more")]
    assert sent(cookies, fields=fields) == "theme=dark; more; sid=1; lang=en"
    taken("sid=2; Path=/", "lang=; Path=/; Max-Age=0", cookies=cookies)
    assert sent(cookies, fields=fields) == "theme=dark; more; sid=2"
    taken("sid=3; Path=/in", cookies=cookies)
    assert sent(cookies, fields=fields) == "theme=dark; more; sid=3"
    assert sent(cookies, fields=fields, given_hold=True) == "sid=0; theme=dark; more"


def test_one_that_is_taken_back_is_not_sent_though_it_was_given():
    cookies = taken("sid=; Path=/; Max-Age=0")
    assert sent(cookies, fields=[("Cookie", "sid=0")]) is None
    assert cookies.added_to([("Cookie", "sid=0")], Target.parse("wss://other.example/"), given_hold=False)


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_whatever_a_server_sends_can_be_asked_with(field):
    headers = taken(field).added_to([], Target.parse("wss://feed.example/in/x"), given_hold=False)
    _core.Request("wss://feed.example/in/x", headers, [], None, None, [])
