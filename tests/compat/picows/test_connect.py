"""Opening (compat/picows/api.py, _failures.py, url.py, common.py), and what is the original's."""

import asyncio
import enum
import errno
import os
import socket
import ssl
from http import HTTPStatus

import pytest
import python_socks

import fastws.compat.picows as ours
from daemons import free_port
from fastws import dial
from fastws.compat.picows import (
    WSHandshakeError,
    WSInvalidHeaderError,
    WSInvalidMessageError,
    WSInvalidStatusError,
    WSInvalidUpgradeError,
    WSInvalidURL,
    WSListener,
    WSMsgType,
    WSUpgradeResponse,
    ws_connect,
)
from fastws.compat.picows.url import parse_url
from peers import Frame, Peer, Wire, authority_pem, ignoring_the_end, request_of
from proxies import http_proxy, socks_proxy
from tls_peers import GOOD, Server


def refusing(head, body=b""):
    """A script that answers the request with this head."""

    @ignoring_the_end
    def script(wire):
        wire.read_request()
        wire.send(f"{head}\r\nContent-Length: {len(body)}\r\n\r\n".encode(), body)
        wire.end()

    return script


async def opened(peer, factory=WSListener, **options):
    transport, listener = await ws_connect(factory, peer.url, **options)
    transport.disconnect()
    await transport.wait_disconnected()
    return transport, listener


async def test_the_request_has_what_is_given_and_the_factory_gets_request_and_answer():
    seen = []

    def factory(request, response):
        seen.append((request, response))
        return WSListener()

    headers = [("Host", "other:1"), ("X-A", "1"), ("X-A", "2"), ("Sec-WebSocket-Protocol", "one, two")]
    accepting = lambda wire: (wire.upgrade(headers="X-B: 3\r\nSec-WebSocket-Protocol: two\r\n"), wire.read_to_end())  # noqa: E731
    with Peer(accepting, upgrade=False) as peer:
        transport, _ = await ws_connect(factory, f"{peer.url}a?b=c", extra_headers=headers)
        transport.disconnect()
        await transport.wait_disconnected()
    line, fields = request_of(peer)
    assert line == "GET /a?b=c HTTP/1.1"
    assert [value for name, value in fields if name.lower() in ("host", "x-a")] == ["other:1", "1", "2"]
    assert dict(fields)["Sec-WebSocket-Protocol"] == "one, two"
    assert not {name.lower() for name, _ in fields} & {"user-agent", "origin", "sec-websocket-extensions"}
    [(request, response)] = seen
    assert (request, response) == (transport.request, transport.response)
    assert (request.method, request.path, request.version) == (b"GET", b"/a?b=c", b"HTTP/1.1")
    assert request.headers.getall("x-a") == ["1", "2"]
    assert (response.status, response.version, response.headers["x-b"]) == (101, b"HTTP/1.1", "3")


async def test_extensions_are_the_listeners_own():
    offer = "permessage-deflate; client_no_context_takeover"
    accepting = lambda wire: (wire.upgrade(headers=f"Sec-WebSocket-Extensions: {offer}\r\n"), wire.read_to_end())  # noqa: E731
    with Peer(accepting, upgrade=False) as peer:
        transport, _ = await ws_connect(WSListener, peer.url, extra_headers={"Sec-WebSocket-Extensions": offer})
        transport.send(WSMsgType.TEXT, b"squeezed", rsv1=True)
        transport.disconnect()
        await transport.wait_disconnected()
    assert transport.response.headers["Sec-WebSocket-Extensions"] == offer
    assert peer.results[0][1] == [Frame(1, b"squeezed", rsv=4)]


async def test_a_factory_that_fails_is_the_callers_to_see():
    with Peer(Wire.read_to_end) as peer:
        for factory, error in ((lambda: 1 / 0, ZeroDivisionError), (lambda a, b, c: None, TypeError)):
            with pytest.raises(error):
                await ws_connect(factory, peer.url)


@pytest.mark.parametrize("made", [None, object(), 7, WSListener], ids=["None", "object", "int", "class"])
async def test_what_a_factory_returns_is_a_listener(made):
    with Peer(Wire.read_to_end) as peer:
        with pytest.raises(TypeError, match="ws_listener_factory returns a WSListener, not"):
            await ws_connect(lambda: made, peer.url)


@pytest.mark.parametrize(
    ("head", "error", "words"),
    [
        ("HTTP/1.1 404 Not Found", WSInvalidStatusError, "status 101 Switching Protocols, but received 404"),
        ("HTTP/1.1 101 X\r\nUpgrade: h2c\r\nConnection: Upgrade", WSInvalidUpgradeError, "invalid upgrade header"),
        ("HTTP/1.1 101 X\r\nUpgrade: websocket", WSInvalidUpgradeError, "invalid connection header"),
        (
            "HTTP/1.1 101 X\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: no",
            WSInvalidHeaderError,
            "invalid sec-websocket-accept",
        ),
        ("NOT HTTP", WSInvalidMessageError, None),
        ("HTTP/1.0 101 X\r\nUpgrade: websocket\r\nConnection: Upgrade", WSInvalidMessageError, "HTTP/1.1"),
        ("HTTP/1.1 101 X\r\nX: " + "x" * 17_000, WSInvalidMessageError, "max_size"),
    ],
)
async def test_an_answer_that_is_no_upgrade_is_refused(head, error, words):
    with Peer(refusing(head, b"why"), upgrade=False) as peer:
        with pytest.raises(error, match=words) as caught:
            await ws_connect(WSListener, peer.url)
    assert isinstance(caught.value, WSHandshakeError)
    if head.startswith("HTTP/1.") and "max_size" not in str(words):
        assert caught.value.raw_header.startswith(head.encode())
    if error is WSInvalidStatusError:
        assert (caught.value.response.status, caught.value.raw_body) == (HTTPStatus.NOT_FOUND, b"why")
        assert caught.value.raw_header.startswith(b"HTTP/1.1 404 Not Found\r\n")


async def test_a_connection_that_ends_in_the_tls_handshake_was_reset():
    with Peer(lambda wire: wire.end(), upgrade=False) as peer:
        with pytest.raises(ConnectionResetError, match="TLS handshake"):
            await ws_connect(WSListener, f"wss://127.0.0.1:{peer.port}/")


@pytest.mark.parametrize(("url", "byte"), [("ws://localhost:9700/a b", 21), ("ws://localhost/a b", 16)])
async def test_a_url_that_cannot_be_asked_for(url, byte):
    with pytest.raises(WSInvalidURL, match=f"whitespace ' ' at byte {byte}") as caught:
        await ws_connect(WSListener, url)
    assert caught.value.url == url


async def test_redirects_are_followed_to_where_they_lead_and_so_far():
    with Peer(Wire.read_to_end) as end:
        first = refusing(f"HTTP/1.1 302 Found\r\nLocation: {end.url}there")
        with Peer(first, upgrade=False) as start:
            transport, _ = await opened(start)
            assert transport.request.path == b"/there"
            with pytest.raises(WSInvalidStatusError, match="302"):
                await ws_connect(WSListener, start.url, max_redirects=0)
    with Peer(refusing("HTTP/1.1 301 Moved"), upgrade=False) as start:
        with pytest.raises(WSHandshakeError, match="without Location"):
            await ws_connect(WSListener, start.url)


async def test_no_redirect_leaves_tls():
    context = ssl.create_default_context(cadata=authority_pem().decode())
    with Peer(Wire.read_to_end) as end:
        away = refusing(f"HTTP/1.1 302 Found\r\nLocation: {end.url}")
        with Peer(away, upgrade=False, tls=True) as start:
            with pytest.raises(WSHandshakeError, match="cannot follow redirect to non-secure URL") as caught:
                await ws_connect(WSListener, start.url, ssl_context=context)
    assert caught.value.response.status == 302
    assert end.accepted == 0


async def test_no_connection_is_an_error_of_the_system():
    with socket.socket() as sock:  # nobody listens
        sock.bind(("127.0.0.1", 0))
        with pytest.raises(ConnectionRefusedError):
            await ws_connect(WSListener, f"ws://127.0.0.1:{sock.getsockname()[1]}/")
    with pytest.raises(socket.gaierror):
        await ws_connect(WSListener, "ws://nowhere.invalid/")
    with Server(GOOD.server_context()) as server:
        with pytest.raises(ssl.SSLCertVerificationError, match=r" ssl_context=ssl\.create_default_context") as raised:
            await ws_connect(WSListener, server.url)
        assert "TlsConfig" not in str(raised.value)
        assert (raised.value.verify_code, raised.value.reason) == (20, "CERTIFICATE_VERIFY_FAILED")


@pytest.mark.parametrize(
    ("number", "kind"),
    [
        (errno.ETIMEDOUT, TimeoutError),
        (errno.EHOSTUNREACH, OSError),
        (errno.ENETUNREACH, OSError),
        (errno.ECONNRESET, ConnectionResetError),
    ],
)
async def test_an_error_of_the_system_keeps_its_number(monkeypatch, number, kind):
    def begin(sock, address):
        sock.close()
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(dial, "begin", begin)
    with pytest.raises(OSError) as raised:
        await ws_connect(WSListener, "ws://127.0.0.1:1/")
    assert (type(raised.value), raised.value.errno) == (kind, number)


async def test_a_name_that_is_not_found_keeps_the_resolvers_number(monkeypatch):
    def getaddrinfo(*arguments):
        raise socket.gaierror(socket.EAI_AGAIN, "later")

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    with pytest.raises(socket.gaierror) as raised:
        await ws_connect(WSListener, "ws://nowhere.invalid/")
    assert raised.value.errno == socket.EAI_AGAIN


async def test_a_server_that_does_not_answer_is_not_waited_for():
    def script(wire):
        while wire.sock.recv(1 << 16):
            pass

    with Peer(script, upgrade=False) as peer:
        with pytest.raises(asyncio.TimeoutError):
            await ws_connect(WSListener, peer.url, websocket_handshake_timeout=0.01)


@pytest.mark.parametrize("kind", ["http", "socks5"])
async def test_a_way_by_a_proxy_on_a_socket_of_ones_own(kind):
    script = http_proxy() if kind == "http" else socks_proxy()
    with Peer(script, upgrade=False) as proxy, Peer(Wire.read_to_end) as peer:
        made = []

        async def factory(parsed):
            assert parsed.port == proxy.port
            made.append(socket.socket())
            return made[0]

        url = f"{kind}://127.0.0.1:{proxy.port}"
        transport, _ = await ws_connect(WSListener, peer.url, proxy=url, socket_factory=factory)
        assert transport.underlying_transport.get_extra_info("peername") == ("127.0.0.1", proxy.port)
        assert made[0].getpeername() == ("127.0.0.1", proxy.port)
        transport.disconnect()
        await transport.wait_disconnected()
        assert made[0].fileno() == -1


@pytest.mark.parametrize("who", ["server", "proxy"])
async def test_a_socket_of_ones_own_is_closed_where_there_is_no_connection(who):
    with Peer(refusing("HTTP/1.1 403 Forbidden"), upgrade=False) as peer:
        made = socket.socket()
        proxy = f"http://127.0.0.1:{peer.port}" if who == "proxy" else None
        with pytest.raises(WSInvalidStatusError if proxy is None else python_socks.ProxyError):
            await ws_connect(WSListener, peer.url, proxy=proxy, socket_factory=lambda parsed: made)
        assert made.fileno() == -1


async def test_how_it_is_connected_is_said_as_to_asyncio():
    port = free_port()
    with Peer(Wire.read_to_end) as peer:
        transport, _ = await ws_connect(WSListener, peer.url, local_addr=("127.0.0.1", port))
        assert transport.underlying_transport.get_extra_info("sockname") == ("127.0.0.1", port)
        transport.disconnect()
        await transport.wait_disconnected()
        local = f"ws://localhost:{peer.port}/"
        with pytest.raises(OSError):
            await ws_connect(WSListener, local, family=socket.AF_INET6)
        transport, _ = await ws_connect(WSListener, local, family=socket.AF_INET)
        transport.disconnect()
        await transport.wait_disconnected()


@pytest.mark.parametrize(("given", "order"), [({}, "6464"), ({"interleave": 2}, "6644"), ({"interleave": 0}, "6644")])
async def test_addresses_of_both_kinds_take_turns(monkeypatch, given, order):
    found = [
        (socket.AF_INET6, socket.SOCK_STREAM, 6, "", ("::1", 1, 0, 0)),
        (socket.AF_INET6, socket.SOCK_STREAM, 6, "", ("::2", 1, 0, 0)),
        (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", 1)),
        (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.2", 1)),
    ]
    tried = []

    def made(address, *_):
        tried.append("6" if address.family == socket.AF_INET6 else "4")
        raise OSError(errno.EHOSTUNREACH, "no way")

    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)
    monkeypatch.setattr(dial, "_socket", made)
    with pytest.raises(OSError):
        await ws_connect(WSListener, "ws://both.invalid:1/", **given)
    assert "".join(tried) == order


async def test_a_proxy_of_socks5_finds_the_host_itself():
    with Peer(Wire.read_to_end) as peer:
        with Peer(socks_proxy(to=("127.0.0.1", peer.port)), upgrade=False) as proxy:
            url = f"socks5://127.0.0.1:{proxy.port}"
            transport, _ = await ws_connect(WSListener, "ws://only-the-proxy-knows.invalid/", proxy=url)
            transport.disconnect()
            await transport.wait_disconnected()
        assert proxy.results[0] == ("only-the-proxy-knows.invalid", 80)


async def test_a_proxy_that_refuses_is_named():
    with Peer(refusing("HTTP/1.1 403 Forbidden"), upgrade=False) as proxy:
        with pytest.raises(python_socks.ProxyError, match="403"):
            await ws_connect(WSListener, "ws://localhost/", proxy=f"http://127.0.0.1:{proxy.port}")


async def test_arguments_that_are_none_are_refused():
    for arguments, error in (
        ({"extra_headers": {"X": 1}}, TypeError),
        ({"all_errors": True}, TypeError),
        ({"websocket_handshake_timeout": "x"}, TypeError),
        ({"enable_auto_ping": True, "auto_ping_idle_timeout": "x"}, TypeError),
        ({"enable_auto_ping": True, "auto_ping_reply_timeout": "x"}, TypeError),
        ({"enable_auto_ping": True, "auto_ping_idle_timeout": -1}, ValueError),
        ({"proxy_ssl_context": ssl.create_default_context()}, ValueError),
        ({"auto_ping_strategy": 7}, ValueError),
        ({"socket_factory": lambda parsed: 7}, TypeError),
    ):
        with pytest.raises(error, match="(?i)" + list(arguments)[-1].rpartition("_")[2]):
            await ws_connect(WSListener, "ws://127.0.0.1:1/", **arguments)
    for url in ("http://127.0.0.1", "ws://", "ws://127.0.0.1/#part"):
        with pytest.raises(WSInvalidURL):
            await ws_connect(WSListener, url)


@pytest.mark.parametrize("given", [7, "x", None])
async def test_a_strategy_is_one_that_there_is_also_where_picows_enumeration_takes_any_number(monkeypatch, given):
    open_ended = enum.IntFlag("WSAutoPingStrategy", ["PING_WHEN_IDLE", "PING_PERIODICALLY"])
    monkeypatch.setattr("fastws.compat.picows.api.WSAutoPingStrategy", open_ended)
    with pytest.raises(ValueError, match="auto_ping_strategy is PING_WHEN_IDLE or PING_PERIODICALLY, not"):
        await ws_connect(WSListener, "ws://127.0.0.1:1/", auto_ping_strategy=given)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("nosuch", "ws_connect() got an unexpected keyword argument 'nosuch'"),
        ("ssl", "ws_connect() got an unexpected keyword argument 'ssl'; give ssl_context"),
        ("sock", "ws_connect() got an unexpected keyword argument 'sock'; give socket_factory"),
    ],
)
async def test_an_argument_that_there_is_not_is_named(given, said):
    with pytest.raises(TypeError) as caught:
        await ws_connect(WSListener, "ws://127.0.0.1:1/", **{given: None})
    assert str(caught.value) == said


def test_a_class_has_what_its_objects_have():
    names = {"request", "response", "is_secure", "is_disconnected", "underlying_transport", "is_client_side"}
    assert names <= set(dir(ours.WSTransport))


def test_a_url_is_taken_apart():
    parsed = parse_url("wss://user:pa%20ss@Example.com/path?a=b")
    assert (parsed.is_secure, parsed.host, parsed.port) == (True, "example.com", 443)
    assert (parsed.resource_name, parsed.user_info) == ("/path?a=b", ("user", "pa%20ss"))
    parsed = parse_url("ws://ü@bücher.example:8/ä?ö=%20")
    assert (parsed.host, parsed.port, parsed.netloc) == ("xn--bcher-kva.example", 8, "ü@bücher.example:8")
    assert (parsed.resource_name, parsed.username, parsed.password) == ("/%C3%A4?%C3%B6=%20", "%C3%BC", None)
    assert parse_url("ws://localhost").resource_name == "/"
    assert parse_url("socks5://127.0.0.1:1080", check_scheme=False).port == 1080


def test_responses_of_a_server_are_made_as_by_picows():
    made = WSUpgradeResponse.create_error_response(404, b"no", {"X": "y"})
    assert bytes(made.to_bytes()).split(b"\r\n")[0] == b"HTTP/1.1 404 Not Found"
    assert WSUpgradeResponse.create_redirect_response(302, "ws://a/").headers["location"] == "ws://a/"
    assert WSUpgradeResponse.create_101_response().headers["UPGRADE"] == "websocket"
    with pytest.raises(ValueError):
        WSUpgradeResponse.create_error_response(200)
    with pytest.raises(ValueError):
        ours.WSUpgradeResponseWithListener(made, WSListener())


async def test_servers_and_websockets_are_the_originals():
    with pytest.raises(ImportError, match="install picows"):
        await ours.ws_create_server(lambda request: WSListener(), "127.0.0.1", 0)
    with pytest.raises(ImportError, match="install picows"):
        import fastws.compat.picows.websockets  # noqa: F401


def test_a_close_code_of_an_applications_own_has_no_name():
    assert repr(ours.WSCloseCode(4001)) == "<WSCloseCode: 4001>"
    assert repr(ours.WSCloseCode.OK) == "<WSCloseCode.OK: 1000>"
