"""benches/scale.py with fewer connections: what holds for ten thousand holds for a thousand."""

import os
import re
import resource
import subprocess
import sys
from pathlib import Path

import pytest

SOAK = Path(__file__).parents[2] / "benches" / "soak.py"


def soak(*arguments, descriptors=None):
    def limit():
        if descriptors is not None:
            resource.setrlimit(resource.RLIMIT_NOFILE, (descriptors, descriptors))

    return subprocess.run(
        [sys.executable, SOAK, "--scale", *arguments],
        capture_output=True,
        text=True,
        timeout=100,
        preexec_fn=limit,
        check=False,
    )


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_a_thousand_idle_connections_beside_busy_ones():
    # Other tests run beside this one: what a message costs is not judged strictly, memory is.
    options = ["--idle=1000", "--busy=20", "--seconds=1", "--messages=200000", "--ping-interval=0.5", "--flat=2"]
    result = soak(*options, "--growth=8")
    assert result.returncode == 0, result.stdout + result.stderr
    for expected in ("1,000 idle:", "TLS: up to 1,000", "200,000 messages in order", "passed in"):
        assert expected in result.stdout, result.stdout
    for allowed in (4, 24):
        assert re.search(rf"an idle connection takes .* among 1,000 \({allowed} are allowed\)", result.stdout)


@pytest.mark.skipif(os.geteuid() == 0 and not sys.platform.startswith("linux"), reason="root may raise any limit")
def test_too_few_descriptors_are_refused_with_what_is_needed_and_how_to_get_it():
    # Also root is held to the system's own limit.
    beyond = int(Path("/proc/sys/fs/nr_open").read_text()) if os.geteuid() == 0 else 5_000
    result = soak(f"--idle={beyond}", descriptors=4_096)
    assert result.returncode == 1, result.stdout
    assert f"the client needs {beyond + 250:,} file descriptors" in result.stderr
    assert "Allowed are 4,096, and 4,096 if asked for" in result.stderr
    assert "prlimit" in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize("phase", ["tcp", "tls"])
def test_a_connection_that_takes_more_memory_than_is_allowed_fails(phase):
    result = soak(f"--phases={phase}", "--idle=150", "--busy=1", "--seconds=0.3", "--flat=99", f"--kib-{phase}=0.5")
    assert result.returncode == 1, result.stdout
    assert re.search(r"an idle connection takes [0-9.]+ KiB; 0\.5 are allowed", result.stderr), result.stderr


def test_a_cost_above_what_is_allowed_fails():
    result = soak("--phases=tcp", "--idle=30", "--busy=2", "--seconds=0.3", "--flat=0.001")
    assert result.returncode == 1, result.stdout
    assert "times the CPU of one beside 10; 0.001 times are allowed" in result.stderr
    assert "FAILED: tcp" in result.stdout
