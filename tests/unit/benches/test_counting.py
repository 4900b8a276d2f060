"""What is counted is the way that a program's messages go (benches/counting.py)."""

import re
from collections import Counter

import pytest

import counting
import peer

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(bool(counting.needed()), reason="needs valgrind and a C compiler"),
]

MESSAGES = 40_000


def callers(profile, function):
    """How often each function of ours called another one, from what callgrind wrote."""
    names, found, caller, called = {}, Counter(), "", ""

    def name(text):
        number, _, words = text.partition(" ")
        return names.setdefault(number, words)

    for line in profile.splitlines():
        key, _, value = line.partition("=")
        if key == "fn":
            caller = name(value)
        elif key == "cfn":
            called = name(value)
        elif key == "calls" and called == function and "_core" in caller:
            found[re.sub(r".*::", "", caller)] += int(value.split()[0])
    return found


@pytest.mark.timeout(300)
def test_messages_are_made_when_they_are_taken_and_not_when_the_time_is_up(tmp_path):
    case = next(case for case in counting.CASES if case.name == "ingest 128 B TCP, fastws")
    profile = tmp_path / "profile"
    with peer.running(feed=False) as server:
        counting.run(case, MESSAGES, server, ["--tool=callgrind", f"--callgrind-out-file={profile}"])
    found = callers(profile.read_text(), "PyBytes_FromStringAndSize")
    assert found.total() >= MESSAGES, found
    # `settle` makes what its consumer has had no time for: by valgrind's own time, all; else what comes before the
    # consumer does, in the opening.
    assert found["settle"] < MESSAGES / 4, found
