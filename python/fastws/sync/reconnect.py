"""One connection after the other."""

from __future__ import annotations

import logging
import time
from collections.abc import Generator, Iterable
from datetime import timedelta
from typing import Any

from fastws import _checks
from fastws.config import strategy
from fastws.retry import STABLE_AFTER, ExponentialBackoff, RetryBudget, RetryStrategy, as_close_policy

from . import _policy
from .connect import connect
from .connection import Connection

__all__ = ["reconnect"]

log = logging.getLogger("fastws.sync")


def reconnect(
    uri: str,
    *,
    retry: RetryStrategy | None = None,
    timeout: float | timedelta | None = None,
    final_close_codes: Iterable[int] | None = None,
    stable_after: float | timedelta = STABLE_AFTER,
    **options: Any,
) -> Generator[Connection, None, None]:
    """Yields connections to ``uri`` for ever, each when the one before is over.

    ::

        for ws in fastws.sync.reconnect(uri, timeout=60):
            try:
                ws.send(subscribe)
                for message in ws:
                    ...
            except fastws.ConnectionClosed:
                continue

    A connection is closed when the next one is asked for, or the loop is left. The first one is made at once; before
    each other one it waits as the strategy says: a connection that opens and ends at once does not reset it.

    Args:
        uri: As for ``connect``.
        retry: How long to wait between attempts. ``ExponentialBackoff.standard()``.
        timeout: Seconds (or a ``timedelta``) that it may take to have a connection, waits included; None for no limit.
        final_close_codes: Close codes received after which there is no other attempt. ``FINAL_CLOSE_CODES``.
        stable_after: Seconds (or a ``timedelta``) that a connection must last for the strategy to begin anew.
        options: Further arguments of ``connect``.

    Raises:
        RetriesExhausted: The strategy gave up; ``__cause__`` is the last failure.
        TimeoutError: There was no connection within ``timeout``.
        ConnectionClosed: The connection was closed with a final code.
        ConnectError, InvalidURI, ValueError, TypeError: A failure that no repetition can mend.
    """
    seconds = _checks.optional_duration("timeout", timeout, "no limit")
    budget = RetryBudget(
        strategy("retry", retry) if retry is not None else ExponentialBackoff.standard(),
        close_policy=as_close_policy(final_close_codes),
        stable_after=_checks.duration("stable_after", stable_after, zero=True),
    )
    return _connections(uri, budget, seconds, options)


def _connections(
    uri: str, budget: RetryBudget, seconds: float | None, options: dict[str, Any]
) -> Generator[Connection, None, None]:
    deadline = _deadline(seconds)
    while True:
        budget.dial()
        try:
            ws = connect(uri, **_bounded(options, deadline))
        except (TypeError, ValueError):
            raise
        except Exception as error:  # noqa: BLE001 - whatever it is, the strategy is asked
            failure = budget.failure(error, "connect")
        else:
            budget.ready()
            opened = time.monotonic()
            try:
                yield ws
            finally:
                # Leaving the loop is no error of the connection's.
                ws.close()
            cause = _policy.closed(ws)
            failure = budget.failure(cause, "session", time.monotonic() - opened)
            deadline = _deadline(seconds)
        delay = budget.failed(failure)
        if delay is None:
            raise budget.given_up(failure)
        if deadline is not None and time.monotonic() + delay >= deadline:
            raise TimeoutError(f"no connection within {seconds:g} s") from failure.cause
        log.info("%s; attempt %d follows in %.3g s", failure.cause, budget.attempt + 1, delay)
        time.sleep(delay)


def _deadline(seconds: float | None) -> float | None:
    return None if seconds is None else time.monotonic() + seconds


def _bounded(options: dict[str, Any], deadline: float | None) -> dict[str, Any]:
    """The options of an attempt, whose time ends at ``deadline``."""
    if deadline is None:
        return options
    left = max(0.001, deadline - time.monotonic())
    given = options.get("open_timeout", 10)
    if isinstance(given, timedelta):
        given = given.total_seconds()
    return {**options, "open_timeout": left if given is None else min(given, left)}
