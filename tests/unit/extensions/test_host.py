"""The hooks of extensions, in virtual time. `fault_NN`: a fault of the model that ours must not have."""

import asyncio
import logging

import pytest

import fastws
from fastws import ConfigError, ConnectionContext, Extension, ExtensionError, ExtensionHost
from fastws.events import DisconnectReason, Ready
from virtual_time import run_virtual

REASON = DisconnectReason("normal", code=1000)


def context(connection_id=1, **more):
    return ConnectionContext(connection_id, **more)


class Logs(Extension):
    """Notes every hook in a list that several may share."""

    handles_messages = True
    handles_outgoing = True

    def __init__(self, name="logs", log=None, **attributes):
        self.name = name
        self.log = [] if log is None else log
        for attribute, value in attributes.items():
            setattr(self, attribute, value)

    def note(self, hook, *details):
        self.log.append((self.name, hook, *details))

    def on_init(self, context):
        self.note("init", context.connection_id, context.attempt)

    async def on_connect(self, context):
        self.note("connect", context.connection_id)

    def on_disconnect(self, context, reason):
        self.note("disconnect", str(reason))

    async def on_shutdown(self, context):
        self.note("shutdown")

    def on_message(self, message, context):
        self.note("message", message)
        return message + self.name

    async def on_send(self, message, context):
        self.note("send", message)
        return message + self.name

    def on_event(self, event, context):
        self.note("event", event)


class Breaks(Extension):
    name = "breaks"
    handles_messages = True
    handles_outgoing = True

    def __init__(self, *hooks, error=None):
        self.hooks = hooks
        self.error = error or ValueError("mistake")

    def _may_break(self, hook):
        if hook in self.hooks:
            raise self.error

    def on_init(self, context):
        self._may_break("on_init")

    async def on_connect(self, context):
        self._may_break("on_connect")

    def on_disconnect(self, context, reason):
        self._may_break("on_disconnect")

    async def on_shutdown(self, context):
        self._may_break("on_shutdown")

    def on_message(self, message, context):
        self._may_break("on_message")
        return message.upper()

    async def on_send(self, message, context):
        self._may_break("on_send")
        return message

    def on_event(self, event, context):
        self._may_break("on_event")


class Hangs(Extension):
    name = "hangs"
    handles_messages = True

    async def on_message(self, message, context):
        await asyncio.Event().wait()

    async def on_disconnect(self, context, reason):
        await asyncio.Event().wait()

    async def on_shutdown(self, context):
        await asyncio.Event().wait()


def test_the_hooks_of_a_run_and_their_order():
    log = []

    async def main():
        host = ExtensionHost([Logs("a", log), Logs("b", log)])
        assert host.names == ("a", "b")
        assert log == []
        await host.start()
        await host.notify_connect(context(7))
        assert await host.process("m", context(7)) == "mab"
        assert await host.process_outgoing("s", context(7)) == "sba"
        await host.notify_disconnect(context(7), REASON)
        await host.notify_shutdown()

    run_virtual(main())
    assert log == [
        ("a", "init", 0, 0),
        ("b", "init", 0, 0),
        ("a", "connect", 7),
        ("b", "connect", 7),
        ("a", "message", "m"),
        ("b", "message", "ma"),
        ("b", "send", "s"),
        ("a", "send", "sb"),
        ("b", "disconnect", "normal closure"),
        ("a", "disconnect", "normal closure"),
        ("b", "shutdown"),
        ("a", "shutdown"),
    ]


def test_fault_14_on_shutdown_is_called_once_for_each_run():
    extension = Logs()

    async def main():
        host = ExtensionHost([extension])
        await host.notify_shutdown()
        for _ in range(2):
            await host.start()
            await host.start()
            await host.notify_shutdown()
            await host.notify_shutdown()

    run_virtual(main())
    assert [entry[1] for entry in extension.log] == ["init", "shutdown", "shutdown"]


def test_a_cancellation_ends_one_call_of_on_shutdown_and_the_others_get_theirs():
    log = []

    class Slow(Logs):
        async def on_shutdown(self, context):
            self.note("shutdown")
            await asyncio.sleep(2)

    async def main():
        host = ExtensionHost([Logs("a", log), Slow("b", log)])
        await host.start()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(1):
                await host.notify_shutdown()
        assert log[2:] == [("b", "shutdown"), ("a", "shutdown")]
        await host.notify_shutdown()
        assert log[4:] == []

    run_virtual(main())


def test_a_cancellation_ends_one_call_of_on_disconnect_and_the_others_get_theirs():
    log = []

    class Slow(Logs):
        async def on_disconnect(self, context, reason):
            self.note("disconnect")
            await asyncio.sleep(2)

    async def main():
        host = ExtensionHost([Logs("a", log), Slow("b", log)])
        await host.start()
        for _ in range(2):
            await host.notify_connect(context())
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(1):
                    await host.notify_disconnect(context(), REASON)

    run_virtual(main())
    ends = [("b", "disconnect"), ("a", "disconnect", "normal closure")]
    assert log[2:] == [("a", "connect", 1), ("b", "connect", 1), *ends] * 2


def test_a_session_that_ends_while_it_is_told_of_is_nobodys_any_more():
    """As that of a connection that has just replaced another."""
    log = []

    class Slow(Logs):
        async def on_connect(self, context):
            self.note("connect", context.connection_id)
            await asyncio.sleep(1)

        async def on_disconnect(self, context, reason):
            self.note("disconnect")
            await asyncio.sleep(2)

    async def main():
        host = ExtensionHost([Slow("a", log), Logs("b", log)])
        await host.start()
        connecting = asyncio.create_task(host.notify_connect(context(1)))
        await asyncio.sleep(0.5)
        await host.notify_disconnect(context(1), REASON)
        await connecting
        await host.notify_connect(context(2))

    run_virtual(main())
    assert log[2:] == [("a", "connect", 1), ("a", "disconnect"), ("a", "connect", 2), ("b", "connect", 2)]


def test_a_run_begins_without_a_session():
    async def main():
        log = []
        host = ExtensionHost([Logs("a", log)])
        await host.start()
        await host.notify_connect(context(1))
        await host.notify_shutdown()
        await host.start()
        await host.notify_connect(context(2))
        assert [entry[2] for entry in log if entry[1] == "connect"] == [1, 2]

    run_virtual(main())


def test_only_who_saw_a_session_begin_sees_it_end():
    log = []

    async def main():
        host = ExtensionHost([Logs("a", log), Logs("quiet", log, handles_lifecycle=False)])
        await host.start()
        await host.notify_disconnect(context(), REASON)
        await host.notify_connect(context())
        await host.notify_disconnect(context(), REASON)
        await host.notify_disconnect(context(), REASON)
        await host.notify_event(Ready(1, 1))

    run_virtual(main())
    assert [entry[:2] for entry in log if entry[1] != "init"] == [
        ("a", "connect"),
        ("a", "disconnect"),
        ("a", "event"),
    ]


def test_an_extension_may_come_while_the_client_runs():
    log = []

    async def main():
        host = ExtensionHost()
        assert not host.handles_messages
        await host.start()
        await host.register(Logs("before", log))
        await host.notify_connect(context(3))
        await host.register(Logs("within", log))
        assert host.handles_messages
        assert len(host) == 2
        await host.notify_disconnect(context(3), REASON)
        await host.notify_shutdown()

    run_virtual(main())
    assert [entry[:2] for entry in log] == [
        ("before", "init"),
        ("before", "connect"),
        ("within", "init"),
        ("within", "connect"),
        ("within", "disconnect"),
        ("before", "disconnect"),
        ("within", "shutdown"),
        ("before", "shutdown"),
    ]


def test_an_extension_may_go_while_the_client_runs():
    log = []

    async def main():
        host = ExtensionHost([Logs("a", log), Logs("b", log)])
        await host.start()
        await host.notify_connect(context())
        gone = await host.unregister("a")
        assert gone.name == "a"
        assert host.names == ("b",)
        with pytest.raises(KeyError):
            await host.unregister("a")
        await host.register(gone)
        await host.notify_disconnect(context(), REASON)
        await host.notify_shutdown()
        await host.unregister("a")

    run_virtual(main())
    assert [entry[1:] for entry in log if entry[0] == "a"] == [
        ("init", 0, 0),
        ("connect", 1),
        ("disconnect", "None"),
        ("shutdown",),
        ("init", 1, 1),
        ("connect", 1),
        ("disconnect", "normal closure"),
        ("shutdown",),
    ]


def test_names_are_unique():
    with pytest.raises(ConfigError, match="there is an extension named 'a' already"):
        ExtensionHost([Logs("a"), Logs("a")])

    async def main():
        host = ExtensionHost([Logs("a")])
        with pytest.raises(ConfigError):
            await host.register(Logs("a"))

        class Slow(Logs):
            async def on_init(self, context):
                await asyncio.sleep(1)

        results = await asyncio.gather(host.register(Slow("b")), host.register(Slow("b")), return_exceptions=True)
        assert host.names == ("a", "b")
        return results

    results = run_virtual(main())
    assert [type(result) for result in results] == [type(None), ConfigError]


@pytest.mark.parametrize("wrong", [None, Extension, object(), "logging"])
def test_what_is_no_extension_is_refused(wrong):
    with pytest.raises(TypeError, match="an extension is an instance"):
        ExtensionHost([wrong])


def test_an_extension_needs_a_name():
    with pytest.raises(TypeError, match="name"):
        ExtensionHost([Logs("")])


def test_extensions_stay_readable():
    extension = Logs("a")
    host = ExtensionHost([extension])
    assert host.get("a") is extension
    assert host.get("b") is None
    assert "['a'] ignore" in repr(host)
    assert repr(extension) == "<Logs 'a' 1.0.0>"


# Messages.


def test_only_who_overrides_a_hook_and_says_so_costs_something(caplog):
    class Forgot(Extension):
        name = "forgot"

        def on_message(self, message, context):
            return message

    class Says(Extension):
        name = "says"
        handles_messages = True
        handles_outgoing = True

    async def main():
        host = ExtensionHost([Forgot(), Says(), Logs("off", handles_messages=False, handles_outgoing=False)])
        assert not host.handles_messages
        assert not host.handles_outgoing
        await host.start()
        assert await host.process("m", context()) == "m"
        assert await host.process_outgoing("m", context()) == "m"

    run_virtual(main())
    assert [record.message for record in caplog.records] == [
        "the extension 'forgot' has on_message and does not say handles_messages = True: it gets no messages"
    ]


def test_a_message_may_be_changed_or_kept():
    class Filters(Extension):
        name = "filters"
        handles_messages = True
        handles_outgoing = True

        def on_message(self, message, context):
            return None if message == "no" else bytearray(b"changed")

        on_send = on_message

    log = []

    async def main():
        host = ExtensionHost([Filters(), Logs("after", log)])
        assert await host.process("no", context()) is None
        assert await host.process_outgoing("no", context()) == b"changed"
        log.clear()
        with pytest.raises(ExtensionError):  # bytes and str
            await ExtensionHost([Filters(), Logs("after", log)], policy="fatal").process("yes", context())
        return host

    run_virtual(main())
    assert log == [("after", "message", b"changed")]


def test_extensions_share_the_context_of_a_session():
    class Puts(Extension):
        name = "puts"

        def on_connect(self, context):
            context.put_metadata("key", "value")

    async def main():
        mine = context()
        await ExtensionHost([Puts()]).notify_connect(mine)
        return mine

    assert run_virtual(main()).get_metadata("key") == "value"


# What goes wrong.


def test_a_hook_that_is_misspelt_is_named(caplog):
    class Misspelt(Extension):
        name = "misspelt"

        def on_mesage(self, message, context):
            return message

        def on_fire(self):
            """No hook either, and not meant to be one."""

    run_virtual(ExtensionHost([Misspelt()]).start())
    assert [record.message for record in caplog.records] == [
        "the extension 'misspelt' has on_mesage, which is no hook; on_message is"
    ]


@pytest.mark.parametrize("error", [ValueError("mistake"), TimeoutError("mine"), asyncio.CancelledError()])
def test_fault_10_an_exception_is_logged_and_the_message_goes_on(caplog, error):
    async def main():
        host = ExtensionHost([Breaks("on_message", "on_connect", "on_event", error=error), Logs("b")])
        await host.start()
        await host.notify_connect(context())
        await host.notify_event(Ready(1, 1))
        return await host.process("m", context())

    assert run_virtual(main()) == "mb"
    assert caplog.records
    assert all("the extension 'breaks', on_" in record.message for record in caplog.records)
    assert {record.levelno for record in caplog.records} == {logging.ERROR}
    assert all(record.exc_info for record in caplog.records)


@pytest.mark.parametrize("policy", ["disconnect", "fatal"])
@pytest.mark.parametrize("hook", ["on_message", "on_connect", "on_event"])
def test_the_policy_raises_it_to_the_client(policy, hook):
    async def main():
        log = []
        host = ExtensionHost([Breaks(hook), Logs("b", log)], policy=policy)
        await host.start()
        calls = {
            "on_message": lambda: host.process("m", context()),
            "on_connect": lambda: host.notify_connect(context()),
            "on_event": lambda: host.notify_event(Ready(1, 1)),
        }
        with pytest.raises(ExtensionError) as caught:
            await calls[hook]()
        assert (("b", "connect", 1) in log) is (hook == "on_connect")
        return caught.value

    error = run_virtual(main())
    assert (error.name, error.hook) == ("breaks", hook)
    assert isinstance(error.__cause__, ValueError)
    assert str(error) == f"the extension 'breaks', {hook}: it raised ValueError('mistake')"


@pytest.mark.parametrize("policy", ["ignore", "disconnect", "fatal"])
def test_what_on_send_raises_goes_to_the_sender(policy):
    async def main():
        with pytest.raises(ExtensionError, match="on_send"):
            await ExtensionHost([Breaks("on_send")], policy=policy).process_outgoing("m", context())

    run_virtual(main())


@pytest.mark.parametrize("policy", ["ignore", "disconnect", "fatal"])
def test_the_end_reaches_every_extension(policy, caplog):
    log = []

    async def main():
        host = ExtensionHost([Logs("a", log), Breaks("on_disconnect", "on_shutdown")], policy=policy)
        await host.start()
        await host.notify_connect(context())
        await host.notify_disconnect(context(), REASON)
        await host.notify_shutdown()

    run_virtual(main())
    assert [entry[1] for entry in log] == ["init", "connect", "disconnect", "shutdown"]
    assert len(caplog.records) == 2


def test_who_cannot_begin_is_not_registered():
    async def main():
        host = ExtensionHost([Breaks("on_init")])
        with pytest.raises(ExtensionError, match="'breaks', on_init"):
            await host.start()
        host.get("breaks").hooks = ()
        await host.start()
        other = ExtensionHost()
        with pytest.raises(ExtensionError):
            await other.register(Breaks("on_init"))
        assert other.names == ()
        await other.register(Breaks())

    run_virtual(main())


def test_a_hook_that_returns_no_message_is_named(caplog):
    class Wrong(Extension):
        name = "wrong"
        handles_messages = True

        def on_message(self, message, context):
            return 42

    async def main():
        assert await ExtensionHost([Wrong()]).process("m", context()) == "m"
        with pytest.raises(ExtensionError, match="it returned int, not str, bytes or None"):
            await ExtensionHost([Wrong()], policy="fatal").process("m", context())

    run_virtual(main())


def test_fault_25_a_hook_has_a_time_limit():
    async def main():
        loop = asyncio.get_running_loop()
        host = ExtensionHost([Hangs()], timeout=3, policy="disconnect")
        with pytest.raises(ExtensionError, match="'hangs', on_message: it took longer than 3 s"):
            await host.process("m", context())
        assert loop.time() == 3
        await host.start()
        await host.notify_connect(context())
        await host.notify_disconnect(context(), REASON)
        await host.notify_shutdown()
        assert loop.time() == 9

    run_virtual(main())


def test_cancelling_the_client_goes_through_a_hook():
    async def main():
        task = asyncio.create_task(ExtensionHost([Hangs()], timeout=None).process("m", context()))
        await asyncio.sleep(1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    run_virtual(main())


def test_fault_25_a_hook_that_blocks_the_loop_is_named_once(caplog, monkeypatch):
    class Blocks(Extension):
        name = "blocks"
        handles_messages = True

        def on_message(self, message, context):
            clock[0] += 10
            return message

    clock = [0.0]
    monkeypatch.setattr("fastws.extensions.host.monotonic", lambda: clock[0])

    async def main():
        host = ExtensionHost([Blocks()])
        assert [await host.process("m", context()) for _ in range(3)] == ["m"] * 3

    asyncio.run(main())
    assert [record.message for record in caplog.records] == [
        "the extension 'blocks' blocked the event loop in on_message for more than 5 s; let it await, or do less"
    ]


@pytest.mark.parametrize("options", [{"timeout": 0}, {"timeout": -1}, {"policy": "sometimes"}])
def test_settings_are_checked(options):
    with pytest.raises(fastws.ConfigError, match=next(iter(options))):
        ExtensionHost(**options)
