"""The whole demo: its phases one after the other, and their report."""

from __future__ import annotations

import gc
from typing import TYPE_CHECKING, Final

from fastws.demo.compare import play_rival
from fastws.demo.play import Phase
from fastws.demo.report import DemoReport
from fastws.demo.resilient import FaultPhase
from fastws.demo.stage import Stage

if TYPE_CHECKING:
    from fastws.demo.embedded import Peer
    from fastws.demo.fault_report import RivalReport
    from fastws.demo.faults import FaultPlan
    from fastws.demo.play import Feed
    from fastws.demo.view import LiveView


class Demo:
    """Paced, flat out, and with faults.

    Args:
        feed: what is played.
        speed: at how many times its speed in the first phase.
        setup: how, in words.
        plan: what goes wrong in the third phase; None for no third phase.
        has_books: the feed is the simulated market, whose books can be kept.
        compare: let another client meet the same faults.
    """

    def __init__(
        self,
        feed: Feed,
        speed: float,
        setup: str,
        plan: FaultPlan | None = None,
        *,
        has_books: bool = False,
        compare: bool = False,
    ) -> None:
        self._feed: Final = feed
        self._speed: Final = speed
        self._setup: Final = setup
        self._plan: Final = plan
        self._has_books: Final = has_books
        self._compare: Final = compare
        self._phases: Final[list[Phase]] = []
        self._faults: FaultPhase | None = None
        self._rival: RivalReport | None = None

    async def play(self, peer: Peer, view: LiveView) -> None:
        """Play every phase, also if one before it failed."""
        for speed in (self._speed, 0.0):
            phase = Phase(self._feed, speed, self._setup)
            self._phases.append(phase)
            await phase.play(peer.open_session, view)
        if self._plan is None or peer.open_run is None:
            return
        stage = Stage.of(self._feed, self._plan, has_books=self._has_books)
        gc.collect()
        gc.freeze()  # the snapshots stay until the end, as the feed does
        self._faults = FaultPhase(stage, self._setup)
        await self._faults.play(peer.open_run(stage), view)
        if self._compare and peer.venue is not None:
            self._rival = await play_rival(stage, *peer.venue(stage), view)

    def report(self, *, interrupted: bool = False) -> DemoReport:
        """Report on the phases that were started."""
        phases = [phase.report() for phase in self._phases]
        faults = None if self._faults is None else self._faults.report()
        return DemoReport(
            self._feed.title, self._setup, phases, self._feed.notes, interrupted, faults=faults, rival=self._rival
        )
