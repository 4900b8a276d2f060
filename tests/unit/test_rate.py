import asyncio
import gc
import math
import weakref
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

import fastws
from fastws.rate import ConnectLimiter, Pacer, Priority, RateLimit, RateLimits, default_connect_limiter
from virtual_time import run_virtual
from wires import URI, MemoryConnector

# -- the bucket --------------------------------------------------------------------


def test_a_full_bucket_lets_a_burst_pass_and_then_one_at_a_time():
    limit = RateLimit(10, 1.0)
    assert [limit.take(0.0) for _ in range(11)] == [True] * 10 + [False]
    assert not limit.take(0.09)
    assert limit.take(0.1)
    assert not limit.take(0.1)
    assert [limit.take(100.0) for _ in range(11)] == [True] * 10 + [False]


def test_a_reservation_says_how_long_to_wait_and_later_ones_wait_longer():
    limit = RateLimit(2, timedelta(seconds=1), burst=1)
    assert [limit.reserve(5.0) for _ in range(4)] == [0.0, 0.5, 1.0, 1.5]
    assert limit.debt == 3
    assert limit.reserve(6.5) == 0.5
    assert limit.reserve(9.0, 3) == 1.0


def test_tokens_given_back_are_there_again_but_never_more_than_the_burst():
    limit = RateLimit(1, 1.0, burst=2)
    assert limit.take(0.0, 2)
    limit.give_back()
    assert limit.take(0.0)
    limit.give_back(10)
    assert [limit.take(0.0) for _ in range(3)] == [True, True, False]


def test_a_clock_that_goes_back_gives_no_tokens():
    limit = RateLimit(1, 1.0)
    assert limit.take(10.0)
    assert not limit.take(5.0)
    assert not limit.take(10.9)
    assert limit.take(11.0)


@given(
    st.integers(1, 20),
    st.floats(0.1, 100),
    st.integers(1, 30),
    st.lists(st.floats(0, 2), min_size=1, max_size=200),
)
def test_no_span_has_more_than_the_limit_allows(n, per, burst, steps):
    limit = RateLimit(n, per, burst)
    now, passed = 0.0, []
    for step in steps:
        now += step * per / n
        if limit.take(now):
            passed.append(now)
    for index, begin in enumerate(passed):
        span = [at for at in passed[index:] if at < begin + per * (1 - 1e-6)]
        assert len(span) <= burst + n - 1


@given(st.integers(1, 20), st.floats(0.1, 100), st.integers(1, 10), st.integers(1, 200))
def test_who_always_waits_gets_the_whole_rate(n, per, burst, count):
    limit, now = RateLimit(n, per, burst), 0.0
    for _ in range(count):
        now += limit.reserve(now)
    assert now == pytest.approx(max(0, count - burst) * per / n)


def test_a_limit_of_a_connection_starts_full_and_a_shared_one_goes_on():
    own, shared = RateLimit(1, 1.0), RateLimit(1, 1.0, scope="shared")
    assert own.take(0.0)
    assert shared.take(0.0)
    assert own.started().take(0.0)
    assert shared.started() is shared
    limits = RateLimits(own, {"orders": shared}).started()
    assert limits.default.take(0.0)
    assert not limits.keys["orders"].take(0.0)


@pytest.mark.parametrize(
    ("field", "make"),
    [
        *[("n", lambda bad=bad: RateLimit(bad, 1)) for bad in (0, -1, 1.5, "1", None, True)],
        *[("per", lambda bad=bad: RateLimit(1, bad)) for bad in (0, -1, math.nan, math.inf, "1", None, True)],
        *[("burst", lambda bad=bad: RateLimit(1, 1, bad)) for bad in (0, -1, 1.5, "1", True)],
        *[("scope", lambda bad=bad: RateLimit(1, 1, scope=bad)) for bad in ("client", None, 1)],
        ("default", lambda: RateLimits(5)),
        ("keys", lambda: RateLimits(None, [("a", RateLimit(1, 1))])),
        ("keys['a']", lambda: RateLimits(None, {"a": 5})),
        ("keys[1]", lambda: RateLimits(None, {1: RateLimit(1, 1)})),
        *[("n", lambda bad=bad: ConnectLimiter(bad)) for bad in (0, 1.5)],
        *[("per", lambda bad=bad: ConnectLimiter(1, bad)) for bad in (0, None)],
        *[("max_concurrent", lambda bad=bad: ConnectLimiter(1, 1, bad)) for bad in (0, "1")],
    ],
)
def test_an_argument_that_is_wrong_is_named(field, make):
    with pytest.raises(fastws.ConfigError) as caught:
        make()
    assert caught.value.field == field
    assert str(caught.value).startswith(f"{field} is ")


def test_limits_can_be_read():
    assert repr(RateLimit(5, 1)) == "RateLimit(5, 1)"
    assert repr(RateLimit(5, 0.5, 2, "shared")) == "RateLimit(5, 0.5, burst=2, scope='shared')"
    assert repr(RateLimits(RateLimit(5, 1))) == "RateLimits(RateLimit(5, 1), {})"


# -- those who wait --------------------------------------------------------------------


async def turns(count=3):
    for _ in range(count):
        await asyncio.sleep(0)


class Passing:
    """Starts tasks that acquire, and records who passed when."""

    def __init__(self, pacer):
        self.pacer = pacer
        self.passed = []
        self.loop = asyncio.get_running_loop()

    def start(self, name, priority=Priority.DATA, key=None):
        async def passes():
            await self.pacer.acquire(priority, key)
            self.passed.append((name, round(self.loop.time(), 6)))

        return asyncio.create_task(passes())


def test_they_pass_in_order_at_the_rate():
    async def main():
        passing = Passing(Pacer(RateLimit(2, 1.0, burst=1)))
        await asyncio.gather(*[passing.start(n) for n in range(4)])
        assert passing.passed == [(0, 0.0), (1, 0.5), (2, 1.0), (3, 1.5)]
        assert passing.pacer.waiting == 0

    run_virtual(main())


def test_handshake_before_replay_before_data_and_urgent_jumps_the_data():
    async def main():
        passing = Passing(Pacer(RateLimit(1, 1.0)))
        kinds = [Priority.DATA, Priority.URGENT, Priority.REPLAY, Priority.HANDSHAKE]
        tasks = [passing.start("first")]
        await turns()
        tasks += [passing.start((kind.name, n), kind) for n in range(2) for kind in kinds]
        await turns()
        assert passing.pacer.waiting == 8
        await asyncio.gather(*tasks)
        assert passing.passed == [
            ("first", 0.0),
            (("HANDSHAKE", 0), 1.0),
            (("HANDSHAKE", 1), 2.0),
            (("REPLAY", 0), 3.0),
            (("REPLAY", 1), 4.0),
            (("URGENT", 0), 5.0),
            (("URGENT", 1), 6.0),
            (("DATA", 0), 7.0),
            (("DATA", 1), 8.0),
        ]

    run_virtual(main())


def test_an_urgent_message_takes_the_token_that_others_wait_for():
    async def main():
        passing = Passing(Pacer(RateLimit(1, 10.0)))
        tasks = [passing.start(n) for n in range(3)]
        await asyncio.sleep(9)
        tasks.append(passing.start("cancel the order", Priority.URGENT))
        await asyncio.gather(*tasks)
        assert passing.passed == [(0, 0.0), ("cancel the order", 10.0), (1, 20.0), (2, 30.0)]

    run_virtual(main())


def test_control_frames_are_not_delayed_and_those_behind_pay_for_them():
    async def main():
        passing = Passing(Pacer(RateLimit(1, 1.0)))
        passing.pacer.pay(3)
        await passing.start("data")
        assert passing.passed == [("data", 3.0)]

    run_virtual(main())


def test_what_a_connection_sends_by_itself_is_paid_for_by_what_comes_next():
    async def main():
        sent = 7
        pacer = Pacer(RateLimit(1, 1.0, burst=5), control_frames=lambda: sent)
        assert pacer.try_acquire()
        sent += 4
        assert not pacer.try_acquire()
        await asyncio.sleep(1)
        assert pacer.try_acquire()
        sent += 2
        passing = Passing(pacer)
        await passing.start("data")
        assert passing.passed == [("data", pytest.approx(4.0))]

    run_virtual(main())


def test_trying_never_waits_and_never_overtakes():
    async def main():
        pacer = Pacer(RateLimit(1, 1.0))
        assert pacer.try_acquire()
        assert not pacer.try_acquire()
        passing = Passing(pacer)
        waits = passing.start("waits")
        await asyncio.sleep(1.0)
        assert not pacer.try_acquire()
        await waits
        assert not pacer.try_acquire()
        await asyncio.sleep(1.0)
        assert pacer.try_acquire()

    run_virtual(main())


def test_who_is_cancelled_has_taken_nothing():
    async def main():
        passing = Passing(Pacer(RateLimit(1, 1.0)))
        tasks = [passing.start(n) for n in range(4)]
        await turns()
        tasks[1].cancel()
        tasks[2].cancel()
        await asyncio.wait(tasks)
        assert passing.passed == [(0, 0.0), (3, 1.0)]

    run_virtual(main())


def test_when_all_are_cancelled_the_token_is_there_for_the_next():
    async def main():
        passing = Passing(Pacer(RateLimit(1, 1.0)))
        tasks = [passing.start(n) for n in range(2)]
        await asyncio.sleep(0.25)
        tasks[1].cancel()
        await asyncio.wait(tasks)
        assert passing.pacer.waiting == 0
        await passing.start("next")
        assert passing.passed == [(0, 0.0), ("next", 1.0)]

    run_virtual(main())


def test_a_token_granted_to_one_who_is_cancelled_goes_to_the_next():
    async def main():
        loop = asyncio.get_running_loop()
        passing = Passing(Pacer(RateLimit(1, 1.0)))
        tasks = [passing.start(n) for n in range(3)]
        await turns()
        # Behind the grant, before the task that got it runs.
        loop.call_later(1.0, tasks[1].cancel)
        await asyncio.wait(tasks)
        assert tasks[1].cancelled()
        assert passing.passed == [(0, 0.0), (2, 1.0)]
        await passing.start("next")
        assert passing.passed[-1] == ("next", 2.0)

    run_virtual(main())


def test_a_token_that_comes_for_one_just_cancelled_is_kept_for_the_next():
    async def main():
        loop = asyncio.get_running_loop()
        passing = Passing(Pacer(RateLimit(1, 1.0)))
        tasks = []
        # In the turn of the token, before it.
        loop.call_later(1.0, lambda: tasks[1].cancel())  # noqa: PLW0108 - it does not exist yet
        tasks += [passing.start(n) for n in range(2)]
        await asyncio.wait(tasks)
        assert tasks[1].cancelled()
        assert passing.pacer.try_acquire()
        assert loop.time() == 1.0

    run_virtual(main())


@given(st.data())
def test_under_random_cancellations_no_token_is_lost_or_made(data):
    count = data.draw(st.integers(1, 12))
    cancels = data.draw(st.lists(st.tuples(st.integers(0, count - 1), st.integers(0, 24)), max_size=8))
    priorities = data.draw(st.lists(st.sampled_from(Priority), min_size=count, max_size=count))

    async def main():
        loop = asyncio.get_running_loop()
        passing = Passing(Pacer(RateLimit(1, 1.0)))
        tasks = [passing.start(n, priority) for n, priority in enumerate(priorities)]
        for index, halves in cancels:
            loop.call_later(halves / 2, tasks[index].cancel)
        await asyncio.wait(tasks)
        # Each second one passes, as long as somebody waits; nobody passes in between.
        assert [at for _, at in passing.passed] == [float(n) for n in range(len(passing.passed))]
        assert len(passing.passed) + sum(task.cancelled() for task in tasks) == count
        await passing.start("next")
        assert passing.passed[-1][1] <= max(len(passing.passed) - 1.0, loop.time())

    run_virtual(main())


def test_a_key_has_a_limit_of_its_own_beside_that_of_all():
    async def main():
        limits = RateLimits(RateLimit(10, 1.0, burst=1), {"orders": RateLimit(1, 1.0)})
        passing = Passing(Pacer(limits))
        tasks = [passing.start(f"order {n}", key="orders") for n in range(3)]
        tasks += [passing.start(f"other {n}", key="unknown" if n else None) for n in range(3)]
        await asyncio.gather(*tasks)
        assert passing.passed == [
            ("order 0", 0.0),
            ("other 0", 0.1),
            ("other 1", 0.2),
            ("other 2", 0.3),
            ("order 1", 1.0),
            ("order 2", 2.0),
        ]

    run_virtual(main())


def test_a_keys_messages_are_apart_by_its_limit_also_where_one_of_them_waited_for_all():
    async def main():
        passing = Passing(Pacer(RateLimits(RateLimit(1, 3.0), {"orders": RateLimit(1, 10.0)})))
        passing.start("other")
        first = passing.start("order 1", key="orders")
        await turns()
        second = passing.start("order 2", key="orders")
        await asyncio.gather(first, second)
        assert passing.passed == [("other", 0.0), ("order 1", 3.0), ("order 2", 13.0)]

    run_virtual(main())


def test_what_was_taken_and_not_used_is_given_back():
    async def main():
        pacer = Pacer(RateLimits(RateLimit(1, 10.0), {"orders": RateLimit(1, 100.0)}))
        assert pacer.try_acquire("orders")
        assert not pacer.try_acquire("orders")
        pacer.give_back("orders")
        assert pacer.try_acquire("orders")

    run_virtual(main())


def test_who_waits_for_all_and_is_cancelled_gives_the_keys_token_back():
    async def main():
        pacer = Pacer(RateLimits(RateLimit(1, 10.0), {"orders": RateLimit(1, 100.0)}))
        passing = Passing(pacer)
        assert pacer.try_acquire()
        assert not pacer.try_acquire("orders")
        task = passing.start("order", key="orders")
        await asyncio.sleep(1)
        task.cancel()
        await asyncio.wait([task])
        await passing.start("again", key="orders")
        assert passing.passed == [("again", 10.0)]

    run_virtual(main())


def test_without_a_limit_for_all_only_keys_wait():
    async def main():
        pacer = Pacer(RateLimits(None, {"orders": RateLimit(1, 1.0)}))
        assert all(pacer.try_acquire() for _ in range(100))
        assert pacer.try_acquire("orders")
        assert not pacer.try_acquire("orders")
        pacer.pay()
        await pacer.acquire(key="orders")
        assert asyncio.get_running_loop().time() == 1.0

    run_virtual(main())


def test_connections_that_share_a_limit_take_turns():
    async def main():
        limit = RateLimit(1, 1.0, scope="shared")
        one, two = Passing(Pacer(limit)), Passing(Pacer(limit))
        tasks = [one.start(n) for n in range(4)]
        await turns()
        tasks += [two.start(n) for n in range(2)]
        await asyncio.gather(*tasks)
        assert one.passed == [(0, 0.0), (1, 1.0), (2, 3.0), (3, 5.0)]
        assert two.passed == [(0, 2.0), (1, 4.0)]

    run_virtual(main())


def test_at_the_end_of_a_connection_those_who_wait_are_told_and_a_shared_limit_gets_its_token_back():
    async def main():
        limit = RateLimit(1, 1.0, scope="shared")
        one, two = Passing(Pacer(limit)), Passing(Pacer(limit))
        tasks = [one.start(n) for n in range(3)]
        await turns()
        one.pacer.close(fastws.NotSent("the session ended"))
        results = await asyncio.gather(*tasks, return_exceptions=True)
        assert results[0] is None
        assert [type(result) for result in results[1:]] == [fastws.NotSent] * 2
        await two.start("next")
        assert two.passed == [("next", 1.0)]

    run_virtual(main())


def test_a_loop_that_was_blocked_makes_up_for_it_up_to_the_burst():
    async def main():
        loop = asyncio.get_running_loop()
        blocked = [0.0]
        passing = Passing(Pacer(RateLimit(1, 1.0, burst=2), clock=lambda: loop.time() + blocked[0]))
        tasks = [passing.start(n) for n in range(7)]
        await asyncio.sleep(0.5)
        blocked[0] = 60.0
        await asyncio.gather(*tasks)
        # The one whose token was due, the burst, and then one a second.
        assert passing.passed == [(0, 0.0), (1, 0.0), (2, 1.0), (3, 1.0), (4, 1.0), (5, 2.0), (6, 3.0)]

    run_virtual(main())


def test_the_clock_can_be_given():
    async def main():
        now = [0.0]
        pacer = Pacer(RateLimit(1, 1.0), clock=lambda: now[0])
        assert pacer.try_acquire()
        assert not pacer.try_acquire()
        now[0] = 1.0
        assert pacer.try_acquire()

    run_virtual(main())


# -- dials --------------------------------------------------------------------


def test_a_thousand_clients_do_not_dial_at_once():
    async def main():
        loop = asyncio.get_running_loop()
        limiter = ConnectLimiter(500, 1.0, max_concurrent=100)
        at_once, starts = [0, 0], []

        async def dial():
            async with limiter.slot():
                starts.append(loop.time())
                at_once[0] += 1
                at_once[1] = max(at_once)
                await asyncio.sleep(0.01)
                at_once[0] -= 1

        await asyncio.gather(*[dial() for _ in range(1000)])
        assert limiter.dials == 1000
        assert at_once == [0, 100]
        assert starts[-1] == pytest.approx((1000 - 100) / 500, abs=0.02)
        assert all(sum(begin <= at < begin + 0.999 for at in starts) <= 600 for begin in (0.0, 0.5, 0.8))

    run_virtual(main())


def test_dials_begin_in_order_and_one_that_is_cancelled_leaves_its_place():
    async def main():
        limiter = ConnectLimiter(None, max_concurrent=1)
        started = []

        async def dial(n):
            async with limiter.slot():
                started.append(n)
                await asyncio.sleep(1)

        tasks = [asyncio.create_task(dial(n)) for n in range(5)]
        await turns()
        tasks[0].cancel()
        tasks[2].cancel()
        await asyncio.wait(tasks)
        assert started == [0, 1, 3, 4]
        async with limiter.slot():
            pass

    run_virtual(main())


def test_a_dial_cancelled_while_it_waits_for_its_rate_frees_its_place():
    async def main():
        limiter = ConnectLimiter(1, 10.0, max_concurrent=1)
        async with limiter.slot():
            pass

        async def dial():
            async with limiter.slot():
                pass

        task = asyncio.create_task(dial())
        await asyncio.sleep(5)
        task.cancel()
        await asyncio.wait([task])
        await dial()
        assert (asyncio.get_running_loop().time(), limiter.dials) == (10.0, 2)

    run_virtual(main())


def test_no_limits_at_all():
    async def main():
        limiter = ConnectLimiter(None, max_concurrent=None)
        for _ in range(1000):
            async with limiter.slot():
                pass
        assert asyncio.get_running_loop().time() == 0.0

    run_virtual(main())


def test_each_event_loop_has_a_limiter_for_all_its_clients():
    async def main():
        limiter = default_connect_limiter()
        assert default_connect_limiter() is limiter
        assert limiter.max_concurrent == 100
        return limiter

    assert run_virtual(main()) is not run_virtual(main())


def test_an_event_loop_in_which_clients_dialled_goes_when_it_is_over():
    async def main(loops):
        loops.append(weakref.ref(asyncio.get_running_loop()))
        config = fastws.ClientConfig(receive_timeout=None, ping_interval=None)
        connector = MemoryConnector(then=lambda wire: asyncio.sleep(0.01))
        clients = [fastws.WebSocketClient(URI, connector=connector, config=config) for _ in range(150)]
        # More than may dial at a time, and more than there are tokens; the last of them do not come to it.
        running = [asyncio.create_task(client.run()) for client in clients]
        await asyncio.gather(*(client.wait_ready() for client in clients[:120]))
        for task in running:
            task.cancel()
        await asyncio.wait(running)

    loops = []
    for _ in range(3):
        asyncio.run(main(loops))
    gc.collect()
    assert [loop() for loop in loops] == [None] * 3
