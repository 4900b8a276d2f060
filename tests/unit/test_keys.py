"""python/fastws/keys.py and rust/py/src/keys.rs: what a message is about."""

import re

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastws import keys


@pytest.mark.parametrize(
    ("path", "payload", "key"),
    [
        ("product_id", b'{"type":"ticker","product_id":"BTC-USD","price":"1"}', "BTC-USD"),
        ("product_id", b' { "product_id" : "BTC\\u002dUSD" } ', "BTC-USD"),
        ("a.b", b'{"x":{"b":1},"a":{"c":[1,{"b":2}],"b":3}}', 3),
        ("id", b'{"id":-7}', -7),
        ("id", b'{"id":1.5}', 1.5),
        ("id", b'{"id":18446744073709551615}', 2**64 - 1),
        ("id", b'{"id":true}', True),
        ("id", b'{"id":1,"id":2}', 1),
        ("id", b'{"id":1,', 1),
        ("id", '{"id":"tëxt"}'.encode(), "tëxt"),
        ("id", b'{"id":null}', None),
        ("id", b'{"id":{}}', None),
        ("id", b'{"id":[1]}', None),
        ("id.x", b'{"id":1}', None),
        ("id", b'{"di":1}', None),
        ("id", b'["id",1]', None),
        ("id", b'"id"', None),
        ("id", b"", None),
        ("id", b"\xff\x00", None),
        ("id", b'{"x":{"id":1}}', None),
        ("id", b'{"x":[{"id":1}],"id":2}', 2),
    ],
)
def test_json(path, payload, key):
    found = keys.json(path)(payload)
    assert found == key
    assert type(found) is type(key)


@given(st.dictionaries(st.text(), st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.text()), st.data())
def test_json_finds_what_a_decoder_finds(document, data):
    wanted = data.draw(st.sampled_from(sorted(document)) if document else st.just("x"))
    if "." in wanted or not wanted:
        return
    assert keys.json(wanted)(orjson.dumps(document)) == document.get(wanted)


@given(st.binary())
def test_json_takes_any_bytes(payload):
    keys.json("a.b")(payload)
    keys.json("a")(b'{"a":' + payload)


def test_deep_json_that_is_passed_costs_no_stack():
    assert keys.json("id")(b'{"x":' + b"[" * 100_000 + b"]" * 100_000 + b',"id":1}') == 1


@given(st.binary(), st.integers(-20, 20), st.integers(-20, 20))
def test_slice_counts_as_python_does(payload, start, stop):
    assert keys.slice(start, stop)(payload) == (payload[start:stop] or None)


def test_regex():
    assert keys.regex(rb'"s":"(\w+)"')(b'{"e":"t","s":"BTC"}') == b"BTC"
    assert keys.regex(rb"\d+")(b"ab12cd34") == b"12"
    assert keys.regex(re.compile(rb"b\w"))(b"abc") == b"bc"
    assert keys.regex(rb"x")(b"abc") is None
    assert keys.regex(b"\xff(.)")(b"a\xffb") == b"b"
    assert keys.regex(rb"(x)?a")(b"a") is None


@pytest.mark.parametrize(
    ("make", "error", "text"),
    [
        (lambda: keys.json(3), TypeError, "path"),
        (lambda: keys.json(""), ValueError, "path"),
        (lambda: keys.json("a..b"), ValueError, "path"),
        (lambda: keys.slice("a", 3), (TypeError, AttributeError), "index|integer"),
        (lambda: keys.regex("text"), TypeError, "pattern"),
        (lambda: keys.regex(rb"("), ValueError, "unclosed"),
        (lambda: keys.regex(re.compile(b"a", re.IGNORECASE)), ValueError, "flags"),
    ],
)
def test_bad_arguments_are_named(make, error, text):
    with pytest.raises(error, match=text):
        make()


def test_a_key_shows_what_it_is():
    assert repr(keys.json("a.b")) == "fastws.keys.json('a.b')"
    assert repr(keys.slice(1, -2)) == "fastws.keys.slice(1, -2)"
    assert repr(keys.regex(rb"\d")) == r"fastws.keys.regex(b'\\d')"


@pytest.mark.parametrize(
    "key", [keys.json("symbol"), keys.slice(2, 8), keys.slice(-3, -1), keys.regex(rb'"symbol":"([^"]*)"')], ids=repr
)
@pytest.mark.parametrize("text", ['{"symbol":"BTC"}', '{"symbol":"Zürich €"}', "", "no json"])
def test_text_has_the_key_of_its_bytes(key, text):
    assert key(text) == key(text.encode())


@pytest.mark.parametrize("payload", [None, 5, bytearray(b"{}"), memoryview(b"{}")])
def test_what_is_no_payload_is_refused_by_its_type(payload):
    with pytest.raises(TypeError, match=f"a payload is bytes or str, not {type(payload).__name__}"):
        keys.json("a")(payload)
