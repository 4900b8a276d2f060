from __future__ import annotations

import gzip

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastws.demo import market
from fastws.demo.channels import OTHER, channel_of, decode
from fastws.demo.feed import read_feed, received

NAMES = [
    "binance_delivery",
    "binance_futures",
    "bitmex",
    "coinbase",
    "huobi_swap",
    "kraken",
    "kraken_futures",
    "okx",
]
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: (
        st.lists(inner, max_size=5)
        | st.dictionaries(
            st.sampled_from(["type", "stream", "event", "feed", "table", "arg", "ch", "ping", "id", "channel", "x"]),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@pytest.mark.parametrize(
    ("text", "channel"),
    [
        # coinbase, and ours
        ('{"type":"l2update","product_id":"A-B","changes":[["buy","1.0","2"]]}', "level2"),
        ('{"type":"snapshot","product_id":"A-B","asks":[],"bids":[]}', "level2"),
        ('{"type":"match","trade_id":1}', "matches"),
        ('{"type":"last_match","trade_id":1}', "matches"),
        ('{"type":"ticker","price":"1"}', "ticker"),
        ('{"type":"heartbeat"}', "heartbeat"),
        ('{"type":"subscriptions","channels":[]}', "subscriptions"),
        ('{"type":"status","message":"ä"}', "status"),
        # kraken
        ('[7,{"b":[["1.0","2.0","3.5"]],"c":"9"},"book-1000","A/B"]', "book"),
        ('[7,{"a":[]},{"b":[]},"book-10","A/B"]', "book"),
        ('[7,[["1.0","2.0"]],"trade","A/B"]', "trade"),
        ('{"event":"heartbeat"}', "heartbeat"),
        ('{"event":"systemStatus","status":"online"}', "status"),
        ('{"event":"subscriptionStatus","channelName":"book-10"}', "subscriptions"),
        # kraken futures
        ('{"feed":"book","product_id":"PI_AB","side":"sell","seq":1}', "book"),
        ('{"feed":"book_snapshot","product_id":"PI_AB"}', "book"),
        ('{"feed":"ticker_lite","product_id":"PI_AB"}', "ticker"),
        ('{"event":"subscribed","feed":"book","product_ids":["PI_AB"]}', "subscriptions"),
        ('{"event":"info","version":1}', "status"),
        # binance, combined streams
        ('{"stream":"ab_perp@bookTicker","data":{"e":"bookTicker"}}', "bookTicker"),
        ('{"stream":"ab@depth@100ms","data":{}}', "depth"),
        ('{"stream":"ab@kline_1m","data":{}}', "kline"),
        ('{"result":null,"id":1}', "subscriptions"),
        # bitmex
        ('{"table":"orderBookL2","action":"update","data":[]}', "orderBookL2"),
        ('{"success":true,"subscribe":"trade:AB","request":{}}', "subscriptions"),
        ('{"info":"Welcome","version":"1"}', "status"),
        # okx
        ('{"arg":{"channel":"books","instId":"A-B"},"data":[]}', "books"),
        ('{"event":"subscribe","arg":{"channel":"books","instId":"A-B"}}', "subscriptions"),
        ('{"event":"error","code":"1"}', "error"),
        # huobi
        ('{"ch":"market.A-B.depth.step0","ts":1,"tick":{}}', "depth"),
        ('{"ch":"market.A-B.trade.detail","tick":{}}', "trade"),
        ('{"ping":1645289384}', "heartbeat"),
        ('{"id":"1","status":"ok","subbed":"market.A-B.depth.step0","ts":1}', "subscriptions"),
    ],
)
def test_each_exchange(text, channel):
    assert channel_of(decode(text)) == channel
    assert channel_of(decode(text.encode())) == channel
    assert channel_of(decode(gzip.compress(text.encode()))) == channel


@pytest.mark.parametrize(
    "payload", ["", "{", "null", "5", '"type"', "[]", "{}", b"", b"\xff\xfe", b"\x1f\x8b", b"\x1f\x8b\x08\x00rubbish"]
)
def test_what_nobody_knows_is_other(payload):
    assert channel_of(decode(payload)) == OTHER


@pytest.mark.parametrize("key", ["type", "stream", "event", "feed", "table", "arg", "ch", "info", "subscribe"])
@pytest.mark.parametrize("value", [None, [], {}, "", [[]], {"channel": []}, "@", "_", "..", "a.b"])
def test_odd_values_have_a_name(key, value):
    name = channel_of({key: value})
    assert isinstance(name, str)
    assert name


@given(JSON)
def test_no_json_raises(decoded):
    name = channel_of(decoded)
    assert isinstance(name, str)
    assert name


@given(st.text() | st.binary())
def test_no_payload_raises(payload):
    assert channel_of(decode(payload))


def test_inflation_is_bounded():
    bomb = gzip.compress(b"[]" + b" " * (20 << 20))
    assert decode(bomb) is None


def test_our_market_is_known():
    events = market.simulate(3, 1_500)
    channels = {channel_of(decode(message)) for message in received(events)}
    assert channels == {"level2", "matches", "ticker", "heartbeat", "subscriptions", "status"}


@pytest.mark.parametrize("name", NAMES)
def test_recorded_messages_are_known(feeds, name):
    path = feeds / f"{name}.jsonl.gz"
    if not path.is_file():
        pytest.skip(f"{path} is not there; FASTWS_FEEDS names the folder of recorded feeds")
    channels = [channel_of(decode(message)) for message in received(read_feed(path))]
    assert len(channels) > 100
    assert channels.count(OTHER) < len(channels) / 100
    assert len(set(channels)) > 2
