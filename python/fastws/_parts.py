"""What the sessions of a client share, and how they end."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from . import _policy
from ._deadline import Deadline
from .errors import Unsent
from .events import DisconnectReason
from .markers import Down
from .requesting import Requests
from .retry import Failure

if TYPE_CHECKING:
    from ._core import Ring
    from ._intake import Intake
    from ._tap import Tapping
    from .config import ClientConfig
    from .connection import Connection
    from .extensions import ExtensionHost
    from .handshakes import SupportsHandshake
    from .outbox import Outbox
    from .rate import RateLimit, RateLimits
    from .redact import Redactor
    from .session import Session
    from .subscriptions import Subscriptions
    from .supervisor import ConnectionSupervisor

__all__ = ["End", "Gate", "MessageKey", "Over", "Parts"]

MessageKey = Callable[[str | bytes], Hashable | None]
"""Tells messages apart."""

Gate = Callable[[str | bytes, int, int, int | None], bool]
"""Whether a message goes on: gets the message and when it was received."""


@dataclass(slots=True)
class Parts:
    """What the sessions of a client share."""

    config: ClientConfig
    supervisor: ConnectionSupervisor
    ring: Ring
    outbox: Outbox
    subscriptions: Subscriptions
    handshaker: SupportsHandshake
    host: ExtensionHost
    rate_limit: RateLimit | RateLimits | None
    tap: Tapping | None
    metadata: dict[str, Any]
    rotate: Callable[[], None]
    """The session has reached its age: another is to take over."""
    requests: Requests
    deadline: Deadline
    message_key: MessageKey | None = None
    source: str | None = None
    down: Down | None = None
    """The outage that is under way."""
    dials_at_down: int = 0
    unsent: tuple[Unsent, ...] = ()
    """What the last session left unsent, while no other may follow."""
    open: tuple[Connection, ...] = ()
    """Connections whose counters are not yet in the supervisor's state."""
    received_otherwise: int = 0
    """Messages from connections that count nothing themselves: those of a connector of one's own."""
    redactor: Redactor | None = None
    pusher: Intake | None = None
    """Whose messages the ring takes what is pushed for."""
    loop: asyncio.AbstractEventLoop | None = None
    """The event loop that it runs in, or did; None before."""
    thread: int = 0
    """That loop's."""

    def enter(self) -> None:
        """It runs here from now on."""
        self.loop, self.thread = asyncio.get_running_loop(), threading.get_ident()

    def leave(self) -> None:
        """It does not run here any more: any other thread may use it, or run it."""
        self.ring._leave()  # noqa: SLF001 - ours
        self.thread, self.pusher = 0, None

    def check_thread(self) -> None:
        """Raises RuntimeError in another thread than that in which it runs."""
        if self.thread and self.thread != threading.get_ident():
            raise _policy.wrong_thread(self.thread, "client")

    def hurry(self) -> None:
        """Everything ends within ``shutdown_timeout``, if there is no deadline yet."""
        if self.deadline.at is None:
            self.deadline.set(asyncio.get_running_loop().time() + self.config.shutdown_timeout)

    def opened(self, connection: Connection) -> None:
        """Its counters are the client's from now on."""
        if connection not in self.open:
            self.open += (connection,)

    def settle(self, connection: Connection) -> None:
        """It has ended: its counters are added up, once."""
        if connection in self.open:
            self.open = tuple(each for each in self.open if each is not connection)
            self.supervisor.state.count(connection.stats())


class End(NamedTuple):
    """Why a session ends."""

    reason: DisconnectReason
    cause: BaseException
    final: bool = False
    """No other session is to follow."""
    successor: Session | None = None
    """The session that has taken over, and is ready."""


class Over(NamedTuple):
    """How a session ended.

    Attributes:
        failure: What to tell the retry strategy; None if another session took over.
        final: Whether no other session is to follow.
        successor: The session that took over.
        is_requested: Whether the user wanted another connection: that is no failure.
    """

    failure: Failure | None
    final: bool = False
    successor: Session | None = None
    is_requested: bool = False
