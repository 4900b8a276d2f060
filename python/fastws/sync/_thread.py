"""The thread that a blocking client runs in, and how others get there.

A client has a thread of its own while it runs: a callback of one client that takes its time holds up no other, the
thread ends with the client, and what goes wrong in its event loop is nobody else's.
"""

from __future__ import annotations

import asyncio
import atexit
import concurrent.futures
import contextlib
import os
import sys
import threading
import traceback
import warnings
from collections.abc import Callable, Coroutine
from pathlib import Path
from types import FrameType
from typing import Any, NamedTuple, Protocol, TypeVar

from fastws import _core
from fastws._interrupt import ended
from fastws.client import WebSocketClient
from fastws.errors import AlreadyRunning, NotConnected
from fastws.runner import loop_factory

from .connection import Seconds

__all__ = ["ClientThread", "Guest", "Run"]

T = TypeVar("T")

Future = concurrent.futures.Future

TURN_LIMIT = 30.0
"""Seconds that a call without a deadline waits for a turn of the client's thread. Only a callback that holds it takes
so long."""

GRACE = 0.25
"""Seconds beyond a deadline in which the client's thread may still keep it itself: it knows more of what is late."""

Late = Callable[[str, bool], TimeoutError]
"""What a call raises that the client's thread did not come to: gets the text, and whether it was withdrawn."""


class Guest(Protocol):
    """What lives in the thread beside the client: a stream."""

    def begin(self) -> None:
        """The client begins to run."""

    async def finish(self) -> None:
        """The client is over: what is there is taken now, as there will be no thread."""


class Call(concurrent.futures.Future[T]):
    """The outcome of what is done in the client's thread."""

    has_begun = False
    """Cancelled before, it is never done."""

    def withdraw(self) -> bool:
        """Cancels it. True: nothing of it was done, nor will be."""
        self.cancel()
        return not self.has_begun


class Run(NamedTuple):
    """What a thread does.

    Attributes:
        thread: The thread.
        over: How it ended: as the client's ``run()``.
    """

    thread: threading.Thread
    over: Future[None]


class ClientThread:
    """Runs a client on an event loop in a thread, as often as it is started, and lets other threads call it."""

    def __init__(self, client: WebSocketClient) -> None:
        self.client = client
        self.guests: set[Guest] = set()
        self._lock = threading.RLock()  # a signal's handler may come in between
        self._process = os.getpid()
        self._loop: asyncio.AbstractEventLoop | None = None
        """Where calls are handed over; None: it does not run, or not for long."""
        self._thread: threading.Thread | None = None
        self.last: Run | None = None
        """What the thread does, or the last one did."""
        self._is_errand = False
        self._running: asyncio.Task[None] | None = None
        self._calls: set[asyncio.Task[Any]] = set()

    # ---- its life --------------------------------------------------------------------------------------------------

    @property
    def is_here(self) -> bool:
        """Whether this is that thread."""
        thread = self._thread
        return thread is not None and thread.ident == threading.get_ident()

    @property
    def is_running(self) -> bool:
        """Whether there is such a thread, in this process, and the client runs in it."""
        return self._thread is not None and not self._is_errand and self._process == os.getpid()

    def start(self) -> Run:
        """Begins to run the client.

        Raises:
            AlreadyRunning: It runs already.
        """
        self.check_process()
        while True:
            with self._lock:
                if self._thread is None:
                    loop = (loop_factory() or asyncio.new_event_loop)()
                    return self._begin_thread(loop, self._main, loop)
                if self._loop is not None or self.is_here:
                    raise AlreadyRunning(f"{self.client.uri}: this client runs already")
                ending = self.last
            self.join(ending)

    def join(self, run: Run | None) -> None:
        """Waits until a run is over and its thread has ended.

        Raises:
            TimeoutError: A callback holds it.
        """
        self.refuse_callbacks()
        if run is None:
            return
        most = TURN_LIMIT + (self.client.config.extension_timeout or 0.0)  # that of what is under way at the end
        if concurrent.futures.wait((run.over,), most).not_done:  # a signal's handler may end this
            raise TimeoutError(f"{self._held('it had not ended', most)}. It ends when that returns")
        run.thread.join()

    def give_up(self) -> None:
        """Lets the client end at once, without asking its peer. Does not wait for it."""
        self.nudge(self._cancel)

    # ---- calls from elsewhere --------------------------------------------------------------------------------------

    def check_process(self) -> None:
        """Raises RuntimeError in a forked child, which has no such thread."""
        if self._process != os.getpid():
            raise RuntimeError(
                f"{self.client.uri}: this client belongs to the process that made it; a forked child must make its own"
            )

    def refuse_callbacks(self) -> None:
        """Raises RuntimeError in the thread itself: what is waited for would never come. And in a forked child."""
        self.check_process()
        if self.is_here:
            raise RuntimeError(
                f"{self.client.uri}: a callback, a decoder, a handshaker or an extension made a call that waits, in "
                "the client's own thread: it would wait for itself. Let another thread do it, or use what does not "
                "wait: send_nowait(), send_threadsafe(), reconnect(), shutdown()"
            )

    def now(self, function: Callable[..., T], *args: Any) -> T:
        """The result of a function that does not wait, called where the client runs; here, where it does not.

        Raises:
            TimeoutError: A callback holds that thread.
        """
        if self.is_here:
            return function(*args)
        call: Call[T] = Call()
        while True:
            if self._hand_over(_settle, call, function, args):
                return self._in_time(call, TURN_LIMIT, "the call was not done", TURN_LIMIT)
            with self._lock:
                if self._thread is None:
                    return function(*args)

    def ask(self, function: Callable[[], object]) -> None:
        """As ``nudge``, and waits until it was called; not for long, if a callback holds the thread."""
        call: Call[object] = Call()
        if self._hand_over(_settle, call, function, ()):
            concurrent.futures.wait((call,), GRACE)

    def nudge(self, function: Callable[[], object]) -> None:
        """Lets a function be called where the client runs, soon; nowhere, where it does not."""
        if self.is_running:
            with self._lock:
                if self._loop is not None:
                    self._loop.call_soon_threadsafe(function)

    def wait(self, function: Callable[..., Coroutine[Any, Any, T]], *args: Any, **keywords: Any) -> T:
        """The result of a coroutine function that is called where the client runs.

        An exception of a signal's handler cancels it.

        Raises:
            ClientStopped, …: The client is over; the cause.
            NotConnected: It does not run.
        """
        result: T = self.wait_at_most(None, "", _late, function, *args, **keywords)
        return result

    def wait_at_most(
        self,
        timeout: Seconds,
        what: str,
        late: Late,
        function: Callable[..., Coroutine[Any, Any, T]],
        /,
        *args: Any,
        **keywords: Any,
    ) -> T:
        """As ``wait``, of a function that keeps the deadline ``timeout`` itself.

        Raises:
            TimeoutError: What ``late`` makes of it if a callback holds the thread, so that it cannot: ``what`` says
                what was not done.
        """
        self.refuse_callbacks()
        seconds = None if timeout is None else _core.seconds("timeout", timeout)
        call = self.submit(function, *args, **keywords)
        if call is None:
            raise self.stopped()
        try:
            return self.outcome(call, seconds, what, late)
        except concurrent.futures.CancelledError:
            raise self.stopped() from None
        finally:
            call.cancel()

    def wait_for(self, timeout: Seconds, what: str, function: Callable[..., Coroutine[Any, Any, T]], *args: Any) -> T:
        """As ``wait``, for so many seconds at most.

        Raises:
            TimeoutError: It was not done by then: ``what`` says what.
        """
        result: T = self.wait_at_most(timeout, what, _late, self._limited, timeout, what, function, *args)
        return result

    def outcome(self, call: Call[T], seconds: float | None, what: str, late: Late | None) -> T:
        """What became of a call. If its time is over and a callback holds the thread, that is not waited for.

        Raises:
            TimeoutError: What ``late`` makes of that. Without it, the call is not withdrawn.
        """
        left = None if seconds is None else min(seconds + GRACE, threading.TIMEOUT_MAX)
        while True:
            with contextlib.suppress(TimeoutError):  # its own is raised below
                return call.result(left)
            if call.done():
                return call.result()
            assert seconds is not None, "else there is no limit"
            if not self.answers():
                return self._give_up(call, what, seconds, late)
            left = GRACE

    def answers(self) -> bool:
        """Whether the thread comes to what it is given, or ends: no callback holds it."""
        turn: Call[None] = Call()
        with self._lock:
            if self._loop is None:
                return True
            self._loop.call_soon_threadsafe(_settle, turn, lambda: None, ())
        return not concurrent.futures.wait((turn,), GRACE).not_done

    def submit(self, function: Callable[..., Coroutine[Any, Any, T]], *args: Any, **keywords: Any) -> Call[T] | None:
        """A future of the result of a coroutine function that is called where the client runs. None: it does not."""

        async def call() -> T:
            task = asyncio.current_task()
            assert task is not None, "it is called as a task"
            self._calls.add(task)
            try:
                return await function(*args, **keywords)
            finally:
                self._calls.discard(task)

        outcome: Call[T] = Call()
        calling = call()
        if not self._hand_over(_begin, outcome, calling):
            calling.close()
            return None
        return outcome

    def stopped(self) -> BaseException:
        """Why nothing can be asked of the client."""
        return self.client._cause or NotConnected(
            f"{self.client.uri}: the client does not run; use `with`, start(), or a thread of run()"
        )

    def errand_for(self, timeout: Seconds, what: str, function: Callable[..., Coroutine[Any, Any, T]], *args: Any) -> T:
        """As ``errand``, for so many seconds at most; see ``wait_for``."""
        result: T = self._errand(timeout, what, self._limited, timeout, what, function, *args)
        return result

    def errand(self, function: Callable[..., Coroutine[Any, Any, T]], *args: Any) -> T:
        """The result of a coroutine function that does not need the client to run: then a thread does nothing else."""
        return self._errand(None, "", function, *args)

    # ---- inside ----------------------------------------------------------------------------------------------------

    def _errand(self, timeout: Seconds, what: str, function: Callable[..., Coroutine[Any, Any, T]], *args: Any) -> T:
        self.refuse_callbacks()
        seconds = None if timeout is None else _core.seconds("timeout", timeout)
        call: Call[T] = Call()
        errand: Run | None = None
        while errand is None:
            with self._lock:
                if self._thread is None:
                    errand = self._begin_thread(None, self._run_errand, call, function, args)
                ending = self.last if self._loop is None else None
            if ending is None:
                result: T = self.wait_at_most(timeout, what, _late, function, *args)
                return result
            self.join(ending)
        if seconds is None:
            return call.result()
        return self._in_time(call, seconds + GRACE, what, seconds)

    def _in_time(self, call: Call[T], most: float, what: str, seconds: float) -> T:
        with contextlib.suppress(TimeoutError):  # its own is raised below
            return call.result(min(most, threading.TIMEOUT_MAX))
        return call.result() if call.done() else self._give_up(call, what, seconds, _late)

    def _give_up(self, call: Call[T], what: str, seconds: float, late: Late | None) -> T:
        """The thread is not waited for any more."""
        held = self._held(what, seconds)
        if late is None:
            raise TimeoutError(f"{held}. It is done when that returns")
        is_withdrawn = call.withdraw()
        if call.done() and not call.cancelled():
            return call.result()  # it came just now
        raise late(held, is_withdrawn)

    def _held(self, what: str, seconds: float) -> str:
        thread = self._thread
        frame = sys._current_frames().get(thread.ident or 0) if thread is not None else None
        return f"{self.client.uri}: {what} within {seconds:g} s: {_holder(frame)} holds the client's thread"

    def _hand_over(self, function: Callable[..., object], *args: Any) -> bool:
        """Lets a function be called in the loop. False: it does not run. What is handed over is called in any case."""
        self.check_process()
        while True:
            with self._lock:
                if self._thread is None:
                    return False
                if self._loop is not None:
                    self._loop.call_soon_threadsafe(function, *args)
                    return True
                ending = self.last
            if self.is_here:
                return False
            self.join(ending)

    def _run_errand(
        self, call: Call[T], function: Callable[..., Coroutine[Any, Any, T]], args: tuple[Any, ...]
    ) -> None:
        async def errand() -> T:
            try:
                return await function(*args)
            finally:
                self.client._parts.leave()

        _settle(call, asyncio.run, (errand(),))

    async def _limited(
        self, most: Seconds, what: str, function: Callable[..., Coroutine[Any, Any, T]], *args: Any
    ) -> T:
        seconds = None if most is None else _core.seconds("timeout", most)
        limit = asyncio.timeout(seconds)
        try:
            async with limit:
                return await function(*args)
        except TimeoutError as error:
            if not limit.expired():
                raise
            raise TimeoutError(f"{self.client.uri}: {what} within {seconds:g} s") from error

    def _begin_thread(self, loop: asyncio.AbstractEventLoop | None, function: Callable[..., None], *args: Any) -> Run:
        """Begins a thread. Others get there if it has a loop."""
        over: Future[None] = concurrent.futures.Future()

        def work() -> None:
            with self._lock:
                pass  # who began it is done
            error: BaseException | None = None
            try:
                function(*args)
            except asyncio.CancelledError:
                error = self.stopped()
            except BaseException as failure:  # noqa: BLE001 - whoever waits for the outcome has it
                error = failure
            with self._lock:
                self._thread = self._loop = self._running = None
                _threads.discard(self)
            if error is None:
                over.set_result(None)
            else:
                over.set_exception(error)

        # The interpreter would wait for one that is no daemon before it says that it ends.
        thread = threading.Thread(target=work, name=f"fastws client {self.client.uri}", daemon=True)
        self._thread, self._loop, self._is_errand = thread, loop, loop is None
        self.last = run = Run(thread, over)
        _threads.add(self)
        try:
            thread.start()
        except BaseException:
            if thread.ident is None:  # else it runs, and a signal's handler raised
                self._thread = self._loop = self.last = None
                _threads.discard(self)
                if loop is not None:
                    loop.close()
            raise
        return run

    def _main(self, loop: asyncio.AbstractEventLoop) -> None:
        with asyncio.Runner(loop_factory=lambda: loop) as runner:
            runner.run(self._live())
        last = self.client.snapshot().last_disconnect
        if last is not None and last.kind == "shutdown" and last.cause is not None:
            # Markers and events keep it; what it came through has the last connection, and that, its descriptors.
            traceback.clear_frames(last.cause.__traceback__)

    async def _live(self) -> None:
        self._running = asyncio.get_running_loop().create_task(self.client.run(), name="fastws client")
        await asyncio.sleep(0)
        for guest in tuple(self.guests):
            guest.begin()
        try:
            await ended((self._running,))
        finally:
            await self._leave()
        self._running.result()

    async def shutdown(self, seconds: float | None) -> None:
        """The client's, also if it is about to begin."""
        while self._running is None or not (self._running.done() or self.client.is_running):  # noqa: ASYNC110 - soon
            await asyncio.sleep(0)
        await self.client.shutdown(seconds)

    async def _leave(self) -> None:
        """The client is over. What was handed over is done; what others may still want is laid where they find it."""
        with self._lock:
            self._loop = None
        for _ in range(2):
            await asyncio.sleep(0)  # what was handed over before is called, and its task begins
        if self._calls:
            _, late = await asyncio.wait(self._calls, timeout=self.client.config.extension_timeout)
            for call in late:
                call.cancel()
            await ended(late)
        for guest in tuple(self.guests):
            await guest.finish()
        self.client._parts.leave()

    def _cancel(self) -> None:
        if self._running is not None:
            self._running.cancel()


def _begin(call: Call[T], calling: Coroutine[Any, Any, T]) -> None:
    """Runs a coroutine as a task, whose result the call gets, and which ends when that is cancelled."""
    call.has_begun = True  # first: whoever cancels looks at it afterwards
    if call.cancelled():
        calling.close()
        return
    task = asyncio.ensure_future(calling)
    loop = asyncio.get_running_loop()

    def done(task: asyncio.Task[T]) -> None:
        if task.cancelled():
            call.cancel()
            return
        error = task.exception()  # whoever waited may be gone
        if call.set_running_or_notify_cancel():
            if error is not None:
                call.set_exception(error)
            else:
                call.set_result(task.result())

    def cancelled(_: object) -> None:
        if call.cancelled() and not loop.is_closed():
            loop.call_soon_threadsafe(task.cancel)

    task.add_done_callback(done)
    call.add_done_callback(cancelled)


def _settle(call: Call[T], function: Callable[..., T], args: tuple[Any, ...]) -> None:
    call.has_begun = True
    if not call.set_running_or_notify_cancel():
        return
    try:
        result = function(*args)
    except BaseException as error:  # noqa: BLE001 - it is the caller's
        call.set_exception(error)
    else:
        call.set_result(result)


def _late(held: str, is_withdrawn: bool) -> TimeoutError:
    fate = "was withdrawn: nothing of it was done" if is_withdrawn else "had begun: it may be done, or have been"
    return TimeoutError(f"{held}. The call {fate}")


def _holder(frame: FrameType | None) -> str:
    """What holds a thread that is there: what was called last by code of ours or of the event loop's."""
    held: FrameType | None = None
    while frame is not None and _package(frame) not in {"asyncio", "fastws", "uvloop"}:
        held, frame = frame, frame.f_back
    if held is None or _package(held) == "selectors":
        return "something"
    code = held.f_code
    return f"{code.co_qualname} ({Path(code.co_filename).name}:{held.f_lineno})"


def _package(frame: FrameType) -> str:
    return str(frame.f_globals.get("__name__", "")).partition(".")[0]


_threads: set[ClientThread] = set()
"""Those that run."""


@atexit.register
def _end_all() -> None:
    """The interpreter ends: nobody will."""
    mine = [thread for thread in tuple(_threads) if thread.is_running]
    for thread in mine:
        thread.give_up()
    for thread in mine:
        if thread.last is not None:
            concurrent.futures.wait((thread.last.over,), timeout=thread.client.config.shutdown_timeout)
        text = f"{thread.client.uri}: a client ran when the interpreter ended; use `with` or shutdown()"
        warnings.warn(text, ResourceWarning, stacklevel=1)
