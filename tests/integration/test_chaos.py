"""Real sockets, a venue with all its faults, a link that is cut: see chaos_network.py, and `make soak ARGS=--chaos`."""

import pytest

import chaos_network
from peers import no_descriptor_left


@pytest.mark.slow
@pytest.mark.timeout(60)
async def test_seconds_of_real_chaos_lose_repeat_and_reorder_nothing(loop_name, open_fds):
    async with no_descriptor_left(open_fds):
        result = await chaos_network.chaos(5, seed=1, tls=loop_name == "asyncio")
    print(result)
    assert result.sessions > 3
    assert result.shutdowns > 10
