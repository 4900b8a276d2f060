"""Blocking connections for tests that are written for a loop: each call runs in a thread, and is awaited."""

import asyncio
import concurrent.futures
import contextlib
from unittest import mock

import fastws
import fastws.sync


@contextlib.contextmanager
def instead_of_loops():
    """`fastws.connect` and `fastws.unix_connect` are those of `fastws.sync` meanwhile."""
    # One thread, whose own descriptors are there from the first call on.
    with concurrent.futures.ThreadPoolExecutor(1) as thread:

        def opening(connect):
            return lambda *arguments, **options: Opening(thread, connect, arguments, options)

        with (
            mock.patch.object(fastws, "connect", opening(fastws.sync.connect)),
            mock.patch.object(fastws, "unix_connect", opening(fastws.sync.unix_connect)),
        ):
            yield


class Opening:
    """As what `fastws.connect` returns."""

    def __init__(self, thread, connect, arguments, options):
        self._thread = thread
        self._make = lambda: connect(*arguments, **options)

    async def _open(self):
        return Awaited(self._thread, await _in(self._thread, self._make))

    def __await__(self):
        return self._open().__await__()

    async def __aenter__(self):
        self._ws = await self
        return self._ws

    async def __aexit__(self, *raised):
        await _in(self._thread, lambda: self._ws._ws.__exit__(*raised))


class Awaited:
    """A connection whose calls that wait are awaited."""

    def __init__(self, thread, ws):
        self._thread, self._ws = thread, ws

    def __getattr__(self, name):
        found = getattr(self._ws, name)
        if name not in ("recv", "_recv_piece", "send", "close", "wait_closed"):
            return found
        return lambda *arguments, **options: _in(self._thread, lambda: found(*arguments, **options))


async def _in(thread, call):
    return await asyncio.get_running_loop().run_in_executor(thread, call)
