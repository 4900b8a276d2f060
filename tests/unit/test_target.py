"""What a URI says of the place that is asked (target.py)."""

import sys

import pytest

import fastws
from fastws.target import Target

if sys.platform == "win32":
    pytest.skip("there are no Unix sockets here", allow_module_level=True)


@pytest.mark.parametrize(
    ("uri", "path", "request_uri"),
    [
        ("ws+unix:///run/feed.sock:/v5?token=a", "/run/feed.sock", "ws://localhost/v5?token=a"),
        ("ws+unix:///run/feed.sock:", "/run/feed.sock", "ws://localhost/"),
        ("ws+unix:///run/feed.sock", "/run/feed.sock", "ws://localhost/"),
        ("ws+unix:///run/feed.sock:?a=1", "/run/feed.sock", "ws://localhost/?a=1"),
        ("WSS+UNIX:///run/a%20b%3Ac%3F.sock:/x:y", "/run/a b:c?.sock", "WSS://localhost/x:y"),
    ],
)
def test_a_uri_of_a_unix_socket_has_two_paths(uri, path, request_uri):
    target = Target.parse(uri)
    assert (target.unix, target.uri, target.host) == (path, request_uri, "localhost")
    assert target.secure is (request_uri[:3] == "WSS")


def test_a_uri_of_a_unix_socket_is_shown_without_its_query():
    target = Target.parse("ws+unix:///run/feed.sock:/v5?token=hunter2")
    assert target.shown == "ws+unix:///run/feed.sock:/v5?***"
    assert fastws.redact_uri(target.shown) == target.shown


@pytest.mark.parametrize(
    "uri",
    ["ws+unix://host/path:/", "ws+unix://relative.sock", "ws+unix:///a?b", "ws+unix:///a%00b:/", "ws+unix:///a:/ b"],
)
def test_what_is_no_uri_of_a_unix_socket_says_how_one_looks(uri):
    with pytest.raises(fastws.InvalidURI):
        fastws.connect(uri)


def test_a_unix_socket_is_one_way_and_excludes_the_others():
    with pytest.raises(fastws.InvalidURI, match="names a Unix socket, and so does path"):
        fastws.unix_connect("/run/a", "ws+unix:///run/b:/")
    for arguments, match in (
        ({"host": "h"}, "leave out host and port"),
        ({"port": 80}, "leave out host and port"),
        ({"proxy": "http://h:1"}, "leave out proxy"),
    ):
        with pytest.raises(ValueError, match=match):
            fastws.unix_connect("/run/a", **arguments)
    for path in (None, "", 5):
        with pytest.raises(TypeError, match="path is the path of a Unix socket"):
            fastws.unix_connect(path)
    fastws.unix_connect("/run/a", proxy=True)  # what the environment says is not meant for it


def test_hosts_are_of_one_origin_without_case():
    assert Target.parse("wss://A.example/x").origin == Target.parse("wss://a.EXAMPLE:443/y").origin
    assert Target.parse("wss://a.example/").origin != Target.parse("ws://a.example:443/").origin
