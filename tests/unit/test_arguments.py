"""What a client is given, and what it says of what it cannot take (_arguments.py)."""

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
    ],
)
def test_an_argument_that_is_nothing_of_the_kind_is_refused_by_name(name, value):
    with pytest.raises(ConfigError, match=f"^{name} is ") as raised:
        fastws.WebSocketClient(URI, **{name: value})
    assert raised.value.field == name


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
