"""What the gate on instruction counts lets pass (benches/instructions.py), and what it counts (benches/counting.py)."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import counting
import instructions
import slow_paths

ROOT = Path(__file__).parents[3]


def kinds(faults):
    return [fault.partition(":")[0] for fault in faults]


@pytest.mark.parametrize(
    ("count", "fault"),
    [(1000, None), (1029, None), (945, None), (1031, "over budget"), (939, "far below budget")],
)
def test_a_count_is_held_to_its_budget_from_both_sides(count, fault):
    faults = instructions.judged({"case": count}, {"case": 1000}, committed=True)
    assert kinds(faults) == ([] if fault is None else [fault])


def test_a_case_without_a_budget_is_a_fault_and_without_any_budget_nothing_is_judged():
    assert instructions.judged({"new": 1}, {"case": 1000}, committed=True) == [
        "no budget: new. make bench-instructions ARGS=--update sets one"
    ]
    assert instructions.judged({"case": 1}, {}, committed=True) == []


def test_against_another_commit_only_what_takes_more_is_a_fault():
    before = {"faster": 1000, "same": 1000, "slower": 1000, "gone": 1000}
    found = {"faster": 500, "same": 1029, "slower": 1031, "new": 5}
    assert instructions.judged(found, before, committed=False) == ["over budget: slower"]


@pytest.fixture
def judge(monkeypatch, tmp_path):
    """Runs the gate against a record, with counts that were not counted here."""

    def judge(record, counts):
        path = tmp_path / "before.json"
        path.write_text(record)
        monkeypatch.setattr(counting, "needed", lambda: "")
        monkeypatch.setattr(instructions, "count", lambda *_: counts)
        monkeypatch.setattr(sys, "argv", ["instructions.py", "--against", str(path)])
        return instructions.main()

    return judge


def test_a_record_of_another_compiler_judges_nothing_and_says_so(judge, capsys):
    assert judge('{"rustc": "1.0", "instructions": {"case": 1}}', {"case": 1000}) == 0
    assert "NOTHING WAS JUDGED: before.json is of python unknown" in capsys.readouterr().err


def test_a_record_of_here_judges(judge, capsys, tmp_path):
    instructions.write(tmp_path / "record", {"case": 1000})
    record = (tmp_path / "record").read_text()
    assert judge(record, {"case": 1031, "new": 1}) == 1
    assert "over budget: case" in capsys.readouterr().err
    assert judge(record, {"case": 900, "new": 1}) == 0
    assert "NOTHING" not in capsys.readouterr().err


@pytest.mark.parametrize("path", slow_paths.SLOW_PATHS, ids=lambda path: path.function)
def test_each_slow_path_has_its_place_in_the_sources_and_a_case(path):
    text = (ROOT / path.file).read_text()
    assert path.put_in(text).count(slow_paths.SLOWNESS) == 1
    assert set(path.cases) <= {case.name for case in counting.CASES}


def test_a_slow_path_whose_place_is_gone_is_named():
    with pytest.raises(slow_paths.CannotSlow, match=r"queue\.rs: pub fn gone\(\) is not there once"):
        slow_paths.SlowPath("queue.rs", "pub fn gone()", ()).put_in("pub fn here() {\n}\n")


@pytest.mark.skipif(bool(counting.needed()), reason="needs valgrind and a C compiler")
def test_the_clock_that_is_counted_by_goes_slower_and_the_time_of_day_does_not():
    program = """
import time
mono, real = time.monotonic(), time.time()
while time.time() < real + 0.2: pass
print(time.monotonic() - mono)
"""
    environment = os.environ | {"LD_PRELOAD": str(counting.slow_clock())}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True)
    assert 0.0001 < float(done.stdout) < 0.1


@pytest.mark.skipif(bool(counting.needed()), reason="needs valgrind and a C compiler")
def test_a_timer_that_is_set_to_a_moment_of_that_clock_does_not_fire_at_once():
    program = """
import ctypes, os, select, time
libc = ctypes.CDLL(None)
start = time.time()
while time.time() < start + 0.2: pass
fd = libc.timerfd_create(time.CLOCK_MONOTONIC, 0)
at = time.monotonic() + 0.1
spec = (ctypes.c_long * 4)(0, 0, int(at), int(at % 1 * 1e9))
assert libc.timerfd_settime(fd, 1, spec, None) == 0
print(select.select([fd], [], [], 0.2)[0])
"""
    environment = os.environ | {"LD_PRELOAD": str(counting.slow_clock())}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
