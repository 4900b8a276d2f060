"""One opening: dialling, proxies, the upgrade, and what follows where the server sends us elsewhere."""

from __future__ import annotations

import socket
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from . import _core, _options, dial, proxy, redirects
from ._openssl import Context, Layered, Secured, Stream, ToProxy
from .cookies import Cookies
from .errors import ConnectError, DialError, InvalidStatus, OpenTimeout, Phase, SocketOptionError
from .http import HeadersLike, Response
from .listener import Callbacks
from .proxy import Proxy
from .target import Target
from .tls import Security
from .tunnel import Tunnel

if TYPE_CHECKING:
    from ._io import Io
    from .connection import Connection
    from .sync.connection import Connection as BlockingConnection

    Native = Connection | BlockingConnection

__all__ = ["Leg", "Make", "OnAuthChallenge", "Opening", "Plan", "Progress", "Upgrade"]

TlsContext = _core.TlsContext | Context

Driver = Literal["auto", "loop", "protocol"]

Make = Callable[[Any, "Upgrade"], Any]
"""Makes the connection for an upgrade; the first argument is its event loop."""

OnAuthChallenge = Callable[[Response], HeadersLike | Awaitable[HeadersLike | None] | None]


@dataclass(slots=True, kw_only=True)
class Plan:
    """The arguments of ``connect()``, checked. It stays as it is made: not frozen, since that makes it slow to make."""

    target: Target
    host: str
    """Where to connect to, as ``port``: the URI's unless it was told otherwise."""
    port: int
    sock: socket.socket | None
    tls: Security | None
    headers: Sequence[tuple[str, str]]
    subprotocols: list[str]
    origin: str | None
    user_agent: str | None
    settings: _core.Settings
    dialling: dial.Dialling
    proxy: proxy.Choice
    proxy_headers: Sequence[tuple[str, str]]
    proxy_tls: Security
    max_redirects: int
    on_auth_challenge: OnAuthChallenge | None
    callbacks: Callbacks | None
    open_timeout: float | None
    driver: Driver
    polls: bool
    """It is to look for messages instead of sleeping."""
    kernel_timestamps: bool
    proxy_sock: socket.socket | None = None
    """A socket that is connected to the proxy, for the first way through it; it is taken over."""
    make: Make | None = None
    """What a drop-in has instead of our own class."""
    told: Callable[[Progress], None] | None = None
    """Hears of what begins, as ``Progress.note`` does."""
    extensions: Sequence[str] | None = None
    """What is offered, as in the header, by who judges the answer; None: what the settings do themselves."""
    latin_1: bool = False
    """A byte of a header value, of the answer's too, is a character; else they are UTF-8 where they can be."""
    order: Sequence[str] = ()
    """Names of header fields that come first in the request, in this order."""

    def check_transport(self, loop: str) -> None:
        """Raises ValueError for what needs the socket itself, where ``loop`` keeps it in a transport."""
        for name, wanted in (("busy_poll", self.polls), ("kernel_timestamps", self.kernel_timestamps)):
            if wanted:
                raise ValueError(f"{name} needs the loop driver, which reads the socket; this is a transport of {loop}")

    def first(self) -> Leg:
        """What is tried first."""
        return Leg(self.target, self.host, self.port, list(self.headers), self.tls)

    def request(self, leg: Leg, cookies: Cookies | None = None) -> _core.Request:
        """The upgrade request of ``leg``, with what was set on the way to it. Raises ValueError."""
        offer = self.settings.offer
        judged = self.extensions is not None
        extensions = list(self.extensions or ()) if judged or offer is None else [offer]
        headers = leg.headers
        if cookies is not None:
            headers = cookies.added_to(headers, leg.target, given_hold="cookie" in leg.answered)
        return _core.Request(
            leg.target.uri,
            headers,
            self.subprotocols,
            self.origin,
            self.user_agent,
            extensions,
            any_extension=judged,
            latin_1=self.latin_1,
            order=list(self.order),
        )


@dataclass(slots=True)
class Leg:
    """One request for an upgrade: to whom, by which address, with which header fields. It stays as it is made."""

    target: Target
    host: str
    port: int
    headers: list[tuple[str, str]]
    tls: Security | None
    answered: frozenset[str] = frozenset()
    """The names (lower case) of what was added for an authentication challenge."""

    def to(self, target: Target) -> Leg:
        """The same to where a redirect leads. What is this origin's own stays behind if that is another one."""
        if target.origin == self.target.origin:
            return replace(self, target=target)
        tls = None
        if target.secure:
            tls = self.tls.elsewhere() if self.tls is not None else _options.security(None, None, secure=True)
        headers = redirects.without_secrets(self.headers, self.answered)
        return Leg(target, target.host, target.port, headers, tls)

    def answering(self, fields: list[tuple[str, str]]) -> Leg:
        """The same with these fields instead of those of their names."""
        names = frozenset(name.lower() for name, _ in fields)
        kept = [(name, value) for name, value in self.headers if name.lower() not in names]
        return replace(self, headers=kept + fields, answered=names)


class Upgrade(NamedTuple):
    """What the native side is given: a socket, which is taken over, and what is asked for on it."""

    plan: Plan
    sock: socket.socket
    request: _core.Request
    shown: str
    """The URI for people."""
    tls: _core.TlsContext | Secured | None
    server_name: str

    @property
    def asked(self) -> tuple[_core.Request, str, _core.TlsContext | Secured | None, str, Callbacks | None]:
        """What is asked for, as the native side takes it on an event loop."""
        return self.request, self.shown, self.tls, self.server_name, self.plan.callbacks


class Opening:
    """Opens a connection, once.

    Args:
        plan: How.
        request: The upgrade request of the plan's first leg, if one is made already.
        io: Who waits.
    """

    __slots__ = ("_cookies", "_io", "_plan", "_request", "progress")

    def __init__(self, plan: Plan, request: _core.Request | None, io: Io) -> None:
        self._plan = plan
        self._request = request
        self._io = io
        self._cookies: Cookies | None = None
        self.progress = Progress(plan.told)

    def late(self) -> OpenTimeout:
        """What is raised when the time is over."""
        shown, progress = self._plan.target.shown, self.progress
        what = f"{shown}: not open within {self._plan.open_timeout:g} s; {progress.under_way}"
        late = OpenTimeout(what, uri=shown, phase=progress.phase)
        progress.noted(late)
        return late

    async def run(self) -> Any:
        """The open connection. What it leaves in ``progress`` is the caller's to give up."""
        leg, chain, was_challenged = self._plan.first(), [self._plan.target], False
        while True:
            try:
                return await self._leg(leg)
            except InvalidStatus as error:
                answer = error.response
                self._cookies = self._cookies or Cookies()
                self._cookies.take(leg.target, answer)
                if self._plan.sock is not None:
                    raise  # it is used up
                if redirects.is_redirect(answer) and self._plan.max_redirects:
                    target = redirects.follow(leg.target, answer, chain, self._plan.max_redirects)
                    chain.append(target)
                    self.progress.chain = chain
                    self.progress.answers.append(answer)
                    leg = leg.to(target)
                elif answer.status_code == 401 and not was_challenged and leg.target.origin == chain[0].origin:
                    was_challenged = True
                    self.progress.give_up()
                    fields = await self._challenged(answer)
                    if fields is None:
                        raise
                    leg = leg.answering(fields)
                else:
                    raise
                self.progress.give_up()

    async def _challenged(self, answer: Response) -> list[tuple[str, str]] | None:
        """What ``on_auth_challenge`` has to say to a 401, or None."""
        if self._plan.on_auth_challenge is None:
            return None
        self.progress.note("upgrade", "on_auth_challenge had not returned")
        fields = await self._io.answer(self._plan.on_auth_challenge(answer), "on_auth_challenge")
        return None if fields is None else _options.header_fields(fields, "what on_auth_challenge returns")

    async def _leg(self, leg: Leg) -> Any:
        context, self.progress.proxy = None, None
        if leg.tls is not None:
            self.progress.note("tls", "the trusted certificates were being loaded")
            context = await leg.tls.context(self._io.wait)
        self.progress.note("dns")
        if self._plan.sock is not None:
            return await self._attempt(self._own(self._plan.sock), leg, context)
        if leg.target.unix is not None:
            address = dial.Address(socket.AF_UNIX, leg.target.unix)
            return await self._first([address], leg, context)
        if self._plan.proxy is not None:
            self.progress.note("proxy", "the function given as proxy= had not returned")
            chosen = await proxy.choose(self._plan.proxy, leg.target, self._io)
            if chosen is not None:
                return await self._by(chosen, leg, context)
            self.progress.note("dns")
        addresses = await dial.resolve(self._io, leg.host, leg.port, leg.target.shown, self._plan.dialling)
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

    async def _first(self, addresses: list[dial.Address], leg: Leg, context: TlsContext | None) -> Any:
        """A connection to the first of ``addresses`` that answers."""
        plan, shown, tried = self._plan, leg.target.shown, self.progress.tried
        local: dial.Local = {}
        if plan.dialling.local_addr is not None and leg.target.unix is None:
            local = await dial.local_addresses(self._io, plan.dialling, shown)
        self.progress.note("tcp")
        if len(addresses) > 1 or not (self._io.takes_connecting or leg.target.unix is not None):
            sock = await dial.connect(self._io, addresses, plan.dialling, shown, local=local, tried=tried)
            return await self._attempt(sock, leg, context)
        # The usual case needs nobody to choose: the native side waits for the connection, too.
        [address] = addresses
        try:
            sock = dial.start(address, plan.dialling.options, shown, local)
            tried[dial.name(address)] = dial.Tried()
            return await self._attempt(sock, leg, context, address)
        except ConnectError:
            raise
        except OSError as error:
            raise dial.no_connection(shown, {dial.name(address): dial.Tried.in_vain(error)}) from error

    async def _by(self, chosen: Proxy, leg: Leg, context: TlsContext | None) -> Any:
        """A connection by way of a proxy."""
        progress = self.progress
        progress.proxy = chosen

        def tell(doing: str) -> None:
            progress.note("proxy", f"the proxy {chosen.shown} {doing}")

        headers = list(self._plan.proxy_headers)
        if self._plan.user_agent is not None and not any(name.lower() == "user-agent" for name, _ in headers):
            headers.insert(0, ("User-Agent", self._plan.user_agent))
        shown, tls = leg.target.shown, None
        if chosen.scheme == "https":
            tell("was to be reached by TLS, and the trusted certificates were being loaded")
            tls = (await self._plan.proxy_tls.context(self._io.wait), self._plan.proxy_tls.name(chosen.host))
        tunnel = Tunnel(self._io, chosen, self._plan.dialling, headers, shown, tell, tls, self._plan.proxy_sock)
        sock, outer = await tunnel.open(leg.host, leg.port)
        progress.note("upgrade")
        return await self._attempt(sock, leg, context, outer=outer)

    async def _attempt(
        self,
        sock: socket.socket,
        leg: Leg,
        context: TlsContext | None,
        address: dial.Address | None = None,
        outer: Secured | None = None,
    ) -> Any:
        """The upgrade on ``sock``, which is taken over, inside of a proxy's TLS if there is one."""
        plan, shown = self._plan, leg.target.shown
        name = leg.tls.name(leg.target.host) if leg.tls is not None else ""
        try:
            request, self._request = self._request or plan.request(leg, self._cookies), None
            upgrade = Upgrade(plan, sock, request, shown, _secured(context, name, outer), name)
        except BaseException:
            sock.close()
            raise
        try:
            return await self._io.upgrade(upgrade, self.progress)
        except DialError as error:
            if address is None:
                raise DialError(f"{shown}: {error}", uri=shown, phase="tcp", errno=error.errno) from None
            raise dial.no_connection(shown, {dial.name(address): dial.Tried(str(error), error.errno)}) from None


def _secured(context: TlsContext | None, name: str, outer: Secured | None) -> _core.TlsContext | Secured | None:
    """The TLS of a connection. Both ends' by rustls need nobody between them. Raises ValueError."""
    if outer is None:
        return Stream(context, name) if isinstance(context, Context) else context
    if context is None:
        return ToProxy(outer) if isinstance(outer, Stream) else outer
    if isinstance(context, Context):
        return Layered(outer, Stream(context, name))
    if isinstance(outer, _core.TlsTunnel):
        outer.enter(context, name)
        return outer
    return Layered(outer, _core.TlsTunnel(context, name))


class Progress:
    """How far an opening has come, and what is to be given up if it does not end well."""

    __slots__ = ("_doing", "_phase", "_told", "answers", "chain", "proxy", "tried", "ws")

    def __init__(self, told: Callable[[Progress], None] | None = None) -> None:
        self._told = told
        self._phase: Phase = "dns"
        self._doing: str | None = None
        self.tried: dict[str, dial.Tried] = {}
        self.chain: list[Target] = []
        self.answers: list[Response] = []
        """The redirects that were followed."""
        self.proxy: Proxy | None = None
        self.ws: Native | None = None

    def note(self, phase: Phase, doing: str | None = None) -> None:
        """What is under way from now on; ``doing`` is it for people, unless the phase says it."""
        self._phase, self._doing = phase, doing
        if self._told is not None:
            self._told(self)

    @property
    def phase(self) -> Phase:
        """What is under way."""
        phase = self.ws._phase if self.ws is not None else None
        return phase if phase in _UNDER_WAY else self._phase

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
        ws, self.ws, self.tried = self.ws, None, {}
        if ws is not None:
            self._phase = ws._phase if ws._phase in _UNDER_WAY else self._phase
            ws._abort("given up before it was open")


_UNDER_WAY: dict[Phase, str] = {
    "dns": "the host's name was being looked up",
    "tcp": "the TCP connection was being made",
    "tls": "the TLS handshake was under way",
    "upgrade": "the server had not answered the upgrade request",
}
