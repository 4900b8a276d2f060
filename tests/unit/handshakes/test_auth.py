"""Authentication (handshakes/auth.py). `fault_NN`: a fault of the model that ours must not have."""

import asyncio
import json

import pytest

from fastws import AuthFailed, AuthHandshaker
from support.connection import closed
from support.handshaking import TOKEN, failed, left, shake


def confirms(_message):
    return '{"type":"authenticated"}'


def decoded(text):
    """The value of a text; the text itself if it is no JSON."""
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return text


def test_the_token_is_sent_as_it_is():
    connection, _ = shake(AuthHandshaker(TOKEN), answer=lambda _: "OK")
    assert connection.sent == [TOKEN]


def test_fault_05_a_token_is_escaped_in_json():
    connection, _ = shake(AuthHandshaker(TOKEN).json(), answer=confirms)
    assert [decoded(message) for message in connection.sent] == [{"type": "auth", "token": TOKEN}]
    assert connection.sent[0].startswith('{"type":"auth","token":"hunter2')


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        ('{"op": "login", "args": ["{}", "{}"]}', {"op": "login", "args": [TOKEN, TOKEN]}),
        ('{"auth": {}}', {"auth": TOKEN}),
        ('{"params": {}, "token": "Bearer {}"}', {"params": {}, "token": f"Bearer {TOKEN}"}),
    ],
)
def test_fault_05_a_custom_format_that_is_json_stays_json(template, expected):
    connection, _ = shake(AuthHandshaker(TOKEN).custom_format(template), answer=confirms)
    assert decoded(connection.sent[0]) == expected


def test_a_custom_format_of_text_has_the_token_in_every_place():
    connection, _ = shake(AuthHandshaker("t").custom_format("AUTH {} {}"), answer=lambda _: "OK")
    assert connection.sent == ["AUTH t t"]


@pytest.mark.parametrize(
    ("made", "sent"),
    [("AUTH", "AUTH"), (b"\x01", b"\x01"), ({"sign": 'a"b'}, '{"sign":"a\\"b"}')],
)
def test_a_custom_format_may_be_a_callable(made, sent):
    connection, _ = shake(AuthHandshaker("t").custom_format(lambda token: made), answer=confirms)
    assert connection.sent == [sent]


def test_a_format_needs_a_place_for_the_token():
    with pytest.raises(ValueError, match=r"needs \{\}"):
        AuthHandshaker("t").custom_format('{"op":"login"}')
    with pytest.raises(TypeError, match="a format is a str"):
        AuthHandshaker("t").custom_format(3)


def test_a_callable_token_is_called_at_every_handshake():
    tokens = iter(["one", "two", "three", "four"])

    async def fetch():
        await asyncio.sleep(1)
        return next(tokens)

    for source in (lambda: next(tokens), fetch):
        handshaker = AuthHandshaker(source)
        sent = [shake(handshaker, answer=lambda _: "OK")[0].sent for _ in range(2)]
        assert sent in ([["one"], ["two"]], [["three"], ["four"]])


def test_a_token_that_cannot_be_fetched_is_retryable_if_the_network_is_to_blame():
    def unreachable():
        raise ConnectionRefusedError(TOKEN)

    def mistaken():
        raise KeyError(TOKEN)

    error = failed(AuthHandshaker(unreachable))
    assert error.is_retryable
    assert isinstance(error.__cause__, ConnectionRefusedError)
    error = failed(AuthHandshaker(mistaken))
    assert not error.is_retryable
    assert TOKEN not in str(error)
    error = failed(AuthHandshaker(lambda: None))
    assert "NoneType" in str(error)
    assert not error.is_retryable


def test_fault_05_a_close_is_no_confirmation():
    error = failed(AuthHandshaker(TOKEN), answer=lambda _: closed(4401, "token expired"))
    assert isinstance(error, AuthFailed)
    assert (error.kind, error.code, error.is_retryable) == ("auth_failed", 4401, False)
    assert '4401 "token expired"' in str(error)


@pytest.mark.parametrize("code", [1000, 1006, 1012, 4000])
def test_a_close_for_another_reason_may_be_tried_again(code):
    error = failed(AuthHandshaker(TOKEN), answer=lambda _: closed(code))
    assert not isinstance(error, AuthFailed)
    assert (error.kind, error.code, error.handshaker, error.is_retryable) == ("closed", code, "auth", True)


def test_which_codes_refuse_a_token_can_be_said():
    error = failed(AuthHandshaker(TOKEN, refused_codes={4000}), answer=lambda _: closed(4000))
    assert isinstance(error, AuthFailed)


@pytest.mark.parametrize(
    "refusal",
    [
        '{"type":"auth","status":"failed"}',
        '{"event":"login","code":4001,"msg":"no such key"}',
        "forbidden",
        "invalid key",
    ],
)
def test_fault_05_a_refusal_is_understood_whatever_words_it_has(refusal):
    assert isinstance(failed(AuthHandshaker(TOKEN), answer=lambda _: refusal), AuthFailed)


def test_fault_05_an_error_that_is_null_is_no_failure():
    connection, channel = shake(AuthHandshaker(TOKEN), answer=lambda _: '{"error":null}')
    assert left(channel) == []
    assert len(connection.sent) == 1


def test_fault_05_data_is_neither_an_answer_nor_lost():
    data = ['{"type":"ticker","error":"no","price":1}', "[1,2]", b"\x00", "42", '{"e":"trade","status":"open"}']
    _, channel = shake(AuthHandshaker(TOKEN), *data, '{"type":"auth","status":"ok"}', "later")
    assert left(channel) == data


def test_refused_for_good_is_said_so_and_is_not_retryable():
    error = failed(AuthHandshaker(TOKEN), answer=lambda _: json.dumps({"type": "error", "message": f"bad {TOKEN}"}))
    assert isinstance(error, AuthFailed)
    assert not error.is_retryable
    assert "bad ***" in str(error)
    assert "hunter2" not in str(error)


def test_a_server_that_is_not_able_to_say_may_be_asked_again():
    error = failed(AuthHandshaker(TOKEN), answer=lambda _: '{"type":"error","code":429,"message":"slow down"}')
    assert not isinstance(error, AuthFailed)
    assert error.is_retryable


def test_predicates_take_the_place_of_the_default():
    handshaker = AuthHandshaker(
        TOKEN, confirm=lambda m: m["ready"] == 1, deny=lambda m: m["why"] if m["ready"] == 2 else None
    )
    _, channel = shake(handshaker, '{"type":"authenticated"}', '{"type":"error","error":"x"}', '{"ready":1}')
    assert left(channel) == ['{"type":"authenticated"}', '{"type":"error","error":"x"}']
    error = failed(handshaker, '{"ready":2,"why":"no credit"}')
    assert isinstance(error, AuthFailed)
    assert "no credit" in str(error)


def test_a_confirmation_of_ones_own_keeps_the_default_of_refusing():
    handshaker = AuthHandshaker(TOKEN).with_confirmation(lambda message: message["op"] == "in")
    assert isinstance(failed(handshaker, '{"event":"error"}'), AuthFailed)
    _, channel = shake(handshaker, '{"event":"auth","ok":true}', '{"op":"in","event":"error"}')
    assert left(channel) == ['{"event":"auth","ok":true}']


def test_without_confirmation_nothing_is_waited_for():
    connection, channel = shake(AuthHandshaker("t").without_confirmation(), "tick")
    assert connection.sent == ["t"]
    assert left(channel) == []
