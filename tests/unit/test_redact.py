"""What is masked, and that a client shows no secret anywhere (redact.py)."""

import asyncio
import io
import logging

import pytest

import fastws
from fastws import RedactingFilter, Redactor, redact_headers, redact_uri
from fastws.errors import ConfigError, DialError, HandshakeError, RetriesExhausted
from fastws.handshakes import Handshaker
from fastws.redact import printable
from virtual_time import run_virtual
from wires import QUIET, MemoryConnector, client_of


@pytest.mark.parametrize(
    ("uri", "shown"),
    [
        ("wss://user:hunter2@host:1/path?token=hunter2", "wss://***@host:1/path?***"),
        ("ws://[::1]:80/?", "ws://[::1]:80/?***"),
        ("wss://host", "wss://host"),
        ("wss://host/a/b", "wss://host/a/b"),
        ("wss://host#hunter2", "wss://host#***"),
        ("wss://a@b@host/x", "wss://***@host/x"),
        ("https://host/?a?b#c", "https://host/?***"),
        ("/path?hunter2", "/path?***"),
        ("no uri", "no uri"),
        ("", ""),
    ],
)
def test_a_uri_is_shown_without_what_is_often_secret(uri, shown):
    assert redact_uri(uri) == shown


def test_fields_that_hold_secrets_are_masked():
    headers = {
        "Authorization": "Bearer x",
        "Cookie": "s=1",
        "X-API-Key": "x",
        "OK-ACCESS-SIGN": "x",
        "CB-ACCESS-KEY": "x",
        "X-Auth-Token": "x",
        "Host": "example.com",
        "Sec-WebSocket-Key": "dGhl",
    }
    shown = redact_headers(headers)
    assert [name for name, _ in shown] == list(headers)
    assert [name for name, value in shown if value != "***"] == ["Host", "Sec-WebSocket-Key"]


@pytest.mark.parametrize(
    "text",
    [
        "connecting to wss://user:hunter2@host/x?key=hunter2 failed",
        "('wss://host/?hunter2',)",
        "Authorization: Basic hunter2\r\nHost: x",
        "set-cookie: session=hunter2; Path=/",
        "the header was Bearer hunter2.abc",
        '{"op":"login","token":"hunter2","x":1}',
        '{"accessToken": "hunter2"}',
        '{"api_key":"hunter2\\"hunter2","apiKey":"hunter2"}',
        '{"args":[{"passphrase":"hunter2","sign":"hunter2"}]}',
        '{"listenKey":"hunter2"}',
    ],
)
def test_secrets_are_masked_wherever_they_are_known_by_their_place(text):
    shown = Redactor().filter(text)
    assert "hunter2" not in shown
    assert "***" in shown


@pytest.mark.parametrize(
    "text", ["tick 42", '{"type":"ticker","price":"1"}', "Basic authentication was refused", "wss://host/path", ""]
)
def test_what_is_no_secret_stays(text):
    assert Redactor().filter(text) == text


def test_given_secrets_are_masked_in_every_spelling():
    secret = 'hun"ter/2 é'
    redactor = Redactor(secret, "hun")
    for text in (secret, 'x "hun\\"ter/2 é"', "hun%22ter%2F2%20%C3%A9", "hun%22ter%2F2+%C3%A9", "hun"):
        assert "hun" not in redactor.filter(text)
    assert redactor.filter(f"<{secret}>") == "<***>"
    assert secret not in repr(redactor)


def test_patterns_mask_their_groups_or_all_they_match():
    assert Redactor(patterns=r"/stream/([^/]+)").uri("wss://host/stream/hunter2/x") == "wss://host/stream/***/x"
    assert Redactor(patterns=[r"hunter\d"]).filter("a hunter2 b") == "a *** b"
    assert Redactor(patterns=[r"(a)(b)?c(d)"]).filter("acd abcd") == "***c*** ******c***"
    assert Redactor("hunter2").headers([("X", "hunter2"), ("Cookie", "x")]) == [("X", "***"), ("Cookie", "***")]


def test_what_cannot_be_a_secret_or_a_pattern_is_refused():
    with pytest.raises(ValueError, match="empty"):
        Redactor("")
    with pytest.raises(ValueError, match="no regular expression"):
        Redactor(patterns=["("])


def test_a_filter_of_logging_masks_messages_arguments_and_tracebacks():
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.addFilter(RedactingFilter(Redactor("hunter2")))
    logger = logging.getLogger("fastws.test_redact")
    logger.setLevel(logging.INFO)
    logger.propagate = False
    logger.addHandler(handler)
    logger.info("dialling %s with %d", "wss://host/?hunter2", 3)
    logger.info("no arguments: 100% hunter2")
    try:
        raise ValueError("hunter2")
    except ValueError:
        logger.exception("failed", stack_info=True)
    logger.info({"token": "hunter2"})
    text = stream.getvalue()
    assert "hunter2" not in text.replace('"hunter2"', "")
    assert "dialling wss://host/?*** with 3" in text
    assert "ValueError: ***" in text
    RedactingFilter()


def test_what_would_move_a_cursor_is_escaped():
    assert printable("a\nb\x1b[2Jé\u2028") == "a\\nb\\x1b[2Jé\\u2028"
    assert printable("plain é") == "plain é"


# A client.


def test_secrets_are_not_shown():
    client = fastws.WebSocketClient("ws://user:hunter2@venue.example/?token=hunter2")
    assert "hunter2" not in repr(client)
    assert "hunter2" not in client.uri


def test_given_secrets_are_nowhere_in_what_is_said(caplog):
    caplog.set_level("DEBUG")

    async def main():
        token = "s3cr3t-listen-key"
        uri = f"wss://venue.example/ws/{token}"
        connector = MemoryConnector(
            DialError(f"{uri}: connection refused", uri=uri, phase="tcp"),
            None,
            OSError(f"cannot reach {uri}"),
            lambda wire: wire.server_close(4401, f"{token} has expired"),
        )
        client = fastws.WebSocketClient(
            uri,
            connector=connector,
            config=QUIET.replace(final_close_codes={4401}),
            retry=fastws.FixedDelay(1),
            redact=token,
        )
        said = [repr(client), client.uri]
        client.on(None, lambda event: said.extend((repr(event), str(getattr(event, "reason", "")))))
        with pytest.raises(fastws.ConnectionClosedError) as raised:
            async with client:
                connector.wires[0].server_close(1012, f"move on, {token}")
                await asyncio.sleep(30)
        said += [str(raised.value), repr(raised.value), repr(client.snapshot()), caplog.text]
        assert not [text for text in said if token in text]
        assert connector.wires[0].uri == uri

    run_virtual(main())


@pytest.mark.parametrize("redact", ["", [], ["a", ""], [1]])
def test_what_cannot_be_a_secret_is_refused_and_not_shown(redact):
    with pytest.raises(ConfigError, match="redact"):
        client_of(MemoryConnector(), redact=redact)


def test_a_handshake_that_fails_with_a_secret_shows_it_to_nobody():
    class Failing(Handshaker):
        name = "failing"

        async def handshake(self, channel, context):
            raise HandshakeError("the server said hunter2", kind="failed")

    async def main():
        connector = MemoryConnector(lambda wire: wire.server_close(4001, "hunter2 is wrong"))
        client = client_of(connector, handshake=Failing(), retry=fastws.NoRetry(), redact="hunter2")
        seen = []
        client.on(None, lambda event: seen.append((str(event), repr(event))))
        with pytest.raises(RetriesExhausted) as raised:
            await client.run()
        assert "Disconnected" in str(seen)
        assert "hunter2" not in str(seen)
        assert "hunter2" not in str(raised.value)

    run_virtual(main())
