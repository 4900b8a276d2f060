"""Programs that the documentation shows are run as they stand."""

import asyncio
import re
import ssl
import subprocess
import sys
import warnings
from pathlib import Path

import pytest

import fastws

ROOT = Path(__file__).parents[2]
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks(path):
    return BLOCK.findall((ROOT / path).read_text(encoding="utf-8"))


def run(program):
    return subprocess.run(
        [sys.executable, "-X", "dev", "-c", program], capture_output=True, text=True, timeout=50, check=False
    )


def test_the_tutorial_runs_from_top_to_bottom():
    found = blocks("docs/tutorial.md")
    assert len(found) >= 4
    result = run("\n".join(found))
    assert (result.returncode, result.stderr) == (0, "")
    lines = result.stdout.splitlines()
    assert lines[:2] == ["hello", "b'\\x00\\x01'"]
    assert "1000" in lines  # the close code of the iteration
    assert lines[lines.index("nothing for 0.1 s") + 1] == "hello"
    assert "100000" in lines  # the batches' total
    assert lines[-1] == "closed 1000"


@pytest.mark.parametrize(
    ("path", "number"), [("README.md", 1), ("docs/howto/reconnect.md", 0), ("docs/howto/blocking.md", 4)]
)
def test_the_client_that_stays_runs_against_a_server(path, number, fastws_server):
    program = re.sub(r"wss?://[^\"]+", fastws_server.url("/echo"), blocks(path)[number])
    result = run(program)
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout in ("hello\n", "BTC-USD\n")


@pytest.mark.parametrize("path", ["README.md", "docs/index.md", "docs/howto/blocking.md"])
def test_the_first_program_runs_against_a_server(path, fastws_server):
    """The fixture's server takes the place of its URL's."""
    program = re.sub(r"wss?://[^\"]+", fastws_server.url("/echo?fault=close:1000@1"), blocks(path)[0])
    result = run(program)
    assert (result.returncode, result.stdout, result.stderr) == (0, "hello\n", "")


@pytest.mark.parametrize(
    ("path", "shown"),
    [
        (
            "docs/howto/extensions.md",
            [
                "ready: for the first time",
                "1: buy | 2: sell",
                "connected: True",
                "over: shutdown",
                "passed: 2 connected: False",
                "ready: for the first time",
                "over: None",
            ],
        ),
        (
            "docs/howto/subscriptions.md",
            [
                "{'BTC': <SubscriptionState.CONFIRMED: 'confirmed'>}",
                "back; not restored: ()",
                "{'ETH': <SubscriptionState.CONFIRMED: 'confirmed'>}",
            ],
        ),
        (
            "docs/howto/streams.md",
            ["BTC is not to be traded on", "BTC: 11 to 13 are missing", "in order again; gaps: 1"],
        ),
        ("docs/howto/handshakes.md", ['{"channel": "book", "price": 1}', '{"channel": "trades", "price": 2}']),
    ],
)
def test_the_programs_of_a_page_run_from_top_to_bottom(path, shown):
    result = run("\n".join(blocks(path)))
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout.splitlines() == shown


def test_the_test_that_the_testing_page_shows_passes(tmp_path):
    (tmp_path / "test_shown.py").write_text(blocks("docs/howto/testing.md")[0], encoding="utf-8")
    result = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_shown.py"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    assert "1 passed" in result.stdout


@pytest.mark.parametrize(("path", "numbers"), [("docs/howto/tls.md", [0, 1]), ("docs/howto/proxies.md", [0])])
def test_the_arguments_that_a_page_shows_are_taken(path, numbers):
    """Nothing is connected to: that they mean what the page says is tested where it belongs."""
    names = {
        "fastws": fastws,
        "uri": "wss://feed.example.com/",
        "context": ssl.create_default_context(),
        "pem_bytes": b"-----BEGIN CERTIFICATE-----",
        "choose": lambda uri: None,
    }
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "TlsConfig\\(verify=False\\)|.*not checked")
        for number in numbers:
            exec(blocks(path)[number], names)


def test_the_loops_in_threads_that_the_page_shows_run(fastws_server):
    url = fastws_server.url("/blast?n=2&size=3")
    program = f"uris = [{url!r}] * 3\n" + blocks("docs/howto/threads.md")[0]
    result = run(f"{program}\nfor thread in threads: thread.start()\nfor thread in threads: thread.join()")
    assert (result.returncode, result.stderr) == (0, "")
    assert len(result.stdout.splitlines()) == 6


def test_what_the_threads_page_gives_to_a_loop_arrives(fastws_server):
    calls = compile(blocks("docs/howto/threads.md")[1], "threads.md", "exec")

    async def main():
        loop = asyncio.get_running_loop()
        async with fastws.connect(fastws_server.url("/echo")) as ws:
            names = {"ws": ws, "loop": loop, "asyncio": asyncio}
            await asyncio.to_thread(exec, calls, names)
            assert names["message"] == "order"
            assert ws.state is fastws.State.CLOSED

    asyncio.run(main())


async def test_the_silence_that_the_tutorial_quotes_is_said_so(fastws_server):
    quoted = re.search(r'`KeepaliveTimeout\("(.*?)"\)`', (ROOT / "docs/tutorial.md").read_text(encoding="utf-8"))[1]
    for _ in range(30):
        ws = await fastws.connect(
            fastws_server.url("/silence"), ping_interval=0.05, ping_timeout=0.4, close_timeout=0.1
        )
        await ws.wait_closed()
        said = str(ws.close_info.cause)
        # A machine that stops this process for most of that time blocks the loop, and that is said instead.
        if "event loop blocked" not in said:
            break
    assert re.sub(r"\d+\.\d", "N", said) == re.sub(r"\d+\.\d", "N", quoted)


def test_the_reference_has_every_name_that_the_package_offers():
    listed = re.findall(r"^::: (\S+)$", (ROOT / "docs/reference.md").read_text(encoding="utf-8"), re.MULTILINE)
    names = {path.rpartition(".")[2] for path in listed}
    for name in set(fastws.__all__) - {"__version__", "sync"}:
        # Alone, or with the module that it is of.
        assert name in names or getattr(fastws, name).__module__ in listed, name


def test_the_reference_has_every_exception():
    reference = (ROOT / "docs/reference.md").read_text(encoding="utf-8")
    members = re.search(r"^::: fastws\.errors\n    options:\n      members: \[([^]]*)\]", reference, re.MULTILINE)[1]
    found = {name for name in fastws.errors.__all__ if isinstance(getattr(fastws.errors, name), type)}
    assert found - {"Close", "CloseInfo"} <= set(re.findall(r"\w+", members))
