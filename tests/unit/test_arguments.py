"""What a client is given, and what it says of what it cannot take (_arguments.py)."""

import asyncio
import ssl

import pytest

import fastws
from fastws.errors import (
    ConfigError,
)
from virtual_time import run_virtual
from wires import URI, MemoryConnector, client_of


def test_positional_subscribe_says_what_was_meant():
    client = client_of(MemoryConnector())
    with pytest.raises(TypeError, match=r"subscriptions\.add\('BTC-USD'"):
        client.subscribe("BTC-USD")


@pytest.mark.parametrize(
    ("options", "field"),
    [({"proxy": "ftp://x"}, "proxy"), ({"proxy": 5}, "proxy"), ({"tap": 5}, "tap")],
    ids=["proxy", "no proxy", "tap"],
)
def test_wrong_arguments_are_named(options, field):
    with pytest.raises(ConfigError) as raised:
        fastws.WebSocketClient(URI, **options)
    assert raised.value.field == field


def test_a_wrong_uri_is_an_error_of_its_own():
    with pytest.raises(fastws.InvalidURI):
        fastws.WebSocketClient("http://venue.example")
    with pytest.raises(ConfigError):
        fastws.WebSocketClient(5)


async def _async(*_arguments):
    return False


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("retry", 5),
        ("retry", fastws.ExponentialBackoff),
        ("handshake", "token"),
        ("handshake", fastws.NoOpHandshaker),
        ("rate_limit", 5),
        ("connect_limiter", 5),
        ("connector", 5),
        ("config", {"open_timeout": 1}),
        ("config", fastws.ClientConfig),
        ("extensions", 5),
        ("subscriptions", ["BTC"]),
        ("metadata", 5),
        ("message_key", "sequence"),
        ("message_key", _async),
        ("headers", 5),
        ("headers", [("a",)]),
        ("headers", {"X-Key": 5}),
        ("subprotocols", "chat"),
        ("subprotocols", [5]),
    ],
)
def test_an_argument_that_is_nothing_of_the_kind_is_refused_by_name(name, value):
    with pytest.raises(ConfigError, match=f"^{name} is ") as raised:
        fastws.WebSocketClient(URI, **{name: value})
    assert raised.value.field == name


@pytest.mark.parametrize("uri", [URI, "wss://venue.example", lambda: URI], ids=["ws", "wss", "callable"])
@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("tls", 5, r"^tls must be a TlsConfig, .* not 5"),
        ("tls", "nope", r'^tls must be .*"webpki" or "openssl", not'),
        ("tls", ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), r"^tls is a server's SSLContext"),
        ("headers", {"X Key": "1"}, r"^headers: "),
        ("headers", {"X-Key": "secret\r\nHost: h"}, r"^headers: "),
        ("subprotocols", ["a b"], r"^subprotocols: "),
        ("subprotocols", ["a", "a"], r"^subprotocols: "),
    ],
)
def test_what_no_upgrade_can_be_made_with_is_refused_when_the_client_is_made(uri, name, value, words):
    with pytest.raises(ConfigError, match=words) as raised:
        fastws.WebSocketClient(uri, **{name: value})
    assert raised.value.field == name
    assert "secret" not in str(raised.value)


def test_tls_is_for_wss():
    with pytest.raises(ConfigError, match=r"^tls and server_hostname are for wss:") as raised:
        fastws.WebSocketClient(URI, tls=fastws.TlsConfig())
    assert raised.value.field == "tls"
    fastws.WebSocketClient("wss://venue.example", tls=fastws.TlsConfig())


@pytest.mark.parametrize(
    ("uri", "field", "options"),
    [
        (lambda: URI, "tls", {"tls": "system"}),
        (URI, "headers", {"headers": lambda: 5}),
        (URI, "headers", {"headers": lambda: {"X Key": "1"}}),
    ],
    ids=["tls", "no headers", "a name with a space"],
)
def test_what_a_callable_gives_is_checked_at_the_attempt_and_ends_the_client(uri, field, options):
    async def main():
        client = fastws.WebSocketClient(uri, connector=MemoryConnector(), **options)
        with pytest.raises(ConfigError, match=f"^{field}") as raised:
            await client.run()
        assert raised.value.field == field

    run_virtual(main())


def test_headers_and_subprotocols_that_can_be_read_once_are_there_at_every_attempt():
    async def main():
        connector = MemoryConnector(then=lambda wire: wire.server_close(1012))
        headers, subprotocols = iter([("X-Key", "1")]), iter(["a", "b"])
        client = fastws.WebSocketClient(
            URI, connector=connector, headers=headers, subprotocols=subprotocols, retry=fastws.FixedDelay(1)
        )
        task = asyncio.create_task(client.run())
        await connector.wire(2)
        assert [list(wire.options["subprotocols"]) for wire in connector.wires] == [["a", "b"]] * 2
        assert [list(wire.options["additional_headers"]) for wire in connector.wires] == [[("X-Key", "1")]] * 2
        await client.shutdown()
        await task

    run_virtual(main())


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("ping_interval", r"config=ClientConfig\(ping_interval=\.\.\.\)"),
        ("max_size", r'ClientConfig\(ws_config={"max_size": \.\.\.}\)'),
        ("additional_headers", r"here it is headers="),
        ("ssl", r"here it is tls="),
        ("extenions", r"did you mean extensions=\?"),
        ("zzz", r"no argument 'zzz': see help"),
    ],
)
def test_what_is_no_argument_is_refused_with_the_place_where_it_is_to_be_given(name, hint):
    with pytest.raises(TypeError, match=hint):
        fastws.WebSocketClient(URI, **{name: 5})


def test_async_functions_are_refused_where_their_coroutine_would_count_as_true():
    async def main():
        client = client_of(MemoryConnector())
        for name in ("ack", "nack"):
            with pytest.raises(ConfigError, match=name):
                client.subscriptions.add("a", message="sub", **{name: _async})
        with pytest.raises(ConfigError, match="match"):
            client.subscriptions.add("a", message="sub", match=_async, data_timeout=5)
        for name in ("filter", "decode"):
            with pytest.raises(TypeError, match=name):
                client.stream(**{name: _async})
        with pytest.raises(TypeError, match="match"):
            await client.request("q", match=_async)
        with pytest.raises(TypeError, match="key"):
            fastws.Conflate(_async)
        for handshaker in (
            fastws.AuthHandshaker("t").with_confirmation,
            fastws.SubscribeHandshaker(["a"]).wait_confirmation,
        ):
            with pytest.raises(TypeError, match="plain function"):
                handshaker(_async)

    run_virtual(main())
