import asyncio
from datetime import timedelta

import pytest

import fastws


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
        ({"compression": "deflate"}, ValueError, "no compression"),
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
        ({"typo": 1}, TypeError, "typo"),
    ],
)
def test_a_wrong_argument_is_refused_at_once_and_named(arguments, exception, reason):
    with pytest.raises(exception, match=reason):
        fastws.connect("ws://h/", **arguments)


def test_the_tls_argument_is_checked():
    with pytest.raises(TypeError, match="tls must be"):
        fastws.connect("wss://h/", tls=True)
    with pytest.raises(ValueError, match="roots"):
        fastws.TlsConfig(roots="other")
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
