"""Whether the gate on instruction counts sees a slow path: some are put into a copy of the sources on purpose.

Each is a loop of some hundred instructions at a place that messages go through. The copy is built like a release; what
was counted with the sources as they are is the budget, and each case that goes through a slowed place must be over it.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sysconfig
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
BUILD = ROOT / "build" / "slowed"
SLOWNESS = " for step in 0..60u32 { std::hint::black_box(step); }"
"""A tenth of what receiving a message takes: more than the slack, and no more than a careless change brings."""


class CannotSlow(Exception):
    """Why a slow path could not be put in."""


@dataclass(frozen=True)
class SlowPath:
    """A function that is slowed, and the cases that go through it."""

    file: str
    function: str
    """How it begins, up to the brace."""
    cases: tuple[str, ...]

    def put_in(self, text: str) -> str:
        """The file's text with the slow path in it."""
        begin = re.compile(re.escape(self.function) + r" \{$", re.MULTILINE)
        if len(begin.findall(text)) != 1:
            raise CannotSlow(f"{self.file}: {self.function} is not there once; benches/slow_paths.py names it")
        return begin.sub(lambda match: match[0] + SLOWNESS, text)


SLOW_PATHS = (
    SlowPath(
        "rust/py/src/queue.rs",
        "pub fn make(self, natural: bool) -> *mut ffi::PyObject",
        ("ingest 128 B TCP, fastws",),
    ),
    SlowPath(
        "rust/core/src/send_queue.rs",
        "pub fn push_data(&mut self, header: &[u8], payload: &[u8], key: Option<[u8; 4]>, ends_message: bool)",
        ("send 128 B TCP, fastws",),
    ),
)


def slowed_package(python: str) -> Path:
    """A folder with the package, built from sources with every slow path in them."""
    copy = BUILD / "sources"
    shutil.rmtree(copy, ignore_errors=True)
    copy.mkdir(parents=True)
    for name in ("Cargo.toml", "Cargo.lock", "rust-toolchain.toml"):
        if (ROOT / name).exists():
            shutil.copy2(ROOT / name, copy / name)
    shutil.copytree(ROOT / "rust", copy / "rust", ignore=shutil.ignore_patterns("target", "corpus", "artifacts"))
    for path in SLOW_PATHS:
        file = copy / path.file
        file.write_text(path.put_in(file.read_text()))
    target = Path(os.environ.get("SLOWED_TARGET", BUILD / "target"))
    command = ["cargo", "build", "--quiet", "--release", "--target-dir", str(target), "-p", "fastws-py"]
    done = subprocess.run(command, cwd=copy, env=os.environ | {"PYO3_PYTHON": python}, check=False)
    if done.returncode != 0:
        raise CannotSlow("the slowed copy was not built; see above")
    package = BUILD / "package"
    shutil.rmtree(package, ignore_errors=True)
    shutil.copytree(ROOT / "python" / "fastws", package / "fastws", ignore=shutil.ignore_patterns("__pycache__"))
    suffix = sysconfig.get_config_var("EXT_SUFFIX")
    shutil.copy2(target / "release" / "lib_core.so", package / "fastws" / f"_core{suffix}")
    return package
