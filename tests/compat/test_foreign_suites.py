"""The harness of tests/foreign_suites: what a list of tests that are not passed is worth."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[1] / "foreign_suites"


@pytest.fixture(scope="module")
def harness():
    spec = importlib.util.spec_from_file_location("foreign_suites_run", FOLDER / "run.py")
    module = importlib.util.module_from_spec(spec)
    before = list(sys.path)
    sys.modules[spec.name] = module  # dataclasses look their module up
    try:
        spec.loader.exec_module(module)
    finally:
        sys.path[:] = before
        sys.modules.pop(spec.name)
    return module


SUITE = """
package = "sample"
versions = ["1.0", "2.0"]
only = []
tests = ["tests"]

[[left_out]]
tests = ["tests/test_a.py::test_server"]
reason = "a server"

[[not_passed]]
tests = ["tests/test_a.py::test_private*"]
kind = "internal"
reason = "sets a private attribute"

[[not_passed]]
tests = ["tests/test_a.py::test_old[x]"]
versions = ["<2"]
kind = "public"
reason = "a parameter that is gone since"

[[not_passed]]
tests = ["tests/test_a.py::test_racy"]
kind = "original"
sometimes = true
reason = "depends on the machine"
"""


@pytest.fixture
def suite(harness, tmp_path, monkeypatch):
    monkeypatch.setattr(harness, "HERE", tmp_path)
    (tmp_path / "sample").mkdir()

    def suite(text=SUITE):
        file = tmp_path / "sample" / "suite.toml"
        file.write_text(text)
        return harness.Suite.read(file)

    return suite


def judged(harness, suite, version, **outcomes):
    became = {f"tests/test_a.py::test_{name}": (outcome, "why") for name, outcome in outcomes.items()}
    became |= {"tests/test_a.py::test_old[x]": ("failed" if version == "1.0" else "passed", "why")}
    return harness._judge(suite, version, became, whole=True)


def test_as_listed_there_are_no_faults(harness, suite):
    for version, public in (("1.0", 1), ("2.0", 0)):
        outcome = judged(
            harness, suite(), version, fine="passed", private_a="failed", private_b="failed", racy="passed"
        )
        assert outcome.faults == []
        assert (outcome.passed, outcome.listed["internal"], outcome.listed["public"]) == (3 - public, 2, public)
    assert judged(harness, suite(), "1.0", private_a="failed", racy="failed").listed["original"] == 1


@pytest.mark.parametrize(
    ("outcomes", "fault"),
    [
        ({"private": "failed", "racy": "passed", "fine": "failed"}, "failed: tests/test_a.py::test_fine"),
        ({"private": "passed", "racy": "passed"}, "passed, but listed as not passed: tests/test_a.py::test_private"),
        ({"racy": "passed"}, "listed, but none of a test: tests/test_a.py::test_private*"),
    ],
)
def test_a_list_that_is_wrong_is_a_fault(harness, suite, outcomes, fault):
    [said] = judged(harness, suite(), "1.0", **outcomes).faults
    assert said.startswith(fault)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('reason = "sets a private attribute"', "", "an entry needs tests and a reason"),
        ('kind = "internal"', 'kind = "flaky"', "kind is one of public, internal, original"),
        ("only = []", 'only = []\ntoo = "much"', "what is too?"),
        ("only = []", 'only = []\nquick = ["3.0"]', "quick has versions that are not tested: 3.0"),
    ],
)
def test_a_suite_is_checked(harness, suite, old, new, said):
    with pytest.raises(harness.SuiteError, match=said.replace("?", r"\?")):
        suite(SUITE.replace(old, new, 1))


def test_quick_has_the_versions_that_are_named_so(harness, suite, monkeypatch):
    quick = suite(SUITE.replace("only = []", 'only = []\nquick = ["2.0"]'))
    for given, versions in (([], ["1.0", "2.0"]), (["--quick"], ["2.0"]), (["--quick", "--version", "1.0"], [])):
        monkeypatch.setattr("sys.argv", ["run.py", *given])
        assert harness._versions(quick, harness._arguments()[0]) == versions
    assert harness._versions(suite(), harness._arguments()[0]) == []


@pytest.mark.parametrize(("given", "status"), [([], 0), (["--strict"], 1)])
def test_what_cannot_be_fetched_is_no_failure_unless_strict(
    harness, suite, tmp_path, monkeypatch, capsys, given, status
):
    suite()
    (tmp_path / "sources.toml").write_text('[sample]\nrepository = "file:///nonexistent/sample"\n')
    monkeypatch.setattr(harness, "BUILD", tmp_path / "build")
    monkeypatch.setattr("sys.argv", ["run.py", "--version", "2.0", *given])
    assert harness.main() == status
    said = capsys.readouterr().out
    assert "not fetched: the repository: " in said
    assert said.splitlines()[-1].split() == ["sample", "2.0", *"------", "not", "fetched"]


LATE = """
import pathlib

def test_late():
    file = pathlib.Path("tried")
    first = not file.exists()
    file.touch()
    assert not first

def test_fine():
    pass

def test_private():
    assert False
"""


@pytest.fixture
def run(harness, suite, tmp_path, monkeypatch):
    """Runs a suite whose only file of tests is the one given, in the environment that this is."""

    def run(tests, text):
        files = tmp_path / "files"
        (files / "tests").mkdir(parents=True)
        (files / "tests" / "test_a.py").write_text(tests)
        monkeypatch.setattr(harness, "BUILD", tmp_path / "build")
        monkeypatch.setattr(harness.sources, "fetch", lambda *_: files)
        monkeypatch.setattr(harness, "_environment", lambda *_: Path(sys.executable))
        monkeypatch.setattr("sys.argv", ["run.py"])
        (tmp_path / "sources.toml").write_text("")
        (tmp_path / "plugin.py").symlink_to(FOLDER / "plugin.py")
        return harness._run(suite(text), "2.0", harness._arguments()[0], [])

    return run


@pytest.mark.parametrize(("late", "passed"), [(LATE, 2), (LATE.replace("not first", "False"), 1)])
def test_what_fails_and_is_not_listed_is_tried_again(run, late, passed):
    text = SUITE[: SUITE.index("[[not_passed]]", SUITE.index("test_private"))]
    outcome = run(late, text.replace("only = []", "only = []\nopens = false"))
    assert (outcome.passed, outcome.listed["internal"]) == (passed, 1)
    again = [] if passed == 1 else ["tests/test_a.py::test_late"]
    assert outcome.passed_again == again
    assert bool(outcome.faults) is (passed == 1)


CONNECTING = """
import asyncio

import fastws
import fastws.sync
from fastws import testing

def test_blocking():
    with testing.Server() as server, fastws.sync.connect(server.url()):
        pass

def test_on_a_loop():
    async def main():
        with testing.Server() as server:
            async with fastws.connect(server.url()), fastws.connect(server.url()):
                pass

    asyncio.run(main())
"""
NOT_CONNECTING = """
import pytest

import fastws.sync

def test_refused():
    with pytest.raises(OSError):
        fastws.sync.connect("ws://127.0.0.1:1/")
"""


@pytest.mark.parametrize(
    ("tests", "opens", "opened", "faults"),
    [
        (CONNECTING, True, 3, []),
        (CONNECTING, False, 3, ["3 connections were opened, where the suite says opens = False"]),
        (NOT_CONNECTING, True, 0, ["0 connections were opened, where the suite says opens = True"]),
        (NOT_CONNECTING, False, 0, []),
    ],
)
def test_a_suite_is_to_open_connections_on_fastws_or_to_say_that_it_does_not(run, tests, opens, opened, faults):
    text = SUITE[: SUITE.index("[[left_out]]")].replace("only = []", f"only = []\nopens = {str(opens).lower()}")
    outcome = run(tests, text)
    assert outcome.opened == opened
    assert outcome.faults[: len(faults)] == faults
    assert len(outcome.faults) == len(faults) + bool(faults)  # behind them is where to look


def test_the_suites_that_are_here_can_be_read(harness):
    found = [harness.Suite.read(file) for file in sorted(FOLDER.glob("*/*.toml"))]
    assert len({suite.name for suite in found}) == len(found) >= 5
    for suite in found:
        assert suite.adapter is None or (suite.file.parent / suite.adapter).exists()


def test_the_worst_of_a_test_counts_and_one_that_never_ended_failed(harness, tmp_path):
    file = tmp_path / "results"
    file.write_text(
        '["a", "failed", "it never ended"]\n["a", "passed", ""]\n["a", "failed", "teardown"]\n'
        '["b", "failed", "it never ended"]\n["b", "passed", ""]\n["b", "skipped", "why"]\n'
        '["c", "failed", "it never ended"]\n'
    )
    assert harness._read(file) == {
        "a": ("failed", "teardown"),
        "b": ("skipped", "why"),
        "c": ("failed", "it never ended"),
    }


def test_brackets_of_a_name_stand_for_themselves(harness):
    assert harness.matches("t.py::test[a-b]", "t.py::test[a-b]")
    assert harness.matches("t.py::test[a-b]", "t.py::test[*]")
    assert not harness.matches("t.py::testa", "t.py::test[a-b]")


def test_an_environment_that_lacks_what_it_needs_is_said():
    done = subprocess.run(
        [sys.executable, "-I", "-S", FOLDER / "run.py"], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 1
    [said] = done.stderr.splitlines()
    assert said.startswith(
        "No module named 'packaging': this is for the environment of the tests, by `make test-compat`"
    )
