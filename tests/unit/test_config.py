import copy
import inspect
import math
import pickle
import socket
from datetime import timedelta

import pytest

import fastws
from fastws import ClientConfig
from fastws.retry import FINAL_CLOSE_CODES, ExponentialBackoff, NoRetry


def test_the_models_nine_fields_and_their_defaults():
    config = ClientConfig()
    assert config.receive_timeout == 20.0
    assert config.exit_on_first_failure is False
    assert config.connect_timeout == config.open_timeout == 30.0
    assert config.handshake_retry_delay == 5.0
    assert config.ws_config == {}
    assert config.send_queue_capacity == 256
    assert config.processor_error_policy == "ignore"
    # Otherwise than in the model.
    assert config.nodelay is True
    assert config.channel_buffer_size == config.queue_messages == 4096


def test_our_fields_and_their_defaults():
    config = ClientConfig()
    assert config.ping_interval == pytest.approx(20 / 3)
    assert config.ping_timeout == 20.0
    assert config.default_retry == ExponentialBackoff.standard()
    assert config.final_close_codes == set(FINAL_CLOSE_CODES)
    assert {
        name: getattr(config, name)
        for name in ("close_timeout", "data_timeout", "handshake_timeout", "extension_timeout", "shutdown_timeout")
    } == {
        "close_timeout": 10.0,
        "data_timeout": None,
        "handshake_timeout": None,
        "extension_timeout": 5.0,
        "shutdown_timeout": 10.0,
    }
    assert (config.stable_after, config.max_connection_age, config.connect_limit) == (10.0, None, None)
    assert (config.on_disconnect_send, config.keep_limit, config.queue_bytes, config.receive) == (
        "fail",
        1024,
        2**20,
        True,
    )


@pytest.mark.parametrize(
    ("preset", "receive", "connect", "delay", "send", "retry"),
    [
        (ClientConfig.fast_reconnect(), 10.0, 10.0, 0.5, 512, ExponentialBackoff.fast()),
        (ClientConfig.stable_connection(), 60.0, 60.0, 2.0, 128, ExponentialBackoff.conservative()),
    ],
)
def test_the_presets_are_the_models_and_choose_the_strategy(preset, receive, connect, delay, send, retry):
    assert (preset.receive_timeout, preset.connect_timeout, preset.handshake_retry_delay) == (receive, connect, delay)
    assert (preset.send_queue_capacity, preset.default_retry) == (send, retry)
    assert (preset.exit_on_first_failure, preset.processor_error_policy, preset.ws_config) == (False, "ignore", {})
    assert preset.ping_interval == pytest.approx(receive / 3)
    assert preset.nodelay is True


SETTINGS = list(inspect.signature(ClientConfig).parameters)


def test_every_setting_is_described_and_can_be_read():
    for name in SETTINGS:
        assert name in ClientConfig.__doc__
        getattr(ClientConfig(), name)


DURATIONS = [
    "receive_timeout",
    "ping_interval",
    "ping_timeout",
    "data_timeout",
    "open_timeout",
    "rotation_overlap",
    "connect_timeout",
    "close_timeout",
    "handshake_timeout",
    "extension_timeout",
    "shutdown_timeout",
    "max_connection_age",
]
DURATIONS_OR_ZERO = ["handshake_retry_delay", "restore_timeout", "stable_after"]
COUNTS = ["queue_messages", "channel_buffer_size", "queue_bytes", "send_queue_capacity", "keep_limit"]
SWITCHES = ["exit_on_first_failure", "receive", "nodelay"]
WORDS = ["on_disconnect_send", "processor_error_policy"]
OTHERS = ["final_close_codes", "default_retry", "connect_limit", "ws_config"]


def test_no_setting_is_without_a_test_of_wrong_values():
    assert sorted(DURATIONS + DURATIONS_OR_ZERO + COUNTS + SWITCHES + WORDS + OTHERS) == sorted(SETTINGS)


@pytest.mark.parametrize(
    ("name", "bad"),
    [
        *[(name, bad) for name in DURATIONS for bad in (0, -1, math.nan, math.inf, "5", True, timedelta(0), 10**400)],
        *[(name, bad) for name in DURATIONS_OR_ZERO for bad in (-1, math.nan, math.inf, "5", None, True)],
        *[(name, bad) for name in ("close_timeout", "rotation_overlap", "shutdown_timeout") for bad in (None,)],
        *[(name, bad) for name in COUNTS for bad in (0, -1, 1.5, "5", None, True, math.inf)],
        *[(name, bad) for name in SWITCHES for bad in (0, 1, None, "yes")],
        *[(name, bad) for name in WORDS for bad in ("Fail", "", None, 1, ["fail"])],
        *[("final_close_codes", bad) for bad in (4401, "4401", [999], [5000], ["4401"], None)],
        *[("default_retry", bad) for bad in (None, 1.0, ExponentialBackoff, print)],
        *[("connect_limit", bad) for bad in (5, "none", fastws.RateLimit(1, 1))],
        *[("ws_config", bad) for bad in (5, [("max_size", 1)], {1: 2})],
    ],
)
def test_a_setting_that_is_wrong_is_named_with_its_value_and_what_is_allowed(name, bad):
    with pytest.raises(fastws.ConfigError) as caught:
        ClientConfig(**{name: bad})
    assert caught.value.field == name
    text = str(caught.value)
    assert text.startswith(f"{name} is ")
    assert text.endswith(f"; not {bad!r}")


@pytest.mark.parametrize(
    "name", [name for name in DURATIONS if name not in ("close_timeout", "rotation_overlap", "shutdown_timeout")]
)
def test_most_durations_can_be_left_off(name):
    assert getattr(ClientConfig(**{name: None}), name) is None


@pytest.mark.parametrize("name", DURATIONS + DURATIONS_OR_ZERO)
def test_durations_are_seconds_or_timedelta(name):
    for given in (3, 3.0, timedelta(seconds=3)):
        value = getattr(ClientConfig(**{name: given}), name)
        assert (type(value), value) == (float, 3.0)


def test_there_is_no_other_setting():
    with pytest.raises(TypeError, match="recieve_timeout"):
        ClientConfig(recieve_timeout=3)
    with pytest.raises(TypeError, match="recieve_timeout"):
        ClientConfig().replace(recieve_timeout=3)


def test_a_setting_and_its_alias_are_one():
    assert ClientConfig(connect_timeout=3) == ClientConfig(open_timeout=3)
    assert ClientConfig(channel_buffer_size=3) == ClientConfig(queue_messages=3)
    for make in (ClientConfig, ClientConfig().replace):
        with pytest.raises(TypeError, match="open_timeout and connect_timeout are two names of one setting"):
            make(open_timeout=3, connect_timeout=3)
        with pytest.raises(TypeError, match="queue_messages and channel_buffer_size"):
            make(queue_messages=3, channel_buffer_size=3)
    assert ClientConfig(open_timeout=3).replace(connect_timeout=4).open_timeout == 4.0
    assert ClientConfig(connect_timeout=3).replace(open_timeout=4).open_timeout == 4.0
    assert ClientConfig(channel_buffer_size=3).replace(channel_buffer_size=4).queue_messages == 4


def test_pings_are_more_frequent_than_silence_is_long():
    for ping in (20, 25):
        with pytest.raises(fastws.ConfigError, match=f"ping_interval={ping}.*receive_timeout=20") as caught:
            ClientConfig(ping_interval=ping)
        assert caught.value.field == "ping_interval"
    with pytest.raises(fastws.ConfigError, match=r"ping_interval=15.*receive_timeout=10"):
        ClientConfig(ping_interval=15).replace(receive_timeout=10)
    assert ClientConfig(ping_interval=None).ping_interval is None
    assert ClientConfig(ping_interval=60, receive_timeout=None).ping_interval == 60.0
    assert ClientConfig(receive_timeout=None).ping_interval == ClientConfig(receive_timeout=None).ping_timeout == 20.0


def test_what_is_automatic_follows():
    config = ClientConfig().replace(receive_timeout=3).replace(keep_limit=1)
    assert (config.ping_interval, config.ping_timeout) == (1.0, 3.0)
    fixed = ClientConfig(ping_interval=2, ping_timeout=5).replace(receive_timeout=30)
    assert (fixed.ping_interval, fixed.ping_timeout) == (2.0, 5.0)
    assert fixed.replace(ping_interval="auto").ping_interval == 10.0


def test_a_client_that_receives_nothing_misses_nothing():
    with pytest.raises(fastws.ConfigError, match="data_timeout=5 and receive=False"):
        ClientConfig(data_timeout=5, receive=False)


def test_the_models_setters():
    config = (
        ClientConfig()
        .with_receive_timeout(timedelta(seconds=7))
        .with_exit_on_first_failure()
        .with_connect_timeout(8)
        .with_handshake_retry_delay(0)
        .with_ws_config({"max_size": 9})
        .with_nodelay(False)
        .with_channel_buffer(10)
        .with_send_queue_capacity(11)
        .with_processor_error_policy("fatal")
    )
    given = {
        "receive_timeout": 7,
        "exit_on_first_failure": True,
        "open_timeout": 8,
        "handshake_retry_delay": 0,
        "ws_config": {"max_size": 9},
        "nodelay": False,
        "queue_messages": 10,
        "send_queue_capacity": 11,
        "processor_error_policy": "fatal",
    }
    assert config == ClientConfig(**given) == ClientConfig().replace(**given)


def test_a_configuration_does_not_change():
    given = {"max_size": 5}
    config = ClientConfig(ws_config=given, final_close_codes=[4401])
    given["max_size"] = 6
    assert config.ws_config == {"max_size": 5}
    with pytest.raises(TypeError):
        config.ws_config["max_size"] = 6
    with pytest.raises(AttributeError):
        config.receive_timeout = 3
    assert config.final_close_codes == frozenset({4401})
    assert {config: 1}[config.replace()] == 1


def test_a_configuration_can_be_copied_and_pickled():
    config = ClientConfig(ws_config={"max_size": 5}, default_retry=NoRetry())
    for other in (copy.deepcopy(config), pickle.loads(pickle.dumps(config))):
        assert other == config
        assert other.replace(receive_timeout=3).ping_interval == 1.0


def test_keywords_of_connect_are_passed_on():
    options = {"max_size": None, "messages": "bytes", "busy_poll": 50e-6, "origin": "https://example.com"}
    assert ClientConfig(ws_config=options).ws_config == options


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"max_sise": 5}, r"takes no 'max_sise'; there are .*max_size"),
        ({"_special": None}, "takes no '_special'"),
        ({"max_size": 0}, "max_size must be at least 1"),
        ({"max_size": "1"}, "max_size is a number"),
        ({"messages": "str"}, 'messages must be "auto"'),
        ({"busy_poll": 5}, "busy_poll=5 is longer than"),
        ({"compression": "gzip"}, "compression is"),
        ({"sock": None}, "'sock' is set elsewhere: .*connector="),
        ({"listener": None}, r"client\.stream"),
        ({"nodelay": True}, r"ClientConfig\(nodelay=\.\.\.\)"),
        ({"additional_headers": {}}, "headers= of the client"),
        ({"open_timeout": 3}, r"ClientConfig\(open_timeout"),
        ({"max_queue": 3}, r"ClientConfig\(queue_messages"),
    ],
)
def test_keywords_of_connect_are_checked_as_it_does(options, match):
    with pytest.raises(fastws.ConfigError, match=f"^ws_config: .*{match}") as caught:
        ClientConfig(ws_config=options)
    assert caught.value.field == "ws_config"


def test_every_keyword_of_connect_is_either_passed_on_or_set_elsewhere():
    from fastws import config

    names = {name for name in inspect.signature(fastws.connect).parameters if name != "uri" and name[0] != "_"}
    assert names == config.connect_keywords() | set(config._ELSEWHERE)
    for place in config._ELSEWHERE.values():
        if place.startswith("ClientConfig("):
            assert place.removeprefix("ClientConfig(").removesuffix("=...)") in SETTINGS


def test_options_of_sockets_are_for_every_connection():
    options = [(socket.SOL_SOCKET, socket.SO_RCVBUF, 2**20)]
    assert ClientConfig(ws_config={"sockopts": iter(options)}).ws_config == {"sockopts": tuple(options)}
