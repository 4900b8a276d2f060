"""What all tests share: `peers` can be imported, and `async def` integration tests run on asyncio and on uvloop."""

import gc
import sys
from pathlib import Path

import pytest

from fastws import _loop_io

sys.path.insert(0, str(Path(__file__).parent))


def pytest_collection_finish():
    """Thousands of collected tests are not looked through whenever one collects garbage: that would hold its loop."""
    gc.collect()
    gc.freeze()


def pytest_addoption(parser):
    parser.addoption("--driver", choices=["loop", "protocol"], default="loop", help="who moves a connection's bytes")


def pytest_configure(config):
    config.addinivalue_line("markers", "loop_driver(reason): not for connections on a transport")
    if config.getoption("--driver") == "protocol":
        # As on a loop that watches no descriptors.
        _loop_io._watches_descriptors = lambda _loop: False


def pytest_runtest_setup(item):
    marker = item.get_closest_marker("loop_driver")
    if marker is not None and item.config.getoption("--driver") == "protocol":
        pytest.skip(marker.args[0])
