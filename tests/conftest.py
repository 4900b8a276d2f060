"""What all tests share: `peers` can be imported, and `async def` integration tests run on asyncio and on uvloop."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
