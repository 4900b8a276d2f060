"""Half an hour of asyncio in milliseconds: an event loop whose clock jumps to the next timer when nothing is ready.

::

    from virtual_time import run_virtual

    def test_backoff():
        async def main():
            loop = asyncio.get_running_loop()
            await asyncio.sleep(1800)
            assert loop.time() == 1800

        run_virtual(main())

The clock starts at 0 and stands still while code runs. What would wait for ever fails at once and says where. Sockets
work, as those of socketpair(), as long as both ends are in the loop; a function given to an executor runs at once, in
the loop's thread, so that time cannot jump ahead of it.
"""

import asyncio
import math
import selectors
import traceback

from fastws import _core

MAX_TURNS = 100_000
"""Turns of the loop in which no time passes. A loop that needs more spins, as a reconnect without a delay does."""

PATIENCE = 20.0
"""Real seconds that something outside of the loop may take."""


class VirtualTimeError(AssertionError):
    """The program does not end as it should: it hangs, it spins, it takes too long, or it leaves tasks behind."""


def run_virtual(coro, *, limit=24 * 3600.0, debug=None, leaves_tasks=False, outside=None, look_ns=None):
    """Runs ``coro`` to its end and returns its result.

    Args:
        limit: Seconds of virtual time that it may take.
        debug: asyncio's debug mode.
        leaves_tasks: Whether it may end while other tasks, which are cancelled then, have not.
        outside: Says whether something outside of the loop is waited for, such as a server in a thread: then the clock
            stands still until a socket is ready.
        look_ns: The native module, too, goes by the virtual time, and each of its looks at the clock takes so many
            nanoseconds (from 1: a timer may fire one early); None: by the real one. Its own connections do not work
            then. A release build always goes by the real one.

    Raises:
        VirtualTimeError: It hangs (no timer, nothing ready), spins, takes more than ``limit``, or leaves tasks behind.
    """
    with asyncio.Runner(
        loop_factory=lambda: VirtualTimeLoop(limit=limit, outside=outside, look_ns=look_ns), debug=debug
    ) as runner:

        async def main():
            result = await coro
            left = asyncio.all_tasks() - {asyncio.current_task()}
            if left and not leaves_tasks:
                raise VirtualTimeError(f"it ended and left behind:\n{_shown(left)}")
            return result

        return runner.run(main())


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """``time()`` is virtual; nothing ever sleeps."""

    def __init__(self, *, limit=math.inf, outside=None, look_ns=None):
        super().__init__(_Selector(self, limit, outside, look_ns))

    def time(self):
        return self._selector.now

    def spend(self, seconds):
        """What runs just now takes so long."""
        self._selector.now += seconds
        self._selector.tell_native()

    def run_in_executor(self, executor, func, *args):
        future = self.create_future()
        try:
            future.set_result(func(*args))
        except Exception as error:
            future.set_exception(error)
        return future


class _Selector(selectors.DefaultSelector):
    def __init__(self, loop, limit, outside=None, look_ns=None):
        super().__init__()
        self._look_ns = look_ns
        self._outside = outside
        self.now = 0.0
        self._loop = loop
        self._limit = limit
        self._turns = 0
        self.tell_native()

    def close(self):
        super().close()
        if self._look_ns is not None:
            _core._clock_at(None)

    def tell_native(self):
        if self._look_ns is not None:
            _core._clock_at(round(self.now * 1e9), self._look_ns)

    def select(self, timeout=None):
        events = super().select(0)
        if events or (timeout is not None and timeout <= 0):
            self._turns += 1
            if self._turns >= MAX_TURNS:
                self._fail(f"it spins: {MAX_TURNS} turns of the loop at {self.now:g} s")
            return events
        self._turns = 0
        if self._outside is not None and self._outside():
            return super().select(PATIENCE) or self._fail(f"it waits for longer than {PATIENCE:g} real seconds")
        if timeout is None:
            self._fail(f"it hangs at {self.now:g} s: nothing is ready and no timer is set")
        # A timeout too small for the clock must move it nevertheless.
        later = max(self.now + timeout, math.nextafter(self.now, math.inf))
        if later > self._limit:
            self._fail(f"it takes longer than {self._limit:g} s")
        self.now = later
        self.tell_native()
        return events

    def _fail(self, why):
        # The loop is closed by cancelling its tasks, which must be possible.
        self._turns, self._limit = 0, math.inf
        raise VirtualTimeError(f"{why}\n{_shown(asyncio.all_tasks(self._loop))}")


def _shown(tasks):
    return "\n".join(
        f"{task.get_name()} waits here:\n"
        + "".join(traceback.format_list(traceback.StackSummary.extract(_frames(task))))
        for task in sorted(tasks, key=lambda task: task.get_name())
    )


def _frames(task):
    coro = task.get_coro()
    while coro is not None:
        frame = getattr(coro, "cr_frame", None)
        if frame is not None:
            yield frame, frame.f_lineno
        coro = getattr(coro, "cr_await", None)
