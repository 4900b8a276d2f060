"""An opening in the thread that calls."""

from __future__ import annotations

import errno
import inspect
import itertools
import math
import os
import selectors
import socket
import time
from collections.abc import Callable, Coroutine, Sequence
from typing import TYPE_CHECKING, Any, TypeVar, cast

from fastws import dial
from fastws._aside import Call, TooLate, in_thread
from fastws._opening import Opening, Plan, Progress, Upgrade
from fastws.errors import ConnectError

from . import _policy
from .connection import Connection

if TYPE_CHECKING:
    from fastws import _core
    from fastws.dial import Address, Dialling
    from fastws.proxy import Proxy

__all__ = ["finish", "open_in_thread"]

T = TypeVar("T")


def open_in_thread(
    plan: Plan,
    request: _core.Request | None,
    *,
    background: bool,
    make: Callable[[Upgrade], Connection] | None = None,
    tcp_timeout: float | None = None,
) -> Connection:
    """The connection that ``plan`` describes, open. Raises what ``connect()`` does.

    Args:
        plan: How.
        request: The upgrade request of its first leg, if one is made already.
        background: Whether a helper reads while no call waits.
        make: Makes the connection, with a class, policy and settings of its own; by default those of ``fastws.sync``.
        tcp_timeout: Seconds that an address may take to answer; None for no limit but that of the whole.
    """
    if make is None:

        def make(upgrade: Upgrade) -> Connection:
            return Connection(_policy, upgrade.plan.settings, background)

    opening = Opening(plan, request, _BlockingIo(plan.open_timeout, make, tcp_timeout))
    try:
        return cast("Connection", finish(opening.run()))
    except _Late as error:
        raise opening.late() from error
    except ConnectError as error:
        opening.progress.noted(error)
        raise
    finally:
        opening.progress.give_up()


def finish(coroutine: Coroutine[Any, Any, T]) -> T:
    """Runs a coroutine that blocks and never suspends."""
    try:
        coroutine.send(None)
    except StopIteration as done:
        return cast("T", done.value)
    coroutine.close()
    raise AssertionError("an opening without an event loop waited for one")


class _Late(Exception):
    """The time is over. No TimeoutError: the system has such errors of its own."""


class _BlockingIo:
    """See ``Io``. Everything raises ``_Late`` when ``timeout`` seconds are over."""

    __slots__ = ("_deadline", "_make", "_tcp_timeout")

    def __init__(
        self, timeout: float | None, make: Callable[[Upgrade], Connection], tcp_timeout: float | None = None
    ) -> None:
        self._deadline = None if timeout is None else time.monotonic() + timeout
        self._make = make
        self._tcp_timeout = tcp_timeout

    def _left(self) -> float | None:
        if self._deadline is None:
            return None
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise _Late
        return left

    @property
    def takes_connecting(self) -> bool:
        return self._tcp_timeout is None

    async def wait(self, call: Call[T], within: float | None = None) -> T:
        until = None if within is None else time.monotonic() + within
        try:
            return in_thread(call, self._until(until))
        except TooLate:
            self._left()
            raise

    async def race(
        self,
        addresses: Sequence[Address],
        dialling: Dialling,
        made: Callable[[Address], socket.socket],
        failed: Callable[[Address, OSError | str], None],
    ) -> socket.socket:
        waiting = _interleaved(addresses, dialling.interleave)
        last: OSError | None = None
        with selectors.DefaultSelector() as selector:
            try:
                while waiting or selector.get_map():
                    if waiting:
                        address = waiting.pop(0)
                        try:
                            sock = dial.begin(made(address), address)
                            selector.register(sock, selectors.EVENT_WRITE, (address, self._late()))
                        except OSError as error:
                            failed(address, error)
                            last = error
                            continue
                    after = self._next_attempt(dialling, bool(waiting))
                    while selector.get_map():
                        moments = [moment for moment in (after, self._earliest(selector)) if moment is not None]
                        ready = {key for key, _ in selector.select(self._until(min(moments, default=None)))}
                        self._left()
                        late = {key for key in selector.get_map().values() if key.data[1] <= time.monotonic()} - ready
                        for key in ready | late:
                            sock, address = cast("socket.socket", key.fileobj), key.data[0]
                            selector.unregister(sock)
                            code = errno.ETIMEDOUT
                            if key in ready:
                                code = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
                            if code == 0:
                                return sock
                            sock.close()
                            last = OSError(code, os.strerror(code))
                            failed(address, last)
                        if waiting and (ready or late or (after is not None and time.monotonic() >= after)):
                            break
            finally:
                for key in selector.get_map().values():
                    cast("socket.socket", key.fileobj).close()
        raise last if last is not None else OSError("it has no address")

    def _late(self) -> float:
        """When an attempt that begins now is given up."""
        return math.inf if self._tcp_timeout is None else time.monotonic() + self._tcp_timeout

    def _earliest(self, selector: selectors.BaseSelector) -> float | None:
        """When the first of the attempts under way is given up."""
        if self._tcp_timeout is None:
            return None
        moments: list[float] = [key.data[1] for key in selector.get_map().values()]
        return min(moments, default=None)

    def _next_attempt(self, dialling: Dialling, has_more: bool) -> float | None:
        """When the next address is tried beside those that have not answered; None for not before one has failed."""
        if not has_more or dialling.happy_eyeballs_delay is None:
            return None
        return time.monotonic() + dialling.happy_eyeballs_delay

    def _until(self, moment: float | None) -> float | None:
        """Seconds to wait at most, for an attempt that is due then."""
        left = self._left()
        if moment is None:
            return left
        wait = max(0.0, moment - time.monotonic())
        return wait if left is None else min(wait, left)

    async def send(self, sock: socket.socket, data: bytes) -> None:
        self._timed(sock, lambda: sock.sendall(data))

    async def receive(self, sock: socket.socket, most: int) -> bytes:
        return self._timed(sock, lambda: sock.recv(most))

    def _timed(self, sock: socket.socket, act: Callable[[], T]) -> T:
        sock.settimeout(self._left())
        try:
            return act()
        except TimeoutError as error:
            if error.errno is not None:
                raise  # the system's
            raise _Late from error
        finally:
            sock.setblocking(False)

    async def socks(self, proxy: Proxy, sock: socket.socket, host: str, port: int) -> None:
        from python_socks.sync import Proxy as SocksProxy

        connected = cast("Any", _Connected(self, sock))
        SocksProxy(*proxy.for_socks(), rdns=True, forward=connected).connect(host, port)

    async def answer(self, value: Any, whose: str) -> Any:
        if inspect.isawaitable(value):
            if inspect.iscoroutine(value):
                value.close()
            raise TypeError(f"{whose} is async, and there is no event loop: give fastws.sync a plain function")
        return value

    async def upgrade(self, upgrade: Upgrade, progress: Progress) -> Connection:
        try:
            ws = self._make(upgrade)
        except BaseException:
            upgrade.sock.close()
            raise
        fd = upgrade.sock.detach()
        progress.ws = ws
        try:
            is_open = ws._open(fd, upgrade.request, upgrade.shown, upgrade.tls, upgrade.server_name, self._left())
        except BaseException:
            if ws._phase == "new":
                os.close(fd)
            raise
        if not is_open:
            raise _Late
        progress.ws = None
        return ws


class _Connected:
    """For python-socks a proxy in front of the proxy, and the socket that is connected to it, whose waits end."""

    def __init__(self, io: _BlockingIo, sock: socket.socket) -> None:
        self._io = io
        self._sock = sock

    def connect(self, **_: Any) -> Any:
        return self

    def sendall(self, data: bytes) -> None:
        finish(self._io.send(self._sock, data))

    def recv(self, most: int) -> bytes:
        return finish(self._io.receive(self._sock, most))

    def close(self) -> None:
        self._sock.close()


def _interleaved(addresses: Sequence[Address], first: int) -> list[Address]:
    """Kinds in turn (RFC 8305 §4), after ``first`` addresses of the first kind; 0 keeps the order."""
    if not first:
        return list(addresses)
    kinds: dict[int, list[Address]] = {}
    for address in addresses:
        kinds.setdefault(address.family, []).append(address)
    ahead = next(iter(kinds.values()), [])[: first - 1]
    turns = itertools.zip_longest(*([a for a in kind if a not in ahead] for kind in kinds.values()))
    return ahead + [address for turn in turns for address in turn if address is not None]
