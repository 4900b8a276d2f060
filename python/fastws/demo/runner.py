"""``python -m fastws demo``: an exchange session played over a real socket, and proof that all of it arrived.

The embedded server plays a feed twice over TLS, paced and then flat out; the client takes every message. Everything
that touches fastws itself is in `embedded`.
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
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

from fastws.demo import market, terminal
from fastws.demo.feed import FeedError, read_feed
from fastws.demo.play import Demo, Feed, OpenSession, Session, SessionFailed
from fastws.demo.report import render_report
from fastws.demo.view import LiveView

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator, Sequence
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
    serve: Callable[[Feed, bool], AbstractContextManager[OpenSession]] | None = None,
) -> int:
    """Run the demo and print its report.

    Args:
        argv: the arguments behind ``demo``; default: those of the process.
        serve: makes a peer that plays the feed (second argument: over TLS); default: `embedded`.

    Returns:
        The exit code: `OK` only if every message of both phases arrived, in order.
    """
    options = _parser().parse_args(argv)
    try:
        return _run(options, serve)
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


def _run(options: argparse.Namespace, serve: Callable[[Feed, bool], AbstractContextManager[OpenSession]] | None) -> int:
    out = sys.stdout
    try:
        feed = _feed(options)
    except (FeedError, OSError, ValueError) as error:
        where = f"{error.filename}: " if isinstance(error, OSError) and error.filename is not None else ""
        sys.stderr.write(f"fastws demo: {where}{getattr(error, 'strerror', None) or error}\n")
        return USAGE
    transport = "ws" if options.tcp else "wss"
    setup = f"{transport} · {options.loop} · {platform.python_implementation()} {platform.python_version()}"
    demo = Demo(feed, options.speed, setup)
    gc.collect()
    gc.freeze()  # the feed stays until the end: nothing for the collector to look at again and again while playing
    with (serve or embedded)(feed, not options.tcp) as open_session, LiveView(out, plain=options.plain) as view:
        code = _play(demo, open_session, view, options.loop)
    report = demo.report(interrupted=code is not None)
    text = render_report(report, terminal.size_of(out)[0], color=terminal.wants_color(out))
    out.write("\n".join(terminal.encodable(text.split("\n"), out.encoding)))
    out.flush()
    if code is not None:
        return code
    return OK if report.passed else DIFFERENT


@contextmanager
def embedded(feed: Feed, tls: bool) -> Iterator[OpenSession]:
    """Start the embedded server with ``feed`` and yield how to connect to it; stop it at the end."""
    import fastws
    import fastws.testing

    messages: list[tuple[float, Literal["text", "binary"], bytes]] = [
        (offset, "text", message.encode()) if isinstance(message, str) else (offset, "binary", message)
        for offset, message in zip(feed.offsets, feed.messages, strict=True)
    ]
    with fastws.testing.Server(tls=tls) as server:
        server.add_feed(_NAME, messages)
        trust = fastws.TlsConfig(ca=server.ca_pem) if tls else None

        @asynccontextmanager
        async def open_session(speed: float) -> AsyncIterator[Session]:
            url = server.url(f"/replay/{_NAME}?speed={speed:g}")
            try:
                async with fastws.connect(url, tls=trust, max_size=None) as ws:
                    yield _Connection(ws, server)
            except (fastws.FastwsError, OSError) as error:
                raise SessionFailed(str(error) or type(error).__name__) from error

        yield open_session


class _Connection:
    """A `Session` on a fastws connection."""

    def __init__(self, ws: Any, server: Any) -> None:
        self._ws: Final = ws
        self._server: Final = server

    async def batches(self) -> AsyncIterator[tuple[int, list[str | bytes]]]:
        async for batch in self._ws.batches():
            yield batch.received_mono_ns, list(batch)

    def started_ns(self) -> int | None:
        started: int | None = self._server.replay_started_ns(_NAME)
        return started

    def queued(self) -> int | None:
        return None


def _play(demo: Demo, open_session: OpenSession, view: LiveView, loop: str) -> int | None:
    """Play the demo on a loop of its own; return the exit code if it was ended from outside, else None."""
    factory: Callable[[], asyncio.AbstractEventLoop] | None = None
    if loop == "uvloop":
        import uvloop

        factory = uvloop.new_event_loop
    try:
        with asyncio.Runner(loop_factory=factory) as runner:
            runner.run(_until_terminated(demo, open_session, view))
    except KeyboardInterrupt:
        return INTERRUPTED
    except asyncio.CancelledError:
        return TERMINATED
    return None


async def _until_terminated(demo: Demo, open_session: OpenSession, view: LiveView) -> None:
    task = asyncio.current_task()
    if task is not None:
        with suppress(NotImplementedError, RuntimeError, ValueError):  # no signals: Windows, or not the main thread
            asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    await demo.play(open_session, view)


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
        description="Play an exchange session over a WebSocket, paced and then flat out, and prove that every message "
        "arrived, in order. Exit code 0 only if so.",
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


def _count(text: str) -> int:
    try:
        count = int(text)
    except ValueError:
        count = 0
    if count < 1:
        msg = f"a whole number from 1, not {text!r}"
        raise argparse.ArgumentTypeError(msg)
    return count


_NAME: Final = "demo"
_MESSAGES: Final = 60_000  # about 4.5 minutes of market: some five seconds at 50 times
_FASTEST: Final = 1e6
