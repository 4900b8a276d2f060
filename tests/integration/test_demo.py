"""The main job: recorded and generated sessions, over TCP and TLS, on both loops, and with faults; nothing is lost."""

import os
import re
from pathlib import Path

import pytest

from fastws.demo import compare
from fastws.demo.runner import main

FEEDS = Path(os.environ.get("FASTWS_FEEDS") or Path(__file__).parents[2] / ".." / "shared" / "feeds")
RECORDED = sorted(FEEDS.glob("*.jsonl.gz")) if FEEDS.is_dir() else []
VERDICT = "nothing lost, nothing reordered"
PROVEN = "4 outages, each marked once, every subscription made again"


@pytest.fixture(params=["asyncio", "uvloop"])
def loop(request):
    if request.param == "uvloop":
        pytest.importorskip("uvloop", reason="uvloop is not installed on this platform")
    return request.param


@pytest.mark.parametrize("transport", [[], ["--tcp"]], ids=["tls", "tcp"])
def test_a_generated_session(loop, transport, capsys):
    code = main(
        ["--plain", "--messages", "3000", "--speed", "2000", "--fault-seconds", "0", "--loop", loop, *transport]
    )
    output = capsys.readouterr().out
    assert code == 0, output
    assert VERDICT in output


@pytest.mark.skipif(not RECORDED, reason=f"no recorded sessions in {FEEDS}; FASTWS_FEEDS names another folder")
@pytest.mark.parametrize("transport", [[], ["--tcp"]], ids=["tls", "tcp"])
@pytest.mark.parametrize("feed", RECORDED, ids=lambda path: path.name.split(".")[0])
def test_a_recorded_session(loop, transport, feed, capsys):
    code = main(
        ["--plain", "--feed", str(feed), "--speed", "100000", "--fault-seconds", "0", "--loop", loop, *transport]
    )
    output = capsys.readouterr().out
    assert code == 0, output
    assert VERDICT in output


@pytest.mark.timing
@pytest.mark.parametrize("transport", [[], ["--tcp"]], ids=["tls", "tcp"])
def test_a_generated_session_with_faults(loop, transport, capsys):
    arguments = ["--messages", "10000", "--speed", "2000", "--fault-seconds", "3", "--loop", loop, *transport]
    code = main(["--plain", *arguments])
    output = capsys.readouterr().out
    assert code == 0, output
    assert PROVEN in output
    assert "book resynced in" in output
    assert re.search(r"books equal to the true ones +10 of 10", output)


@pytest.mark.timing
@pytest.mark.slow
@pytest.mark.skipif(not RECORDED, reason=f"no recorded sessions in {FEEDS}; FASTWS_FEEDS names another folder")
@pytest.mark.parametrize("feed", RECORDED, ids=lambda path: path.name.split(".")[0])
def test_a_recorded_session_with_faults(feed, capsys):
    code = main(["--plain", "--feed", str(feed), "--speed", "100000", "--fault-seconds", "3"])
    output = capsys.readouterr().out
    assert code == 0, output
    assert PROVEN in output


@pytest.mark.timing
def test_another_client_among_the_same_faults(capsys):
    pytest.importorskip("websockets")
    code = main(["--plain", "--messages", "10000", "--speed", "2000", "--fault-seconds", "3", "--compare"])
    output = capsys.readouterr().out
    assert code == 0, output
    found = re.search(r"silent gaps +(\d+) +(\d+)", output)
    assert found is not None, output
    assert int(found[1]) == 0 < int(found[2])


@pytest.mark.timing
def test_without_the_other_client_the_comparison_says_how_to_get_it(capsys, monkeypatch):
    monkeypatch.setattr(compare, "is_installed", lambda: False)
    code = main(["--plain", "--messages", "2000", "--speed", "2000", "--fault-seconds", "2", "--compare"])
    output = capsys.readouterr().out
    assert code == 0, output
    assert "pip install websockets" in output
