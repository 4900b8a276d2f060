"""The drop-in's decisions about redirects, without a socket."""

import pytest
import websockets
from websockets.http11 import Response

from fastws.compat.websockets import _redirects


def refusal(status, **headers):
    return websockets.InvalidStatus(Response(status, "", websockets.Headers(headers)))


@pytest.mark.parametrize("status", [300, 301, 302, 303, 307, 308])
def test_what_sends_us_elsewhere_is_followed(status):
    assert _redirects.is_redirect(refusal(status, Location="/there"))
    assert not _redirects.is_redirect(refusal(status))


@pytest.mark.parametrize("status", [200, 304, 305, 401])
def test_other_answers_send_us_nowhere(status):
    assert not _redirects.is_redirect(refusal(status, Location="/there"))


@pytest.mark.parametrize(
    ("new", "is_another"),
    [
        ("ws://host/there", False),
        ("ws://HOST:80/", False),
        ("wss://host:80/", True),
        ("ws://other/", True),
        ("ws://host:81/", True),
    ],
)
def test_an_origin_is_scheme_host_and_port(new, is_another):
    assert _redirects.is_cross_origin("ws://host/here", new) is is_another


def test_secrets_stay_at_their_origin():
    headers = {"Authorization": "a", "COOKIE": "b", "Proxy-Authorization": "c", "X-Other": "d"}
    assert _redirects.without_credentials(headers, "ws://host/", "ws://host/there") is headers
    left = _redirects.without_credentials(headers, "ws://host/", "ws://other/")
    assert dict(left.raw_items()) == {"X-Other": "d"}
