"""What all tests share: `peers` can be imported, and `async def` integration tests run on asyncio and on uvloop."""

import gc
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from fastws import _loop_io

sys.path.insert(0, str(Path(__file__).parent))

# Besides what hypothesis does in CI: an example that a busy machine holds up is no slow one.
settings.register_profile("patient", settings.default, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("patient")


def pytest_collection_finish():
    """Thousands of collected tests are not looked through whenever one collects garbage: that would hold its loop."""
    gc.collect()
    gc.freeze()


def pytest_addoption(parser):
    parser.addoption("--driver", choices=["loop", "protocol"], default="loop", help="who moves a connection's bytes")
    parser.addoption(
        "--loops",
        default="asyncio,uvloop",
        type=lambda names: names.split(","),
        help="event loops to run integration tests on: asyncio, uvloop, rloop",
    )


def pytest_configure(config):
    config.addinivalue_line("markers", "loop_driver(reason): not for connections on a transport")
    config.addinivalue_line("markers", "not_on(loop, reason): not for this event loop")
    if "rloop" in config.getoption("--loops"):
        # Its own socket pair, which it never closes.
        config.addinivalue_line(
            "filterwarnings", "ignore:unclosed <socket.socket fd=[0-9]+, family=1, type=1, proto=0>:ResourceWarning"
        )
    if config.getoption("--driver") == "protocol":
        # As on a loop that watches no descriptors.
        _loop_io._watches_descriptors = lambda _loop: False


def pytest_runtest_setup(item):
    for marker in item.iter_markers("not_on"):
        loop, reason = marker.args
        if item.callspec.params.get("loop_name") == loop:
            pytest.skip(f"{loop}: {reason}")
    marker = item.get_closest_marker("loop_driver")
    if marker is not None and item.config.getoption("--driver") == "protocol":
        pytest.skip(marker.args[0])
