"""The supervised connection: its attempts, the time between them, its states and its events.

What happens on a connection that is open is the session's (see ``session``); this file decides when there is another.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from ._arguments import check_upgrade
from ._interrupt import Interrupt, Interrupted, apart, users_code
from .config import ClientConfig
from .connector import Connector, DefaultConnector, Wire, abort_wire, close_wire
from .errors import ClientStopped, ConfigError, OpenTimeout
from .events import (
    Connected,
    Connecting,
    Disconnected,
    DisconnectReason,
    Error,
    EventHub,
    EventStream,
    FatalError,
    Ready,
    ReconnectScheduled,
    Shutdown,
)
from .http import HeadersLike
from .rate import ConnectLimiter, default_connect_limiter
from .redact import Redactor, redact_uri
from .retry import Failure, RetryBudget, RetryStrategy, as_close_policy
from .state import ConnectionSnapshot, ConnectionState, Status

if TYPE_CHECKING:
    from .errors import Unsent

__all__ = ["ActivityHandle", "ConnectionSupervisor"]

log = logging.getLogger("fastws.client")

T = TypeVar("T")

UriSource = str | Callable[[], str | Awaitable[str]]
HeadersSource = HeadersLike | Callable[[], HeadersLike | Awaitable[HeadersLike]] | None


class ActivityHandle:
    """Tells a supervisor that its connection shows life."""

    __slots__ = ("_state",)

    def __init__(self, state: ConnectionState) -> None:
        self._state = state

    def update(self) -> None:
        """Something was received just now."""
        self._state.update_activity()


class ConnectionSupervisor:
    """Opens connections, again and again, as its retry strategy says.

    Args:
        uri: Where to; or a callable (may be async) that is asked at every attempt. An OSError or TimeoutError of it is
            a failed attempt, any other exception is final. Its time counts in ``open_timeout``.
        connector: Makes the connections; ``DefaultConnector()``.
        config: Timeouts and limits; ``ClientConfig()``.
        retry: When to try again; what the configuration names.
        headers: More headers for the upgrade; or a callable (may be async), as for ``uri``.
        options: More keywords for the connector.
        connect_limiter: Shared by clients, so that many do not dial at the same moment.
        redactor: Masks what the URI, errors and events say.
    """

    __slots__ = (
        "_budget",
        "_connector",
        "_has_warned",
        "_headers",
        "_interrupt",
        "_limiter",
        "_options",
        "_redactor",
        "_shown",
        "_uri",
        "config",
        "hub",
        "state",
    )

    def __init__(
        self,
        uri: UriSource,
        *,
        connector: Connector | None = None,
        config: ClientConfig | None = None,
        retry: RetryStrategy | None = None,
        headers: HeadersSource = None,
        options: Mapping[str, Any] | None = None,
        connect_limiter: ConnectLimiter | None = None,
        redactor: Redactor | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.config = config if config is not None else ClientConfig()
        self.state = ConnectionState(clock=clock)
        self.hub = EventHub()
        self._uri = uri
        self._redactor = redactor
        self._shown = self._masked(uri) if isinstance(uri, str) else "the URI that is asked for at every attempt"
        self._connector: Connector = connector if connector is not None else DefaultConnector()
        self._headers = headers
        self._options: Mapping[str, Any] = options if options is not None else {}
        self._limiter = connect_limiter if connect_limiter is not None else self.config.connect_limit
        self._budget = RetryBudget(
            retry if retry is not None else self.config.default_retry,
            close_policy=as_close_policy(self.config.final_close_codes),
            handshake_retry_delay=self.config.handshake_retry_delay,
            stable_after=self.config.stable_after,
            exit_on_first_failure=self.config.exit_on_first_failure,
        )
        self._interrupt = Interrupt()
        self._has_warned = False  # since it was ready, or made

    # ---- what can be read ------------------------------------------------------------------------------------------

    @property
    def uri(self) -> str:
        """The URI that was used last, with userinfo and query masked."""
        return self._shown

    def snapshot(self) -> ConnectionSnapshot:
        """What is known at this moment."""
        return self.state.snapshot()

    @property
    def is_connected(self) -> bool:
        """Whether a connection is open and its application handshake is done."""
        return self.state.is_connected

    @property
    def connection_id(self) -> int:
        """Number of the connection last opened, from 1; 0 before the first."""
        return self.state.id

    def events(self) -> EventStream:
        """Events from now on, the current state first: see ``WebSocketClient.events``."""
        return self.hub.stream()

    def activity_handle(self) -> ActivityHandle:
        """A handle that marks the connection as alive."""
        return ActivityHandle(self.state)

    # ---- what the session tells ------------------------------------------------------------------------------------

    def update_activity(self) -> None:
        """Something was received just now."""
        self.state.update_activity()

    def mark_ready(self) -> int:
        """The application handshake is done. Returns the generation; ``announce_ready`` tells everybody."""
        self._budget.ready()
        self._has_warned = False
        return self.state.mark_ready()

    def announce_ready(self) -> None:
        """Publishes ``Ready``: everything that its listeners may do works now."""
        self.hub.publish(Ready(self.state.id, self.state.generation))

    def mark_replaced(self, connection_id: int) -> int:
        """A second connection takes over from the present one. Returns the generation."""
        return self.state.mark_replaced(connection_id)

    async def spare(self, attempt: int) -> Wire:
        """One attempt at a second connection, beside the present one. Raises what ``Connector.connect`` does."""
        self._check()
        self.state.mark_dialling_beside()
        self.hub.publish(Connecting(attempt), is_state=False)
        return await self._attempt()

    def spare_failed(self, error: BaseException, attempt: int, phase: Literal["connect", "handshake"]) -> float | None:
        """Seconds until the next attempt at a second connection; None for none. The budget is not touched."""
        if self._redactor is not None:
            self._redactor.error(error)
        self.state.record_error(error)
        self.hub.publish(Error(error, attempt))
        return self._budget.delay_beside(error, attempt, phase)

    def mark_stable(self) -> None:
        """The session has been ready for ``stable_after`` seconds: attempts are counted anew."""
        self._budget.stable()
        self.state.mark_stable()

    def mark_disconnected(self, reason: DisconnectReason, unsent: tuple[Unsent, ...] = ()) -> None:
        """The connection ended."""
        self.state.mark_disconnected(reason)
        self.hub.publish(Disconnected(reason, unsent))

    # ---- attempts --------------------------------------------------------------------------------------------------

    async def connect(self) -> Wire:
        """Opens a connection, as often as it takes and the retry strategy allows.

        Raises:
            ClientStopped: ``shutdown`` was called.
            RetriesExhausted: The strategy gave up; ``__cause__`` is the last failure.
            ConnectError, InvalidURI: A failure that no repetition can mend.
        """
        while True:
            self._check()
            attempt = self._budget.dial()
            if self.state.status is Status.DISCONNECTED:
                self.state.mark_connecting(attempt)
            self.hub.publish(Connecting(attempt))
            try:
                wire = await self._interrupt.wait(self._attempt())
            except Interrupted:
                raise self._stopped() from None
            except Exception as error:  # noqa: BLE001 - whatever it is, the strategy is asked
                await self.failed(self.failure(error, "connect"))
                continue
            if self._interrupt.is_requested:
                # Politely, if that is quick: the shutdown has a deadline of its own.
                await close_wire(wire, 1001, "the client is shutting down", asyncio.timeout(0.05))
                raise self._stopped()
            self.hub.publish(Connected(self.state.mark_connected()))
            return wire

    def failure(
        self,
        cause: BaseException | None,
        phase: Literal["connect", "handshake", "session"],
        session_seconds: float | None = None,
    ) -> Failure:
        """A failure of the present attempt, for ``failed``."""
        if cause is not None and self._redactor is not None:
            self._redactor.error(cause)
        return self._budget.failure(cause, phase, session_seconds)

    async def failed(self, failure: Failure) -> None:
        """An attempt or a session failed: waits for as long as the strategy says.

        Raises:
            ClientStopped: ``shutdown`` was called.
            Exception: It was the last one: see ``connect``.
        """
        if failure.cause is not None:
            self.state.record_error(failure.cause)
            if failure.phase != "session":
                self.hub.publish(Error(failure.cause, failure.attempt))
        delay = self._budget.failed(failure)
        if delay is None:
            raise self.fatal(self._budget.given_up(failure))
        self._check()
        attempt = self._budget.attempt + 1
        self.state.mark_reconnecting(attempt)
        self._log(failure, attempt, delay)
        self.hub.publish(ReconnectScheduled(delay, attempt))
        try:
            await self._interrupt.wait(asyncio.sleep(delay))
        except Interrupted:
            raise self._stopped() from None

    def _log(self, failure: Failure, attempt: int, delay: float) -> None:
        """The first failed attempt of a row is worth a warning: somebody may wait and wonder."""
        level = logging.INFO
        if failure.phase != "session" and not self._has_warned:
            level, self._has_warned = logging.WARNING, True
        if log.isEnabledFor(level):
            what = str(failure.cause) or type(failure.cause).__name__
            if not what.startswith(self._shown):  # our own errors name it
                what = f"{self._shown}: {what}"
            later = "; it goes on trying, further attempts are logged as INFO" if level == logging.WARNING else ""
            log.log(level, "%s; attempt %d follows in %.3g s%s", what, attempt, delay, later)

    def renew(self) -> None:
        """Another connection is wanted, though nothing failed: the next attempt is the first, and is made at once."""
        self._check()
        self._budget.stable()
        attempt = self._budget.attempt + 1
        self.state.mark_reconnecting(attempt)
        self.hub.publish(ReconnectScheduled(0.0, attempt))

    async def wait(self, what: Awaitable[T]) -> T:
        """The result of ``what``. Raises ClientStopped when ``shutdown`` is called."""
        try:
            return await self._interrupt.wait(what)
        except Interrupted:
            raise self._stopped() from None

    def fatal(self, error: BaseException) -> BaseException:
        """No further attempt is made because of ``error``, which is returned."""
        if self.state.status is not Status.DISCONNECTED:
            self.state.mark_disconnected(DisconnectReason("error", cause=error))
        self.hub.publish(FatalError(error))
        return error

    def begin(self) -> None:
        """A run begins: after a shutdown, too."""
        self._interrupt.clear()
        self._budget.begin()

    def shutdown(self) -> None:
        """Ends every wait of ``connect`` and lets none begin. Nothing happens the second time."""
        if self._interrupt.is_requested:
            return
        if self.state.status is not Status.DISCONNECTED:
            self.state.mark_shutting_down()
        self._interrupt.request()

    def ended(self, unsent: tuple[Unsent, ...] = ()) -> None:
        """A run is over, and this was not sent."""
        if self.state.status is not Status.DISCONNECTED:
            self.state.mark_disconnected(DisconnectReason("shutdown"))
        self.hub.publish(Shutdown(unsent))

    @property
    def is_shutdown_requested(self) -> bool:
        """Whether ``shutdown`` was called."""
        return self._interrupt.is_requested

    # ---- one attempt -----------------------------------------------------------------------------------------------

    async def _attempt(self) -> Wire:
        limiter = self._limiter if self._limiter is not None else default_connect_limiter()
        try:
            async with limiter.slot():
                with users_code:
                    return await self._dial()
        except Exception as error:
            if self._redactor is not None:
                self._redactor.error(error)
            raise

    async def _dial(self) -> Wire:
        limit = self.config.open_timeout
        began = asyncio.get_running_loop().time()
        scope = asyncio.timeout(limit)
        try:
            async with scope:
                uri = await _asked(self._uri, "uri", str)
                self._shown = self._masked(uri)
                headers = await _asked(self._headers, "headers", None)
        except TimeoutError as error:
            if not scope.expired():
                raise
            raise OpenTimeout(
                f"{self._shown}: not open within {limit:g} s; the callable for uri or headers had not returned",
                uri=self._shown,
                phase="uri",
            ) from error
        options = dict(self._options)
        if callable(self._uri) or callable(self._headers):
            check_upgrade(uri, tls=options.get("tls"), headers=headers)
        if headers is not None:
            options["additional_headers"] = headers
        if limit is None:
            options["open_timeout"] = None
            return await self._connect(uri, options)
        left = max(limit - (asyncio.get_running_loop().time() - began), 0.001)
        options["open_timeout"] = left
        if isinstance(self._connector, DefaultConnector):
            # It keeps the time itself, and says what took it.
            return await self._connect(uri, options)
        scope = asyncio.timeout(left)
        try:
            async with scope:
                return await self._connect(uri, options)
        except TimeoutError as error:
            if not scope.expired():
                raise
            raise OpenTimeout(
                f"{self._shown}: not open within {limit:g} s; the connector {self._connector.name!r} had not returned",
                uri=self._shown,
                phase="tcp",
            ) from error

    async def _connect(self, uri: str, options: Mapping[str, Any]) -> Wire:
        if type(self._connector) is DefaultConnector:
            return await self._connector.connect(uri, options)
        return await apart(self._connector.connect(uri, options), late=_not_wanted)

    def _masked(self, uri: str) -> str:
        return redact_uri(uri) if self._redactor is None else self._redactor.uri(uri)

    def _check(self) -> None:
        if self._interrupt.is_requested:
            raise self._stopped()

    def _stopped(self) -> ClientStopped:
        return ClientStopped(f"{self._shown}: the client was shut down")


def _not_wanted(wire: Wire) -> None:
    abort_wire(wire, "it was opened when nobody waited for it any more")


async def _asked(source: Any, name: str, kind: type | None) -> Any:
    """What ``source`` is, or says if it is a callable."""
    if not callable(source):
        return source
    try:
        with users_code:
            value = source()
            if inspect.isawaitable(value):
                value = await apart(value)
    except (OSError, TimeoutError):
        raise
    except Exception as error:
        raise ConfigError(
            f"the callable given as {name}= raised {type(error).__name__}: {error}", field=name
        ) from error
    if kind is not None and not isinstance(value, kind):
        raise ConfigError(
            f"the callable given as {name}= returned {type(value).__name__}, not {kind.__name__}", field=name
        )
    return value
