"""Running: what a client of one line and one of several do alike, in the background and when they are over."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from types import TracebackType
from typing import TYPE_CHECKING, NoReturn, Self

from ._interrupt import ended, tell
from .errors import AlreadyRunning, ClientStopped, NotConnected, tell_unsent

if TYPE_CHECKING:
    from ._options import Seconds

__all__ = ["Running"]


class Running(ABC):
    """What runs until it is shut down: by ``run()``, or in the background by ``async with``."""

    __slots__ = ("_background", "_cause", "_is_running", "_over", "_ready_waiters")

    def __init__(self) -> None:
        self._background: asyncio.Task[None] | None = None
        self._cause: BaseException | None = None
        self._is_running = False
        self._over: asyncio.Future[None] | None = None
        self._ready_waiters: tuple[asyncio.Future[None], ...] = ()

    @property
    @abstractmethod
    def is_ready(self) -> bool:
        """Whether it can be used."""

    @property
    @abstractmethod
    def _name(self) -> str:
        """What it is called in errors."""

    @abstractmethod
    async def run(self) -> None:
        """Runs until ``shutdown``, or raises the cause of any other end."""

    @abstractmethod
    async def shutdown(self, timeout: Seconds = None) -> None:  # noqa: ASYNC109 - it has an end in any case
        """Ends it."""

    @property
    def is_running(self) -> bool:
        """Whether ``run`` is under way."""
        return self._is_running

    async def __aenter__(self) -> Self:
        """Runs in the background; returns at the first Ready, or raises what makes that impossible."""
        if self._is_running or self._background is not None:
            raise AlreadyRunning(f"{self._name}: this client runs already")
        self._background = asyncio.get_running_loop().create_task(self.run(), name=f"fastws client {self._name}")
        try:
            await self.wait_ready()
        except BaseException as error:
            await self._stop_background_for(error)
            raise
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        if exc is None:
            await self._stop_background()
        else:
            await self._stop_background_for(exc)

    if not TYPE_CHECKING:  # to which it is neither

        def __enter__(self) -> NoReturn:
            raise TypeError(f"{type(self).__name__} is asynchronous: write `async with client:`")

        __exit__ = __enter__

        def __await__(self) -> NoReturn:
            raise TypeError(
                f"{type(self).__name__} is not awaited: write `async with client:`, or `await client.run()` to run it"
            )

    async def _stop_background_for(self, error: BaseException) -> None:
        """Stops it because of ``error``, which is raised, whatever that ends with, and says what was not sent."""
        try:
            await self._stop_background()
        except Exception as end:  # noqa: BLE001 - it may be the error itself
            tell_unsent(error, getattr(end, "unsent", ()))

    async def _stop_background(self) -> None:
        task, self._background = self._background, None
        if task is None:
            return
        try:
            if not task.done():
                await self.shutdown()
        finally:
            await ended([task])
        if task.cancelled():  # from elsewhere: it is not us who are cancelled
            raise self._cause or ClientStopped(f"{self._name}: the client was cancelled")
        task.result()

    async def wait_ready(self) -> None:
        """Waits for the application handshake. Bound it by ``asyncio.timeout``.

        Raises:
            ClientError, ConnectError, …: The client is over; the cause.
            NotConnected: It does not run.
        """
        if not self._is_running:
            await asyncio.sleep(0)  # a task of run() that was made just now begins
        if self.is_ready:
            return
        if not self._is_running:
            raise self._cause or NotConnected(
                f"{self._name}: the client does not run; use `async with`, or a task of run()"
            )
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._ready_waiters += (future,)
        try:
            await future
        finally:
            self._ready_waiters = tuple(waiter for waiter in self._ready_waiters if waiter is not future)

    wait_connected = wait_ready

    def _tell_waiters(self, error: BaseException | None = None) -> None:
        waiters, self._ready_waiters = self._ready_waiters, ()
        tell(waiters, error)

    def _until_over(self) -> asyncio.Future[None]:
        """A future that is done when the run is over; cancelling it changes nothing."""
        if self._over is None:
            self._over = asyncio.get_running_loop().create_future()
        return asyncio.shield(self._over)

    def _conclude(self, error: BaseException | None) -> None:
        """Why it is over, for those who use it from now on."""
        if isinstance(error, Exception):
            self._cause = error
        else:
            # What cancelled or ended the run is not what others get who only use the client.
            how = "cancelled" if error is not None else "shut down"
            self._cause = ClientStopped(f"{self._name}: the client was {how}")

    def _tell_over(self) -> None:
        """Whoever waits for it to be ready, or to be over, goes on."""
        self._tell_waiters(self._cause)
        over, self._over = self._over, None
        if over is not None:
            tell((over,))
