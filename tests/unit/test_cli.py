import re
import signal
import subprocess
import sys

import pytest

import fastws
from fastws.cli import main


def test_without_a_command_there_is_help(capsys):
    assert main([]) == 2
    assert "demo" in capsys.readouterr().out


def test_version(capsys):
    with pytest.raises(SystemExit) as caught:
        main(["--version"])
    assert caught.value.code == 0
    assert capsys.readouterr().out == f"fastws {fastws.__version__}\n"


def test_a_port_that_is_taken_is_said(capsys):
    import socket

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        assert main(["serve", "--port", str(taken.getsockname()[1])]) == 1
    assert "cannot listen" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--host", "nowhere"], 'host must be an IP address, not "nowhere"'),
        (["--port", "99999"], "port must be between 0 and 65535, not 99999"),
        (["--port", "0", "--tls", "--ca-file", "/nonexistent/ca.pem"], "/nonexistent/ca.pem"),
    ],
    ids=["host", "port", "ca-file"],
)
def test_what_cannot_be_served_is_said_in_a_line(arguments, words, capsys):
    assert main(["serve", *arguments]) == 1
    error = capsys.readouterr().err
    assert words in error
    assert error.startswith("fastws serve: ")
    assert error.count("\n") == 1


def test_a_feed_that_is_not_there_is_named(capsys, tmp_path):
    assert main(["serve", "--port", "0", "--feed", str(tmp_path / "none.jsonl.gz")]) == 1
    assert "none.jsonl.gz" in capsys.readouterr().err


def test_serve_prints_its_url_serves_and_ends_on_sigterm():
    command = [sys.executable, "-m", "fastws", "serve", "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        url = process.stdout.readline().strip()
        assert re.fullmatch(r"ws://127\.0\.0\.1:\d+/echo", url)

        async def echo():
            async with fastws.connect(url) as ws:
                await ws.send("hello")
                return await ws.recv()

        assert fastws.run(echo()) == "hello"
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0
