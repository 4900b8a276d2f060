import inspect
import itertools
import sys
import types
from datetime import timedelta

import pytest

import fastws
from fastws import ClientBuilder, ClientConfig, ExponentialBackoff, FixedDelay, NoRetry


@pytest.fixture(autouse=True)
def client(monkeypatch):
    """Stands in for the client: keeps what it is given."""

    class Kept:
        def __init__(self, uri, **keywords):
            self.uri = uri
            self.keywords = keywords

    module = types.ModuleType("fastws.client")
    module.WebSocketClient = Kept
    monkeypatch.setitem(sys.modules, "fastws.client", module)
    monkeypatch.delattr(fastws, "client", raising=False)
    return Kept


def test_a_client_is_given_what_was_said_and_nothing_else(client):
    built = ClientBuilder("ws://h/").build()
    assert type(built) is client
    assert built.uri == "ws://h/"
    assert built.keywords == {"config": ClientConfig()}


KEYWORDS = {
    "handshaker": "handshake",
    "connector": "connector",
    "tls": "tls",
    "headers": "headers",
    "subprotocols": "subprotocols",
    "subscriptions": "subscriptions",
    "rate_limit": "rate_limit",
    "connect_limiter": "connect_limiter",
    "tap": "tap",
    "message_key": "message_key",
    "metadata": "metadata",
    "redact": "redact",
}


@pytest.mark.parametrize(("method", "keyword"), KEYWORDS.items())
def test_each_method_is_a_keyword_of_the_client_and_gives_the_builder_back(method, keyword):
    builder, value = ClientBuilder("ws://h/"), object()
    assert getattr(builder, method)(value) is builder
    assert builder.build().keywords[keyword] is value


def test_the_client_takes_every_keyword_that_the_builder_gives():
    builder = ClientBuilder("ws://h/").no_retry().extension("a")
    for method in KEYWORDS:
        getattr(builder, method)("x")
    taken = set(inspect.signature(fastws.WebSocketClient).parameters)
    assert set(builder.build().keywords) <= taken


ON_ITS_OWN = {
    "retry_strategy": "retry",
    "exponential_backoff": "retry",
    "no_retry": "retry",
    "config": "config",
    "receive_timeout": "config",
    "extension": "extensions",
    "proxy": "proxy",
}


def test_all_that_the_client_takes_the_builder_takes_and_the_reverse():
    methods = {name for name, _ in inspect.getmembers(ClientBuilder, inspect.isfunction) if not name.startswith("_")}
    assert methods - {"build"} == set(KEYWORDS) | set(ON_ITS_OWN)
    taken = set(inspect.signature(fastws.WebSocketClient).parameters)
    assert taken - {"uri"} == set(KEYWORDS.values()) | set(ON_ITS_OWN.values())


def test_extensions_add_up_in_order():
    builder = ClientBuilder("ws://h/").extension("a").extension("b")
    first = builder.build()
    assert first.keywords["extensions"] == ["a", "b"]
    assert builder.extension("c").build().keywords["extensions"] == ["a", "b", "c"]
    assert first.keywords["extensions"] == ["a", "b"]


def test_strategies():
    def built(builder):
        return builder.build().keywords["retry"]

    fixed = FixedDelay(3)
    assert built(ClientBuilder("ws://h/").retry_strategy(fixed)) is fixed
    assert built(ClientBuilder("ws://h/").no_retry()) == NoRetry()
    assert built(ClientBuilder("ws://h/").exponential_backoff(1, timedelta(seconds=9), 3)) == ExponentialBackoff(
        1, 9, 3
    )
    assert built(ClientBuilder("ws://h/").no_retry().retry_strategy(fixed)) is fixed


def test_the_order_of_the_calls_does_not_matter():
    calls = [
        lambda builder: builder.config(ClientConfig.fast_reconnect()),
        lambda builder: builder.receive_timeout(33),
        lambda builder: builder.no_retry(),
    ]
    for order in itertools.permutations(calls):
        builder = ClientBuilder("ws://h/")
        for call in order:
            call(builder)
        keywords = builder.build().keywords
        assert keywords["config"] == ClientConfig.fast_reconnect().replace(receive_timeout=33)
        assert keywords["config"].ping_interval == 11.0
        assert keywords["retry"] == NoRetry()


def test_a_uri_may_be_a_function():
    async def uri():
        return "ws://h/"

    assert ClientBuilder(uri).build().uri is uri


@pytest.mark.parametrize(
    ("field", "call"),
    [
        ("uri", lambda: ClientBuilder(None)),
        ("uri", lambda: ClientBuilder(b"ws://h/")),
        ("config", lambda: ClientBuilder("ws://h/").config({"receive_timeout": 3})),
        ("receive_timeout", lambda: ClientBuilder("ws://h/").receive_timeout(0)),
        ("retry", lambda: ClientBuilder("ws://h/").retry_strategy(1.0)),
        ("initial", lambda: ClientBuilder("ws://h/").exponential_backoff(0, 1)),
        ("maximum", lambda: ClientBuilder("ws://h/").exponential_backoff(2, 1)),
        ("multiplier", lambda: ClientBuilder("ws://h/").exponential_backoff(1, 2, 0)),
    ],
)
def test_what_is_wrong_is_said_at_the_call(field, call):
    with pytest.raises(fastws.ConfigError) as caught:
        call()
    assert caught.value.field == field


def test_what_does_not_fit_together_is_said_at_the_end():
    builder = ClientBuilder("ws://h/").config(ClientConfig(ping_interval=15)).receive_timeout(10)
    with pytest.raises(fastws.ConfigError, match="ping_interval=15"):
        builder.build()


def test_a_proxy_is_read_at_the_call_and_a_password_in_it_is_not_shown(client):
    for proxy in (None, True, "http://user:secret@proxy:3128", lambda uri: None):
        assert ClientBuilder("ws://h/").proxy(proxy).build().keywords["proxy"] is proxy
    with pytest.raises(fastws.ConfigError, match="has the scheme 'ftp'") as caught:
        ClientBuilder("ws://h/").proxy("ftp://user:secret@proxy")
    assert caught.value.field == "proxy"
    assert "secret" not in str(caught.value)
