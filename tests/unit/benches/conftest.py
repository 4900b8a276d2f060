"""The benchmark suite's own logic. It is not part of the source distribution; without it there is nothing to test."""

import sys
from pathlib import Path

import pytest

BENCHES = Path(__file__).parents[3] / "benches"

if BENCHES.is_dir():
    sys.path.append(str(BENCHES))
else:
    collect_ignore_glob = ["test_*.py"]


@pytest.fixture
def bench_peer():
    """The benchmarks' peer, in this process."""
    import peer
    from fastws.testing import Server

    with Server() as server, peer.Counts([server]) as counts:
        url = server.url("/").removesuffix("/")
        yield peer.Peer(url, punctual_ws=url, counts=counts.server_address[1])
        counts.shutdown()
