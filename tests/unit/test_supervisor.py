"""Attempts and the time between them, on a made-up clock (supervisor.py)."""

import asyncio

import pytest

import fastws
from fastws._interrupt import InnerCancellation
from fastws.config import ClientConfig
from fastws.errors import CertificateError, ClientStopped, DialError, OpenTimeout, RetriesExhausted
from fastws.events import Connected, Connecting, Error, FatalError, ReconnectScheduled
from fastws.retry import ExponentialBackoff, Failure, FixedDelay, NoRetry
from fastws.state import Status
from fastws.supervisor import ConnectionSupervisor
from virtual_time import run_virtual
from wires import URI, MemoryConnector, MemoryWire, cancelled_inside, refused


def supervisor(connector, retry=None, **options):
    return ConnectionSupervisor(URI, connector=connector, retry=retry or FixedDelay(1.0), **options)


def kinds(sup):
    seen = []
    sup.hub.on(None, seen.append)
    return seen


def test_attempts_follow_the_strategy_to_the_millisecond():
    async def main():
        connector = MemoryConnector(*[refused() for _ in range(6)])
        sup = supervisor(connector, ExponentialBackoff(1.0, 8.0, 2.0, jitter=0))
        await sup.connect()
        assert connector.attempts == [0, 1, 3, 7, 15, 23, 31]
        assert sup.connection_id == 1
        assert not sup.is_connected
        sup.mark_ready()
        assert sup.is_connected

    run_virtual(main())


def test_events_tell_each_attempt_in_order():
    async def main():
        sup = supervisor(MemoryConnector(refused()))
        seen = kinds(sup)
        await sup.connect()
        assert [type(event) for event in seen] == [Connecting, Error, ReconnectScheduled, Connecting, Connected]
        assert (seen[0].attempt, seen[1].attempt, seen[2].attempt, seen[3].attempt) == (1, 1, 2, 2)
        assert seen[2].delay == 1.0
        assert seen[4].id == 1

    run_virtual(main())


def test_max_attempts_are_dials_and_the_last_failure_is_the_cause():
    async def main():
        connector = MemoryConnector(*[refused() for _ in range(9)])
        sup = supervisor(connector, FixedDelay(1.0).with_max_attempts(3))
        seen = kinds(sup)
        with pytest.raises(RetriesExhausted, match="after attempt 3") as raised:
            await sup.connect()
        assert isinstance(raised.value.__cause__, DialError)
        assert len(connector.attempts) == 3
        assert isinstance(seen[-1], FatalError)
        assert sup.state.status is Status.DISCONNECTED

    run_virtual(main())


def test_no_retry_is_one_attempt():
    async def main():
        connector = MemoryConnector(refused(), refused())
        with pytest.raises(RetriesExhausted):
            await supervisor(connector, NoRetry()).connect()
        assert len(connector.attempts) == 1

    run_virtual(main())


@pytest.mark.parametrize(
    "error", [refused(), CertificateError("expired", uri=URI, phase="tls")], ids=["exhausted", "not retryable"]
)
def test_fault_14_after_the_last_attempt_the_status_says_that_there_is_none(error):
    async def main():
        sup = supervisor(MemoryConnector(error), NoRetry())
        with pytest.raises(fastws.FastwsError):
            await sup.connect()
        assert sup.state.status is Status.DISCONNECTED
        assert sup.snapshot().last_disconnect.cause is not None

    run_virtual(main())


def test_what_no_repetition_mends_is_raised_itself():
    async def main():
        connector = MemoryConnector(CertificateError("expired", uri=URI, phase="tls"))
        with pytest.raises(CertificateError):
            await supervisor(connector).connect()
        assert len(connector.attempts) == 1

    run_virtual(main())


@pytest.mark.parametrize("error", [refused(), OpenTimeout("late", uri=URI, phase="tcp")], ids=["refused", "timeout"])
def test_fault_13_exit_on_first_failure_holds_for_any_cause_and_for_the_first_connection_alone(error):
    async def main():
        config = ClientConfig(exit_on_first_failure=True)
        with pytest.raises(RetriesExhausted, match="exit_on_first_failure") as raised:
            await supervisor(MemoryConnector(error), config=config).connect()
        assert raised.value.__cause__ is error

        connector = MemoryConnector(None, error, None)
        sup = supervisor(connector, config=config)
        await sup.connect()
        sup.mark_ready()
        sup.mark_disconnected(None)
        await sup.failed(Failure(error, "session", 1, 3.0))
        await sup.connect()
        assert len(connector.attempts) == 3

    run_virtual(main())


def test_shutdown_interrupts_a_backoff_at_once():
    async def main():
        sup = supervisor(MemoryConnector(refused()), FixedDelay(3600.0))
        loop = asyncio.get_running_loop()
        loop.call_later(5, sup.shutdown)
        with pytest.raises(ClientStopped):
            await sup.connect()
        assert loop.time() == 5
        with pytest.raises(ClientStopped):
            await sup.connect()

    run_virtual(main())


def test_shutdown_interrupts_a_dial_at_once():
    async def main():
        sup = supervisor(MemoryConnector(lambda wire: asyncio.sleep(3600)), config=ClientConfig(open_timeout=None))
        loop = asyncio.get_running_loop()
        loop.call_later(5, sup.shutdown)
        with pytest.raises(ClientStopped):
            await sup.connect()
        assert loop.time() == 5

    run_virtual(main())


def test_a_cancellation_is_nobody_elses():
    async def main():
        sup = supervisor(MemoryConnector(lambda wire: asyncio.sleep(3600)), config=ClientConfig(open_timeout=None))
        task = asyncio.create_task(sup.connect())
        await asyncio.sleep(1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert not sup.is_shutdown_requested

    run_virtual(main())


def test_a_connector_that_does_not_return_is_given_up_at_the_open_timeout():
    async def main():
        connector = MemoryConnector(lambda wire: asyncio.sleep(3600), None)
        sup = supervisor(connector, config=ClientConfig(open_timeout=4.0))
        await sup.connect()
        assert connector.attempts == [0, 5]
        assert isinstance(sup.snapshot().last_error, OpenTimeout)
        assert "memory" in str(sup.snapshot().last_error)

    run_virtual(main())


def test_uri_and_headers_are_asked_for_at_every_attempt():
    async def main():
        hosts = iter(["ws://a.example/", "ws://b.example/?key=secret"])

        async def headers():
            return {"X-Signature": "fresh"}

        connector = MemoryConnector(refused(), None)
        sup = ConnectionSupervisor(lambda: next(hosts), connector=connector, retry=FixedDelay(1.0), headers=headers)
        wire = await sup.connect()
        assert wire.uri == "ws://b.example/?key=secret"
        assert wire.options["additional_headers"] == {"X-Signature": "fresh"}
        assert "secret" not in sup.uri

    run_virtual(main())


def test_a_callable_that_fails_by_the_network_is_asked_again_and_any_other_failure_is_final():
    async def main():
        answers = [OSError("no route to the signer"), TimeoutError(), "ws://a.example/"]

        def uri():
            answer = answers.pop(0)
            if isinstance(answer, Exception):
                raise answer
            return answer

        connector = MemoryConnector()
        await ConnectionSupervisor(uri, connector=connector, retry=FixedDelay(1.0)).connect()
        assert connector.attempts == [2]

        def broken():
            raise KeyError("API_KEY")

        with pytest.raises(Exception, match="callable given as uri= raised KeyError") as raised:
            await ConnectionSupervisor(broken, connector=connector, retry=FixedDelay(1.0)).connect()
        assert isinstance(raised.value.__cause__, KeyError)

        with pytest.raises(Exception, match="returned int, not str"):
            await ConnectionSupervisor(lambda: 5, connector=connector, retry=FixedDelay(1.0)).connect()

    run_virtual(main())


def test_the_time_of_a_callable_counts():
    async def main():
        async def slow():
            await asyncio.sleep(3)
            return "ws://a.example/"

        sup = ConnectionSupervisor(
            slow, connector=MemoryConnector(), retry=NoRetry(), config=ClientConfig(open_timeout=2.0)
        )
        with pytest.raises(RetriesExhausted) as raised:
            await sup.connect()
        assert "callable" in str(raised.value.__cause__)
        assert asyncio.get_running_loop().time() == 2

        sup = ConnectionSupervisor(slow, connector=MemoryConnector(), config=ClientConfig(open_timeout=4.0))
        wire = await sup.connect()
        assert wire.options["open_timeout"] == pytest.approx(1.0)

    run_virtual(main())


def test_activity_is_marked_by_a_handle():
    async def main():
        sup = supervisor(MemoryConnector())
        await sup.connect()
        before = sup.snapshot().last_activity
        sup.activity_handle().update()
        assert sup.snapshot().last_activity >= before

    run_virtual(main())


def refusal(status, **fields):
    headers = fastws.Headers([(name.replace("_", "-"), value) for name, value in fields.items()])
    return fastws.InvalidStatus(f"HTTP {status}", uri=URI, response=fastws.Response(status, "", headers))


@pytest.mark.parametrize(
    "error",
    [
        *[refusal(status) for status in (400, 401, 403, 404)],
        fastws.CertificateError("unknown issuer", uri=URI),
        fastws.InvalidURI("the scheme is http"),
    ],
    ids=str,
)
def test_fault_15_what_no_repetition_mends_is_raised_with_all_that_is_known(error):
    async def main():
        connector = MemoryConnector(error)
        client = fastws.WebSocketClient(URI, connector=connector, retry=fastws.FixedDelay(3600))
        with pytest.raises(type(error)) as raised:
            await client.run()
        assert raised.value is error
        assert len(connector.attempts) == 1
        if isinstance(error, fastws.InvalidStatus):
            assert raised.value.response.status_code in (400, 401, 403, 404)

    run_virtual(main())


@pytest.mark.parametrize(("retry_after", "waited"), [("3", 3), ("60", 10)])
def test_fault_15_a_server_that_names_a_time_is_left_alone_up_to_the_maximum(retry_after, waited):
    async def main():
        connector = MemoryConnector(refusal(503, Retry_After=retry_after))
        strategy = fastws.ExponentialBackoff(1, 10, jitter=0)
        async with fastws.WebSocketClient(URI, connector=connector, retry=strategy):
            assert connector.attempts == pytest.approx([0, waited], abs=0.01)

    run_virtual(main())


def test_a_failed_attempt_is_logged_the_first_of_a_row_as_a_warning_and_the_address_once(caplog):
    caplog.set_level("INFO", "fastws.client")

    async def main():
        mine = OSError("a fault of my own connector")
        named = DialError(f"{URI}: no connection: refused", uri=URI, phase="tcp")
        await supervisor(MemoryConnector(named, mine, ConnectionResetError())).connect()

    run_virtual(main())
    assert [(record.levelname, record.getMessage()) for record in caplog.records] == [
        (
            "WARNING",
            (
                f"{URI}: no connection: refused; attempt 2 follows in 1 s; it goes on trying, "
                "further attempts are logged as INFO"
            ),
        ),
        ("INFO", f"{URI}: a fault of my own connector; attempt 3 follows in 1 s"),
        ("INFO", f"{URI}: ConnectionResetError; attempt 4 follows in 1 s"),
    ]


def test_the_first_failed_attempt_behind_a_session_is_a_warning_however_short_that_was(caplog):
    caplog.set_level("INFO", "fastws.client")

    async def main():
        sup = supervisor(MemoryConnector(refused(), refused(), None, refused()))
        await sup.connect()
        sup.mark_ready()
        sup.mark_disconnected(None)
        await sup.failed(sup.failure(ConnectionResetError(), "session", 0.1))
        await sup.connect()

    run_virtual(main())
    assert [record.levelname for record in caplog.records] == ["WARNING", "INFO", "INFO", "WARNING"]


@pytest.mark.parametrize("name", ["uri", "headers"])
@pytest.mark.parametrize("is_async", [True, False])
def test_what_is_cancelled_inside_of_a_callable_is_final_and_chained(name, is_async):
    def plain():
        raise asyncio.CancelledError  # as result() of a task that was cancelled does

    async def main():
        asked = {"uri": URI, "headers": None, name: cancelled_inside if is_async else plain}
        sup = ConnectionSupervisor(asked["uri"], connector=MemoryConnector(), headers=asked["headers"])
        seen = kinds(sup)
        with pytest.raises(fastws.ConfigError, match=f"callable given as {name}= raised") as raised:
            await sup.connect()
        assert isinstance(raised.value.__cause__.__cause__, asyncio.CancelledError)
        assert type(seen[-1]) is FatalError

    run_virtual(main())


def test_what_is_cancelled_inside_of_a_connector_or_a_strategy_is_no_cancellation_of_ours():
    class Asks:
        def next_delay(self, failure):
            raise asyncio.CancelledError

        def reset(self):
            raise asyncio.CancelledError

    async def main():
        with pytest.raises(InnerCancellation):
            await supervisor(MemoryConnector(cancelled_inside)).connect()
        sup = supervisor(MemoryConnector(refused()), Asks())
        with pytest.raises(InnerCancellation) as raised:
            await sup.connect()
        assert "retry strategy" in raised.value.__notes__[0]
        sup.mark_stable()

    run_virtual(main())


def test_a_connection_that_comes_too_late_and_cannot_be_closed_ends_no_shutdown():
    class Broken(MemoryWire):
        async def close(self, code=1000, reason=""):
            raise OSError("broken")

    class Connector(MemoryConnector):
        make = Broken

    async def main():
        connector = Connector(lambda _wire: sup.shutdown())
        sup = supervisor(connector)
        with pytest.raises(ClientStopped):
            await sup.connect()
        assert connector.wires[0].closed_by_client == "abort"

    run_virtual(main())
