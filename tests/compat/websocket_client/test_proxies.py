"""Proxies: those of options, and those of the environment."""

import contextlib
import errno
import socket

import pytest
import python_socks

import peers
from fastws.compat import websocket_client as websocket
from fastws.compat.websocket_client import _socks
from fastws.compat.websocket_client._url import get_proxy_info, parse_url
from peers import Peer, Wire
from proxies import http_proxy, proxy, socks_proxy

echo = peers.answering(lambda payload: peers.frame(peers.TEXT, payload))


def said(peer, by, **options):
    """What comes back by way of a proxy."""
    ws = websocket.create_connection(
        peer.url, peers.PATIENCE, http_proxy_host="127.0.0.1", http_proxy_port=str(by.port), **options
    )
    with contextlib.closing(ws):
        ws.send("by the proxy")
        return ws.recv()


def test_http():
    with Peer(echo) as peer, proxy(http_proxy()) as by:
        assert said(peer, by, http_proxy_auth=("user", "pass")) == "by the proxy"
    assert b"\r\nProxy-Authorization: Basic dXNlcjpwYXNz" in by._wires[0].request


@pytest.mark.parametrize("kind", ["socks4", "socks4a", "socks5", "socks5h"])
def test_socks(kind):
    with Peer(echo) as peer, proxy(socks_proxy()) as by:
        assert said(peer, by, proxy_type=kind, http_proxy_timeout=peers.PATIENCE) == "by the proxy"


def test_tls_inside():
    with Peer(echo, tls=True) as peer, proxy(http_proxy()) as by:
        options = {"cert_reqs": 0, "check_hostname": False}
        assert said(peer, by, sslopt=options) == "by the proxy"


def test_the_slow_way():
    with Peer(echo) as peer, proxy(http_proxy()) as by:
        assert said(peer, by, suppress_host=True) == "by the proxy"


def test_a_refusal():
    with proxy(http_proxy(head=b"HTTP/1.1 403 No\r\n\r\n")) as by, Peer(Wire.read_to_end, upgrade=False) as peer:
        with pytest.raises(websocket.WebSocketProxyException, match="403"):
            said(peer, by)


def test_a_refusal_of_socks_is_python_socks():
    with proxy(socks_proxy(replies=[2])) as by, Peer(echo) as peer:
        with pytest.raises(python_socks.ProxyError) as caught:
            said(peer, by, proxy_type="socks5")
    assert isinstance(caught.value, websocket.WebSocketProxyException)


def silent(wire):
    while wire.sock.recv(1 << 16):
        pass


def test_a_socks_proxy_that_says_nothing():
    with proxy(silent) as by, Peer(Wire.read_to_end, upgrade=False) as peer:
        with pytest.raises(python_socks.ProxyTimeoutError, match=r"timed out: 0\.05") as caught:
            said(peer, by, proxy_type="socks5", http_proxy_timeout=0.05)
    assert isinstance(caught.value, websocket.WebSocketProxyException)
    assert isinstance(caught.value, TimeoutError)


@pytest.mark.parametrize("timeout", [None, 300])
def test_a_socks_proxy_has_a_minute(monkeypatch, timeout):
    monkeypatch.setattr(_socks, "PATIENCE", 0.05)
    with proxy(silent) as by, pytest.raises(python_socks.ProxyTimeoutError):
        websocket.create_connection(
            "ws://127.0.0.1/", timeout, http_proxy_host="127.0.0.1", http_proxy_port=by.port, proxy_type="socks5h"
        )


def test_an_http_proxy_has_the_time_of_the_connection():
    with proxy(silent) as by, pytest.raises(TimeoutError) as caught:
        websocket.create_connection(
            "ws://127.0.0.1/",
            0.05,
            http_proxy_host="127.0.0.1",
            http_proxy_port=by.port,
            http_proxy_timeout=peers.PATIENCE,
        )
    assert not isinstance(caught.value, python_socks.ProxyTimeoutError)


@pytest.fixture
def closed_port():
    """A port that is taken, and where nobody listens."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        yield sock.getsockname()[1]


def test_a_socks_proxy_that_is_not_there(closed_port):
    with pytest.raises(python_socks.ProxyConnectionError) as caught:
        websocket.create_connection(
            "ws://127.0.0.1/", 5, http_proxy_host="127.0.0.1", http_proxy_port=closed_port, proxy_type="socks5"
        )
    assert caught.value.errno == errno.ECONNREFUSED
    assert isinstance(caught.value, websocket.WebSocketProxyException)
    assert isinstance(caught.value, ConnectionRefusedError)


def test_a_socks_proxy_that_is_not_found():
    with pytest.raises(python_socks.ProxyConnectionError) as caught:
        websocket.create_connection(
            "ws://127.0.0.1/", http_proxy_host="no-such-host.invalid", http_proxy_port=1, proxy_type="socks5h"
        )
    assert isinstance(caught.value, websocket.WebSocketAddressException)


def test_a_proxy_that_is_not_there(closed_port):
    with pytest.raises(ConnectionRefusedError):
        websocket.create_connection("ws://127.0.0.1/", 5, http_proxy_host="127.0.0.1", http_proxy_port=closed_port)


def test_a_proxy_that_is_not_found():
    with pytest.raises(websocket.WebSocketAddressException):
        websocket.create_connection("ws://127.0.0.1/", 20, http_proxy_host="no-such-host.invalid", http_proxy_port=1)


@pytest.mark.parametrize("kind", ["http", "socks5"])
def test_a_proxy_has_a_port(kind):
    with pytest.raises(websocket.WebSocketProxyException, match="port 0"):
        websocket.create_connection("ws://127.0.0.1/", http_proxy_host="localhost", proxy_type=kind)


def test_kinds_of_proxies():
    with pytest.raises(python_socks.ProxyError):
        websocket.create_connection("ws://127.0.0.1/", http_proxy_host="localhost", http_proxy_port=1, proxy_type="ftp")


def test_the_environment(monkeypatch):
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    with Peer(echo) as peer, proxy(http_proxy()) as by:
        monkeypatch.setenv("http_proxy", f"http://u%40v:p@127.0.0.1:{by.port}")
        with contextlib.closing(websocket.create_connection(peer.url, peers.PATIENCE)) as ws:
            ws.send("hello")
            assert ws.recv() == "hello"
        assert by.accepted == 1
        monkeypatch.setenv("no_proxy", "127.0.0.0/8")
        with contextlib.closing(websocket.create_connection(peer.url, peers.PATIENCE)) as ws:
            assert ws.connected
        assert by.accepted == 1
    assert b"Basic dUB2OnA=" in by._wires[0].request


def test_where_no_proxy_is_for(monkeypatch):
    for name in ("no_proxy", "NO_PROXY", "http_proxy", "HTTP_PROXY"):
        monkeypatch.delenv(name, raising=False)
    none, some = (None, 0, None), ("proxy.example", 3128, None)
    options = {"proxy_host": "proxy.example", "proxy_port": 3128}
    assert get_proxy_info("server.example", False, **options) == some
    assert get_proxy_info("a.server.example", False, no_proxy=["server.example"], **options) == none
    assert get_proxy_info("a.server.example", False, no_proxy=[".server.example"], **options) == none
    assert get_proxy_info("10.1.2.3", False, no_proxy=["10.0.0.0/8"], **options) == none
    assert get_proxy_info("aserver.example", False, no_proxy=["server.example"], **options) == some
    assert get_proxy_info("server.example", False, no_proxy=["*"], **options) == none
    assert get_proxy_info("server.example", False) == none


@pytest.mark.parametrize(
    ("url", "parts"),
    [
        ("ws://server.example", ("server.example", 80, "/", False)),
        ("wss://server.example/path?query=1", ("server.example", 443, "/path?query=1", True)),
        ("ws://user:pass@[::1]:8080/", ("::1", 8080, "/", False)),
    ],
)
def test_urls(url, parts):
    assert parse_url(url) == parts
