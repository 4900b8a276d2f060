"""The 25 faults of the model crate as edits of our sources: what `make faults` puts into a copy, to see its tests fail.

An edit has the effect that users of the model see, by the shortest change of what prevents it here; where the model's
fault lies in what is Rust here, by one of the Python around it. `old` stands exactly once in its file. Every test that
has the number of a fault in its name must fail on that fault: see run_model_faults.py.
"""

import functools
import re
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

TESTS = Path(__file__).parent
SOURCES = TESTS.parent / "python/fastws"


@dataclass(frozen=True)
class Edit:
    """A change of the file with this path below python/fastws."""

    path: str
    old: str
    new: str

    def applied(self, text):
        """The file's text after it. Raises ValueError if `old` does not stand in it exactly once."""
        if (times := text.count(self.old)) != 1:
            raise ValueError(f"{self.path} has this {times} times, not once: {self.old!r}")
        return text.replace(self.old, self.new)


@dataclass(frozen=True)
class Fault:
    """What the model does, and how ours comes to do it too."""

    number: int
    what: str
    edits: tuple[Edit, ...]

    @property
    def tests(self):
        """Those with its number in their names, as `unit/test_client.py::test_fault_02_…`."""
        return numbered_tests().get(self.number, [])


@functools.cache
def numbered_tests():
    """The tests with the number of a fault in their names, by that."""
    found = defaultdict(list)
    for path in sorted(TESTS.rglob("test_*.py")):
        for name, number in re.findall(
            r"^(?:async )?def (test_fault_(\d+)_\w+)\(", path.read_text("utf-8"), re.MULTILINE
        ):
            found[int(number)].append(f"{path.relative_to(TESTS).as_posix()}::{name}")
    return found


FAULTS = (
    Fault(
        1,
        "shutdown() returns before anything has ended",
        (Edit("client.py", "await self._until_over()", "return"),),
    ),
    Fault(
        2,
        "no delay after a session has ended: a server that closes at once is dialled in a loop",
        (Edit("supervisor.py", "asyncio.sleep(delay)", 'asyncio.sleep(0 if failure.phase == "session" else delay)'),),
    ),
    Fault(
        3,
        "the strategy decides about dials alone: after sessions and handshakes there is always another",
        (
            Edit(
                "supervisor.py",
                "delay = self._budget.failed(failure)",
                'delay = self._budget.failed(failure) if failure.phase == "connect" else 5.0',
            ),
        ),
    ),
    Fault(
        4,
        "a permanent refusal ends run() as a shutdown does, without an error",
        (
            Edit(
                "supervisor.py",
                "raise self.fatal(self._budget.given_up(failure))",
                """error = self.fatal(self._budget.given_up(failure))
            if failure.phase == "handshake":
                self.shutdown()
                raise self._stopped()
            raise error""",
            ),
        ),
    ),
    Fault(
        5,
        "any first frame, even Ping or Close, confirms a token unless its text has one of three words; no escaping",
        (
            Edit(
                "handshakes/auth.py",
                "message = await channel.expect(judged)",
                """
        async def frame() -> Any:
            try:
                return (await channel._next()).data
            except HandshakeError:
                return b"Close"

        async def ping() -> Any:
            while not (hasattr(channel._source, "stats") and channel._source.stats().pings_received):
                await asyncio.sleep(0.01)
            return b"Ping"

        tasks = [asyncio.ensure_future(first()) for first in (frame, ping)]
        done, pending = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in pending:
            task.cancel()
            await asyncio.wait([task])
        message = done.pop().result()
        if isinstance(message, str) and any(word in message.lower() for word in ("error", "unauthorized", "denied")):
            raise AuthFailed(message, handshaker=self.name)""",
            ),
            Edit("handshakes/auth.py", "from collections.abc", "import asyncio\nfrom collections.abc"),
            Edit(
                "handshakes/auth.py",
                'return {"type": "auth", "token": token}',
                """return f'{{"type":"auth","token":"{token}"}}'""",
            ),
            Edit("handshakes/auth.py", "else template(format)", 'else lambda token: format.replace("{}", token)'),
        ),
    ),
    Fault(
        6,
        "while a message waits for room neither silence nor a shutdown is noticed",
        (
            Edit(
                "session.py",
                "end = await parts.supervisor.wait(self._end)",
                """try:
                end = await parts.supervisor.wait(self._end)
            finally:
                waits = parts.outbox
                while (
                    waits._room
                    or waits._waiting
                    or waits._left  # a connector's own connection waits by itself
                    or (waits._native and waits._native._is_above_write_limit)
                ):
                    await asyncio.sleep(60)""",
            ),
        ),
    ),
    Fault(
        7,
        "what reads the old connection is not stopped, and goes on into the new session",
        (
            Edit("_intake.py", "await cut([task])", "pass"),
            Edit("_intake.py", "                self._left = task\n", "                pass\n"),
        ),
    ),
    Fault(
        8,
        "messages pass on through a task that is aborted when the session ends",
        (
            Edit("_intake.py", "import asyncio\n", "import asyncio\nfrom collections import deque\n"),
            Edit("_intake.py", '"_hurries",', '"_hop",\n        "_hurries",'),
            Edit("_intake.py", "self._generation = 0", "self._generation = 0\n        self._hop = deque()"),
            Edit(
                "_intake.py",
                "return self.gate is not None or self._parts.tap is not None or self._parts.host.handles_messages",
                "return True",
            ),
            Edit(
                "_intake.py",
                "self._parts.ring._push(data, received_ns, mono_ns, kernel_ns)",
                """self._hop.append((data, received_ns, mono_ns, kernel_ns))

        def forward() -> None:
            if self._hop:
                self._parts.ring._push(*self._hop.popleft())
            if self._hop:
                asyncio.get_running_loop().call_soon(forward)

        if len(self._hop) == 1:
            asyncio.get_running_loop().call_soon(forward)""",
            ),
            Edit(
                "_intake.py",
                "# It ends by itself, with the last message of a connection that has ended.",
                "self._task.cancel()\n                self._hop.clear()",
            ),
        ),
    ),
    Fault(
        9,
        "a shutdown sends no Close, and drops in silence what waits to be sent",
        (
            Edit("session.py", "await self._parts.outbox.flushed()", "pass"),
            Edit("connector.py", "await wire.close(code, reason)", "abort_wire(wire, reason)"),
            Edit("client.py", "if is_unsent(unsent):", "if False:"),
        ),
    ),
    Fault(
        10,
        "logging cuts a text by bytes, which panics within a character and ends the session; its level is not asked",
        (
            Edit(
                "extensions/logging.py",
                'printable(text if len(text) <= limit else f"{text[:limit]}...")',
                'printable(text if len(raw := text.encode()) <= limit else f"{raw[:limit].decode()}...")',
            ),
            Edit("extensions/logging.py", "level >= self.config.level and self._logger", "self._logger"),
            Edit("extensions/host.py", "                continue\n", "                raise failure from error\n"),
        ),
    ),
    Fault(
        11,
        "run() that is cancelled leaves its session, and the client says for ever that it runs",
        (
            Edit(
                "client.py",
                "await self._end(error)",
                "if not isinstance(error, asyncio.CancelledError):\n                await self._end(error)",
            ),
            Edit(
                "session.py", "except (ClientStopped, asyncio.CancelledError) as stop:", "except ClientStopped as stop:"
            ),
        ),
    ),
    Fault(
        12,
        "reconnect_count counts attempts that failed, and no reconnections",
        (Edit("state.py", "max(0, self._connections - 1)", "max(0, self.total_attempts - self._connections)"),),
    ),
    Fault(
        13,
        "exit_on_first_failure is ignored when a dial takes too long, and applied to later connections",
        (
            Edit(
                "retry.py",
                'if failure.phase == "session":\n            self._was_ready = True',
                'if failure.phase == "session":\n            self._was_ready = False',
            ),
            Edit(
                "retry.py",
                "elif self._exit_on_first_failure",
                "elif not isinstance(failure.cause, TimeoutError) and self._exit_on_first_failure",
            ),
        ),
    ),
    Fault(
        14,
        "on_shutdown is called twice; a final error is one of too many retries; the status stays what it was",
        (
            Edit("extensions/host.py", "if extension.name in self._to_shut_down:", "if True:"),
            Edit("retry.py", "if cause is not None and not failure.is_retryable:", "if False:"),
            Edit("supervisor.py", 'self.state.mark_disconnected(DisconnectReason("error", cause=error))', "pass"),
        ),
    ),
    Fault(
        15,
        "refusals and certificates are worth another attempt, and Retry-After is not read",
        (
            Edit(
                "errors/_retryable.py",
                "    match error:\n        case None:\n            return True",
                "    match error:\n        case None | ConnectError() | InvalidURI():\n            return True",
            ),
            Edit("retry.py", "if failure.retry_after is not None:", "if False:"),
        ),
    ),
    Fault(
        16,
        "code and reason of a Close reach neither events nor the strategy",
        (
            Edit("session.py", 'kind = "normal" if info.rcvd.code in OK_CODES else "server_closed"', 'kind = "normal"'),
            Edit("session.py", "code = info.rcvd.code if info", "code = None if info"),
            Edit("session.py", 'reason=info.reason if info is not None else "",', 'reason="",'),
            Edit("retry.py", "return self.cause.rcvd.code if self.cause.rcvd is not None else None", "return None"),
        ),
    ),
    Fault(
        17,
        "a shutdown interrupts neither dial nor backoff nor handshake",
        (
            Edit(
                "_interrupt.py",
                "self._scope = scope",
                "self._scope = scope if isinstance(what, asyncio.Future) else None",
            ),
        ),
    ),
    Fault(
        18,
        "a client is connected, and accepts messages, before the application's handshake is done",
        (
            Edit(
                "state.py",
                '"""Whether the client is Ready."""\n        return self.status is Status.READY',
                "return self.status in (Status.CONNECTED, Status.READY)",
            ),
            Edit(
                "session.py",
                "await self._shake_hands(channel, context)",
                "parts.outbox.begin(self.wire, self._pacer)\n        await self._shake_hands(channel, context)",
            ),
        ),
    ),
    Fault(
        19,
        "after a handshake that failed messages go to the dead connection's queue, whose error they get",
        (
            Edit(
                "session.py",
                "await self._shake_hands(channel, context)",
                "parts.outbox.begin(self.wire, self._pacer)\n        await self._shake_hands(channel, context)",
            ),
            Edit(
                "outbox.py",
                'raise NotConnected(f"nothing was sent: {error}", message=plain(message)) from error',
                "raise",
            ),
        ),
    ),
    Fault(
        20,
        "streams do not end with the client",
        (Edit("client.py", "self._ring._end(", "(lambda _: None)("),),
    ),
    Fault(
        21,
        "of two hops the first drops the oldest in silence, for every stream (here beyond 4 messages, there 1024)",
        (
            Edit("_intake.py", "import asyncio\n", "import asyncio\nfrom collections import deque\n"),
            Edit("_intake.py", '"_hurries",', '"_hop",\n        "_hurries",'),
            Edit("_intake.py", "self._generation = 0", "self._generation = 0\n        self._hop = deque(maxlen=4)"),
            Edit(
                "_intake.py",
                "self._parts.ring._push(data, received_ns, mono_ns, kernel_ns)",
                """self._hop.append((data, received_ns, mono_ns, kernel_ns))

        def forward() -> None:
            while self._hop:
                self._parts.ring._push(*self._hop.popleft())

        asyncio.get_running_loop().call_soon(forward)""",
            ),
        ),
    ),
    Fault(
        22,
        "each cycle has the same jitter, which may go over the maximum; numbers are not checked",
        (
            Edit(
                "retry.py",
                '"""Nothing: there is nothing to forget."""',
                'object.__setattr__(self, "_random", random.Random(7))',
            ),
            Edit("retry.py", '_checks.duration("initial", initial)', "float(initial)"),
            Edit("retry.py", '_checks.number("multiplier", multiplier, 1)', "multiplier"),
            Edit("retry.py", '_checks.number("jitter", jitter, 0, 1)', "min(max(jitter, 0.0), 1.0)"),
            Edit(
                "retry.py",
                "min(delay * (1.0 + self._random.uniform(-self.jitter, self.jitter)), self.maximum)",
                "delay * (1.0 + self._random.uniform(-self.jitter, self.jitter))",
            ),
        ),
    ),
    Fault(
        23,
        "no pings, and silence is cut in any case: quiet connections do not live",
        (
            Edit("client.py", '"ping_interval": config.ping_interval', '"ping_interval": None'),
            Edit("_watch.py", "(False, config.receive_timeout,", "(False, config.receive_timeout or 20.0,"),
        ),
    ),
    Fault(
        24,
        "a status viewer cannot be read once registered; its uptime runs on while down, its count is of the history",
        (
            Edit(
                "extensions/host.py",
                "self._extensions: tuple[Extension, ...] = extensions",
                """import copy

        extensions = tuple(map(copy.deepcopy, extensions))
        self._extensions: tuple[Extension, ...] = extensions""",
            ),
            Edit(
                "extensions/status.py",
                "since = self._since\n        return None",
                """ups = [change.at for change in self._history if change.status is SessionStatus.CONNECTED]
        since = ups[-1] if ups else None
        return None""",
            ),
            Edit(
                "extensions/status.py",
                "return self._connections",
                "return sum(change.status is SessionStatus.CONNECTED for change in self._history)",
            ),
        ),
    ),
    Fault(
        25,
        "hooks have no time limit and are not named; a session that an extension ends is followed at once, always",
        (
            Edit(
                "extensions/host.py",
                'self.timeout = optional_duration("timeout", timeout, "no limit")',
                "self.timeout = None",
            ),
            Edit("supervisor.py", "asyncio.sleep(delay)", 'asyncio.sleep(0 if failure.phase == "session" else delay)'),
            Edit(
                "session.py",
                'final = isinstance(error, ExtensionError) and self._parts.host.policy == "fatal"',
                "final = False",
            ),
        ),
    ),
)
