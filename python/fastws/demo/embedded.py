"""The demo's two sides: the embedded server, and fastws. Everything that touches either is here."""

from __future__ import annotations

from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal

import fastws
from fastws.demo.play import SessionFailed
from fastws.demo.sessions import SentSession
from fastws.demo.terminal import duration_text
from fastws.testing import Server

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator, Sequence
    from contextlib import AbstractAsyncContextManager

    from fastws.demo.play import Feed, OpenSession, Session
    from fastws.demo.resilient import OpenRun, Run
    from fastws.demo.stage import Stage
    from fastws.testing import Venue, VenueSession


@dataclass(frozen=True, slots=True)
class Peer:
    """What plays the feed.

    Attributes:
        open_session: opens a session of the first two phases.
        open_run: opens the phase with faults; None for none.
        venue: makes a venue of its own for another client, with the certificate to trust; None for none.
    """

    open_session: OpenSession
    open_run: Callable[[Stage], OpenRun] | None = None
    venue: Callable[[Stage], tuple[Venue, bytes | None]] | None = None


@contextmanager
def embedded(feed: Feed, tls: bool) -> Iterator[Peer]:
    """Start the embedded server with ``feed``; stop it at the end."""
    messages: list[tuple[float, Literal["text", "binary"], bytes]] = [
        (offset, "text", message.encode()) if isinstance(message, str) else (offset, "binary", message)
        for offset, message in zip(feed.offsets, feed.messages, strict=True)
    ]
    with Server(tls=tls) as server:
        server.add_feed(_NAME, messages)
        yield _Embedded(server, tls).peer()


class _Embedded:
    def __init__(self, server: Server, tls: bool) -> None:
        self._server: Final = server
        self._ca: Final = server.ca_pem if tls else None
        self._trust: Final = fastws.TlsConfig(ca=server.ca_pem) if tls else None

    def peer(self) -> Peer:
        return Peer(self._open_session, self._opener, self._rival_venue)

    @asynccontextmanager
    async def _open_session(self, speed: float) -> AsyncIterator[Session]:
        url = self._server.url(f"/replay/{_NAME}?speed={speed:g}")
        try:
            async with fastws.connect(url, tls=self._trust, max_size=None) as ws:
                yield _Connection(ws, self._server)
        except (fastws.FastwsError, OSError) as error:
            raise SessionFailed(str(error) or type(error).__name__) from error

    def _opener(self, stage: Stage) -> OpenRun:
        def open_run(tell: Callable[[str], None]) -> AbstractAsyncContextManager[Run]:
            return self._open_run(stage, tell)

        return open_run

    @asynccontextmanager
    async def _open_run(self, stage: Stage, tell: Callable[[str], None]) -> AsyncIterator[Run]:
        plan = stage.plan
        venue = self._venue("/venue", stage)
        wallet = _Wallet(plan.tokens)
        client = fastws.WebSocketClient(
            venue.url,
            tls=self._trust,
            handshake=fastws.AuthHandshaker(wallet.token).json(),
            retry=fastws.ExponentialBackoff(plan.first_delay, plan.longest_delay),
            config=fastws.ClientConfig(
                receive_timeout=plan.receive_timeout,
                stable_after=plan.seconds * 0.1,
                close_timeout=1.0,
                shutdown_timeout=2.0,
                ws_config={"max_size": None},
            ),
        )
        for channel in stage.channels:
            client.subscriptions.add(channel, message={"type": "subscribe", "channel": channel}, ack=_confirms(channel))
        client.on(fastws.events.Disconnected, lambda event: wallet.renew() if event.reason.code == _EXPIRED else None)
        failures: list[BaseException] = []
        client.on(fastws.events.Error, lambda event: failures.append(event.error))
        client.on(fastws.events.ReconnectScheduled, lambda event: _tell_of(failures, event.delay, tell))
        with client.stream(markers=True) as stream:
            try:
                async with client:
                    venue.start()
                    yield _ClientRun(client, venue, stream, stage)
            except fastws.FastwsError as error:
                raise SessionFailed(str(error) or type(error).__name__) from error

    def _rival_venue(self, stage: Stage) -> tuple[Venue, bytes | None]:
        return self._venue("/rival", stage), self._ca

    def _venue(self, path: str, stage: Stage) -> Venue:
        return self._server.add_venue(
            path,
            _NAME,
            speed=stage.speed,
            tokens=stage.plan.tokens,
            channels=stage.tags,
            snapshots=stage.snapshots,
            faults=stage.plan.faults,
            autostart=False,
        )


class _Connection:
    """A `Session` on a fastws connection."""

    def __init__(self, ws: fastws.Connection, server: Server) -> None:
        self._ws: Final = ws
        self._server: Final = server

    async def batches(self) -> AsyncIterator[tuple[int, list[str | bytes]]]:
        async for batch in self._ws.batches():
            yield batch.received_mono_ns, list(batch)

    def started_ns(self) -> int | None:
        return self._server.replay_started_ns(_NAME)

    def queued(self) -> int | None:
        return None


class _Wallet:
    """The token, and a new one when it has expired."""

    def __init__(self, tokens: Sequence[str]) -> None:
        self._tokens: Final = list(tokens)

    def token(self) -> str:
        return self._tokens[0]

    def renew(self) -> None:
        if len(self._tokens) > 1:
            del self._tokens[0]


class _ClientRun:
    """A `Run` on a fastws client."""

    def __init__(self, client: fastws.WebSocketClient, venue: Venue, stream: Any, stage: Stage) -> None:
        self._client: Final = client
        self._venue: Final = venue
        self._stream: Final = stream
        self._stage: Final = stage
        self._asked = 0

    @property
    def state(self) -> str:
        return self._client.status.value

    @property
    def connections(self) -> int:
        return self._client.snapshot().id

    @property
    def subscriptions(self) -> tuple[int, int]:
        states = self._client.subscriptions.states()
        return sum(state == "confirmed" for state in states.values()), len(states)

    @property
    def position(self) -> int:
        return self._venue.position

    @property
    def started_ns(self) -> int | None:
        return self._venue.started_ns

    async def items(self) -> AsyncIterator[Any]:
        try:
            async for item in self._stream:
                yield item
        except fastws.FastwsError as error:
            raise SessionFailed(str(error) or type(error).__name__) from error

    async def ask_for_books(self, products: Sequence[str]) -> None:
        with suppress(fastws.SendError):  # the connection ended: after it they are asked for again
            for product in products:
                self._asked += 1
                await self._client.send_json({"type": "snapshot", "channel": product, "id": self._asked})

    def spans(self) -> list[range]:
        return [
            range(session.segments[0].start, session.segments[-1].stop) if session.segments else range(0)
            for session in self._ready()
        ]

    def sent(self) -> list[SentSession]:
        return [sent_session(self._venue, session) for session in self._ready()]

    def _ready(self) -> list[VenueSession]:
        return ready_sessions(self._venue, len(self._stage.channels))


def ready_sessions(venue: Venue, channels: int) -> list[VenueSession]:
    """The sessions in which as many channels were subscribed to."""
    return [session for session in venue.report().sessions if len(session.subscribed) >= channels]


def sent_session(venue: Venue, session: VenueSession) -> SentSession:
    """What the venue says of a session."""
    return SentSession(
        indexes=venue.indexes(session),
        ready_from=max((entry.first for entry in session.subscribed), default=0),
        subscribed=[entry.channel for entry in session.subscribed],
        # A reset, or a client that left by itself while messages were coming.
        may_lack_last="reset" in session.faults or (session.ended_by == "client" and "silence" not in session.faults),
        ended_by=_ended_by(session),
    )


def _ended_by(session: VenueSession) -> str:
    match session.ended_by:
        case None:
            return ""
        case "close":
            return f"Close {session.close_code}"
        case "reset":
            return "a reset"
    return "the client, after silence" if "silence" in session.faults else "the client"


def _tell_of(failures: list[BaseException], delay: float, tell: Callable[[str], None]) -> None:
    for error in failures:
        status = getattr(getattr(error, "response", None), "status_code", None)
        what = f"the dial was refused with {status}" if status else f"the dial failed: {error}"
        tell(f"{what}; the next in {duration_text(delay * 1e9)}")
    failures.clear()


def _confirms(channel: str) -> Callable[[Any], bool]:
    def confirms(message: Any) -> bool:
        return bool(message["type"] == "subscribed" and message["channel"] == channel)

    return confirms


_NAME: Final = "demo"
_EXPIRED: Final = 4401
