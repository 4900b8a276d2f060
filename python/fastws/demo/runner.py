"""``python -m fastws demo``: an exchange session played over a real socket, and proof that all of it arrived.

The embedded server plays a feed over TLS, paced and then flat out; the client takes every message. A third time it
plays it as an exchange that breaks things on schedule, to the resilient client. Everything that touches fastws itself
is in `fastws.demo.embedded`.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import importlib.util
import os
import platform
import signal
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

from fastws.demo import market, terminal
from fastws.demo.embedded import Peer, embedded
from fastws.demo.faults import SECONDS, FaultPlan
from fastws.demo.feed import FeedError, read_feed
from fastws.demo.play import Feed
from fastws.demo.report import render_report
from fastws.demo.view import LiveView
from fastws.demo.whole import Demo

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from contextlib import AbstractContextManager

OK: Final = 0
"""Exit code: everything arrived, in order."""
DIFFERENT: Final = 1
"""Exit code: something was lost, reordered or changed, or a session failed."""
USAGE: Final = 2
"""Exit code: the options are wrong, or the feed cannot be read."""
INTERRUPTED: Final = 130
"""Exit code: ended by Ctrl-C."""
TERMINATED: Final = 143
"""Exit code: ended by SIGTERM."""
BROKEN_PIPE: Final = 141
"""Exit code: nobody read the output any more."""


def main(
    argv: Sequence[str] | None = None,
    serve: Callable[[Feed, bool], AbstractContextManager[Peer]] | None = None,
) -> int:
    """Run the demo and print its report.

    Args:
        argv: the arguments behind ``demo``; default: those of the process.
        serve: makes a peer that plays the feed (second argument: over TLS); default: `embedded`.

    Returns:
        The exit code: `OK` only if every message of the first two phases arrived, in order, and the third is proven.
    """
    options = _parser().parse_args(argv)
    try:
        return _run(options, serve)
    except KeyboardInterrupt:  # before anything was played
        sys.stderr.write("fastws demo: interrupted\n")
        return INTERRUPTED
    except BrokenPipeError:
        _silence()
        return BROKEN_PIPE
    except OSError as error:
        sys.stderr.write(f"fastws demo: {error.strerror or error}\n")
        _silence()
        return USAGE


def _silence() -> None:
    """What is still in the buffer of an output that cannot be written must not raise once more at the end."""
    with suppress(OSError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _run(options: argparse.Namespace, serve: Callable[[Feed, bool], AbstractContextManager[Peer]] | None) -> int:
    out = sys.stdout
    try:
        feed = _feed(options)
    except (FeedError, OSError, ValueError) as error:
        where = f"{error.filename}: " if isinstance(error, OSError) and error.filename is not None else ""
        sys.stderr.write(f"fastws demo: {where}{getattr(error, 'strerror', None) or error}\n")
        return USAGE
    transport = "ws" if options.tcp else "wss"
    setup = f"{transport} · {options.loop} · {platform.python_implementation()} {platform.python_version()}"
    plan = FaultPlan(options.fault_seconds) if options.fault_seconds else None
    demo = Demo(feed, options.speed, setup, plan, has_books=options.feed is None, compare=options.compare)
    gc.collect()
    gc.freeze()  # the feed stays until the end: nothing for the collector to look at again and again while playing
    with (serve or embedded)(feed, not options.tcp) as peer, LiveView(out, plain=options.plain) as view:
        code = _play(demo, peer, view, options.loop)
    report = demo.report(interrupted=code is not None)
    text = render_report(report, terminal.size_of(out)[0], color=terminal.wants_color(out))
    out.write("\n".join(terminal.encodable(text.split("\n"), out.encoding)))
    out.flush()
    if code is not None:
        return code
    return OK if report.passed else DIFFERENT


def _play(demo: Demo, peer: Peer, view: LiveView, loop: str) -> int | None:
    """Play the demo on a loop of its own; return the exit code if it was ended from outside, else None."""
    factory: Callable[[], asyncio.AbstractEventLoop] | None = None
    if loop == "uvloop":
        import uvloop

        factory = uvloop.new_event_loop
    try:
        with asyncio.Runner(loop_factory=factory) as runner:
            runner.run(_until_terminated(demo, peer, view))
    except KeyboardInterrupt:
        return INTERRUPTED
    except asyncio.CancelledError:
        return TERMINATED
    return None


async def _until_terminated(demo: Demo, peer: Peer, view: LiveView) -> None:
    task = asyncio.current_task()
    if task is not None:
        with suppress(NotImplementedError, RuntimeError, ValueError):  # no signals: Windows, or not the main thread
            asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    await demo.play(peer, view)


def _feed(options: argparse.Namespace) -> Feed:
    if options.feed is not None:
        feed = Feed.of(options.feed.name, read_feed(options.feed))
        if not feed.messages:
            raise FeedError(options.feed, 0, "the feed has no received messages")
        return feed
    return Feed.of(f"simulated market, seed {options.seed}", market.simulate(options.seed, options.messages))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="fastws demo",
        description="Play an exchange session over a WebSocket, paced, flat out, and with faults, and prove that every "
        "message arrived, in order, or lies in an outage that was marked. Exit code 0 only if so.",
    )
    parser.add_argument(
        "--feed",
        type=Path,
        metavar="PATH",
        help="a recorded session (JSON Lines, gzip'd or not); default: a simulated market",
    )
    parser.add_argument("--speed", type=_speed, default=50.0, help="times real time, when paced (default: 50)")
    parser.add_argument("--seed", type=int, default=7, help="which simulated market (default: 7)")
    parser.add_argument(
        "--messages", type=_count, default=_MESSAGES, help=f"messages of the simulated market (default: {_MESSAGES:,})"
    )
    parser.add_argument("--plain", action="store_true", help="no live view, a line a second")
    parser.add_argument("--tcp", action="store_true", help="without TLS")
    parser.add_argument(
        "--fault-seconds",
        type=_seconds,
        default=SECONDS,
        metavar="SECONDS",
        help=f"how long the phase with faults takes; 0 leaves it out (default: {SECONDS:g})",
    )
    parser.add_argument(
        "--compare", action="store_true", help="let websockets meet the same faults, in a reconnect loop"
    )
    loops = ["asyncio", "uvloop"] if importlib.util.find_spec("uvloop") else ["asyncio"]
    parser.add_argument("--loop", choices=loops, default=loops[-1], help=f"event loop (default: {loops[-1]})")
    return parser


def _speed(text: str) -> float:
    try:
        speed = float(text)
    except ValueError:
        speed = 0
    if not 0 < speed <= _FASTEST:
        msg = f"a speed is a number above 0 and at most {_FASTEST:g}, not {text!r}"
        raise argparse.ArgumentTypeError(msg)
    return speed


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1
    if seconds and not _SHORTEST <= seconds <= _LONGEST:
        msg = f"0, or a number of seconds from {_SHORTEST:g} to {_LONGEST:g}, not {text!r}"
        raise argparse.ArgumentTypeError(msg)
    return seconds


def _count(text: str) -> int:
    try:
        count = int(text)
    except ValueError:
        count = 0
    if count < 1:
        msg = f"a whole number from 1, not {text!r}"
        raise argparse.ArgumentTypeError(msg)
    return count


_MESSAGES: Final = 60_000  # about 4.5 minutes of market: some five seconds at 50 times
_FASTEST: Final = 1e6
_SHORTEST: Final = 2.0
_LONGEST: Final = 3600.0
