"""Each `async def` test runs on asyncio and on uvloop, see each_loop.py."""

from each_loop import pytest_generate_tests, pytest_pyfunc_call  # noqa: F401 - hooks
