import contextlib
import os
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
        (["--host", "nowhere.invalid"], "host must be an address or a name of this machine, not 'nowhere.invalid'"),
        (["--port", "99999"], "port must be between 0 and 65535, not 99999"),
        (["--threads", "-1"], "threads must be between 1 and 256, not -1"),
        (["--port", "0", "--tls", "--ca-file", "/nonexistent/ca.pem"], "/nonexistent/ca.pem"),
    ],
    ids=["host", "port", "threads", "ca-file"],
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


def test_a_ca_file_without_tls_is_refused_and_not_written(tmp_path, capsys):
    with pytest.raises(SystemExit):
        main(["serve", "--port", "0", "--ca-file", str(tmp_path / "ca.pem")])
    assert "--tls" in capsys.readouterr().err
    assert not (tmp_path / "ca.pem").exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--speed", "fast"], "a speed is a number above 0"),
        (["--messages", "many"], "a whole number from 1, not 'many'"),
    ],
)
def test_a_wrong_option_of_the_demo_is_named(arguments, words, capsys):
    with pytest.raises(SystemExit):
        main(["demo", *arguments])
    assert words in capsys.readouterr().err


def test_a_feed_of_the_demo_that_is_not_there_is_named(capsys, tmp_path):
    assert main(["demo", "--feed", str(tmp_path / "none")]) == 2
    assert capsys.readouterr().err == f"fastws demo: {tmp_path / 'none'}: No such file or directory\n"


def test_a_demo_whose_output_nobody_reads_ends_without_a_word():
    command = [sys.executable, "-m", "fastws", "demo", "--plain", "--messages", "500", "--speed", "1000"]
    nobody, output = os.pipe()
    os.close(nobody)
    try:
        ended = subprocess.run(command, stdout=output, stderr=subprocess.PIPE, timeout=60)
    finally:
        os.close(output)
    assert (ended.returncode, ended.stderr) == (141, b"")


@contextlib.contextmanager
def serving(*options):
    """The command as a process, which is over behind `with`, however that ends."""
    command = [sys.executable, "-m", "fastws", "serve", "--port", "0", *options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def test_serve_prints_its_url_serves_and_ends_on_sigterm():
    with serving() as process:
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


def test_serve_speaks_tls_writes_its_authority_and_replays(tmp_path):
    feed, ca = tmp_path / "session.jsonl", tmp_path / "ca.pem"
    feed.write_text('{"t": 0, "dir": "recv", "text": "played"}\n')
    with serving("--host", "localhost", "--tls", "--ca-file", str(ca), "--feed", str(feed)) as process:
        assert process.stdout is not None
        replay, echo = (process.stdout.readline().strip() for _ in range(2))
        assert re.fullmatch(r"wss://.+:\d+/replay/session", replay)
        assert echo.startswith("wss://")

        async def play():
            async with fastws.connect(replay, tls=fastws.TlsConfig(ca=ca)) as ws:
                return [message async for message in ws]

        assert fastws.run(play()) == ["played"]
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0
