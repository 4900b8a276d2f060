import logging

import pytest

from fastws import ConfigError, ConnectionContext, ExtensionHost, LoggingConfig, LoggingExtension, LogLevel, Redactor
from fastws.events import DisconnectReason
from virtual_time import run_virtual

LIFE = [
    "logging extension registered",
    "connected: connection 1",
    "disconnected: connection 1: normal closure",
    "shut down",
]


@pytest.fixture
def shown(caplog):
    """Lets a client live with an extension; returns the lines that it logged, and their levels."""
    caplog.set_level(1, "fastws.ws")

    def live(extension, *messages, sent=(), context=None):
        async def main():
            mine = context or ConnectionContext(1)
            host = ExtensionHost([extension])
            await host.start()
            await host.notify_connect(mine)
            for message in messages:
                assert await host.process(message, mine) == message
            for message in sent:
                assert await host.process_outgoing(message, mine) == message
            await host.notify_disconnect(mine, DisconnectReason("normal", code=1000))
            await host.notify_shutdown()

        run_virtual(main())
        return [(record.levelno, record.getMessage()) for record in caplog.records if record.name == "fastws.ws"]

    return live


def test_by_default_sessions_are_logged_and_messages_are_not(shown):
    extension = LoggingExtension()
    assert not extension.handles_messages
    assert not extension.handles_outgoing
    assert shown(extension, "tick") == [(logging.INFO, f"[ws] {line}") for line in LIFE[1:3]]


def test_fault_10_the_level_is_honoured(shown):
    assert shown(LoggingExtension(LoggingConfig(level=LogLevel.WARN))) == []
    debug = shown(LoggingExtension(LoggingConfig().with_level(LogLevel.DEBUG)))
    assert [line for _, line in debug] == [f"[ws] {line}" for line in LIFE]
    assert [level for level, _ in debug] == [logging.DEBUG, logging.INFO, logging.INFO, logging.DEBUG]


def test_messages_below_the_level_cost_nothing():
    assert not LoggingExtension(LoggingConfig(log_messages=True)).handles_messages
    assert LoggingExtension(LoggingConfig(log_messages=True, level=LogLevel.TRACE)).handles_messages


def test_verbose_shows_messages_both_ways(shown):
    lines = shown(LoggingExtension.verbose(), "tick", b"\x00\x01", sent=["order"])
    assert (logging.DEBUG, "[ws] received text: tick") in lines
    assert (logging.DEBUG, "[ws] received binary: <2 bytes>") in lines
    assert (logging.DEBUG, "[ws] sending text: order") in lines


def test_fault_10_a_text_is_cut_by_characters(shown):
    lines = shown(LoggingExtension.verbose(), "é" * 200, "é" * 201, "\U0001f600" * 300, "a" + "é" * 200)
    texts = [line.removeprefix("[ws] received text: ") for _, line in lines if "received" in line]
    assert texts == ["é" * 200, "é" * 200 + "...", "\U0001f600" * 200 + "...", "a" + "é" * 199 + "..."]
    short = LoggingExtension(LoggingConfig(level=LogLevel.DEBUG, log_messages=True).with_max_len(3).with_prefix(""))
    assert (logging.DEBUG, "received text: abc...") in shown(short, "abcd")


def test_a_reconnection_says_so(shown):
    lines = shown(LoggingExtension(), context=ConnectionContext(8, reconnect_count=7))
    assert (logging.INFO, "[ws] reconnected: connection 8, reconnection 7") in lines


def test_secrets_are_masked_before_a_text_is_cut(shown):
    token = "hunter2" * 10
    for redact in (Redactor(token), [token]):
        config = LoggingConfig(level=LogLevel.DEBUG, log_messages=True, max_message_len=20)
        lines = shown(LoggingExtension(config, redact=redact), f"my token is {token}", '{"token":"hunter2"}')
        assert not any("hunter2" in line for _, line in lines)


def test_a_message_cannot_forge_a_line(shown):
    lines = shown(LoggingExtension.verbose(), "a\n[ws] forged\x1b[2J")
    assert (logging.DEBUG, "[ws] received text: a\\n[ws] forged\\x1b[2J") in lines


def test_a_logger_of_ones_own_decides_too(caplog):
    logger = logging.getLogger("mine")
    logger.setLevel(logging.WARNING)
    extension = LoggingExtension.verbose(logger=logger)
    extension.on_connect(ConnectionContext(1))
    assert extension.on_message("tick", ConnectionContext(1)) == "tick"
    assert caplog.records == []


def test_settings_are_checked_and_do_not_change():
    config = LoggingConfig()
    assert (config.level, config.log_messages, config.max_message_len, config.prefix) == (20, False, 200, "ws")
    assert config.with_messages().log_messages
    assert not config.log_messages
    assert LoggingExtension.with_config(config).config is config
    assert LoggingConfig(level=10).level is LogLevel.DEBUG
    with pytest.raises(ConfigError, match="max_message_len"):
        LoggingConfig(max_message_len=-1)
    with pytest.raises(ValueError, match="LogLevel"):
        LoggingConfig(level=3)
