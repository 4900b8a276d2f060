"""``--compare``: the same venue and faults, met by plain ``websockets`` in a reconnect loop written by hand."""

from __future__ import annotations

import asyncio
import importlib
import importlib.util
import ssl
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

import orjson

from fastws.demo.channels import decode
from fastws.demo.client_view import ClientSnapshot, LogLine
from fastws.demo.embedded import ready_sessions, sent_session
from fastws.demo.fault_report import RivalReport
from fastws.demo.orders import ClientBooks
from fastws.demo.sessions import silent_gaps
from fastws.demo.view import DemoSnapshot

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from fastws.demo.stage import Stage
    from fastws.demo.view import LiveView
    from fastws.testing import Venue

MISSING: Final = "not installed here; `pip install websockets`, or `make bench` once, and ask again"


def is_installed() -> bool:
    """Tell whether there is something to compare with."""
    return importlib.util.find_spec("websockets") is not None


async def play_rival(stage: Stage, venue: Venue, ca: bytes | None, view: LiveView) -> RivalReport:
    """Let ``websockets`` receive the feed from ``venue``; count what it missed without saying so."""
    if not is_installed():
        return RivalReport("websockets", error=MISSING)
    websockets = importlib.import_module("websockets")
    books = None if stage.truth is None else ClientBooks(blindly=True)
    received = 0

    def on_message(message: str | bytes) -> None:
        nonlocal received
        received += 1
        if books is not None:
            books.put(decode(message))

    loop = asyncio.get_running_loop()
    task = loop.create_task(_reconnect_loop(venue, ca, stage, on_message))
    try:
        await _until_over(stage, venue, task, view, lambda: received)
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
    sent = [sent_session(venue, session) for session in ready_sessions(venue, len(stage.channels))]
    return RivalReport(
        name=f"websockets {websockets.__version__}",
        received=received,
        total=len(stage.feed.messages),
        gaps=silent_gaps(len(stage.feed.messages), sent),  # nothing in its stream tells of an outage
        books=None if books is None or stage.truth is None else (books.equal(stage.truth), len(stage.truth)),
    )


async def _reconnect_loop(
    venue: Venue, ca: bytes | None, stage: Stage, on_message: Callable[[str | bytes], None]
) -> None:
    """What many write: connect, log in, subscribe, read; wait a little and do it again."""
    websockets = importlib.import_module("websockets")
    trust = None if ca is None else ssl.create_default_context(cadata=ca.decode())
    tokens = iter(stage.plan.tokens)
    token = next(tokens)
    while True:
        try:
            async with websockets.connect(venue.url, ssl=trust, max_size=None, open_timeout=2, close_timeout=1) as ws:
                await ws.send(orjson.dumps({"type": "auth", "token": token}).decode())
                if orjson.loads(await ws.recv())["type"] != "authenticated":
                    token = next(tokens, token)
                    continue
                await _subscribe(ws, stage.channels, on_message)
                venue.start()
                async for message in ws:
                    on_message(message)
        except (OSError, websockets.WebSocketException):
            await asyncio.sleep(stage.plan.first_delay)


async def _subscribe(ws: Any, channels: Sequence[str], on_message: Callable[[str | bytes], None]) -> None:
    for channel in channels:
        await ws.send(orjson.dumps({"type": "subscribe", "channel": channel}).decode())
    confirmed = 0
    while confirmed < len(channels):
        message = await ws.recv()
        if isinstance(message, str) and message.startswith('{"channel":') and '"subscribed"' in message:
            confirmed += 1
        else:
            on_message(message)


async def _until_over(
    stage: Stage, venue: Venue, task: asyncio.Task[None], view: LiveView, received: Callable[[], int]
) -> None:
    """Show how it goes, until the feed is over and nothing comes any more."""
    loop = asyncio.get_running_loop()
    began, total = loop.time(), len(stage.feed.messages)
    deadline = began + stage.plan.seconds * 1.5 + 5
    seen, seen_at = 0, began
    while loop.time() < deadline and not task.done():
        await asyncio.wait({task}, timeout=0.1)
        now = loop.time()
        if received() != seen:
            seen, seen_at = received(), now
        if view.due():
            view.show(_snapshot(stage, venue, seen, now - began, now - seen_at))
        if venue.position >= total and now - seen_at > _QUIET and now - began > stage.plan.seconds:
            return


def _snapshot(stage: Stage, venue: Venue, received: int, elapsed: float, silent: float) -> DemoSnapshot:
    """What can be seen from outside; the loop itself tells nothing."""
    report = venue.report()
    spans = [segment for session in report.sessions for segment in session.segments]
    is_open = any(session.ended_ns is None and session.segments for session in report.sessions)
    started = report.started_ns or 0
    client = ClientSnapshot(
        state="ready" if is_open else "reconnecting",
        generation=len(report.sessions),
        connection=report.accepted,
        subscriptions=(len(stage.channels) * is_open, len(stage.channels)),
        missed=max((spans[-1].stop if spans else 0) - received, 0),
        silent=silent,
        spans=spans,
        position=report.position,
        log=[
            LogLine(at, "fault", text)
            for at, text in stage.plan.labels
            if started and time.monotonic_ns() - started >= at * 1e9
        ],
    )
    return DemoSnapshot(
        title=stage.feed.title,
        setup="websockets, a reconnect loop by hand",
        phase="websockets",
        received=received,
        expected=len(stage.feed.messages),
        elapsed=elapsed,
        remaining=max(stage.plan.seconds - elapsed, 0),
        rate=received / max(elapsed, 1e-3),
        state="playing to websockets",
        client=client,
    )


_QUIET: Final = 0.5
