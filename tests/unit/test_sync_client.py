"""fastws.sync.WebSocketClient beside fastws.WebSocketClient: the same names, and arguments that differ for a reason."""

import inspect
import typing
from datetime import timedelta

import pytest

import fastws
import fastws.sync
from fastws.errors import ConfigError, NotConnected
from fastws.events import EventStream

PAIRS = {
    "client": (fastws.WebSocketClient, fastws.sync.WebSocketClient),
    "sender": (fastws.Sender, fastws.sync.Sender),
    "stream": (fastws.Stream, fastws.sync.Stream),
    "events": (EventStream, fastws.sync.EventStream),
    "subscriptions": (fastws.Subscriptions, fastws.sync.Subscriptions),
    "builder": (fastws.ClientBuilder, fastws.sync.ClientBuilder),
}

LEFT_OUT = {
    ("client", "send_async"): "send() does not wait for an event loop",
    ("sender", "send_async"): "as above",
    ("stream", "aclose"): "close()",
    ("events", "aclose"): "close()",
    **{
        ("subscriptions", name): "what the client calls of its registry"
        for name in ("aclose", "begin", "bind", "restore", "saw", "session_began", "session_ended", "unrestored")
    },
}
"""Names that are not in the blocking class, and why."""

ADDED = {
    ("client", "start"): "with a deadline, which `with` cannot have",
    ("events", "recv"): "with a deadline, which `for` cannot have",
}
"""Names that are in the blocking class only, and why."""

WITH_DEADLINE = {
    ("client", "ping"),
    ("client", "register_extension"),
    ("client", "run"),
    ("client", "wait_connected"),
    ("client", "wait_ready"),
    ("sender", "ping"),
    ("stream", "recv"),
    ("subscriptions", "confirmed"),
}
"""Have ``timeout=`` beside the arguments of the other class, where ``asyncio.timeout`` is one for everything."""


def names(kind):
    return {name for name in dir(kind) if not name.startswith("_")}


BOTH = sorted(
    (pair, name)
    for pair, (there, here) in PAIRS.items()
    for name in names(there) & names(here)
    if callable(getattr(there, name))
)


def parameters(function):
    return {
        name: (parameter.kind, parameter.default)
        for name, parameter in inspect.signature(function).parameters.items()
        if name != "self"
    }


@pytest.mark.parametrize("pair", PAIRS)
def test_every_name_is_there_or_has_a_reason(pair):
    there, here = map(names, PAIRS[pair])
    assert there - here == {name for of, name in LEFT_OUT if of == pair}
    assert here - there == {name for of, name in ADDED if of == pair}


@pytest.mark.parametrize(("pair", "name"), BOTH)
def test_methods_have_the_same_arguments(pair, name):
    there, here = (parameters(getattr(kind, name)) for kind in PAIRS[pair])
    if (pair, name) in WITH_DEADLINE:
        assert here.pop("timeout")[1] is None
    assert here == there


@pytest.mark.parametrize("kind", [kind for pair in ("client", "sender") for kind in PAIRS[pair]])
@pytest.mark.parametrize("name", ["send_json", "send_text", "send_binary"])
def test_whatever_is_sent_has_all_that_send_has(kind, name):
    (_, *of_send), (_, *mine) = parameters(kind.send).items(), parameters(getattr(kind, name)).items()
    assert mine == [parameter for parameter in of_send if parameter[0] != "text"]


@pytest.mark.parametrize(("pair", "name"), BOTH)
def test_methods_say_what_they_do_and_do_not_give_coroutines(pair, name):
    here = getattr(PAIRS[pair][1], name)
    assert inspect.getdoc(here)
    assert not inspect.iscoroutinefunction(here)


def test_what_waits_there_has_a_deadline_here():
    waiting = {(pair, name) for pair, name in BOTH if inspect.iscoroutinefunction(getattr(PAIRS[pair][0], name))} | {
        ("stream", "recv")
    }
    for pair, name in waiting:
        assert "timeout" in parameters(getattr(PAIRS[pair][1], name)), (pair, name)


def test_the_constructors_have_the_same_arguments():
    there, here = (parameters(kind.__init__) for kind in PAIRS["client"])
    assert here == there


@pytest.mark.parametrize(("pair", "name"), BOTH)
def test_properties_are_properties_and_annotations_are_there(pair, name):
    here = inspect.getattr_static(PAIRS[pair][1], name)
    there = inspect.getattr_static(PAIRS[pair][0], name)
    assert isinstance(here, property) == isinstance(there, property)


# Without a server: what it says where it does not run.


@pytest.fixture
def client():
    return fastws.sync.WebSocketClient("ws://user:secret@localhost:1/feed?token=secret")


def test_wrong_arguments_are_told_as_there():
    with pytest.raises(ConfigError, match="uri"):
        fastws.sync.WebSocketClient(1)
    with pytest.raises(TypeError, match="ping_interval"):
        fastws.sync.WebSocketClient("ws://localhost/", ping_interval=1)
    with pytest.raises(ConfigError, match="tap"):
        fastws.sync.WebSocketClient("ws://localhost/", tap=1)


def test_what_needs_a_client_that_runs_says_so(client):
    for call in (
        client.wait_ready,
        client.ping,
        lambda: client.send("x"),
        lambda: client.send("x", receipt=True),
        lambda: client.send_nowait("x"),
        lambda: client.send_many(["x"]),
        lambda: client.send_threadsafe("x"),
        lambda: client.request("x", match=bool),
    ):
        with pytest.raises(NotConnected):
            call()
    client.shutdown()
    client.reconnect()
    assert not client.is_running
    assert not client.is_ready
    assert not client.is_healthy()
    assert client.snapshot().generation == 0
    assert client.stats().as_prometheus()


def test_a_stream_of_a_client_that_does_not_run_waits_until_its_deadline(client):
    stream = client.stream()
    for timeout in (0, 0.001):
        with pytest.raises(TimeoutError):
            stream.recv(timeout=timeout)
    with pytest.raises(ValueError, match="timeout"):
        stream.recv(timeout=-1)
    with pytest.raises(TimeoutError):
        client.events().recv(timeout=0.001)
    stream.close()
    assert stream.closed
    assert list(stream) == []
    with pytest.raises(fastws.ReceiveError, match="closed"):
        stream.recv()


def test_a_client_is_read_by_a_stream(client):
    with pytest.raises(TypeError, match=r"client\.stream\(\)"):
        iter(client)
    with pytest.raises(TypeError, match=r"subscriptions\.add\('BTC'"):
        client.subscribe("BTC")
    with pytest.raises(TypeError, match="filter"):
        client.stream(filter=1)
    with pytest.raises(ValueError, match="max_messages"):
        client.stream().batches(max_messages=0)


def test_what_it_says_of_itself_has_no_secrets(client):
    stream = client.stream()
    text = f"{client!r} {client.sender()!r} {client.uri} {stream!r}"
    assert "secret" not in text
    assert "fastws.sync.WebSocketClient" in text


def test_subscriptions_can_be_made_before_it_runs(client):
    added = client.subscriptions.add("k", message={"op": "sub"})
    assert client.subscriptions["k"] is added
    assert "k" in client.subscriptions
    assert list(client.subscriptions) == ["k"]
    assert client.subscriptions.states() == {"k": fastws.SubscriptionState.PENDING}
    with pytest.raises(NotConnected):
        client.subscriptions.confirmed("k", timeout=1)
    client.subscriptions.remove("k")
    assert len(client.subscriptions) == 0
    with pytest.raises(KeyError):
        client.subscriptions.remove("k")


def test_a_registry_that_was_filled_elsewhere_is_taken():
    registry = fastws.Subscriptions()
    registry.add("k", message="sub")
    client = fastws.sync.WebSocketClient("ws://localhost:1/", subscriptions=registry)
    assert list(client.subscriptions) == ["k"]


def test_messages_are_kept_before_it_runs_where_that_is_asked_for():
    config = fastws.ClientConfig(on_disconnect_send="keep")
    client = fastws.sync.WebSocketClient("ws://localhost:1/", config=config)
    client.send("x")
    client.send_nowait("y")
    client.send("z", expires=5)
    client.send_nowait("z", expires=timedelta(seconds=5))
    with pytest.raises(NotConnected, match="receipt"):
        client.send("z", receipt=True)


def test_the_builder_makes_a_blocking_client():
    client = fastws.sync.WebSocketClient.builder("ws://localhost:1/").no_retry().receive_timeout(3).build()
    assert isinstance(client, fastws.sync.WebSocketClient)
    assert client.config.receive_timeout == 3
    with pytest.raises(fastws.errors.ClientError):
        client.run()


def test_an_extension_may_be_added_before_it_runs(client):
    class Mine(fastws.Extension):
        name = "mine"

        async def on_init(self, context):
            assert not client.is_running

    client.register_extension(Mine(), timeout=5)
    assert "mine" in client.extensions.names


def test_after_a_failure_everything_says_why():
    client = fastws.sync.WebSocketClient("ws://localhost:1/", retry=fastws.NoRetry())
    stream, events = client.stream(), client.events()
    with pytest.raises(fastws.RetriesExhausted):
        with client:
            pass
    for call in (stream.recv, client.wait_ready, lambda: client.send("x"), lambda: client.stream().recv()):
        with pytest.raises(fastws.RetriesExhausted):
            call()
    assert isinstance([*events][-1], fastws.events.Shutdown)
    with pytest.raises(fastws.ReceiveError, match="ended"):
        events.recv()
    client.shutdown()


def test_events_made_between_two_runs_have_the_second_unless_they_were_read_before():
    client = fastws.sync.WebSocketClient("ws://localhost:1/", retry=fastws.NoRetry())
    kinds = []
    for _ in range(2):
        events, read_before = client.events(), client.events()
        if kinds:
            assert isinstance(read_before.recv(timeout=0), fastws.events.Shutdown)
        with pytest.raises(fastws.RetriesExhausted):
            client.run()
        kinds.append([type(event).__name__ for event in events])
    assert kinds == [["Connecting", "Error", "FatalError", "Shutdown"]] * 2
    with pytest.raises(fastws.ReceiveError, match="ended"):
        read_before.recv(timeout=0)


def test_types_say_what_a_stream_gives():
    def returned(kind):
        return [str(overload.__annotations__["return"]) for overload in typing.get_overloads(kind.stream)]

    there, here = map(returned, PAIRS["client"])
    assert [text.replace("_core.", "") for text in here] == there
