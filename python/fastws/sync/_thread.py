"""The thread that a blocking client runs in, and how others get there.

A client has a thread of its own while it runs: a callback of one client that takes its time holds up no other, the
thread ends with the client, and what goes wrong in its event loop is nobody else's.
"""

from __future__ import annotations

import asyncio
import atexit
import concurrent.futures
import os
import threading
import traceback
import warnings
from collections.abc import Callable, Coroutine
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


class Guest(Protocol):
    """What lives in the thread beside the client: a stream."""

    def begin(self) -> None:
        """The client begins to run."""

    async def finish(self) -> None:
        """The client is over: what is there is taken now, as there will be no thread."""


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
        """Waits until a run is over and its thread has ended."""
        self.refuse_callbacks()
        if run is not None:
            concurrent.futures.wait((run.over,))  # a signal's handler may end this
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
        """The result of a function that does not wait, called where the client runs; here, where it does not."""
        if self.is_here:
            return function(*args)
        future: Future[T] = concurrent.futures.Future()
        while True:
            if self._hand_over(_settle, future, function, args):
                return future.result()
            with self._lock:
                if self._thread is None:
                    return function(*args)

    def ask(self, function: Callable[[], object]) -> None:
        """As ``nudge``, and waits until it was called."""
        future: Future[object] = concurrent.futures.Future()
        if self._hand_over(_settle, future, function, ()):
            future.result()

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
        self.refuse_callbacks()
        future = self.submit(function, *args, **keywords)
        if future is None:
            raise self.stopped()
        try:
            return future.result()
        except concurrent.futures.CancelledError:
            raise self.stopped() from None
        finally:
            future.cancel()

    def wait_for(self, timeout: Seconds, what: str, function: Callable[..., Coroutine[Any, Any, T]], *args: Any) -> T:
        """As ``wait``, for so many seconds at most.

        Raises:
            TimeoutError: It was not done by then: ``what`` says what.
        """
        result: T = self.wait(self._limited, timeout, what, function, *args)
        return result

    def submit(self, function: Callable[..., Coroutine[Any, Any, T]], *args: Any, **keywords: Any) -> Future[T] | None:
        """A future of the result of a coroutine function that is called where the client runs. None: it does not."""

        async def call() -> T:
            task = asyncio.current_task()
            assert task is not None, "it is called as a task"
            self._calls.add(task)
            try:
                return await function(*args, **keywords)
            finally:
                self._calls.discard(task)

        future: Future[T] = concurrent.futures.Future()
        calling = call()
        if not self._hand_over(_begin, future, calling):
            calling.close()
            return None
        return future

    def stopped(self) -> BaseException:
        """Why nothing can be asked of the client."""
        return self.client._cause or NotConnected(
            f"{self.client.uri}: the client does not run; use `with`, start(), or a thread of run()"
        )

    def errand_for(self, timeout: Seconds, what: str, function: Callable[..., Coroutine[Any, Any, T]], *args: Any) -> T:
        """As ``errand``, for so many seconds at most; see ``wait_for``."""
        result: T = self.errand(self._limited, timeout, what, function, *args)
        return result

    def errand(self, function: Callable[..., Coroutine[Any, Any, T]], *args: Any) -> T:
        """The result of a coroutine function that does not need the client to run: then a thread does nothing else."""
        self.refuse_callbacks()
        future: Future[T] = concurrent.futures.Future()
        errand: Run | None = None
        while errand is None:
            with self._lock:
                if self._thread is None:
                    errand = self._begin_thread(None, self._run_errand, future, function, args)
                ending = self.last if self._loop is None else None
            if ending is None:
                return self.wait(function, *args)
            self.join(ending)
        return future.result()

    # ---- inside ----------------------------------------------------------------------------------------------------

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
        self, future: Future[T], function: Callable[..., Coroutine[Any, Any, T]], args: tuple[Any, ...]
    ) -> None:
        async def errand() -> T:
            try:
                return await function(*args)
            finally:
                self.client._parts.leave()

        _settle(future, asyncio.run, (errand(),))

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


def _begin(future: Future[T], calling: Coroutine[Any, Any, T]) -> None:
    """Runs a coroutine as a task, whose result the future gets, and which ends when that is cancelled."""
    task = asyncio.ensure_future(calling)
    loop = asyncio.get_running_loop()

    def done(task: asyncio.Task[T]) -> None:
        if task.cancelled():
            future.cancel()
            return
        error = task.exception()  # whoever waited may be gone
        if future.set_running_or_notify_cancel():
            if error is not None:
                future.set_exception(error)
            else:
                future.set_result(task.result())

    def cancelled(_: object) -> None:
        if future.cancelled() and not loop.is_closed():
            loop.call_soon_threadsafe(task.cancel)

    task.add_done_callback(done)
    future.add_done_callback(cancelled)


def _settle(future: Future[T], function: Callable[..., T], args: tuple[Any, ...]) -> None:
    try:
        result = function(*args)
    except BaseException as error:  # noqa: BLE001 - it is the caller's
        future.set_exception(error)
    else:
        future.set_result(result)


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
