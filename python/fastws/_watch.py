"""What a session looks for by the clock: silence, the age at which it is stable or replaced, streams nobody reads."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from .connection import Connection
from .errors import DataTimeout, ReceiveTimeout

if TYPE_CHECKING:
    from ._intake import Intake
    from ._parts import Parts
    from .connector import Wire

__all__ = ["Watch", "room_for_a_session"]

log = logging.getLogger("fastws.client")

BLOCKED_FOR = 5.0
"""Seconds after which a stream that is not read is named."""

REPLACE_AGAIN = 300.0
"""Seconds after which at most a connection that has reached its age is tried to be replaced again."""

ROOM_EVERY = 0.1
"""Seconds from one look for room to the next, where a connection is not dialled for want of it."""

GRACE = 0.05
"""Seconds between the suspicion of silence and the verdict, at most: what the kernel holds is read first."""


class Watch:
    """The timers of a session.

    Args:
        parts: Of the client.
        wire: The connection.
        intake: Says whether anything could be heard.
        silent: Called with the error if nothing, or no message, came for too long.

    Attributes:
        began: When the session became ready, on the loop's clock.
    """

    __slots__ = (
        "_data_at",
        "_intake",
        "_is_on",
        "_native",
        "_old_at",
        "_parts",
        "_silent",
        "_slow",
        "_stable",
        "_suspected",
        "_timer",
        "began",
    )

    def __init__(
        self, parts: Parts, wire: Wire, intake: Intake, silent: Callable[[ReceiveTimeout | DataTimeout], None]
    ) -> None:
        self._parts = parts
        self._native = wire if isinstance(wire, Connection) else None
        self._intake = intake
        self._silent = silent
        self._timer: asyncio.TimerHandle | None = None
        self._suspected = False
        self._stable = False
        self._is_on = False
        self._old_at: float | None = None
        self._slow = _SlowStreams(parts)
        self.began = self._data_at = asyncio.get_running_loop().time()

    @property
    def blocker(self) -> str | None:
        """The stream that reading waits for, in words; None if there is none."""
        return self._slow.blocker

    def begin(self) -> None:
        """Everything counts from now."""
        self.began = self._data_at = asyncio.get_running_loop().time()
        age = self._parts.config.max_connection_age
        self._old_at = None if age is None else self.began + age

    def look(self) -> None:
        """Looks at every timer of the session, and comes back when the next is due."""
        loop = asyncio.get_running_loop()
        parts, config = self._parts, self._parts.config
        now = loop.time()
        self._timer, self._is_on = None, True
        dues: list[float] = []
        for is_data, limit, silence in (
            (False, config.receive_timeout, self.silence),
            (True, config.data_timeout, self._data_silence),
        ):
            if limit is None:
                continue
            seconds = silence(now)
            if seconds < limit:
                dues.append(now + max(limit - seconds, 0.001))
            elif not self._suspected:
                self._suspected = True
                self._timer = loop.call_later(min(GRACE, limit / 10), self.look)
                return
            else:
                self._silent(self._data_error(seconds, limit) if is_data else self._receive_error(seconds, limit))
                return
        self._suspected = False
        if (again := self._slow.look(now)) is not None:
            dues.append(now + again)
        if not self._stable:
            stable_at = self.began + config.stable_after
            if now >= stable_at:
                self._stable = True
                parts.supervisor.mark_stable()
            else:
                dues.append(stable_at)
        if self._old_at is not None:
            if now >= self._old_at:
                self._old_at = None
                parts.rotate()
            else:
                dues.append(self._old_at)
        if dues:
            self._timer = loop.call_at(min(dues), self.look)

    def found_silent(self, cause: BaseException) -> ReceiveTimeout | None:
        """``cause`` is that a ping was not answered: the error, if that is the silence of ``receive_timeout``.

        The same silence has one name, whichever timer is the first to find it.
        """
        limit = self._parts.config.receive_timeout
        seconds = self.silence(asyncio.get_running_loop().time())
        if limit is None or seconds < limit:
            return None
        error = self._receive_error(seconds, limit)
        error.__cause__ = cause
        return error

    def _receive_error(self, seconds: float, limit: float) -> ReceiveTimeout:
        what = f"nothing received for {seconds:.3g} s (receive_timeout is {limit:g} s)"
        return ReceiveTimeout(f"{self._parts.supervisor.uri}: {what}", timeout=limit)

    def _data_error(self, seconds: float, limit: float) -> DataTimeout:
        what = f"no message received for {seconds:.3g} s (data_timeout is {limit:g} s)"
        return DataTimeout(f"{self._parts.supervisor.uri}: {what}", timeout=limit)

    def stream_made(self) -> None:
        """There is a stream more: whether it is read is looked at from now on."""
        if self._is_on and not self._suspected:
            self.stop()
            self.look()

    def replace_later(self) -> float:
        """Nothing could take the session's place: in so many seconds, which are returned, it is tried again."""
        config = self._parts.config
        assert config.max_connection_age is not None, "it was tried"
        seconds = max(config.rotation_overlap, min(config.max_connection_age / 10, REPLACE_AGAIN))
        self._old_at = asyncio.get_running_loop().time() + seconds
        if self._is_on and not self._suspected:
            self.stop()
            self.look()
        return seconds

    def stop(self) -> None:
        """Looks no more."""
        self._is_on = False
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def silence(self, now: float) -> float:
        """Seconds without any byte, those left out in which our own queue was full."""
        if self._native is not None:
            return self._native._silence
        # What a connector's connection holds is not known while a message of it waits for room.
        return 0.0 if self._intake.is_carrying else now - max(self.began, self._intake.waits_since)

    def _data_silence(self, now: float) -> float:
        """The same without a message."""
        native = self._native
        if self._intake.is_carrying or (native is not None and native._is_paused):
            self._data_at = now
        else:
            self._data_at = max(self._data_at, self._intake.waits_since)
            if native is not None and native.received_mono_ns:
                ago = (time.monotonic_ns() - native.received_mono_ns) / 1e9
                self._data_at = max(self._data_at, now - ago)
        return now - self._data_at


class _SlowStreams:
    """Names what reading waits for, if that is not read: once in the log, and in the cause of the session's end.

    Attributes:
        blocker: What reading waits for, in words; None if that is nothing, or not for long.
    """

    __slots__ = ("_full_since", "_parts", "blocker")

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._full_since: float | None = None
        self.blocker: str | None = None

    def look(self, now: float) -> float | None:
        """Looks at the time ``now``, on the loop's clock. Returns in how many seconds to look again; None: no more."""
        ring = self._parts.ring
        return self._look_at_streams() if ring.streams else self._look_for_a_first(now)

    def _look_at_streams(self) -> float:
        blocked = self._parts.ring._blocked_by()
        if blocked is None or blocked[1] < BLOCKED_FOR:
            self.blocker = None
            return BLOCKED_FOR if blocked is None else BLOCKED_FOR - blocked[1]
        stream, seconds = blocked
        if self.blocker is None:
            uri = self._parts.supervisor.uri
            log.warning("%s: reading waits for %r, which was not read for %.3g s", uri, stream, seconds)
        self.blocker = f"reading waited for {stream!r}, which was not read for {seconds:.3g} s"
        return BLOCKED_FOR

    def _look_for_a_first(self, now: float) -> float | None:
        ring = self._parts.ring
        if not ring.is_full:
            self._full_since = None
            return BLOCKED_FOR if self._parts.config.receive else None  # else nothing is kept for one
        if self._full_since is None:
            self._full_since = now  # a first stream may be about to be made
        if now < self._full_since + BLOCKED_FOR:
            return self._full_since + BLOCKED_FOR - now
        if self.blocker is None:
            self.blocker = f"reading waited for a first stream, as {ring.retained} messages wait for it"
            log.warning(
                "%s: reading waits, as %d messages wait for a first client.stream(); make one, or say "
                "ClientConfig(receive=False)",
                self._parts.supervisor.uri,
                ring.retained,
            )
        return None


async def room_for_a_session(parts: Parts, *, is_watched: bool = False) -> None:
    """Waits while streams are so far behind that another session must not add to it, and says who keeps it waiting.

    A stream that is merely full keeps nobody waiting: its reader may need a session to send something before it reads
    on.

    Args:
        parts: Of the client.
        is_watched: Whether there is a session that says who keeps it waiting, as it waits for the same.
    """
    loop, slow = asyncio.get_running_loop(), _SlowStreams(parts)
    while parts.ring.is_overfull:
        if not is_watched:
            slow.look(loop.time())
        await asyncio.sleep(ROOM_EVERY)
