"""The runner without sockets: sessions made of lists."""

from __future__ import annotations

import asyncio
import contextlib
import io
import os
import signal
import time

import pytest

from fastws.demo import market, runner
from fastws.demo.embedded import Peer
from fastws.demo.feed import Event, write_feed
from fastws.demo.play import Feed, Phase, SessionFailed
from fastws.demo.terminal import TIMES
from fastws.demo.view import LiveView
from fastws.demo.whole import Demo

EVENTS = [Event(10.0, "open", "wss://host"), Event(10.1, "send", "{}")]
EVENTS += [Event(10.5 + n / 1_000, "recv", f'{{"type":"ticker","n":{n}}}') for n in range(300)]
FEED = Feed.of("a feed", EVENTS)


class ListSession:
    """Plays batches, each after a pause; a batch may be an exception."""

    def __init__(self, batches, pause=0.0, started=None):
        self._batches, self._pause, self._started = batches, pause, started

    async def batches(self):
        for batch in self._batches:
            await asyncio.sleep(self._pause)
            if isinstance(batch, BaseException):
                raise batch
            yield time.monotonic_ns(), list(batch)

    def started_ns(self):
        return self._started

    def queued(self):
        return None


class JumpingLoop(asyncio.SelectorEventLoop):
    """A loop that does not wait: its clock jumps to the next timer, however slow the machine is."""

    def __init__(self):
        super().__init__()
        self._now = 0.0
        select = self._selector.select

        def jump(timeout=None):
            self._now += timeout or 0.0
            return select(timeout and 0)

        self._selector.select = jump

    def time(self):
        return self._now


def opener(batches, **more):
    @contextlib.asynccontextmanager
    async def open_session(speed):
        yield ListSession(batches, **more)

    return open_session


def in_batches(messages, size=40):
    return [messages[start : start + size] for start in range(0, len(messages), size)]


def played(batches, *, speed=0.0, stall=5.0, feed=FEED, **more):
    phase = Phase(feed, speed, "test")
    out = io.StringIO()
    with asyncio.Runner(loop_factory=JumpingLoop) as runner:
        runner.run(phase.play(opener(batches, **more), LiveView(out, plain=True), stall))
    return phase.report(), out.getvalue()


def test_a_feed_keeps_what_has_to_arrive():
    assert len(FEED.messages) == len(FEED.offsets) == 300
    assert FEED.offsets[:2] == pytest.approx([0.0, 0.001])
    assert FEED.seconds == pytest.approx(0.299)
    assert FEED.longest_pause == pytest.approx(0.001)
    assert FEED.notes == ()


def test_a_clock_that_steps_back_is_noted_and_not_followed():
    feed = Feed.of("x", [Event(t, "recv", "a") for t in (5.0, 7.0, 6.0, 8.0)])
    assert list(feed.offsets) == [0.0, 2.0, 2.0, 3.0]
    assert "steps back 1 times" in feed.notes[0]


def test_a_feed_of_nothing():
    feed = Feed.of("x", EVENTS[:2])
    assert (feed.seconds, feed.longest_pause, list(feed.messages)) == (0.0, 0.0, [])


@pytest.mark.parametrize("size", [1, 7, 300])
def test_a_whole_session_passes(size):
    report, shown = played(in_batches(FEED.messages, size))
    assert report.passed
    assert report.name == "flat out"
    assert report.verdict.received == 300
    assert report.channels == {"ticker": 300}
    assert report.latency is None
    assert report.seconds > 0
    assert "300 of 300 (100%)" in shown


def test_latency_is_measured_against_the_schedule():
    started = time.monotonic_ns() - 50_000_000  # message 0 was due 50 ms ago, the last one 299 ms later
    report, _ = played([FEED.messages], speed=1.0, started=started)
    assert report.passed
    assert report.name == f"paced 1{TIMES}"
    assert report.latency.count == 300
    assert 50_000_000 <= report.latency.max < 1_000_000_000
    assert report.latency.min == 0  # those that came before they were due
    fast, _ = played([FEED.messages], speed=1_000.0, started=started)
    assert fast.latency.min > 49_000_000


def test_a_peer_that_does_not_tell_its_start_is_measured_from_the_first_message():
    report, _ = played(in_batches(FEED.messages), speed=1_000.0)
    assert report.latency.count == 300


def test_a_lost_message_fails():
    batches = in_batches(FEED.messages)
    del batches[3][5]
    report, _ = played(batches)
    assert not report.passed
    assert report.verdict.first_difference == 125


def test_a_session_that_fails_keeps_what_arrived():
    report, shown = played([FEED.messages[:100], SessionFailed("the peer reset the connection")])
    assert report.error == "the peer reset the connection"
    assert report.verdict.received == 100
    assert report.verdict.lost == 200
    assert "100 of 300" in shown


def test_a_stall_ends_the_phase():
    report, _ = played([FEED.messages[:100], FEED.messages[100:]], pause=6, stall=5)
    assert "no message for 5 s" in report.error
    assert not report.passed


def test_slow_but_steady_is_no_stall():
    report, _ = played(in_batches(FEED.messages, 60), pause=4, stall=5)
    assert report.passed


def test_an_unexpected_error_is_not_hidden():
    with pytest.raises(ZeroDivisionError):
        played([FEED.messages[:100], ZeroDivisionError()])


def test_a_view_that_cannot_be_drawn_is_not_hidden():
    class Broken(LiveView):
        def show(self, snapshot):
            raise BrokenPipeError

    phase = Phase(FEED, 0.0, "test")
    with pytest.raises(BrokenPipeError):
        asyncio.run(phase.play(opener(in_batches(FEED.messages), pause=0.05), Broken(io.StringIO(), plain=True)))


def test_an_early_end_fails():
    report, _ = played([FEED.messages[:299]])
    assert not report.passed
    assert report.error == ""
    assert report.verdict.difference == "the session ended 1 messages early"


def test_the_snapshot_tells_how_far_it_is():
    phase = Phase(FEED, 0.0, "test")
    before = phase.snapshot()
    assert (before.received, before.expected, before.remaining, before.state) == (0, 300, None, "connecting")
    asyncio.run(phase.play(opener([FEED.messages]), LiveView(io.StringIO(), plain=True)))
    after = phase.snapshot()
    assert (after.received, after.remaining, after.state) == (300, None, "done")
    assert after.rate > 0
    assert after.channels == {"ticker": 300}


def test_a_demo_plays_both_phases():
    demo = Demo(FEED, 1_000.0, "test")
    asyncio.run(demo.play(Peer(opener([FEED.messages])), LiveView(io.StringIO(), plain=True)))
    report = demo.report()
    assert [phase.name for phase in report.phases] == [f"paced 1000{TIMES}", "flat out"]
    assert report.passed


# The command.


def serving(batches_of, **more):
    """Return what `runner.main` takes for its peer."""
    seen = []

    @contextlib.contextmanager
    def serve(feed, tls):
        seen.append((feed, tls))
        yield Peer(opener(batches_of(feed), **more))

    return serve, seen


def whole(feed):
    return in_batches(feed.messages, 50)


def test_the_simulated_market(capsys):
    serve, seen = serving(whole)
    assert runner.main(["--plain", "--messages", "2000", "--seed", "3"], serve) == runner.OK
    ((feed, tls),) = seen
    assert tls
    assert feed.messages == [event.payload for event in market.simulate(3, 2_000) if event.direction == "recv"]
    shown = capsys.readouterr().out
    assert "simulated market, seed 3" in shown
    assert "wss · " in shown
    assert "✓ nothing lost, nothing reordered" in shown
    assert "\x1b" not in shown


def test_a_recorded_feed_over_tcp(tmp_path, capsys):
    write_feed(tmp_path / "kept.jsonl.gz", EVENTS)
    serve, seen = serving(whole)
    arguments = ["--feed", str(tmp_path / "kept.jsonl.gz"), "--tcp", "--loop", "asyncio", "--speed", "200"]
    assert runner.main(arguments, serve) == runner.OK
    assert seen[0][1] is False
    shown = capsys.readouterr().out
    assert "kept.jsonl.gz" in shown
    assert "ws · asyncio · " in shown
    assert f"paced 200{TIMES}" in shown


def test_a_difference_is_exit_code_1(capsys):
    serve, _ = serving(lambda feed: [feed.messages[1:]])
    assert runner.main(["--plain", "--messages", "100"], serve) == runner.DIFFERENT
    assert "first difference at message 0" in capsys.readouterr().out


@pytest.mark.parametrize("content", [None, b"not gzip", EVENTS[:2]])
def test_a_feed_that_cannot_be_played_is_exit_code_2(tmp_path, capsys, content):
    path = tmp_path / "feed.jsonl.gz"
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content:
        write_feed(path, content)
    serve, seen = serving(whole)
    assert runner.main(["--feed", str(path)], serve) == runner.USAGE
    assert str(path) in capsys.readouterr().err
    assert not seen


@pytest.mark.parametrize(
    "arguments", [["--speed", "0"], ["--speed", "fast"], ["--messages", "0"], ["--loop", "trio"], ["--what"]]
)
def test_wrong_options_are_exit_code_2(arguments, capsys):
    with pytest.raises(SystemExit) as caught:
        runner.main(arguments)
    assert caught.value.code == 2
    assert arguments[0] in capsys.readouterr().err


@pytest.mark.skipif(os.name != "posix", reason="signals")
@pytest.mark.parametrize(
    ("sent", "code"), [(signal.SIGINT, runner.INTERRUPTED), (signal.SIGTERM, runner.TERMINATED)], ids=["INT", "TERM"]
)
@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_an_interruption_ends_with_a_partial_report(capsys, sent, code, loop):
    if loop == "uvloop":
        pytest.importorskip("uvloop")

    def interrupted(feed):
        yield feed.messages[:500]
        for number, batch in enumerate(in_batches(feed.messages[500:], 1)):
            if number == 5:
                os.kill(os.getpid(), sent)
            yield batch

    serve, _ = serving(interrupted, pause=0.05)
    # What runs the tests in the background may have it ignored.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        assert runner.main(["--plain", "--messages", "5000", "--loop", loop], serve) == code
    finally:
        signal.signal(signal.SIGINT, before)
    shown = capsys.readouterr().out
    assert "interrupted; nothing lost, nothing reordered up to there" in shown
    assert "✗" not in shown
