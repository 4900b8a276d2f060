"""The resilient client: a connection that stays."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from . import _arguments, _core, _policy
from ._interrupt import cut, tell, users_code, whose_turn
from ._keywords import explains_unknown_keywords
from ._parts import End, MessageKey, Parts
from ._tap import Tap, Tapping
from ._watch import room_for_a_session
from .config import ClientConfig
from .errors import (
    AlreadyRunning,
    ClientStopped,
    ConfigError,
    DataTimeout,
    ExtensionError,
    NotConnected,
    ReceiveError,
    ShutdownTimeout,
    Unsent,
    is_unsent,
    tell_unsent,
    unsent_messages,
)
from .events import DisconnectReason, Event, EventStream
from .extensions import Extension, ExtensionHost
from .handshakes import NoOpHandshaker, SupportsHandshake
from .observe import ClientStats, client_stats, live_traffic
from .outbox import Outbox
from .rate import Priority
from .receiving import Receiving
from .redact import Redactor
from .requesting import Requesting, Requests
from .rotation import Rotation
from .running import Running
from .sender import Sender
from .session import Session
from .state import ConnectionSnapshot, Status
from .streams import Stream
from .subscriptions import Subscriptions
from .supervisor import ConnectionSupervisor, HeadersSource, UriSource
from .tls import Backend, TlsConfig

if TYPE_CHECKING:
    import ssl

    from ._options import Seconds
    from .builder import ClientBuilder
    from .connector import Connector
    from .proxy import ProxyLike
    from .rate import ConnectLimiter, RateLimit, RateLimits
    from .retry import RetryStrategy

__all__ = ["WebSocketClient"]

log = logging.getLogger("fastws.client")


class WebSocketClient(Running, Requesting, Receiving):
    """A WebSocket connection that stays: it reconnects, authenticates, subscribes again, and says what you missed.

    ::

        client = WebSocketClient("wss://host/feed", handshake=AuthHandshaker(token).json())
        client.subscriptions.add("BTC-USD", message={"op": "subscribe", "channel": "BTC-USD"})
        async with client:  # returns at the first Ready
            async for message in client.stream():
                ...

    Args:
        uri: Where to; or a callable (may be async) that is asked at every attempt: fresh signatures, lists of hosts.
        retry: When to try again; ``ExponentialBackoff.standard()``, or what ``config`` names.
        handshake: What is said first on every new connection.
        extensions: Plug-ins, in the order in which they are called.
        subscriptions: A registry that was filled elsewhere; else ``client.subscriptions`` is an empty one.
        config: Timeouts, limits and policies.
        tls: For ``wss://``: as ``fastws.connect`` takes it.
        headers: More headers for the upgrade; or a callable (may be async) that is asked at every attempt.
        subprotocols: Subprotocols to offer, in order of preference.
        proxy: Go through this proxy, at every attempt: its URL, True for the one that the environment names, a function
            that gets the URI and returns a URL or None, or None to dial directly; as ``fastws.connect`` takes it.
        connector: Makes the connections; ``DefaultConnector()``.
        rate_limit: How much is sent at most: see ``RateLimit``.
        connect_limiter: How many connections are opened at most, shared by clients: see ``ConnectLimiter``.
        tap: Called for each message, ``tap(direction, at_ns, data)``, such as a ``Recorder``: with ``"in"`` for one
            received, ``"out"`` for one that a connection accepted (not those of handshakers), ``"open"`` for a
            connection, its URI. What it raises is logged. It makes messages pass through Python.
        message_key: Tells messages apart: gets a message, gives something hashable, or None. With it a connection that
            has reached ``ClientConfig.max_connection_age`` is replaced without a loss and without repetition.
        metadata: What handshakers and extensions find in their context.
        redact: Secrets that the URI's path or a server's words may hold; a ``Redactor``, or texts. They are masked in
            what the client, its errors, its events and its log say, beside what is masked in any case (userinfo and
            query).

    One client serves one event loop at a time: it belongs to the one that runs it.

    Raises:
        ConfigError: An argument is wrong; it names the field. What a callable gives is checked at the attempt.
        TypeError: There is no such argument; it says where else it is to be given, if it is one of a connection.
    """

    __slots__ = (
        "__weakref__",
        "_ending",
        "_host",
        "_observing",
        "_outbox",
        "_parts",
        "_ring",
        "_rotating",
        "_session",
        "_supervisor",
        "_task",
        "_unsent",
        "config",
        "subscriptions",
    )

    @explains_unknown_keywords(_arguments.client_has_not)
    def __init__(
        self,
        uri: UriSource,
        *,
        retry: RetryStrategy | None = None,
        handshake: SupportsHandshake | None = None,
        extensions: Iterable[Extension] = (),
        subscriptions: Subscriptions | None = None,
        config: ClientConfig | None = None,
        tls: TlsConfig | ssl.SSLContext | Backend | None = None,
        headers: HeadersSource = None,
        subprotocols: Sequence[str] | None = None,
        proxy: ProxyLike = None,
        connector: Connector | None = None,
        rate_limit: RateLimit | RateLimits | None = None,
        connect_limiter: ConnectLimiter | None = None,
        tap: Tap | None = None,
        message_key: MessageKey | None = None,
        metadata: Mapping[str, Any] | None = None,
        redact: Redactor | str | Iterable[str] | None = None,
    ) -> None:
        super().__init__()
        if not (isinstance(uri, str) or callable(uri)):
            raise ConfigError(f"uri is a str or a callable, not {type(uri).__name__}", field="uri")
        headers, subprotocols = _arguments.lasting(headers), _arguments.lasting(subprotocols)
        _arguments.check_upgrade(uri, tls=tls, headers=headers, subprotocols=subprotocols)
        if tap is not None and not callable(tap):
            raise ConfigError(f"tap is a callable, not {type(tap).__name__}", field="tap")
        _arguments.check(
            config=config,
            retry=retry,
            handshake=handshake,
            extensions=extensions,
            subscriptions=subscriptions,
            connector=connector,
            rate_limit=rate_limit,
            connect_limiter=connect_limiter,
            message_key=message_key,
            metadata=metadata,
            proxy=proxy,
        )
        self.config = config if config is not None else ClientConfig()
        self.subscriptions = subscriptions if subscriptions is not None else Subscriptions()
        self.subscriptions.bind(self)
        options = _connect_options(self.config)
        given = {"tls": tls, "subprotocols": subprotocols, "proxy": proxy}
        if any(value is not None for value in given.values()):
            options = {**options, **{name: value for name, value in given.items() if value is not None}}
        redactor = _redactor(redact)
        self._supervisor = ConnectionSupervisor(
            uri,
            connector=connector,
            config=self.config,
            retry=retry,
            headers=headers,
            options=options,
            connect_limiter=connect_limiter,
            redactor=redactor,
        )
        self._host = ExtensionHost(
            extensions, timeout=self.config.extension_timeout, policy=self.config.processor_error_policy
        )
        self._ring = make_ring(self.config)
        tapping = Tapping(tap) if tap is not None else None
        max_bytes = _max_send_bytes(self.config) if connector is None else None
        self._outbox = Outbox(self.config, self._terminal, max_bytes, tapping)
        self._parts = Parts(
            config=self.config,
            supervisor=self._supervisor,
            ring=self._ring,
            outbox=self._outbox,
            subscriptions=self.subscriptions,
            handshaker=handshake if handshake is not None else NoOpHandshaker(),
            host=self._host,
            rate_limit=rate_limit,
            tap=tapping,
            metadata=dict(metadata or {}),
            message_key=message_key,
            rotate=self._rotate,
            requests=Requests(),
            deadline=self._host.deadline,
            redactor=redactor,
        )
        self._session: Session | None = None
        self._rotating: asyncio.Task[None] | None = None
        self._task: asyncio.Task[Any] | None = None
        self._observing: Callable[[], None] = _nothing
        self._ending: asyncio.Future[None] | None = None
        self._unsent: tuple[Unsent, ...] = ()

    @classmethod
    def builder(cls, uri: UriSource) -> ClientBuilder:
        """A builder: the same arguments, one call each."""
        from .builder import ClientBuilder

        return ClientBuilder(uri)

    # ---- what can be read ------------------------------------------------------------------------------------------

    @property
    def uri(self) -> str:
        """The URI that was used last, with userinfo and query masked."""
        return self._supervisor.uri

    @property
    def _name(self) -> str:
        return self.uri

    @property
    def status(self) -> Status:
        """The state of the connection."""
        return self._supervisor.state.status

    def snapshot(self) -> ConnectionSnapshot:
        """What is known of the connection at this moment."""
        if self._session is not None:
            self._session.note_activity()
        return self._supervisor.state.snapshot(live_traffic(self._parts))

    state = snapshot

    def stats(self) -> ClientStats:
        """Counters since the client was made, over all its connections; they only grow.

        ``stats().as_prometheus()`` is them as Prometheus reads them.
        """
        return client_stats(self._parts)

    @property
    def is_connected(self) -> bool:
        """As ``is_ready``: what is open and not ready cannot be used."""
        return self._supervisor.is_connected

    @property
    def is_ready(self) -> bool:
        """Whether a connection is open and the application handshake is done."""
        return self.status is Status.READY

    def is_healthy(self, timeout: float | None = None) -> bool:
        """Whether it is ready and something was received within ``timeout`` seconds (``receive_timeout``)."""
        limit = timeout if timeout is not None else self.config.receive_timeout
        session = self._session
        if not self.is_ready or session is None:
            return False
        return limit is None or session.silence() < limit

    @property
    def extensions(self) -> ExtensionHost:
        """The plug-ins; they stay readable."""
        return self._host

    async def register_extension(self, extension: Extension) -> None:
        """Adds a plug-in, also while the client runs: then its hooks are called from now on.

        Raises:
            ExtensionError: Its ``on_init`` failed; it was not added.
            ValueError: There is one of that name already.
        """
        self._parts.check_thread()
        await self._host.register(extension)
        if self._is_running:
            self._let_extensions_observe()
        session = self._session
        if session is not None and self.is_ready and self._host.handles_messages:
            session.intake.start_carrying([])

    # ---- events ----------------------------------------------------------------------------------------------------

    def events(self) -> EventStream:
        """An async iterator of what happens to the connection, the current state first.

        It keeps 256 events, drops the oldest with a count (``.dropped``), and ends after ``Shutdown``.
        """
        return self._supervisor.hub.stream()

    def on(self, kind: type[Event] | None, callback: Callable[[Any], Any]) -> Callable[[], None]:
        """Calls ``callback(event)`` for each event of ``kind`` (None: of every kind). Returns what ends that."""
        return self._supervisor.hub.on(kind, callback)

    # ---- running ---------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Runs until ``shutdown``, or raises the cause of any other end.

        What it raises has the messages that were not, or maybe not, sent in ``unsent``, a CancelledError too.

        Raises:
            AlreadyRunning: It runs already.
            RetriesExhausted: The retry strategy gave up; ``__cause__`` is the last failure.
            ConnectError, HandshakeError, ConnectionClosed, …: A failure that no repetition mends.
        """
        if self._is_running:
            raise AlreadyRunning(f"{self.uri}: this client runs already")
        self._ring._reopen()  # first: it refuses a thread where it is not at home
        self._is_running = True
        self._task = asyncio.current_task()
        self._parts.enter()
        self._cause, self._unsent = None, ()
        self._parts.deadline.clear()
        self._parts.unsent, self._parts.down = (), None
        self._supervisor.begin()
        try:
            if self._ending is not None:  # async callbacks still hear of the last run's end
                await self._supervisor.wait(asyncio.shield(self._ending))
            self._let_extensions_observe()
            await self._supervisor.wait(self._host.start())
            await self._sessions()
        except ClientStopped:
            await self._end(None)
        except BaseException as error:
            await self._end(error)
            raise
        else:
            await self._end(None)

    async def _sessions(self) -> None:
        supervisor = self._supervisor
        while True:
            await supervisor.wait(room_for_a_session(self._parts))
            wire = await supervisor.connect()
            session = Session(self._parts, wire, self._tell_waiters)
            self._session = session
            try:
                over = await session.run()
                while over.successor is not None:
                    session = over.successor
                    over = await session.drive()
            finally:
                self._session = None
                await self._stop_rotating()
                await session.let_former_go(at_once=True)
                for connection in self._parts.open:
                    self._parts.settle(connection)
            assert over.failure is not None, "no session took over"
            if over.final:
                assert over.failure.cause is not None, "a last session has a cause"
                raise supervisor.fatal(over.failure.cause)
            self._parts.unsent = ()  # Disconnected has told; they are no shutdown's
            if over.is_requested:
                supervisor.renew()
            else:
                await supervisor.failed(over.failure)

    async def _end(self, error: BaseException | None) -> None:
        """Everybody is told, whatever happened."""
        self._parts.hurry()
        self._conclude(error)
        untold = self._outbox.close()
        self._unsent = (*self._parts.unsent, *untold)
        self._tell_unsent(error)
        self._ring._end(None if error is None or isinstance(error, asyncio.CancelledError) else error)
        try:
            try:
                await self.subscriptions.aclose(error if isinstance(error, Exception) else None)
            finally:
                await self._host.notify_shutdown()
        finally:
            self._is_running, self._task = False, None
            self._supervisor.ended(untold)
            limit = self._parts.deadline.limit(self.config.extension_timeout)
            self._parts.deadline.clear()
            self._tell_over()
            # Async callbacks may wait for the shutdown themselves: they are waited for when it is told.
            ending = self._ending = asyncio.get_running_loop().create_future()
            try:
                with contextlib.suppress(TimeoutError):
                    async with limit:
                        await self._supervisor.hub.aclose(None)
            finally:
                self._ending = None
                self._observing()
                self._observing = _nothing
                if not self._is_running:  # else it runs again already, and only waits for this
                    self._parts.leave()
                tell((ending,))

    def _tell_unsent(self, error: BaseException | None) -> None:
        """What was not sent is on the exception that ended it, and in the log."""
        if error is not None:
            tell_unsent(error, self._unsent)
            if self._cause is not None:
                tell_unsent(self._cause, self._unsent)
        if is_unsent(self._unsent):
            log.warning("%s: the client has ended; %s", self.uri, unsent_messages(self._unsent))

    async def shutdown(self, timeout: Seconds = None) -> None:  # noqa: ASYNC109 - it has an end in any case
        """Ends the client: sends what is queued, then Close, and waits for the peer's.

        Every wait of ``run`` is interrupted. Nothing happens if it does not run.

        Args:
            timeout: Seconds for all of it; None: ``ClientConfig.shutdown_timeout``. What is not done by then is given
                up.

        Raises:
            ShutdownTimeout: Some messages were not sent by then, or could not be, as there was no connection;
                ``unsent`` has them.
        """
        if not self._is_running:
            return
        self._parts.check_thread()
        seconds = _seconds(timeout, self.config.shutdown_timeout)
        now = asyncio.get_running_loop().time
        began = now()
        self._parts.deadline.set(began + seconds)
        self._supervisor.shutdown()
        self._outbox.stop()
        session = self._session
        if whose_turn() is self._task or (session is not None and session.intake.is_own_task()):
            return  # a callback of ours: run() goes on when it returns
        await self._until_over()
        unsent = self._unsent
        if is_unsent(unsent):
            text = f"{self.uri}: shut down in {now() - began:.3f} s of {seconds:g} s"
            raise ShutdownTimeout(text, timeout=seconds, unsent=unsent)

    def reconnect(self, reason: str = "requested") -> None:
        """Closes the present connection politely and opens another, at once: attempts are counted anew.

        Nothing happens while there is none that is ready.
        """
        self._parts.check_thread()
        session = self._session
        if session is not None and self.is_ready:
            cause = ReceiveError(f"{self.uri}: reconnecting: {reason}")
            session.end(End(DisconnectReason("requested", None, reason, "local", cause), cause))

    # ---- sending ---------------------------------------------------------------------------------------------------

    def sender(self) -> Sender:
        """A handle that sends, and nothing else; it survives reconnects."""
        return Sender(self._parts)

    # ---- what its parts ask for ------------------------------------------------------------------------------------

    def _check_thread(self) -> None:
        self._parts.check_thread()

    def _terminal(self) -> BaseException | None:
        """Why nothing can be sent any more, if so."""
        if self._supervisor.is_shutdown_requested:
            return self._cause or ClientStopped(f"{self.uri}: the client is shutting down")
        return self._cause

    def _rotate(self) -> None:
        """The session has reached its age."""
        replacing = self._replace(self._rotating)
        self._rotating = asyncio.get_running_loop().create_task(replacing, name="fastws rotation")

    async def _replace(self, last: asyncio.Task[None] | None) -> None:
        if last is not None:
            await last  # one at a time: a line that is young may be due while another one still closes
        session = self._session
        if session is None or session.is_ending:
            return

        def changed(successor: Session) -> None:
            self._session = successor

        rotation = Rotation(self._parts, session, lambda wire: Session(self._parts, wire, self._tell_waiters), changed)
        try:
            await rotation.run()
        except ClientStopped:
            pass
        except Exception as error:  # noqa: BLE001 - the old connection lives on
            if session is self._session and not session.is_ending:
                text = "%s: the connection could not be replaced, and stays: %s; trying again in %.3g s"
                log.warning(text, self.uri, error, session.replace_later())

    async def _stop_rotating(self) -> None:
        task, self._rotating = self._rotating, None
        if task is not None and not task.done():
            task.cancel()
            try:
                await self._parts.deadline.wait([task], None)  # it may still close a connection
            finally:
                await cut([task])

    async def _send_replay(self, message: str | bytes) -> None:
        session = self._session
        if session is not None:
            await session.pace(Priority.REPLAY)
            session = self._session
        if session is None or not self.is_ready:
            raise NotConnected(self.uri)
        with users_code:
            await session.wire.send(message)
        if self._parts.tap is not None:
            self._parts.tap.sent(message, None)

    def _stayed_silent(self, key: str, seconds: float) -> None:
        session = self._session
        if session is not None and self.is_ready:
            text = f"{self.uri}: the subscription {key!r} stayed silent for {seconds:g} s"
            session.silent(DataTimeout(text, timeout=seconds))

    def _stream_made(self) -> None:
        if self._session is not None:
            self._session.stream_made()

    def _observe(self) -> Stream[Any]:
        return Stream._aside(self._ring)

    @property
    def _is_held_up(self) -> bool:
        session = self._session
        return session is not None and session.is_held_up

    def _let_extensions_observe(self) -> None:
        if self._host.handles_events and self._observing is _nothing:
            in_order = asyncio.Lock()
            self._observing = self._supervisor.hub.on(None, functools.partial(self._notify_event, in_order))

    async def _notify_event(self, in_order: asyncio.Lock, event: Event) -> None:
        """``on_event`` of the extensions, when it has returned for the events before."""
        try:
            async with in_order:
                await self._host.notify_event(event)
        except ExtensionError as error:
            session = self._session
            if session is not None:
                session.end(End(DisconnectReason("error", cause=error), error, final=self._host.policy == "fatal"))

    def __repr__(self) -> str:
        return f"<fastws.WebSocketClient {self.uri} {self.status}>"

    def __del__(self, _warn: Any = warnings.warn) -> None:
        if getattr(self, "_is_running", False):
            _warn(f"unclosed {self!r}; use `async with` or shutdown()", ResourceWarning, source=self, stacklevel=2)


def make_ring(config: ClientConfig) -> _core.Ring:
    """Where a client's messages wait for its streams."""
    messages, size = config.queue_messages, config.queue_bytes
    return _core.Ring(None, _policy, (messages, messages // 4, size, size // 4), receive=config.receive)


@functools.lru_cache(maxsize=16)  # a thousand clients of one configuration share it
def _connect_options(config: ClientConfig) -> Mapping[str, Any]:
    return {
        "ping_interval": config.ping_interval,
        "ping_timeout": config.ping_timeout,
        "close_timeout": config.close_timeout,
        "nodelay": config.nodelay,
        "max_send_queue": config.send_queue_capacity,
        **config.ws_config,
    }


def _max_send_bytes(config: ClientConfig) -> int | None:
    """What fits the send queue of a connection, if it was said, and nothing is compressed before."""
    limit = config.ws_config.get("max_send_bytes")
    return limit if isinstance(limit, int) and config.ws_config.get("compression") is None else None


def _seconds(value: Seconds, otherwise: float) -> float:
    """A duration in seconds; ``otherwise`` for None."""
    return otherwise if value is None else _core.seconds("timeout", value)


def _redactor(redact: Redactor | str | Iterable[str] | None) -> Redactor | None:
    """What masks secrets; never shown itself."""
    if redact is None or isinstance(redact, Redactor):
        return redact
    secrets = (redact,) if isinstance(redact, str) else tuple(redact) if isinstance(redact, Iterable) else ()
    if not secrets or not all(isinstance(secret, str) and secret for secret in secrets):
        raise ConfigError("redact is a Redactor, or one or several texts that are not empty", field="redact")
    return Redactor(*secrets)


def _nothing() -> None:
    """Nobody observes."""
