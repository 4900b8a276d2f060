"""One opening: dialling, proxies, the upgrade, and what follows where the server sends us elsewhere."""

from __future__ import annotations

import asyncio
import inspect
import os
import socket
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from . import _core, _options, _policy, dial, proxy, redirects
from .connection import Connection
from .errors import ConnectError, DialError, InvalidStatus, OpenTimeout, Phase, SocketOptionError
from .http import HeadersLike, Response
from .listener import Callbacks
from .proxy import Proxy
from .target import Target
from .tls import TlsConfig, context_for
from .tunnel import Tunnel

__all__ = ["OnAuthChallenge", "Opening", "Plan"]

OnAuthChallenge = Callable[[Response], HeadersLike | Awaitable[HeadersLike | None] | None]


@dataclass(slots=True, kw_only=True)
class Plan:
    """The arguments of ``connect()``, checked. It stays as it is made: not frozen, since that makes it slow to make."""

    target: Target
    host: str
    """Where to connect to, as ``port``: the URI's unless it was told otherwise."""
    port: int
    sock: socket.socket | None
    tls: TlsConfig | None
    headers: Sequence[tuple[str, str]]
    subprotocols: list[str]
    origin: str | None
    user_agent: str | None
    settings: _core.Settings
    dialling: dial.Dialling
    proxy: proxy.Choice
    proxy_headers: Sequence[tuple[str, str]]
    proxy_tls: TlsConfig
    max_redirects: int
    on_auth_challenge: OnAuthChallenge | None
    callbacks: Callbacks | None
    open_timeout: float | None

    def first(self) -> Leg:
        """What is tried first."""
        return Leg(self.target, self.host, self.port, list(self.headers), self.tls)

    def request(self, leg: Leg) -> _core.Request:
        """The upgrade request of ``leg``. Raises ValueError."""
        offer = self.settings.offer
        extensions = [] if offer is None else [offer]
        return _core.Request(leg.target.uri, leg.headers, self.subprotocols, self.origin, self.user_agent, extensions)


@dataclass(slots=True)
class Leg:
    """One request for an upgrade: to whom, by which address, with which header fields. It stays as it is made."""

    target: Target
    host: str
    port: int
    headers: list[tuple[str, str]]
    tls: TlsConfig | None
    answered: frozenset[str] = frozenset()
    """The names (lower case) of what was added for an authentication challenge."""

    def to(self, target: Target) -> Leg:
        """The same to where a redirect leads. What is this origin's own stays behind if that is another one."""
        if target.origin == self.target.origin:
            return replace(self, target=target)
        tls = self.tls if target.secure else None
        if target.secure:
            tls = replace(tls if tls is not None else TlsConfig(), server_hostname=None)
        headers = redirects.without_secrets(self.headers, self.answered)
        return Leg(target, target.host, target.port, headers, tls)

    def answering(self, fields: list[tuple[str, str]]) -> Leg:
        """The same with these fields instead of those of their names."""
        names = frozenset(name.lower() for name, _ in fields)
        kept = [(name, value) for name, value in self.headers if name.lower() not in names]
        return replace(self, headers=kept + fields, answered=names)


class Opening:
    """Opens a connection, once.

    Args:
        plan: How.
        request: The upgrade request of the plan's first leg, if one is made already.
    """

    __slots__ = ("_loop", "_plan", "_progress", "_request")

    def __init__(self, plan: Plan, request: _core.Request | None) -> None:
        self._plan = plan
        self._request = request
        self._progress = _Progress()
        self._loop = asyncio.get_running_loop()

    async def run(self) -> Connection:
        """The open connection. Raises what ``connect()`` does."""
        progress, shown = self._progress, self._plan.target.shown
        limit = asyncio.timeout(self._plan.open_timeout)
        try:
            async with limit:
                return await self._legs()
        except TimeoutError as error:
            if not limit.expired():
                raise  # the system's
            if progress.is_decided():
                # In the very turn in which the time was over: the loop was busy, not the server late.
                assert progress.opening is not None
                progress.opening.result()
                assert progress.ws is not None
                ws, progress.ws = progress.ws, None
                return ws
            late = OpenTimeout(
                f"{shown}: not open within {self._plan.open_timeout:g} s; {progress.under_way}",
                uri=shown,
                phase=progress.phase,
            )
            raise progress.noted(late) from error
        except ConnectError as error:
            progress.noted(error)
            raise
        finally:
            progress.give_up()

    async def _legs(self) -> Connection:
        leg, chain, was_challenged = self._plan.first(), [self._plan.target], False
        while True:
            try:
                return await self._leg(leg)
            except InvalidStatus as error:
                answer = error.response
                if self._plan.sock is not None:
                    raise  # it is used up
                if redirects.is_redirect(answer) and self._plan.max_redirects:
                    target = redirects.follow(leg.target, answer, chain, self._plan.max_redirects)
                    chain.append(target)
                    self._progress.chain = chain
                    leg = leg.to(target)
                elif answer.status_code == 401 and not was_challenged and leg.target.origin == chain[0].origin:
                    was_challenged = True
                    self._progress.give_up()
                    fields = await self._challenged(answer)
                    if fields is None:
                        raise
                    leg = leg.answering(fields)
                else:
                    raise
                self._progress.give_up()

    async def _challenged(self, answer: Response) -> list[tuple[str, str]] | None:
        """What ``on_auth_challenge`` has to say to a 401, or None."""
        if self._plan.on_auth_challenge is None:
            return None
        self._progress.note("upgrade", "on_auth_challenge had not returned")
        fields: Any = self._plan.on_auth_challenge(answer)
        if inspect.isawaitable(fields):
            fields = await fields
        return None if fields is None else _options.header_fields(fields, "what on_auth_challenge returns")

    async def _leg(self, leg: Leg) -> Connection:
        context, self._progress.proxy = None, None
        if leg.tls is not None:
            self._progress.note("tls", "the trusted certificates were being loaded")
            context = await context_for(leg.tls)
        self._progress.note("dns")
        if self._plan.sock is not None:
            return await self._attempt(self._own(self._plan.sock), leg, context)
        if leg.target.unix is not None:
            address = dial.Address(socket.AF_UNIX, leg.target.unix)
            return await self._first([address], leg, context)
        if self._plan.proxy is not None:
            self._progress.note("proxy", "the function given as proxy= had not returned")
            chosen = await proxy.choose(self._plan.proxy, leg.target)
            if chosen is not None:
                return await self._by(chosen, leg, context)
            self._progress.note("dns")
        addresses = await dial.resolve(self._loop, leg.host, leg.port, leg.target.shown, self._plan.dialling.family)
        return await self._first(addresses, leg, context)

    def _own(self, sock: socket.socket) -> socket.socket:
        """The socket that was given, ready to be taken over."""
        if sock.fileno() < 0:
            raise RuntimeError("sock= was taken over by an earlier attempt; a connection needs a socket of its own")
        sock.setblocking(False)
        try:
            dial.configure(sock, self._plan.dialling.options, self._plan.target.shown)
        except SocketOptionError:
            sock.close()
            raise
        return sock

    async def _first(self, addresses: list[dial.Address], leg: Leg, context: _core.TlsContext | None) -> Connection:
        """A connection to the first of ``addresses`` that answers."""
        plan, shown, tried = self._plan, leg.target.shown, self._progress.tried
        local: dial.Local = {}
        if plan.dialling.local_addr is not None and leg.target.unix is None:
            local = await dial.local_addresses(self._loop, plan.dialling, shown)
        self._progress.note("tcp")
        if len(addresses) > 1:
            sock = await dial.connect(self._loop, addresses, plan.dialling, shown, local=local, tried=tried)
            return await self._attempt(sock, leg, context)
        # The usual case needs nobody to choose: the native side waits for the connection, too.
        [address] = addresses
        try:
            sock = dial.start(address, plan.dialling.options, shown, local)
            tried[dial.name(address)] = "no answer yet"
            return await self._attempt(sock, leg, context, address)
        except ConnectError:
            raise
        except OSError as error:
            raise dial.no_connection(shown, {dial.name(address): dial.reason(error)}) from error

    async def _by(self, chosen: Proxy, leg: Leg, context: _core.TlsContext | None) -> Connection:
        """A connection by way of a proxy."""
        progress = self._progress
        progress.proxy = chosen

        def tell(doing: str) -> None:
            progress.note("proxy", f"the proxy {chosen.shown} {doing}")

        headers = list(self._plan.proxy_headers)
        if self._plan.user_agent is not None and not any(name.lower() == "user-agent" for name, _ in headers):
            headers.insert(0, ("User-Agent", self._plan.user_agent))
        shown, tls = leg.target.shown, None
        if chosen.scheme == "https":
            tell("was to be reached by TLS, and the trusted certificates were being loaded")
            name = self._plan.proxy_tls.server_hostname or chosen.host
            tls = (await context_for(self._plan.proxy_tls), name)
        tunnel = Tunnel(self._loop, chosen, self._plan.dialling, headers, shown, tell, tls)
        sock, outer = await tunnel.open(leg.host, leg.port)
        progress.note("upgrade")
        return await self._attempt(sock, leg, context, outer=outer)

    async def _attempt(
        self,
        sock: socket.socket,
        leg: Leg,
        context: _core.TlsContext | None,
        address: dial.Address | None = None,
        outer: _core.TlsTunnel | None = None,
    ) -> Connection:
        """The upgrade on ``sock``, which is taken over, inside of a proxy's TLS if there is one."""
        plan, progress, shown = self._plan, self._progress, leg.target.shown
        name = (leg.tls.server_hostname or leg.target.host) if leg.tls is not None else ""
        try:
            request, self._request = self._request or plan.request(leg), None
            ws = Connection(self._loop, _policy, plan.settings)
            if outer is not None and context is not None:
                outer.enter(context, name)
        except BaseException:
            sock.close()
            raise
        fd = sock.detach()
        try:
            opening = ws._start(fd, request, shown, outer or context, name, plan.callbacks)
        except BaseException:
            if ws.fileno() < 0:
                os.close(fd)
            raise
        progress.ws, progress.opening = ws, opening
        try:
            await opening
        except DialError as error:
            if address is None:
                raise DialError(f"{shown}: {error}", uri=shown, phase="tcp") from None
            raise dial.no_connection(shown, {dial.name(address): str(error)}) from None
        progress.ws = progress.opening = None
        return ws


class _Progress:
    """How far an opening has come, and what is to be given up if it does not end well."""

    __slots__ = ("_doing", "_phase", "chain", "opening", "proxy", "tried", "ws")

    def __init__(self) -> None:
        self._phase: Phase = "dns"
        self._doing: str | None = None
        self.tried: dict[str, str] = {}
        self.chain: list[Target] = []
        self.proxy: Proxy | None = None
        self.ws: Connection | None = None
        self.opening: asyncio.Future[None] | None = None

    def note(self, phase: Phase, doing: str | None = None) -> None:
        """What is under way from now on; ``doing`` is it for people, unless the phase says it."""
        self._phase, self._doing = phase, doing

    def is_decided(self) -> bool:
        """Whether the opening came to its end, though nobody was told yet."""
        return self.opening is not None and self.opening.done() and not self.opening.cancelled()

    @property
    def phase(self) -> Phase:
        """What is under way."""
        return self.ws._phase if self.ws is not None and self.ws._phase in _UNDER_WAY else self._phase

    @property
    def under_way(self) -> str:
        """The same for people."""
        if self._doing is not None:
            return self._doing
        said = _UNDER_WAY[self.phase]
        return f"{said}: {dial.attempts(self.tried)}" if self.phase == "tcp" and self.tried else said

    def noted(self, error: ConnectError) -> ConnectError:
        """``error`` with notes of the way that it came."""
        if self.proxy is not None and error.phase != "proxy":
            error.context(f"by way of the proxy {self.proxy.shown}")
        if len(self.chain) > 1:
            error.context(f"redirected: {' → '.join(target.shown for target in self.chain)}")
        return error

    def give_up(self) -> None:
        """Closes the connection of an attempt that did not end well."""
        ws, self.ws, self.opening, self.tried = self.ws, None, None, {}
        if ws is not None:
            self._phase = ws._phase if ws._phase in _UNDER_WAY else self._phase
            ws._abort("given up before it was open")


_UNDER_WAY: dict[Phase, str] = {
    "dns": "the host's name was being looked up",
    "tcp": "the TCP connection was being made",
    "tls": "the TLS handshake was under way",
    "upgrade": "the server had not answered the upgrade request",
}
