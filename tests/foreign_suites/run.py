"""Runs test files of other packages, as their source distributions have them, on fastws' drop-ins; see README.md."""

from __future__ import annotations

import argparse
import dataclasses
import hashlib
import json
import os
import platform
import shutil
import subprocess
import sys
import tomllib
from collections import Counter
from pathlib import Path

try:
    from packaging.requirements import Requirement
    from packaging.specifiers import SpecifierSet
    from packaging.version import Version

    import fastws
except ModuleNotFoundError as error:
    sys.exit(f"{error}: this is for the environment of the tests, by `make test-compat` or .venv-test-X.Y/bin/python")

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
BUILD = ROOT / "build" / "compat"
sys.path.insert(0, str(HERE))
import sources  # noqa: E402 - beside this file
from plugin import matches  # noqa: E402 - likewise

KINDS = ("public", "internal", "original")
BASE = ("pytest>=8.4", "pytest-timeout==2.4.0")
SHOWN = 25
"""Faults of one run that are printed."""

AGAIN = 10
"""Tests that may be tried a second time, since others' tests go by the clock, and a busy machine is late."""

WAIT = 1800
"""Seconds for one suite at one version: whatever hangs that pytest-timeout does not end."""


class SuiteError(Exception):
    """A suite's file says something that cannot be."""


@dataclasses.dataclass(frozen=True)
class NotPassed:
    """Tests that are known not to pass, and why."""

    tests: tuple[str, ...]
    kind: str
    reason: str
    versions: SpecifierSet
    sometimes: bool


@dataclasses.dataclass(frozen=True)
class Suite:
    """One TOML file, see README.md."""

    name: str
    file: Path
    package: str
    versions: tuple[str, ...]
    only: tuple[str, ...]
    tests: tuple[str, ...]
    requires: tuple[str, ...] = ()
    requires_by_version: dict[str, list[str]] = dataclasses.field(default_factory=dict)
    extras: tuple[str, ...] = ()
    adapter: str | None = None
    arguments: tuple[str, ...] = ()
    folder: str = "."
    quick: tuple[str, ...] = ()
    quick_tests: tuple[str, ...] = ()
    timeout: float = 60
    python: str = ""
    opens: bool = True
    environment: dict[str, str] = dataclasses.field(default_factory=dict)
    left_out: tuple[str, ...] = ()
    not_passed: tuple[NotPassed, ...] = ()

    @classmethod
    def read(cls, file: Path) -> Suite:
        given = tomllib.loads(file.read_text())
        path = file.relative_to(HERE)
        known = {field.name for field in dataclasses.fields(cls)}
        if unknown := given.keys() - known:
            raise SuiteError(f"{path}: what is {', '.join(sorted(unknown))}?")
        for key, value in given.items():
            if key not in ("left_out", "not_passed") and isinstance(value, list):
                given[key] = tuple(value)
        given["left_out"] = tuple(test for entry in given.get("left_out", ()) for test in _listed(path, entry)["tests"])
        given["not_passed"] = tuple(_not_passed(path, entry) for entry in given.get("not_passed", ()))
        if unknown := set(given.get("quick", ())) - set(given["versions"]):
            raise SuiteError(f"{path}: quick has versions that are not tested: {', '.join(sorted(unknown))}")
        name = str(path.parent if path.name == "suite.toml" else path.with_suffix(""))
        return cls(name=name, file=file, **given)

    def wanted(self, version: str) -> list[str]:
        """What its environment has at a version of the package."""
        extras = f"[{','.join(self.extras)}]" if self.extras else ""
        runtime = (ROOT / "requirements" / "runtime.txt").read_text().splitlines()
        ours = [*BASE, *(line for line in runtime if line and not line.startswith("#"))]
        theirs = [*self.requires, *self.requires_by_version.get(version, ())]
        named = {Requirement(line).name.lower() for line in theirs}
        return [f"{self.package}{extras}=={version}", *theirs, *(x for x in ours if Requirement(x).name not in named)]


@dataclasses.dataclass
class Outcome:
    """What became of a suite at one version."""

    passed: int
    skipped: int
    listed: Counter[str]
    faults: list[str]
    not_fetched: str = ""
    opened: int | None = None
    passed_again: list[str] = dataclasses.field(default_factory=list)


def main() -> int:
    options, rest = _arguments()
    suites = [Suite.read(file) for file in sorted(HERE.glob("*/*.toml"))]
    chosen = [suite for suite in suites if not options.suites or _is_chosen(suite, options.suites)]
    if not chosen:
        print(f"no such suite; there are {', '.join(suite.name for suite in suites)}", file=sys.stderr)
        return 2
    rows: list[tuple[str, str, Outcome]] = []
    for suite in chosen:
        for version in _versions(suite, options):
            print(f"\n==> {suite.name}: {suite.package} {version}{', the original' * options.original}", flush=True)
            outcome = _run(suite, version, options, rest)
            rows.append((suite.name, version, outcome))
            if outcome.not_fetched:
                print(f"    not fetched: {outcome.not_fetched}")
            for name in outcome.passed_again:
                print(f"    passed at the second attempt: {name}")
            for fault in outcome.faults[:SHOWN]:
                print(f"    {fault}")
            if len(outcome.faults) > SHOWN:
                print(f"    and {len(outcome.faults) - SHOWN} more; {outcome.faults[-1]}")
    _print_table(rows)
    return 1 if any(outcome.faults or (options.strict and outcome.not_fetched) for _, _, outcome in rows) else 0


def _arguments() -> tuple[argparse.Namespace, list[str]]:
    given = sys.argv[1:]
    given, rest = (given[: given.index("--")], given[given.index("--") + 1 :]) if "--" in given else (given, [])
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("suites", nargs="*", help="a folder, or a suite by name; all by default")
    parser.add_argument("--version", action="append", help="only this version of the package")
    parser.add_argument("--quick", action="store_true", help="only the versions that a suite names as quick")
    parser.add_argument("--strict", action="store_true", help="tests that could not be fetched are an error")
    parser.add_argument("--original", action="store_true", help="without the drop-in, for comparison")
    return parser.parse_args(given), rest


def _is_chosen(suite: Suite, names: list[str]) -> bool:
    return any(suite.name == name.rstrip("/") or suite.name.startswith(name.rstrip("/") + "/") for name in names)


def _versions(suite: Suite, options: argparse.Namespace) -> list[str]:
    """Of which versions to run a suite, on the Python that this is."""
    if platform.python_version() not in SpecifierSet(suite.python):
        return []
    versions = suite.quick if options.quick else suite.versions
    return [version for version in versions if not options.version or version in options.version]


def _listed(path: Path, entry: dict[str, object]) -> dict[str, list[str]]:
    if not entry.get("tests") or not str(entry.get("reason", "")).strip():
        raise SuiteError(f"{path}: an entry needs tests and a reason: {entry}")
    return entry  # type: ignore[return-value]


def _not_passed(path: Path, entry: dict[str, object]) -> NotPassed:
    _listed(path, entry)
    if entry.get("kind") not in KINDS:
        raise SuiteError(f"{path}: kind is one of {', '.join(KINDS)}: {entry}")
    versions = entry.get("versions", [])
    return NotPassed(
        tests=tuple(entry["tests"]),  # type: ignore[arg-type]
        kind=str(entry["kind"]),
        reason=str(entry["reason"]),
        versions=SpecifierSet(",".join(versions)),  # type: ignore[arg-type]
        sometimes=bool(entry.get("sometimes")),
    )


# ---- one run ---------------------------------------------------------------------------------------------------------


def _run(suite: Suite, version: str, options: argparse.Namespace, more: list[str]) -> Outcome:
    try:
        elsewhere = sources.elsewhere(HERE / "sources.toml").get(suite.package, {})
        source = sources.fetch(suite.package, version, elsewhere, BUILD) / suite.folder
    except sources.NotFetchedError as error:
        return Outcome(0, 0, Counter(), [], str(error))
    try:
        python = _environment(suite, version)
    except subprocess.CalledProcessError as error:
        return Outcome(0, 0, Counter(), [f"no environment: {' '.join(error.cmd)} ended with {error.returncode}"])
    log = source / ".foreign-log"
    tests = suite.quick_tests if options.quick and suite.quick_tests else suite.tests
    status, became = _pytest(suite, source, python, [*more, *tests], log, original=options.original)
    opened = None if options.original else _opened(source)
    again = _unexpected(suite, version, became)
    passed_again = []
    if status == 1 and again and len(again) <= AGAIN:
        second_log = log.with_name(".foreign-log-again")
        _, second = _pytest(suite, source, python, [*more, *again], second_log, original=options.original)
        passed_again = [name for name in again if second.get(name, ("",))[0] == "passed"]
        became |= {name: second[name] for name in passed_again}
    as_listed = not more and not options.original
    outcome = _judge(suite, version, became, whole=as_listed and tests == suite.tests)
    outcome.passed_again, outcome.opened = passed_again, opened
    if as_listed and suite.opens is (opened == 0):
        outcome.faults.append(f"{opened} connections were opened, where the suite says opens = {suite.opens}")
    if status not in (0, 1) or not became:
        tail = log.read_text(errors="replace").splitlines()[-30:]
        outcome.faults.append("\n    ".join([f"pytest ended with {status}:", *tail]))
    if outcome.faults:
        outcome.faults.append(f"what pytest said: {log}")
    return outcome


def _pytest(
    suite: Suite, source: Path, python: Path, arguments: list[str], log: Path, *, original: bool
) -> tuple[int, dict[str, tuple[str, str]]]:
    """Runs some tests; with which status pytest ended, and what became of each."""
    results, left_out, opened = (source / f".foreign-{name}" for name in ("results", "left-out", "opened"))
    left_out.write_text(json.dumps(suite.left_out))
    for file in (results, opened):
        file.unlink(missing_ok=True)
    command = [str(python)]
    if suite.only and not original:
        command += ["-m", "fastws.compat", "run", "--only", ",".join(suite.only)]
    command += ["-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:fastws", "-p", "plugin"]
    command += [f"--foreign-results={results}", f"--foreign-left-out={left_out}", f"--foreign-opened={opened}"]
    if not _is_configured(source):
        # Without this, pytest looks upwards, and finds our own configuration.
        (source / ".foreign.ini").write_text("[pytest]\n")
        command += ["-c", ".foreign.ini"]
    if suite.adapter and not original:
        command += ["-p", suite.adapter.removesuffix(".py")]
    command += [f"--timeout={suite.timeout}", "--tb=short", *suite.arguments, *arguments]
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST_", "PYTHON"))}
    environment |= suite.environment
    environment = {name: value for name, value in environment.items() if value}
    environment["PATH"] = os.pathsep.join([str(python.parent), environment.get("PATH", os.defpath)])
    environment["PYTHONPATH"] = os.pathsep.join([str(_our_path()), str(HERE), str(suite.file.parent)])
    with log.open("wb") as file:
        try:
            status = subprocess.run(
                command, cwd=source, env=environment, stdout=file, stderr=subprocess.STDOUT, timeout=WAIT, check=False
            ).returncode
        except subprocess.TimeoutExpired:
            status = -1
    return status, _read(results)


def _unexpected(suite: Suite, version: str, became: dict[str, tuple[str, str]]) -> list[str]:
    """The tests that failed and are not listed."""
    return [
        name
        for name, (outcome, _) in became.items()
        if outcome == "failed"
        and not any(
            matches(name, pattern)
            for entry in suite.not_passed
            if entry.versions.contains(Version(version), prereleases=True)
            for pattern in entry.tests
        )
    ]


def _is_configured(source: Path) -> bool:
    """Whether the source distribution has a configuration of pytest."""
    sections = {"pyproject.toml": "[tool.pytest", "tox.ini": "[pytest]", "setup.cfg": "[tool:pytest]", "pytest.ini": ""}
    return any(
        (source / name).exists() and section in (source / name).read_text(encoding="utf-8")
        for name, section in sections.items()
    )


def _read(results: Path) -> dict[str, tuple[str, str]]:
    """Of each test the worst that was written; that it began counts only if nothing else came."""
    became: dict[str, tuple[str, str]] = {}
    began = "it never ended"
    for line in results.read_text().splitlines() if results.exists() else ():
        name, outcome, why = json.loads(line)
        before = became.get(name)
        if before is None or before[1] == began or _SEVERITY[outcome] > _SEVERITY[before[0]]:
            became[name] = (outcome, why)
    return became


def _opened(source: Path) -> int:
    """How many connections the last run of tests opened."""
    file = source / ".foreign-opened"
    return int(file.read_text()) if file.exists() else 0


_SEVERITY = {"passed": 0, "skipped": 1, "failed": 2}


def _judge(suite: Suite, version: str, became: dict[str, tuple[str, str]], *, whole: bool) -> Outcome:
    listed: Counter[str] = Counter()
    faults = []
    expected: dict[str, NotPassed] = {}
    for entry in suite.not_passed:
        if not entry.versions.contains(Version(version), prereleases=True):
            continue
        for pattern in entry.tests:
            found = [name for name in became if matches(name, pattern)]
            expected |= dict.fromkeys(found, entry)
            if not found and whole:
                faults.append(f"listed, but none of a test: {pattern}")
    for name, (outcome, why) in became.items():
        entry = expected.get(name)
        if outcome == "failed":
            if entry is None:
                faults.append(f"failed: {name}\n        {why}")
            else:
                listed[entry.kind] += 1
        elif outcome == "passed" and entry is not None and not entry.sometimes:
            faults.append(f"passed, but listed as not passed: {name}")
    counts = Counter(outcome for outcome, _ in became.values())
    return Outcome(counts["passed"], counts["skipped"], listed, faults)


def _print_table(rows: list[tuple[str, str, Outcome]]) -> None:
    head = ("suite", "version", "passed", "public", "internal", "original", "skipped", "opened", "")
    lines = [head]
    for name, version, outcome in rows:
        numbers = [outcome.passed, *(outcome.listed[kind] for kind in KINDS), outcome.skipped]
        cells = ["-"] * len(numbers) if outcome.not_fetched else list(map(str, numbers))
        cells.append("-" if outcome.opened is None else str(outcome.opened))
        again = f"{len(outcome.passed_again)} at the second attempt" if outcome.passed_again else ""
        remark = "not fetched" if outcome.not_fetched else "NOT AS LISTED" if outcome.faults else again
        lines.append((name, version, *cells, remark))
    widths = [max(len(line[column]) for line in lines) for column in range(len(head))]
    print("\nTests that passed, and that did not: of public behaviour, of internals, of the original itself;")
    print("and how many connections they opened on fastws\n")
    for line in lines:
        cells = [text.rjust(width) for text, width in zip(line, widths, strict=True)]
        print("  ".join([line[0].ljust(widths[0]), line[1].ljust(widths[1]), *cells[2:]]).rstrip())


# ---- environments ----------------------------------------------------------------------------------------------------


def _our_path() -> Path:
    """A folder for PYTHONPATH that has fastws alone, the one that this process has."""
    folder = BUILD / "path"
    folder.mkdir(parents=True, exist_ok=True)
    link, package = folder / "fastws", Path(fastws.__file__).parent
    if not link.is_symlink() or link.readlink() != package:
        link.unlink(missing_ok=True)
        link.symlink_to(package)
    return folder


def _environment(suite: Suite, version: str) -> Path:
    """The Python of an environment with what the suite wants, made once for all suites that want the same."""
    wanted = suite.wanted(version)
    key = hashlib.sha256(json.dumps([platform.python_version(), sorted(wanted)]).encode()).hexdigest()[:10]
    folder = BUILD / "environments" / f"{suite.package}-{version}-{key}"
    python, made = folder / "bin" / "python", folder / ".made"
    if not made.exists():
        shutil.rmtree(folder, ignore_errors=True)
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
        subprocess.run(
            [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *wanted], check=True
        )
        made.touch()
    return python


if __name__ == "__main__":
    sys.exit(main())
