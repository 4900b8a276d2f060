"""The recipe of docs/stability.md, for libraries that take fastws where it is installed."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "stability.md").read_text(encoding="utf-8")
[RECIPE] = re.findall(r"^```python\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
WITHOUT = """
import importlib.abc, sys

class Absent(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name.partition(".")[0] == {absent!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Absent())
"""
TELL = "print(connect.__module__, ClientConnection.__module__.split('.')[0], ConnectionClosed.__module__.split('.')[0])"


@pytest.mark.parametrize(
    ("absent", "said"),
    [
        ("nothing", "fastws.compat.websockets.asyncio.client fastws websockets"),
        ("websockets", "fastws.compat.websockets.asyncio.client fastws fastws"),
        ("fastws", "websockets.asyncio.client websockets websockets"),
    ],
)
def test_the_recipe_takes_what_is_installed(absent, said):
    program = WITHOUT.format(absent=absent) + RECIPE + TELL
    done = subprocess.run([sys.executable, "-X", "dev", "-c", program], capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == said, done.stderr


def test_what_is_caught_by_websockets_name_is_ours_too():
    program = RECIPE + "import websockets\nassert issubclass(ConnectionClosed, websockets.ConnectionClosed)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr


def test_the_example_has_the_recipe():
    assert RECIPE.strip() in (ROOT / "examples" / "optional_dependency.py").read_text(encoding="utf-8")
