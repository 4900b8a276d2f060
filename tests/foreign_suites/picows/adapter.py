"""The suite's own package `tests` is importable, and the installed picows is found before the source that it lies beside."""

import sys
from pathlib import Path

import picows  # noqa: F401 - now, by the path as it is

sys.path.append(str(Path.cwd().parent))
