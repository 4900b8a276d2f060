"""Calls that block, in threads of our own."""

import asyncio
import threading

import pytest

from fastws._aside import Calls, TooLate, in_thread, on_loop
from peers import Gate
from programs import run_program


class Act:
    """What is called: it waits for its gate, and says how often it was called."""

    def __init__(self):
        self.begun, self.gate = Gate(), Gate()
        self.times = 0

    def __call__(self):
        self.times += 1
        self.begun.open()
        self.gate.wait()
        return self.times


@pytest.fixture
def calls():
    return Calls("test", most=2)


def test_all_who_ask_for_the_same_share_a_call(calls):
    act = Act()

    async def main():
        asking = [asyncio.create_task(on_loop(calls.ask("a", act))) for _ in range(5)]
        await asyncio.sleep(0)
        assert calls.ask("a", act) is calls.ask("a", act)
        act.gate.open()
        return await asyncio.gather(*asking)

    assert asyncio.run(main()) == [1] * 5
    assert in_thread(calls.ask("a", act), 10) == 2  # what is over is not under way


@pytest.mark.parametrize("waits", ["on a loop", "in a thread"])
def test_what_it_raises_is_raised_where_it_is_waited_for(calls, waits):
    def act():
        raise TimeoutError(110, "the system's own")

    with pytest.raises(TimeoutError, match="the system's own"):
        if waits == "on a loop":
            asyncio.run(on_loop(calls.ask("a", act), 20))
        else:
            in_thread(calls.ask("a", act), 20)


@pytest.mark.parametrize("waits", ["on a loop", "in a thread"])
def test_who_waits_gives_up_when_his_time_is_over(calls, waits):
    act = Act()
    with pytest.raises(TooLate):
        if waits == "on a loop":
            asyncio.run(on_loop(calls.ask("a", act), 0.01))
        else:
            in_thread(calls.ask("a", act), 0.01)
    act.gate.open()


def test_more_than_most_wait_for_their_turn_and_are_never_called_if_nobody_waits_any_more(calls):
    hangs, quick, given_up = Act(), Act(), Act()
    quick.gate.open()
    both = [calls.ask(name, hangs) for name in "ab"]
    waiting = [calls.ask("c", given_up), calls.ask("d", quick)]
    assert all(call.has_begun for call in both)
    assert not any(call.has_begun for call in waiting)
    with pytest.raises(TooLate):
        in_thread(waiting[0], 0.01)
    hangs.gate.open()
    assert in_thread(waiting[1], 10) == 1
    assert given_up.times == 0


def test_a_call_that_all_have_given_up_is_joined_while_it_is_fresh(calls, monkeypatch):
    act = Act()
    with pytest.raises(TooLate):
        in_thread(calls.ask("a", act), 0.01)
    act.begun.wait()
    same = calls.ask("a", act)
    monkeypatch.setattr("fastws._aside._FRESH", 0)
    another = calls.ask("a", act)
    act.gate.open()
    assert in_thread(another, 10) == act.times == 2
    assert same is not another


def test_a_loop_that_is_closed_before_the_answer_hears_nothing(calls):
    act = Act()

    async def main():
        waiting = asyncio.create_task(on_loop(calls.ask("a", act)))
        await asyncio.sleep(0)
        return waiting

    loop = asyncio.new_event_loop()
    waiting = loop.run_until_complete(main())
    loop.close()
    call = calls.ask("a", act)
    act.gate.open()
    assert in_thread(call, 10) == 1
    waiting.get_coro().close()
    waiting._log_destroy_pending = False


def test_where_no_thread_is_to_be_had_that_is_an_oserror(calls, monkeypatch):
    def none(_thread):
        raise RuntimeError("can't start new thread")  # the system's limit does not hold for root

    monkeypatch.setattr(threading.Thread, "start", none)
    for _ in range(3):
        with pytest.raises(OSError, match="can't start new thread"):
            in_thread(calls.ask("a", int), 10)


def test_a_forked_child_makes_its_own_calls():
    run_program(
        "asyncio",
        """
        from fastws._aside import Calls, in_thread

        calls, gate = Calls("test", most=1), Gate()
        call = calls.ask("a", gate.wait)
        holds, go = Gate(), Gate()

        def hold():
            with calls.lock:
                holds.open()
                go.wait()

        holder = threading.Thread(target=hold)
        holder.start()
        holds.wait()

        def child():
            assert in_thread(calls.ask("a", lambda: "mine"), 10) == "mine"

        in_a_child(child)
        go.open()
        gate.open()
        holder.join()
        in_thread(call, 10)
        print("ok")
        """,
    )


def test_who_was_given_a_call_is_answered_though_the_others_leave_it_before_it_begins():
    calls, act = Calls("test", most=1), Act()
    calls.ask("busy", act)
    first, second = calls.ask("a", lambda: "answer"), calls.ask("a", lambda: "answer")
    assert first is second
    first.tell(print)
    first.leave(print)  # the other one has not said yet how it waits
    act.gate.open()
    assert in_thread(second, 20) == "answer"


def test_an_error_that_many_wait_for_keeps_none_of_them(calls):
    def wrong():
        raise LookupError("nothing there")

    call = calls.ask("a", wrong)
    depths = []
    for _ in range(3):
        with pytest.raises(LookupError) as caught:
            in_thread(call, 20)
        depths.append(len(caught.traceback))
    assert depths == [depths[0]] * 3
