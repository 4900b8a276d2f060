"""What a session's ``ClientTimeout`` gives to an opening, phase by phase."""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import TYPE_CHECKING, Any

from ._aiohttp_types import ConnectionTimeoutError, SocketTimeoutError

if TYPE_CHECKING:
    from fastws._opening import Progress

__all__ = ["Limits"]


class Limits:
    """Ends the opening inside of ``async with`` where a phase of it takes too long. ``total`` is another's affair.

    Args:
        timeout: A ``ClientTimeout``: ``connect`` is for everything before the request, ``sock_connect`` for TCP and
            TLS, or for each step by a proxy, ``sock_read`` for the answer; each once more where a redirect leads.
        url: Who is waited for.
        since: When ``connect`` began, in the event loop's time.
    """

    def __init__(self, timeout: Any, url: object, since: float) -> None:
        self._timeout = timeout
        self._url = url
        self._since = since
        self._loop = asyncio.get_running_loop()
        self._limit = asyncio.timeout(None)
        self._error: Exception | None = None
        self._leg = -1
        self._asked_since: float | None = None
        self._timers: dict[str, asyncio.TimerHandle] = {}

    async def __aenter__(self) -> None:
        await self._limit.__aenter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for timer in self._timers.values():
            timer.cancel()
        try:
            await self._limit.__aexit__(kind, error, traceback)
        except TimeoutError as late:
            raise self._error or late from late

    def note(self, progress: Progress) -> None:
        """Something begins: see ``Progress.note``."""
        leg = len(progress.answers)
        if leg != self._leg:
            self._begin(progress, leg)
        if progress.phase in ("proxy", "tcp", "upgrade"):
            self._connect_within("sock_connect", progress, self._loop.time())

    def _begin(self, progress: Progress, leg: int) -> None:
        now = self._loop.time()
        self._connect_within("connect", progress, now if leg else self._since)
        self._leg, self._asked_since = leg, None
        if self._timeout.sock_read:
            self._at("sock_read", now, self._read, progress)

    def _at(self, name: str, when: float, call: Any, *arguments: Any) -> None:
        if name in self._timers:
            self._timers[name].cancel()
        self._timers[name] = self._loop.call_at(when, call, *arguments)

    def _connect_within(self, name: str, progress: Progress, since: float) -> None:
        seconds = getattr(self._timeout, name)
        if seconds:
            self._at(name, since + seconds, self._connect, name, seconds, progress)

    def _connect(self, name: str, seconds: float, progress: Progress) -> None:
        if _phase(progress) not in ("upgrade", "open", "closed"):
            what = f"Connection timeout to host {self._url}, {name}={seconds:g}: {progress.under_way}"
            self._end(ConnectionTimeoutError(what))

    def _read(self, progress: Progress) -> None:
        seconds, now = self._timeout.sock_read, self._loop.time()
        if _phase(progress) != "upgrade":
            # Nobody tells when the request has left.
            self._at("sock_read", now + seconds / _LOOKS, self._read, progress)
        elif self._asked_since is None:
            self._asked_since = now
            self._at("sock_read", now + seconds, self._read, progress)
        else:
            what = f"Timeout on reading data from socket, sock_read={seconds:g}: {progress.under_way}"
            self._end(SocketTimeoutError(what))

    def _end(self, error: Exception) -> None:
        if self._error is None:
            self._error = error
            self._limit.reschedule(self._loop.time())


def _phase(progress: Progress) -> str:
    """What is under way, or how it ended."""
    return progress.phase if progress.ws is None else progress.ws._phase


_LOOKS = 20
"""How often in ``sock_read`` seconds is looked whether it begins: it is so much longer at most."""
