"""Requests and their answers (requesting.py), on wires in memory."""

import asyncio

import orjson
import pytest

import fastws
import wires
from fastws.errors import ConnectionLost, NotSent, RequestTimeout, SendQueueFull
from fastws.extensions import Extension
from virtual_time import run_virtual
from wires import QUIET, MemoryConnector, MemoryWire

AGE = 3600


def client_of(connector, **options):
    config = fastws.ClientConfig(receive_timeout=None, ping_interval=None, max_connection_age=AGE)
    return wires.client_of(connector, **{"config": config} | options)


def answers(delay=0.0):
    """A peer that answers ``q1`` by ``a1``."""

    def on_send(wire, message):
        if message.startswith("q"):
            asyncio.get_running_loop().call_later(delay, wire.deliver, "a" + message[1:])

    def script(wire):
        wire.on_send = on_send

    return script


def ask(client, number, **options):
    return client.request(f"q{number}", match=lambda message: message == f"a{number}", **options)


def test_many_requests_at_once_get_their_own_answers_and_streams_see_them_too():
    async def main():
        client = client_of(MemoryConnector(then=answers(1.0)))
        async with client:
            stream = client.stream()
            got = await asyncio.gather(*(ask(client, number) for number in range(50)))
            assert got == [f"a{number}" for number in range(50)]
            assert {await stream.recv() for _ in range(50)} == set(got)

    run_virtual(main())


def test_what_is_received_before_the_first_stream_is_kept_though_requests_see_it():
    async def main():
        connector = MemoryConnector(then=answers())
        client = client_of(connector)
        async with client:
            connector.wires[0].deliver("early")
            assert await ask(client, 1) == "a1"
            stream = client.stream()
            assert [await stream.recv() for _ in range(2)] == ["early", "a1"]

    run_virtual(main())


def test_a_client_that_reads_nothing_but_answers_says_receive_false_and_goes_on_for_ever():
    async def main():
        config = fastws.ClientConfig(receive_timeout=None, ping_interval=None, queue_messages=8, receive=False)
        client = client_of(MemoryConnector(then=answers()), config=config)
        async with client:
            for number in range(100):
                assert await ask(client, number) == f"a{number}"
            assert client.stats().retained_messages == 0

    run_virtual(main())


def test_one_that_does_not_say_so_is_told_why_no_answer_comes(caplog):
    async def main():
        config = fastws.ClientConfig(receive_timeout=60, ping_interval=None, queue_messages=8)
        client = client_of(MemoryConnector(then=answers()), config=config)
        async with client:
            for number in range(8):
                await ask(client, number)
            with pytest.raises(RequestTimeout, match=r"8 messages wait for a first client\.stream\(\)"):
                for number in range(8, 12):
                    await ask(client, number, timeout=100)
            assert client.is_ready
            stream = client.stream()
            assert [await stream.recv() for _ in range(9)] == [f"a{number}" for number in range(9)]

    run_virtual(main())
    assert "8 messages wait for a first client.stream()" in caplog.text


def test_one_whose_stream_is_not_read_is_told_that_reading_waits_for_it():
    async def main():
        config = fastws.ClientConfig(receive_timeout=60, ping_interval=None, queue_messages=4)
        connector = MemoryConnector(then=answers())
        client = client_of(connector, config=config)
        async with client:
            stream = client.stream()
            connector.wires[0].deliver(*map(str, range(10)))
            await asyncio.sleep(1)
            with pytest.raises(
                RequestTimeout, match=r"no message came; reading waits for <fastws\.Stream .*> to be read"
            ):
                await ask(client, 1, timeout=10)
            stream.close()
            assert await ask(client, 2) == "a2"

    run_virtual(main())


def test_who_gets_no_answer_is_told_what_was_looked_at_and_how():
    async def main():
        connector = MemoryConnector()
        client = client_of(connector)

        async def asked(*came, match, decode=None):
            asking = asyncio.create_task(client.request("q", match=match, decode=decode, timeout=1))
            await asyncio.sleep(0.5)
            connector.wires[0].deliver(*came)
            with pytest.raises(RequestTimeout) as raised:
                await asking
            return str(raised.value).partition("within 1 s")[2]

        async with client:
            client.stream()
            assert await asked(match=bool) == "; no message came"
            text = "; 1 message came, none of which match= took for the answer (the last error was TypeError); "
            how = "it got str or bytes, as no decode= such as orjson.loads was given"
            assert await asked('{"id": 7}', match=lambda message: message["id"] == 7) == text + how
            text = "; 2 messages came, none of which match= took for the answer (the last error was JSONDecodeError)"
            assert await asked('{"id": 8}', "pong", match=lambda m: m["id"] == 7, decode=orjson.loads) == text

    run_virtual(main())


def test_messages_of_another_shape_are_not_the_answer_and_do_not_end_the_request():
    async def main():
        connector = MemoryConnector()
        async with client_of(connector) as client:
            client.stream()
            match = {"match": lambda message: message["id"] == 7, "decode": orjson.loads}
            asking = asyncio.create_task(client.request({"id": 7}, **match))
            await asyncio.sleep(0.5)
            connector.wires[0].deliver("no JSON", b"\xff", "[1]", '{"type": "heartbeat"}', '{"id": 7, "price": 1}')
            assert await asking == {"id": 7, "price": 1}

    run_virtual(main())


def test_a_request_that_nobody_answered_in_time_is_not_sent_later():
    async def main():
        connector = MemoryConnector()
        config = fastws.ClientConfig(receive_timeout=None, ping_interval=None, on_disconnect_send="keep")
        client = client_of(connector, config=config, retry=fastws.FixedDelay(60))
        async with client:
            client.stream()
            connector.wires[0].reset()
            await asyncio.sleep(1)
            with pytest.raises(RequestTimeout, match=r"the request was not sent$") as raised:
                await ask(client, 1, timeout=5)
            assert raised.value.outcome == "not_sent"
            asking = asyncio.create_task(ask(client, 2))
            await asyncio.sleep(1)
            asking.cancel()
            await asyncio.sleep(100)
            assert connector.wires[1].sent == []
            with pytest.raises(RequestTimeout) as raised:
                await ask(client, 3, timeout=5)
            assert raised.value.outcome == "maybe_sent"
            assert connector.wires[1].sent == ["q3"]

    run_virtual(main())


def test_a_callable_that_requests_and_streams_share_decodes_each_message_once():
    async def main():
        decoded = []

        def decode(data):
            decoded.append(data)
            return orjson.loads(data)

        connector = MemoryConnector()
        async with client_of(connector) as client:
            stream = client.stream(decode=decode)
            asking = [
                asyncio.create_task(client.request("q", match=lambda m, n=n: m["id"] == n, decode=decode))
                for n in range(20)
            ]
            await asyncio.sleep(1)
            connector.wires[0].deliver(*(f'{{"id": {n}}}' for n in range(20)))
            assert await asyncio.gather(*asking) == [{"id": n} for n in range(20)]
            assert [await anext(stream) for _ in range(20)] == [{"id": n} for n in range(20)]
        assert len(decoded) == 20

    run_virtual(main())


def test_a_decoder_may_fail_in_any_way_on_what_is_not_the_answer():
    class Foreign(Exception):
        pass

    def decode(data):
        if data == b"foreign":
            raise Foreign
        return data

    async def main():
        connector = MemoryConnector()
        async with client_of(connector) as client:
            client.stream()
            asking = asyncio.create_task(client.request("q", match=lambda data: data == b"answer", decode=decode))
            await asyncio.sleep(1)
            connector.wires[0].deliver("foreign", "answer")
            assert await asking == b"answer"

    run_virtual(main())


def test_a_connectors_own_connection_that_ends_while_it_sends_a_request_is_a_lost_one():
    async def main():
        def full(wire):
            def no_room(message, text=None):
                raise SendQueueFull("full")

            async def never(message, text=None):
                await asyncio.Event().wait()

            wire.send_nowait, wire.send = no_room, never

        connector = MemoryConnector(full)
        async with client_of(connector) as client:
            client.stream()
            asking = asyncio.create_task(ask(client, 1))
            await asyncio.sleep(1)
            connector.wires[0].reset()
            with pytest.raises(ConnectionLost) as raised:
                await asking
            assert raised.value.outcome == "maybe_sent"

    run_virtual(main())


@pytest.mark.parametrize("turns", range(8))
def test_a_request_that_is_given_up_while_its_connection_ends_is_not_said_not_to_be_sent(turns):
    class Accepting(MemoryWire):
        """It has no room, sends all the same when it is told to wait, and waits then."""

        def send_nowait(self, message, text=None):
            raise SendQueueFull("no room")

        async def send(self, message, text=None):
            super().send_nowait(message, text)
            await asyncio.sleep(60)

    async def main():
        connector = MemoryConnector()
        connector.make = Accepting
        client = client_of(connector)
        async with client:
            await client.wait_ready()
            asking = asyncio.create_task(ask(client, 1, timeout=1))
            await asyncio.sleep(0.5)
            assert connector.wires[0].sent == ["q1"]
            connector.wires[0].reset()
            for _ in range(turns):
                await asyncio.sleep(0)
            asyncio.get_running_loop().spend(1)
            with pytest.raises((RequestTimeout, ConnectionLost)) as raised:
                await asking
            assert raised.value.outcome == "maybe_sent"

    run_virtual(main())


@pytest.mark.parametrize(("name", "value"), [("match", "id"), ("match", {"id": 7}), ("decode", "json")])
def test_what_is_no_function_is_refused_at_once(name, value):
    async def main():
        async with client_of(MemoryConnector()) as client:
            with pytest.raises(TypeError, match=f"{name} is a function"):
                await client.request("q", **{"match": bool} | {name: value})

    run_virtual(main())


def test_what_an_extension_stops_or_a_policy_drops_is_no_request_that_waits():
    class Stop(Extension):
        name = "stop"
        handles_outgoing = True

        async def on_send(self, message, context):
            return None

    async def main():
        client = client_of(MemoryConnector(), extensions=[Stop()])
        async with client:
            with pytest.raises(NotSent, match="an extension stopped it"):
                await ask(client, 1, timeout=None)
        client = client_of(
            MemoryConnector(),
            config=fastws.ClientConfig(receive_timeout=None, ping_interval=None, on_disconnect_send="drop"),
        )
        with pytest.raises(NotSent, match="drop"):
            await ask(client, 1, timeout=None)

    run_virtual(main())


def test_a_request_that_waits_for_room_holds_up_nobody_who_reads():
    async def main():
        connector = MemoryConnector(then=answers())
        config = fastws.ClientConfig(receive_timeout=None, ping_interval=None, queue_messages=8)
        limit = fastws.RateLimit(1, per=60.0, burst=1)
        client = client_of(connector, config=config, rate_limit=limit)
        async with client:
            stream = client.stream()
            assert await ask(client, 1) == "a1"
            waiting = asyncio.create_task(ask(client, 2, timeout=100))
            await asyncio.sleep(1)
            wire = connector.wires[0]
            for number in range(100):
                wire.deliver(str(number))
            got = [await stream.recv() for _ in range(101)]
            assert got == ["a1", *map(str, range(100))]
            assert await waiting == "a2"

    run_virtual(main())


def test_a_change_of_connections_waits_for_answers_and_holds_new_requests_back():
    async def main():
        connector = MemoryConnector(answers(1.5), answers())
        client = client_of(connector)
        async with client:
            await asyncio.sleep(AGE - 1)
            first = asyncio.create_task(ask(client, 1))
            await asyncio.sleep(1.1)
            assert len(connector.wires) == 2
            second = asyncio.create_task(ask(client, 2))
            assert await first == "a1"
            assert await second == "a2"
            assert connector.wires[0].sent == ["q1"]
            assert connector.wires[1].sent == ["q2"]
            assert client.snapshot().generation == 2

    run_virtual(main())


@pytest.mark.parametrize("key", [None, lambda message: message])
def test_a_request_that_is_not_answered_in_time_for_the_change_is_lost_with_the_old_connection(key):
    async def main():
        connector = MemoryConnector()
        client = client_of(connector, message_key=key)
        loop = asyncio.get_running_loop()
        async with client:
            await asyncio.sleep(AGE - 1)
            asking = asyncio.create_task(ask(client, 1, timeout=60))
            await asyncio.sleep(1.5)
            for wire in connector.wires:
                wire.deliver("proof")
            why = "rotation" if key is None else "replaced before the answer came"
            with pytest.raises(ConnectionLost, match=why) as raised:
                await asking
            assert raised.value.outcome == "maybe_sent"
            assert loop.time() < AGE + 5
            connector.wires[1].on_send = lambda wire, message: wire.deliver("a2")
            assert await ask(client, 2) == "a2"

    run_virtual(main())


def test_an_answer_that_comes_while_the_old_connection_closes_is_one():
    async def main():
        connector = MemoryConnector()
        client = client_of(connector, message_key=lambda message: message)
        async with client:
            await asyncio.sleep(AGE - 1)
            asking = asyncio.create_task(ask(client, 1, timeout=60))
            await asyncio.sleep(1.5)
            old, _new = connector.wires
            close = old.close

            async def slow(code=1000, reason=""):
                old.deliver("a1")
                await asyncio.sleep(0.5)
                await close(code, reason)

            old.close = slow
            for wire in connector.wires:
                wire.deliver("proof")
            assert await asking == "a1"
            assert client.snapshot().generation == 2

    run_virtual(main())


def test_a_request_that_is_held_back_is_let_go_when_the_old_connection_stays():
    async def main():
        connector = MemoryConnector(then=answers())
        client = client_of(connector)
        async with client:
            await asyncio.sleep(AGE - 1)
            unanswered = asyncio.create_task(client.request("?", match=lambda message: message == "never"))
            await asyncio.sleep(1.1)
            held = asyncio.create_task(ask(client, 1))
            await asyncio.sleep(0.1)
            connector.wires[0].reset()  # in the middle of the change
            with pytest.raises(ConnectionLost):
                await unanswered
            with pytest.raises((ConnectionLost, fastws.NotConnected)):
                await held
            await client.wait_ready()
            assert await ask(client, 2) == "a2"

    run_virtual(main())


def test_who_waits_behind_a_change_hears_of_a_shutdown():
    async def main():
        connector = MemoryConnector()
        client = client_of(connector)
        async with client:
            await asyncio.sleep(AGE - 1)
            unanswered = asyncio.create_task(client.request("?", match=lambda message: False))
            await asyncio.sleep(1.1)
            held = asyncio.create_task(ask(client, 1, timeout=None))
            await asyncio.sleep(0.1)
        for task in (unanswered, held):
            with pytest.raises((ConnectionLost, fastws.errors.ClientStopped, fastws.NotConnected)):
                await task

    run_virtual(main())


def test_a_request_by_a_client_that_does_not_run_says_so():
    async def main():
        client = wires.client_of(MemoryConnector(), config=QUIET)
        with pytest.raises(fastws.NotConnected, match="wait_ready"):
            await ask(client, 1)

    run_virtual(main())


def test_a_request_that_waits_for_a_token_is_asked_on_the_new_connection_and_not_given_up():
    async def main():
        connector = MemoryConnector(then=answers())
        limit = fastws.RateLimit(1, per=4.0, burst=1)
        client = client_of(connector, rate_limit=limit, message_key=lambda message: message)
        async with client:
            await asyncio.sleep(AGE - 1)
            client.send_nowait("takes the token")
            asking = [asyncio.create_task(ask(client, number, timeout=60)) for number in (1, 2, 3)]
            await asyncio.sleep(1.5)
            for wire in connector.wires:
                wire.deliver("proof")
            assert await asyncio.gather(*asking) == ["a1", "a2", "a3"]
            assert client.snapshot().generation == 2
            assert sorted(connector.wires[0].sent + connector.wires[1].sent) == ["q1", "q2", "q3", "takes the token"]

    run_virtual(main())
