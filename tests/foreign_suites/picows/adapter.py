"""The suite's package `tests` can be imported, and the installed picows is found before the source beside it."""

import sys
from pathlib import Path

import picows  # noqa: F401 - now, by the path as it is

sys.path.append(str(Path.cwd().parent))
