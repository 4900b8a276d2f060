"""An opening on an event loop."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import os
import socket
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar, cast

import aiohappyeyeballs

from . import _core, _policy
from ._aside import Call, on_loop
from ._opening import Opening, Plan, Progress, Upgrade
from .connection import Connection
from .dial import Address, Dialling
from .errors import ConnectError, DialError

if TYPE_CHECKING:
    from .proxy import Proxy

__all__ = ["made", "open_on_loop"]

T = TypeVar("T")


async def open_on_loop(plan: Plan, request: _core.Request | None) -> Connection:
    """The connection that ``plan`` describes, when it is open. Raises what ``connect()`` does."""
    io = _LoopIo(plan)
    opening = Opening(plan, request, io)
    limit = asyncio.timeout(plan.open_timeout)
    try:
        async with limit:
            return cast("Connection", await opening.run())
    except TimeoutError as error:
        if not limit.expired():
            raise  # the system's
        ws = io.take_decided(opening.progress)
        if ws is not None:
            return ws
        raise opening.late() from error
    except ConnectError as error:
        opening.progress.noted(error)
        raise
    finally:
        opening.progress.give_up()


class _LoopIo:
    """See ``Io``; ``open_timeout`` cancels what waits."""

    __slots__ = ("_by_transport", "_loop", "_upgrading")

    def __init__(self, plan: Plan) -> None:
        self._loop = asyncio.get_running_loop()
        self._upgrading: asyncio.Future[None] | None = None
        if plan.driver == "loop" and not _watches_descriptors(self._loop):
            raise RuntimeError(f'{type(self._loop).__name__} watches no sockets (add_reader): use driver="protocol"')
        self._by_transport = plan.driver == "protocol" or (
            plan.driver == "auto" and not _watches_descriptors(self._loop)
        )
        if self._by_transport:
            plan.check_transport(type(self._loop).__name__)

    @property
    def takes_connecting(self) -> bool:
        return not self._by_transport

    async def wait(self, call: Call[T], within: float | None = None) -> T:
        return await on_loop(call, within)

    async def race(
        self,
        addresses: Sequence[Address],
        dialling: Dialling,
        made: Callable[[Address], socket.socket],
        failed: Callable[[Address, OSError | str], None],
    ) -> socket.socket:
        infos = [(address.family, socket.SOCK_STREAM, 0, "", cast("Any", address.sockaddr)) for address in addresses]
        try:
            return await aiohappyeyeballs.start_connection(
                infos,
                happy_eyeballs_delay=dialling.happy_eyeballs_delay,
                interleave=dialling.interleave,
                loop=cast("asyncio.AbstractEventLoop", _Noting(self._loop, failed)),
                socket_factory=lambda info: made(Address(info[0], info[4])),
            )
        except RuntimeError as error:  # uvloop's, of addresses that it does not like
            raise OSError(str(error)) from error

    async def send(self, sock: socket.socket, data: bytes) -> None:
        await self._loop.sock_sendall(sock, data)

    async def receive(self, sock: socket.socket, most: int) -> bytes:
        return await self._loop.sock_recv(sock, most)

    async def socks(self, proxy: Proxy, sock: socket.socket, host: str, port: int) -> None:
        from python_socks.async_.asyncio import Proxy as SocksProxy

        connected = cast("Any", _Connected(sock))
        socks = SocksProxy(*proxy.for_socks(), rdns=True, forward=connected, loop=self._loop)
        await socks.connect(host, port, timeout=_NO_LIMIT)

    async def answer(self, value: Any, whose: str) -> Any:  # noqa: ARG002 - said where it cannot be
        return await value if inspect.isawaitable(value) else value

    async def upgrade(self, upgrade: Upgrade, progress: Progress) -> Connection:
        try:
            make = upgrade.plan.make or made
            ws = make(self._loop, upgrade)
        except BaseException:
            upgrade.sock.close()
            raise
        if self._by_transport:
            opening = await self._start_by_transport(ws, upgrade)
        else:
            opening = self._start(ws, upgrade)
        progress.ws, self._upgrading = ws, opening
        await opening
        progress.ws = self._upgrading = None
        return ws

    def _start(self, ws: Connection, upgrade: Upgrade) -> asyncio.Future[None]:
        fd = upgrade.sock.detach()
        try:
            return ws._start(fd, *upgrade.asked)
        except BaseException:
            if ws.fileno() < 0:
                os.close(fd)
            raise

    async def _start_by_transport(self, ws: Connection, upgrade: Upgrade) -> asyncio.Future[None]:
        # The one that was given is no longer its owner's, as with the other driver.
        given = upgrade.sock
        sock = socket.socket(given.family, given.type, given.proto, fileno=given.detach())
        create = (
            self._loop.create_unix_connection
            if sock.family == getattr(socket, "AF_UNIX", None)
            else self._loop.create_connection
        )
        try:
            nodelay = _nodelay(sock)
            transport, _ = await create(lambda: _Protocol(ws), sock=sock)
            if nodelay is not None:
                # Transports set it by themselves, wanted or not.
                with contextlib.suppress(OSError):  # a socket that is gone says so to the next read
                    transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, nodelay)
        except BaseException:
            sock.close()
            raise
        try:
            fd = transport.get_extra_info("socket").fileno()
            if fd < 0:
                raise DialError("the connection was lost before the upgrade", uri=upgrade.shown, phase="tcp")
            return ws._start(fd, *upgrade.asked)
        except BaseException:
            transport.abort()
            raise

    def take_decided(self, progress: Progress) -> Connection | None:
        """The connection that was opened, or its failure, in the very turn in which the time was over.

        The loop was busy then, not the server late.
        """
        upgrading, ws = self._upgrading, progress.ws
        if upgrading is None or ws is None or not upgrading.done() or upgrading.cancelled():
            return None
        upgrading.result()
        progress.ws = None
        return cast("Connection", ws)


def made(loop: asyncio.AbstractEventLoop, upgrade: Upgrade) -> Connection:
    """A connection of our own class, which is not open yet."""
    return Connection(loop, _policy, upgrade.plan.settings)


class _Protocol(_core.Protocol, asyncio.BufferedProtocol):
    """What asyncio's transport tells a connection, for loops that watch no descriptors."""

    __slots__ = ()


def _nodelay(sock: socket.socket) -> int | None:
    if sock.family not in (socket.AF_INET, socket.AF_INET6):
        return None
    return sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


def _watches_descriptors(loop: asyncio.AbstractEventLoop) -> bool:
    """Whether it has ``add_reader``: asyncio's own on Windows, by default, does not."""
    return type(loop).add_reader is not asyncio.AbstractEventLoop.add_reader


class _Noting:
    """The loop, as aiohappyeyeballs asks for it: that names no address in its errors."""

    def __init__(self, loop: asyncio.AbstractEventLoop, failed: Callable[[Address, OSError | str], None]) -> None:
        self._loop = loop
        self._failed = failed

    async def sock_connect(self, sock: socket.socket, sockaddr: tuple[Any, ...]) -> None:
        try:
            await self._loop.sock_connect(sock, sockaddr)
        except (OSError, RuntimeError) as error:
            self._failed(Address(sock.family, sockaddr), error if isinstance(error, OSError) else str(error))
            raise


class _Connected:
    """What python-socks takes for a proxy in front of the proxy: the socket that is connected already."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock

    async def connect(self, **_: Any) -> socket.socket:
        return self._sock


_NO_LIMIT = 1e7
"""Seconds; open_timeout ends it, and python-socks has no way to say that nothing does."""
