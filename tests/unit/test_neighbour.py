"""The unrelated distribution that is called ``fastws`` too, installed before ours and after."""

import subprocess
import sys
from pathlib import Path

import pytest

import fastws

OURS = Path(fastws.__file__).parent
THEIRS = ("application.py", "asyncapi.py", "broker.py", "docs.py", "routing.py")  # as in its 0.1.7
ADVICE = "uninstall both (pip uninstall fastws fastws-client)"


@pytest.fixture(params=["theirs first", "ours first"])
def shared(request, tmp_path):
    """A folder of packages that both are installed into, and whether ours is the last."""
    package = tmp_path / "fastws"
    package.mkdir()
    for path in OURS.iterdir():
        if path.name != "__pycache__":
            (package / path.name).symlink_to(path)
    for name in THEIRS:
        (package / name).write_text("class FastWS: pass\n")
    if request.param == "ours first":
        (package / "__init__.py").unlink()
        (package / "__init__.py").write_text("from .application import FastWS as FastWS\n")
    return tmp_path, request.param == "theirs first"


def run(folder, *args):
    environment = {"PYTHONPATH": str(folder), "PYTHONDONTWRITEBYTECODE": "1"}
    return subprocess.run(
        [sys.executable, *args], cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=50
    )


PROGRAMS = {
    "module": ["-m", "fastws", "--version"],
    "sync": ["-c", "import fastws.sync"],
    "drop-in": ["-c", "import fastws.compat.websockets"],
    "testing": ["-c", "import fastws.testing"],
    "again": ["-c", "try:\n    import fastws.sync\nexcept ImportError:\n    pass\nimport fastws.sync"],
}


@pytest.mark.parametrize("program", PROGRAMS.values(), ids=PROGRAMS)
def test_what_is_ours_says_so_whichever_was_installed_last(shared, program):
    folder, is_ours = shared
    ended = run(folder, *program)
    assert ADVICE in ended.stderr, ended.stderr
    assert str(folder / "fastws") in ended.stderr
    assert "two environments" in ended.stderr
    if is_ours:
        assert ended.returncode == 0, ended.stderr
        assert ended.stderr.count("RuntimeWarning") == 1
    else:
        assert ended.returncode == 1
        assert "ImportError: the unrelated distribution 'fastws' is installed over" in ended.stderr


def test_the_warning_is_of_the_line_that_imports(shared):
    folder, is_ours = shared
    (folder / "program.py").write_text("import sys\nimport fastws\nsys.exit(hasattr(fastws, 'connect'))\n")
    ended = run(folder, "program.py")
    assert ended.returncode == is_ours  # theirs is theirs: it has nothing to say
    assert ("program.py:2: RuntimeWarning" in ended.stderr) is is_ours, ended.stderr


def test_alone_it_says_nothing(tmp_path):
    ended = run(OURS.parent, "-W", "error", "-c", "import fastws, fastws.sync")
    assert (ended.returncode, ended.stderr) == (0, "")
