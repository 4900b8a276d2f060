"""What all tests share: `peers` can be imported, and `async def` integration tests run on asyncio and on uvloop."""

import gc
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))


def pytest_collection_finish():
    """Thousands of collected tests are not looked through whenever one collects garbage: that would hold its loop."""
    gc.collect()
    gc.freeze()
