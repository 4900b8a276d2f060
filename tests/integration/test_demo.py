"""The main job: recorded and generated sessions, over TCP and TLS, on both loops; nothing lost, nothing reordered."""

import os
from pathlib import Path

import pytest

from fastws.demo.runner import main

FEEDS = Path(os.environ.get("FASTWS_FEEDS") or Path(__file__).parents[2] / ".." / "shared" / "feeds")
RECORDED = sorted(FEEDS.glob("*.jsonl.gz")) if FEEDS.is_dir() else []
VERDICT = "nothing lost, nothing reordered"


@pytest.fixture(params=["asyncio", "uvloop"])
def loop(request):
    if request.param == "uvloop":
        pytest.importorskip("uvloop", reason="uvloop is not installed on this platform")
    return request.param


@pytest.mark.parametrize("transport", [[], ["--tcp"]], ids=["tls", "tcp"])
def test_a_generated_session(loop, transport, capsys):
    code = main(["--plain", "--messages", "3000", "--speed", "2000", "--loop", loop, *transport])
    output = capsys.readouterr().out
    assert code == 0, output
    assert VERDICT in output


@pytest.mark.skipif(not RECORDED, reason=f"no recorded sessions in {FEEDS}; FASTWS_FEEDS names another folder")
@pytest.mark.parametrize("transport", [[], ["--tcp"]], ids=["tls", "tcp"])
@pytest.mark.parametrize("feed", RECORDED, ids=lambda path: path.name.split(".")[0])
def test_a_recorded_session(loop, transport, feed, capsys):
    code = main(["--plain", "--feed", str(feed), "--speed", "100000", "--loop", loop, *transport])
    output = capsys.readouterr().out
    assert code == 0, output
    assert VERDICT in output
