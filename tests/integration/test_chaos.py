"""Real sockets, a venue with all its faults, a link that is cut: see chaos_network.py, and `make soak ARGS=--chaos`."""

import pytest

import chaos_network


@pytest.mark.slow
@pytest.mark.timeout(60)
async def test_seconds_of_real_chaos_lose_repeat_and_reorder_nothing(loop_name):
    result = await chaos_network.chaos(5, seed=1, tls=loop_name == "asyncio")
    print(result)
    assert result.sessions > 1
    assert result.shutdowns > 10
    assert result.steps > 3
    assert result.orders["written"] > 20
    # What the allocators keep goes up and down; a session that is not let go has its queues with it.
    assert result.grown < 8
