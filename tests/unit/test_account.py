"""What became of what one connection accepted (_account.py), with a connection made up."""

import asyncio

import pytest

from fastws._account import Account, Item
from fastws.errors import MaybeSent, NotSent
from virtual_time import run_virtual


class Native:
    """Accepts messages, and writes as many as the test says; the one in front may be written in part."""

    def __init__(self):
        self.accepted = self.written = self.begun = 0
        self.waiting = []

    @property
    def _unsent(self):
        return self.accepted, self.accepted - self.written - self.begun, self.begun

    def _written_future(self):
        future = asyncio.get_running_loop().create_future()
        self.waiting.append(future)
        return future

    def write(self, count, begun=0):
        self.written += count
        self.begun = begun
        if self.written == self.accepted:
            for future in self.waiting:
                future.set_result(None)
            self.waiting.clear()


def sends(native, account, *items):
    for item in items:
        native.accepted += 1
        account.add(item)


def test_what_others_send_on_the_connection_is_not_taken_for_the_users():
    native = Native()
    account = Account(native)
    native.accepted += 2  # a handshake
    sends(native, account, Item("a"), Item("b"))
    native.accepted += 3  # subscriptions that are replayed, behind them
    native.write(4)
    assert account.close(keeps=True) == ([], [])


def test_what_is_on_its_way_may_be_sent_and_what_is_behind_it_is_not():
    native = Native()
    account = Account(native)
    sends(native, account, Item("a"), Item("b"), Item("c"), Item("d"))
    native.write(1, begun=1)
    lost, kept = account.close(keeps=False)
    assert kept == []
    assert [(each.message, each.outcome) for each in lost] == [
        ("b", "maybe_sent"),
        ("c", "not_sent"),
        ("d", "not_sent"),
    ]


def test_what_may_be_sent_again_keeps_what_was_said_of_it():
    native = Native()
    account = Account(native)
    order = Item(b"order", True, 12.5, None, "orders")
    sends(native, account, Item("a"), order)
    native.write(0, begun=1)
    lost, kept = account.close(keeps=True)
    assert [(each.message, each.outcome) for each in lost] == [("a", "maybe_sent")]
    assert kept == [order]


def test_receipts_follow_the_kernel():
    async def main():
        native, loop = Native(), asyncio.get_running_loop()
        account = Account(native)
        first, second, third, fourth = (loop.create_future() for _ in range(4))
        sends(native, account, Item("a", receipt=first), Item("b"), Item("c", receipt=second))
        native.write(3)
        await asyncio.sleep(0)
        assert first.done()
        assert second.done()
        sends(native, account, Item("d", receipt=third), Item("e", receipt=fourth))
        native.write(0, begun=1)
        account.close(keeps=False)
        with pytest.raises(MaybeSent):
            await third
        with pytest.raises(NotSent):
            await fourth

    run_virtual(main())
