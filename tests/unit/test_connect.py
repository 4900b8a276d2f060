import asyncio
import errno
import inspect
import os
import re
import socket
from datetime import timedelta

import pytest

import fastws
from fastws import _keywords, _options, _policy, dial


@pytest.mark.parametrize(
    ("uri", "reason"),
    [
        ("http://h/", "ws://"),
        ("https://h/", "wss://"),
        ("example.com", "ws://"),
        ("ws://", "host"),
        ("ws://h/#x", "fragment"),
        ("ws://h:99999/", "port"),
        ("ws://h/a b", "space"),
        ("", "ws://"),
    ],
)
def test_a_wrong_uri_is_refused_at_once_with_a_remedy(uri, reason):
    with pytest.raises(fastws.InvalidURI) as caught:
        fastws.connect(uri)
    assert reason in str(caught.value)


def test_a_wrong_uri_does_not_show_its_secrets():
    with pytest.raises(fastws.InvalidURI) as caught:
        fastws.connect("ws://user:hunter2@h:x/?token=hunter3")
    assert "hunter" not in str(caught.value)


@pytest.mark.parametrize("uri", [None, b"ws://h/", 5])
def test_a_uri_that_is_no_string_is_a_type_error(uri):
    with pytest.raises(TypeError, match="uri is a str"):
        fastws.connect(uri)


@pytest.mark.parametrize(
    ("arguments", "exception", "reason"),
    [
        ({"compression": "gzip"}, ValueError, "compression is"),
        ({"messages": "str"}, ValueError, "messages"),
        ({"subprotocols": "abc"}, TypeError, "sequence"),
        ({"subprotocols": ["a b"]}, ValueError, "token"),
        ({"subprotocols": ["a", "a"]}, ValueError, "twice"),
        ({"additional_headers": {"X": "a\r\nb"}}, ValueError, "control character"),
        ({"additional_headers": {"Upgrade": "x"}}, ValueError, "Upgrade"),
        ({"additional_headers": {"X": 1}}, TypeError, "strings"),
        ({"open_timeout": 0}, ValueError, "open_timeout"),
        ({"open_timeout": "1"}, TypeError, "open_timeout"),
        ({"close_timeout": float("nan")}, ValueError, "close_timeout"),
        ({"ping_interval": -1}, ValueError, "ping_interval"),
        ({"ping_timeout": True}, TypeError, "ping_timeout"),
        ({"max_size": 0}, ValueError, "max_size"),
        ({"max_size": 1.5}, TypeError, "max_size"),
        ({"max_queue": (10, 20)}, ValueError, "max_queue"),
        ({"max_queue": 0}, ValueError, "max_queue"),
        ({"host": b"h"}, TypeError, "host is a name"),
        ({"host": ""}, ValueError, "host must be"),
        ({"server_hostname": 5}, TypeError, "server_hostname is a name"),
        ({"server_hostname": "a b"}, ValueError, "server_hostname must be"),
        ({"subprotocols": b"a"}, TypeError, "sequence"),
        ({"port": "80"}, TypeError, "port is a number"),
        ({"port": 65_536}, ValueError, "port must be"),
        ({"sock": 5}, TypeError, "sock is a socket"),
        ({"max_send_queue": None}, TypeError, "always bounded"),
        ({"max_send_bytes": None}, TypeError, "always bounded"),
        ({"write_limit": -1}, ValueError, "write_limit"),
        ({"write_limit": None}, TypeError, "write_limit"),
        ({"max_queue": (1, 2, 3)}, ValueError, "max_queue"),
        ({"additional_headers": "a: b"}, TypeError, "additional_headers"),
        ({"additional_headers": [("a",)]}, TypeError, "additional_headers"),
        ({"tls": fastws.TlsConfig()}, ValueError, "wss://"),
        ({"server_hostname": "x"}, ValueError, "wss://"),
        ({"typo": 1}, TypeError, r"connect\(\) has no argument 'typo': see help"),
        ({"open_timout": 1}, TypeError, r"'open_timout': did you mean open_timeout="),
        ({"ssl": None}, TypeError, "'ssl': use tls=, which takes an ssl.SSLContext"),
        ({"http_proxy_host": "h"}, TypeError, "'http_proxy_host': use proxy="),
        ({"extra_headers": {}}, TypeError, "'extra_headers': use additional_headers="),
        ({"create_protocol": print}, TypeError, "'create_protocol': a connection is a fastws.Connection"),
        ({"logger": None, "flags": 2}, TypeError, "'logger': .*; .* no argument 'flags': connect a socket yourself"),
        ({"family": 99}, ValueError, "family is socket.AF_INET"),
        ({"family": True}, ValueError, "family is"),
        ({"local_addr": "10.0.0.1"}, TypeError, "local_addr is a pair"),
        ({"local_addr": ("10.0.0.1", "0")}, TypeError, "local_addr is a pair"),
        ({"local_addr": ("10.0.0.1", -1)}, ValueError, "local_addr is a pair"),
        ({"happy_eyeballs_delay": 0}, ValueError, "one after the other"),
        ({"interleave": -1}, ValueError, "interleave is a number from 0 on"),
        (
            {"dns_timeout": 0},
            ValueError,
            "dns_timeout must be more than 0 seconds, or None to leave it to open_timeout",
        ),
        ({"max_redirects": -1}, ValueError, "max_redirects is a number from 0 on"),
        ({"max_redirects": None}, TypeError, "max_redirects is a number"),
        ({"on_auth_challenge": "token"}, TypeError, "on_auth_challenge is a function"),
        ({"auth": "user:hunter2"}, TypeError, r"auth is a pair \(user, password\)"),
        ({"auth": ("us:er", "hunter2")}, ValueError, "a user has no colon"),
        ({"auth": ("a", "b"), "additional_headers": {"authorization": "x"}}, ValueError, "an Authorization header too"),
        ({"proxy": False}, TypeError, "proxy is a URL"),
        ({"proxy": b"http://h:1"}, TypeError, "proxy is a URL .*; not bytes"),
        ({"proxy": "proxy:3128"}, ValueError, "proxy is a URL with a scheme"),
        ({"proxy_headers": {"X": "a\nb"}}, ValueError, "proxy_headers: .*control character"),
        ({"proxy_tls": True}, TypeError, "proxy_tls must be a TlsConfig"),
        ({"proxy_headers": {"X": 1}}, TypeError, "proxy_headers is a mapping"),
        ({"proxy_headers": {"X": "1"}}, ValueError, "proxy_headers is for a proxy, and there is none: give proxy= too"),
        ({"proxy_tls": "webpki"}, ValueError, "proxy_tls is for a proxy, and there is none: give proxy= too"),
        (
            {"proxy": "http://user:hunter2@h:1", "proxy_tls": "webpki"},
            ValueError,
            r"proxy_tls is for a proxy with https://, and http://\S*h:1\S* is none; leave it out",
        ),
        (
            {"proxy": "socks5h://h:1", "proxy_headers": {"X": "1"}},
            ValueError,
            "proxy_headers is for a proxy with http:// or https://, and socks5h://h:1 is none",
        ),
        ({"open_timeout": -1}, ValueError, "open_timeout must be more than 0 seconds, or None"),
        ({"ping_interval": float("inf")}, ValueError, "or None to leave it off"),
        ({"max_send_queue": 0}, ValueError, "max_send_queue must be at least 1; not 0"),
        ({"max_send_bytes": "x"}, TypeError, r"max_send_bytes is a number \(int\); not"),
        ({"write_limit": 0}, ValueError, r"at least 1 or a pair \(high, low\); not 0"),
        ({"max_queue": [4, 1]}, ValueError, "a tuple"),
        ({"origin": 5}, TypeError, "origin is a header's value"),
        ({"user_agent_header": 5}, TypeError, "user_agent_header is a header's value"),
        ({"subprotocols": [5]}, TypeError, "subprotocols is a sequence"),
        ({"subprotocols": 5}, TypeError, "subprotocols is a sequence"),
        ({"nodelay": "no"}, TypeError, "nodelay is True or False"),
        ({"additional_headers": ["ab"]}, TypeError, "additional_headers"),
    ],
)
def test_a_wrong_argument_is_refused_at_once_and_named(arguments, exception, reason):
    with pytest.raises(exception, match=reason):
        fastws.connect("ws://h/", **arguments)


def test_an_unknown_argument_hides_no_other_error():
    with pytest.raises(TypeError, match="positional"):
        fastws.connect("ws://h/", "ws://other/")
    with pytest.raises(TypeError, match="'uri'"):
        fastws.connect()


def test_what_is_used_instead_is_there():
    parameters = inspect.signature(fastws.connect).parameters
    assert "uri" in parameters
    assert not set(_keywords._INSTEAD) & set(parameters)
    for name, instead in _keywords._INSTEAD.items():
        named = re.findall(r"\b(\w+)=(?!\.|False)", instead)
        assert set(named) <= set(parameters), name


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (OSError(errno.EHOSTUNREACH, "No route"), "host unreachable: it is down, or a firewall refuses"),
        (OSError(errno.EMFILE, "Too many open files"), "Too many open files"),
        (OSError(errno.ENETDOWN, "Connect call failed ('h', 1)"), os.strerror(errno.ENETDOWN)),
        (OSError("it has no address"), "it has no address"),
    ],
)
def test_why_there_is_no_connection_is_said_for_people(error, said):
    assert dial.reason(error) == said


@pytest.mark.parametrize(
    ("numbers", "common"),
    [
        ([errno.ECONNREFUSED], errno.ECONNREFUSED),
        ([errno.ETIMEDOUT, errno.ETIMEDOUT], errno.ETIMEDOUT),
        ([errno.ECONNREFUSED, errno.EHOSTUNREACH], None),
        ([errno.ECONNREFUSED, None], None),
        ([None], None),
    ],
)
def test_no_connection_has_the_number_that_all_addresses_failed_with(numbers, common):
    tried = {f"192.0.2.{last}:80": dial.Tried("it says so", number) for last, number in enumerate(numbers)}
    error = dial.no_connection("ws://h/", tried)
    assert (error.errno, error.attempts) == (common, tuple((address, "it says so") for address in tried))


class NotConnected:
    uri = "ws://h/"
    _errno = errno.EHOSTUNREACH


def test_what_the_native_side_fails_to_connect_by_is_read_of_its_number_and_not_of_its_text():
    error = _policy.open_failed(NotConnected, "tcp", "lost", f"{os.strerror(errno.ECONNREFUSED)} (os error 9999)")
    assert (str(error), error.errno) == ("host unreachable: it is down, or a firewall refuses", errno.EHOSTUNREACH)


def test_a_socket_that_listens_is_refused():
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        sock.listen()
        with pytest.raises(ValueError, match="sock listens"):
            fastws.connect("ws://h/", sock=sock)


def test_the_tls_argument_is_checked():
    with pytest.raises(ValueError, match="give PEM itself as bytes"):
        fastws.TlsConfig(ca="-----BEGIN CERTIFICATE-----\n")
    with pytest.raises(ValueError, match="null"):
        fastws.TlsConfig(ca="a\0b")
    with pytest.raises(TypeError, match=r"TlsConfig\.server_hostname is"):
        fastws.TlsConfig(server_hostname=5)
    with pytest.raises(ValueError, match=r"TlsConfig\.server_hostname must be"):
        fastws.TlsConfig(server_hostname="")
    with pytest.raises(TypeError, match="tls must be"):
        fastws.connect("wss://h/", tls=True)
    with pytest.raises(ValueError, match="backend"):
        fastws.TlsConfig(backend="other")
    with pytest.raises(ValueError, match="verify"):
        fastws.TlsConfig(verify=False, ca=b"x")
    with pytest.raises(TypeError, match=r"TlsConfig\.verify"):
        fastws.TlsConfig(verify="no")
    with pytest.raises(TypeError, match=r"TlsConfig\.ca"):
        fastws.TlsConfig(ca=5)
    with pytest.warns(RuntimeWarning, match="not checked") as warned:
        fastws.connect("wss://h/", tls=fastws.TlsConfig(verify=False))
    assert warned[0].filename == __file__


def test_durations_may_be_timedeltas():
    fastws.connect("ws://h/", open_timeout=timedelta(seconds=2), ping_interval=None)


def test_iterating_over_connect_points_to_the_way():
    async def main():
        with pytest.raises(TypeError, match="async with"):
            async for _ in fastws.connect("ws://h/"):
                pass

    asyncio.run(main())


def test_a_ca_file_that_is_not_there_is_named(tmp_path):
    async def main():
        await fastws.connect("wss://127.0.0.1:1/", tls=fastws.TlsConfig(ca=tmp_path / "none.pem"))

    with pytest.raises(ValueError, match=r"none\.pem"):
        asyncio.run(main())


def test_ca_data_without_a_certificate_is_refused():
    async def main():
        await fastws.connect("wss://127.0.0.1:1/", tls=fastws.TlsConfig(ca=b"nothing"))

    with pytest.raises(ValueError, match="no certificate"):
        asyncio.run(main())


@pytest.mark.parametrize(
    ("given", "marks"),
    [(4096, (4096, 1024)), (10, (10, 2)), ((10, 3), (10, 3)), ((10, None), (10, 2)), (None, (2**62, 2**62))],
)
def test_a_mark_stands_for_itself_and_its_quarter(given, marks):
    assert settings_of(max_queue=given)["water"][:2] == marks


def test_a_frame_may_be_as_large_as_a_message_unless_it_is_said():
    assert settings_of(max_size=100)["max_frame_size"] == 100
    assert settings_of(max_size=None)["max_frame_size"] is None
    assert settings_of(max_size=100, max_frame_size=10)["max_frame_size"] == 10


def test_connections_of_a_kind_share_their_settings():
    first, second, other = (fastws.connect("ws://h/", max_queue=mark)._settings for mark in (10, 10, 11))
    assert first is second
    assert first is not other
    # What equals an argument that was good is not good by that.
    fastws.connect("ws://h/", max_size=1, max_queue=(4, 1))
    with pytest.raises(TypeError, match="max_size"):
        fastws.connect("ws://h/", max_size=True)
    with pytest.raises(TypeError, match="max_queue"):
        fastws.connect("ws://h/", max_queue=(4.0, 1))
    with pytest.raises(ValueError, match="max_queue"):
        fastws.connect("ws://h/", max_queue=[10, 2])


def settings_of(**given):
    """The checked settings of a `connect()` with these arguments."""
    defaults = {name: parameter.default for name, parameter in inspect.signature(fastws.connect).parameters.items()}
    defaults["special"] = defaults.pop("_special")
    wanted = inspect.signature(_options.checked).parameters
    return _options.checked(**{name: given.get(name, defaults[name]) for name in wanted})


@pytest.mark.parametrize(
    ("rcvd", "sent", "cause", "kind"),
    [
        (1000, 1000, None, fastws.ConnectionClosedOK),
        (1005, None, None, fastws.ConnectionClosedOK),
        (None, 1001, None, fastws.ConnectionClosedOK),
        (1000, 1011, None, fastws.ConnectionClosedError),
        (1011, 1000, None, fastws.ConnectionClosedError),
        (None, None, None, fastws.ConnectionClosedError),
        (None, 1000, "eof", fastws.ConnectionClosedError),
    ],
)
def test_what_a_clean_end_is(rcvd, sent, cause, kind):
    class Ended:
        _listener_error = None
        _close_info = (rcvd, "", sent, "", None, cause, "why")

    assert type(_policy.closed(Ended())) is kind


def test_a_tls_failure_is_of_the_certificate_or_not():
    class Opening:
        uri = "wss://h/"

    refused = _policy.open_failed(Opening, "tls", "lost", "TLS: certificate/expired: the server's certificate expired")
    assert (type(refused), refused.fault) == (fastws.CertificateError, "expired")
    assert str(refused) == "wss://h/: TLS handshake failed: the server's certificate expired"
    other = _policy.open_failed(Opening, "tls", "lost", "TLS: received corrupt message of type InvalidContentType")
    assert type(other) is fastws.TlsError
    assert "use ws://" in str(other)


@pytest.mark.parametrize(
    ("body", "shown"),
    [(b"no  such\n feed", ": no such feed"), (b"<html>no</html>", ""), (b"", ""), (b"x" * 300, ": " + "x" * 200)],
)
def test_the_body_of_a_refusal_is_shown_if_it_is_for_people(body, shown):
    assert _policy._excerpt(body) == shown


def test_who_forgets_that_it_is_asynchronous_is_told():
    opening = fastws.connect("ws://user:secret@host/feed?token=secret")
    assert repr(opening) == "<fastws.connect ws://***@host/feed?***>"
    with pytest.raises(TypeError, match="async with"):
        with opening:
            pass
    with pytest.raises(TypeError, match="async for"):
        iter(opening)
    with pytest.raises(AttributeError, match=r"ws = await fastws\.connect"):
        opening.send("x")
    with pytest.raises(AttributeError, match=r"no attribute 'nothing'$"):
        opening.nothing  # noqa: B018 - reading it is the test


def test_a_client_is_no_stream_and_says_so():
    with pytest.raises(TypeError, match=r"client\.stream\(\)"):
        aiter(fastws.WebSocketClient("ws://host"))
