"""Which proxy is taken: URLs, the environment, `no_proxy`, functions (proxy.py)."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

import fastws
from fastws import proxy
from fastws._loop_io import _LoopIo
from fastws.proxy import Proxy
from fastws.sync._io import _BlockingIo, finish
from fastws.target import Target

# URLs.


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("http://proxy.example:3128", Proxy("http", "proxy.example", 3128)),
        ("http://proxy.example", Proxy("http", "proxy.example", 80)),
        ("HTTP://Proxy.Example:3128/", Proxy("http", "proxy.example", 3128)),
        ("http://us%3Fer:p%40ss@h:1", Proxy("http", "h", 1, "us?er", "p@ss")),
        ("http://user@h:1", Proxy("http", "h", 1, "user", None)),
        ("http://[::1]:3128", Proxy("http", "::1", 3128)),
        ("https://u:p@h", Proxy("https", "h", 443, "u", "p")),
        ("socks4://h", Proxy("socks4", "h", 1080)),
        ("socks4a://user@h:9050", Proxy("socks4a", "h", 9050, "user", None)),
        ("socks5://h", Proxy("socks5", "h", 1080)),
        ("socks5h://u:p@h", Proxy("socks5h", "h", 1080, "u", "p")),
        ("socks://h", Proxy("socks5h", "h", 1080)),
    ],
)
def test_the_url_of_a_proxy_is_read(url, expected):
    assert Proxy.parse(url) == expected


@pytest.mark.parametrize(
    ("url", "match"),
    [
        ("proxy.example:3128", "with a scheme, such as http://proxy.example:3128, not 'proxy.example:3128'"),
        ("nonsense", "not 'nonsense'"),
        ("", "with a scheme"),
        ("u:hunter2@h:3128", r"not '\*\*\*@h:3128'"),
        ("u:hunt@hunter2@h", r"not '\*\*\*@h'"),
        ("h/hunter2", "not 'h'"),
        ("h?hunter2", "not 'h'"),
        ("user:hunter2", "not 'user'"),
        ("ftp://u:hunter2@h", "has the scheme 'ftp'; there are http, https, socks4"),
        ("http://", "has no host"),
        ("http://u:hunter2@:3128", "has no host"),
        ("http://h:99999", "port is no number"),
        ("http://h:x", "port is no number"),
        ("http://h:0", "nothing behind the port"),
        ("http://[::1", "host cannot be read"),
        ("http://h:1/path", "nothing behind the port"),
        ("http://h:1?hunter2", "nothing behind the port"),
        ("http://u%3Av:hunter2@h", "user with a colon"),
        ("socks5://hunter2@h", "SOCKS5 wants both"),
        ("socks4://u:hunter2@h", "SOCKS4 knows a user only"),
        ("socks5://ü:hunter2@h", "SOCKS cannot carry"),
        (f"socks5://u:{'hunter2' * 40}@h", "SOCKS cannot carry"),
    ],
)
def test_a_url_that_is_none_says_why_and_shows_no_password(url, match):
    with pytest.raises(fastws.ConfigError, match=match) as caught:
        fastws.connect("ws://h/", proxy=url)
    assert caught.value.field == "proxy"
    assert "hunter2" not in str(caught.value)


def test_a_proxy_is_shown_without_user_and_password():
    found = Proxy.parse("http://user:hunter2@[::1]:3128")
    assert found.shown == "http://[::1]:3128"
    assert "hunter2" not in repr(found)
    assert "user'" not in repr(found)


@given(st.sampled_from(["", "http://", "socks5://u:hunter2@", "socks4://", "http://[", "HTTPS://"]), st.text())
def test_whatever_is_given_is_a_proxy_or_a_wrong_setting(start, rest):
    try:
        found = Proxy.parse(start + rest)
        said = found.shown + repr(found)
    except fastws.ConfigError as error:
        said = str(error)
    else:
        assert 0 < found.port < 65_536
        assert found.host
    assert "hunter2" not in said


# The environment.

NAMES = [name + "_proxy" for name in ("http", "https", "ws", "wss", "socks", "all", "no", "ftp")]


@pytest.fixture
def environment(monkeypatch):
    for name in NAMES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)

    def set_to(**values):
        for name, value in values.items():
            monkeypatch.setenv(name, value)

    return set_to


@pytest.mark.parametrize(
    ("values", "uri", "expected"),
    [
        ({}, "wss://h/", None),
        ({"https_proxy": "http://p:1"}, "wss://h/", "http://p:1"),
        ({"HTTPS_PROXY": "http://p:1"}, "wss://h/", "http://p:1"),
        ({"https_proxy": "http://p:1", "HTTPS_PROXY": "http://q:1"}, "wss://h/", "http://p:1"),
        ({"https_proxy": "p:1"}, "wss://h/", "http://p:1"),
        ({"https_proxy": ""}, "wss://h/", None),
        ({"http_proxy": "http://p:1"}, "wss://h/", None),
        ({"http_proxy": "http://p:1"}, "ws://h/", "http://p:1"),
        ({"https_proxy": "http://p:1"}, "ws://h/", None),
        ({"https_proxy": "http://p:1", "wss_proxy": "http://q:1"}, "wss://h/", "http://q:1"),
        ({"all_proxy": "socks5://p:1"}, "wss://h/", "socks5://p:1"),
        ({"ALL_PROXY": "socks5h://p:1", "http_proxy": "http://q:1"}, "ws://h/", "http://q:1"),
        ({"socks_proxy": "socks5://p:1", "all_proxy": "http://q:1"}, "ws://h/", "socks5://p:1"),
        ({"socks_proxy": "http://p:1"}, "ws://h/", "socks5h://p:1"),
        ({"https_proxy": "http://p:1", "no_proxy": "h"}, "wss://h/", None),
        ({"https_proxy": "http://p:1", "no_proxy": "*"}, "wss://h/", None),
        ({"https_proxy": "http://p:1", "no_proxy": ""}, "wss://h/", "http://p:1"),
        ({"https_proxy": "http://p:1", "NO_PROXY": "h:444"}, "wss://h/", "http://p:1"),
        ({"ftp_proxy": "http://p:1"}, "ws://h/", None),
    ],
)
def test_the_environment_names_a_proxy(environment, values, uri, expected):
    environment(**values)
    found = proxy.from_environment(Target.parse(uri))
    assert (found and found.shown) == expected


def test_a_wrong_url_of_the_environment_names_its_variable(environment):
    environment(https_proxy="ftp://u:hunter2@p:1")
    with pytest.raises(
        fastws.ConfigError, match=r"proxy=True: https_proxy of the environment has the scheme"
    ) as caught:
        proxy.from_environment(Target.parse("wss://h/"))
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    ("no_proxy", "host", "exempt"),
    [
        ("", "h", False),
        ("*", "anything", True),
        ("example.com", "example.com", True),
        ("example.com", "EXAMPLE.com.", True),
        ("Example.com", "feed.example.com", True),
        ("example.com", "badexample.com", False),
        ("example.com", "example.com.evil", False),
        (".example.com", "feed.example.com", True),
        (".example.com", "example.com", True),
        ("*.example.com", "feed.example.com", True),
        ("a, example.com ,b", "example.com", True),
        ("a example.com", "example.com", True),
        (",,", "h", False),
        (".", "h", False),
        ("example.com:443", "example.com", True),
        ("example.com:80", "example.com", False),
        ("*:443", "example.com", True),
        ("*:80", "example.com", False),
        ("localhost", "localhost", True),
        ("localhost", "127.0.0.1", False),
        ("127.0.0.1", "127.0.0.1", True),
        ("127.0.0.1", "127.0.0.10", False),
        ("10.0.0.0/8", "10.1.2.3", True),
        ("10.0.0.0/8", "11.1.2.3", False),
        ("10.0.0.0/8", "10.example.com", False),
        ("10.1.2.3/8", "10.9.9.9", True),
        ("10.0.0.0/8:443", "10.1.2.3", True),
        ("10.0.0.0/8:80", "10.1.2.3", False),
        ("10.0.0.1:443", "10.0.0.1", True),
        ("::1", "::1", True),
        ("[::1]", "::1", True),
        ("[::1]:443", "::1", True),
        ("[::1]:80", "::1", False),
        ("fd00::/8", "fd12::3", True),
        ("fd00::/8", "10.0.0.1", False),
        ("fe80::/10", "fe80::1%eth0", True),
        ("10.0.0.0/8", "::ffff:10.0.0.1", True),
        ("0.0.0.1", "1", False),
        ("10.0.0.0/99", "10.0.0.1", False),
    ],
)
def test_no_proxy_exempts_hosts(no_proxy, host, exempt):
    assert proxy.is_exempt(no_proxy, host, 443) is exempt


@given(st.text(), st.text())
def test_whatever_no_proxy_is_it_is_read(no_proxy, host):
    assert proxy.is_exempt(no_proxy, host, 443) in (True, False)


# Functions.


async def chosen(choice, uri):
    return await proxy.choose(choice, Target.parse(uri), _LoopIo(fastws.connect("ws://h/")._plan))


@pytest.mark.parametrize("kind", ["plain", "async"])
def test_a_function_is_asked_with_the_uri(kind):
    asked = []

    def plain(uri):
        asked.append(uri)
        return "http://p:1" if "feed" in uri else None

    async def coroutine(uri):
        return plain(uri)

    choice = proxy.checked(plain if kind == "plain" else coroutine)
    assert asyncio.run(chosen(choice, "ws://feed/")) == Proxy("http", "p", 1)
    assert asyncio.run(chosen(choice, "ws://other/")) is None
    assert asked == ["ws://feed/", "ws://other/"]


@pytest.mark.parametrize(
    ("answer", "match"), [(5, "returned int"), (True, "returned bool"), ("ftp://p", "scheme 'ftp'")]
)
def test_what_a_function_may_return_is_checked(answer, match):
    with pytest.raises(fastws.ConfigError, match=match) as caught:
        asyncio.run(chosen(lambda uri: answer, "ws://h/"))
    assert not fastws.is_retryable(caught.value)


def test_without_an_event_loop_a_function_is_a_plain_one():
    async def coroutine(uri):
        raise AssertionError("not run")

    io = _BlockingIo(1.0, lambda _: pytest.fail("nothing is opened"))
    target = Target.parse("ws://feed/")
    assert finish(proxy.choose(lambda uri: "http://p:1", target, io)) == Proxy("http", "p", 1)
    with pytest.raises(TypeError, match=r"the function given as proxy= is async, .* plain function"):
        finish(proxy.choose(coroutine, target, io))
