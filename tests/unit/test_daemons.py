"""Starting programs of others (daemons.py)."""

import socket
import sys

import pytest

import daemons


@pytest.fixture
def bare(monkeypatch):
    """A machine without any of them."""
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.setenv("NODE_PATH", "")
    monkeypatch.delenv("FASTWS_TEST_NETWORK", raising=False)
    monkeypatch.setattr(daemons, "FOLDERS", ())
    monkeypatch.setattr(daemons, "NODE_FOLDERS", ())


@pytest.mark.parametrize("name", daemons.PACKAGES)
def test_what_is_missing_is_skipped_with_the_way_to_get_it(bare, name, monkeypatch):
    with pytest.raises(pytest.skip.Exception, match=f"{name} .*: apt-get install .* {daemons.PACKAGES[name]}$"):
        daemons.binary(name)
    monkeypatch.setenv("FASTWS_TEST_NETWORK", "1")
    with pytest.raises(pytest.fail.Exception, match=f"{name} is not installed"):
        daemons.binary(name)


def test_what_is_missing_is_listed(bare, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["daemons.py", "--packages"])
    daemons.main()
    assert capsys.readouterr().out.split() == list(daemons.PACKAGES.values())
    monkeypatch.setattr(sys, "argv", ["daemons.py"])
    daemons.main()
    said = capsys.readouterr().out
    assert "Not installed: tinyproxy, microsocks," in said
    assert "apt-get install --no-install-recommends tinyproxy-bin microsocks" in said


def test_a_module_of_node_is_found_where_node_path_says(bare, monkeypatch, tmp_path):
    (tmp_path / "ws").mkdir()
    (tmp_path / "ws" / "package.json").write_text("{}")
    monkeypatch.setenv("NODE_PATH", f"/nowhere:{tmp_path}")
    assert daemons.binary("ws") == str(tmp_path / "ws")


def test_free_ports_are_different_and_given_to_nobody_else(monkeypatch):
    ports = daemons.free_ports(50)
    assert len(set(ports)) == 50
    with socket.create_server(("127.0.0.1", 0)) as given:
        assert given.getsockname()[1] > max(ports)
        monkeypatch.setattr(daemons, "_candidates", iter([given.getsockname()[1], ports[0]]))
        assert daemons.free_port() == ports[0]


def test_a_program_that_ends_instead_of_listening_is_shown_with_its_log(tmp_path):
    command = [sys.executable, "-c", "raise SystemExit('no such option')"]
    with pytest.raises(AssertionError, match="ended with 1: no such option"):
        with daemons.running(daemons.free_port(), command=command, log=tmp_path / "program.log"):
            pass
    assert ("program.log", "no such option\n") in list(daemons.logs())
    assert "program.log" not in dict(daemons.logs())


def test_a_program_runs_until_the_block_ends(tmp_path):
    port = daemons.free_port()
    command = [sys.executable, "-m", "http.server", "--bind", "127.0.0.1", str(port)]
    with daemons.running(port, command=command, log=tmp_path / "http.log") as process:
        assert process.poll() is None
        assert "http.log" in dict(daemons.logs())
    assert process.poll() is not None
    assert "http.log" not in dict(daemons.logs())
