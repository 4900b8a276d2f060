"""The drop-in's ``websockets.asyncio.client``: opening connections, with the real websockets server as the peer."""

import asyncio
import http
import logging
import os
import re
import socket
import ssl

import pytest
import websockets
import websockets.asyncio.client
import websockets.client
import websockets.exceptions
from websockets.utils import accept_key

import fastws
import fastws.compat.websockets.asyncio.client
from certificates import CLIENT, DAY, now, self_signed
from compat_peers import echo, websockets_server
from fastws.compat.websockets.asyncio.client import ClientConnection, connect, unix_connect
from peers import Peer, authority_pem
from proxies import http_proxy, proxy
from tls_peers import GOOD, OTHER, ROOT, Server


@pytest.fixture(params=[False, True], ids=["tcp", "tls"])
def tls(request):
    return request.param


def context():
    return ssl.create_default_context(cadata=authority_pem().decode())


def trusting(tls):
    return {"ssl": context()} if tls else {}


def refusing(status, **headers):
    def process_request(ws, _request):
        answer = ws.respond(status, "no")
        for name, value in headers.items():
            answer.headers[name] = value
        return answer

    return process_request


async def test_messages_go_both_ways(tls):
    with websockets_server(echo, tls=tls) as uri:
        async with connect(uri, **trusting(tls)) as ws:
            assert isinstance(ws, ClientConnection)
            assert isinstance(ws, fastws.Connection)
            for message in ("grüß", b"\x00\xff", "", "x" * 100_000):
                await ws.send(message)
                assert await ws.recv() == message
            assert ws.state is ws.protocol.state is websockets.State.OPEN
            assert (ws.close_code, ws.close_reason) == (None, None)
        assert ws.state is ws.protocol.state is websockets.State.CLOSED
        assert (ws.close_code, ws.close_reason) == (1000, "")


async def test_connect_may_be_awaited():
    with websockets_server(echo) as uri:
        ws = await connect(uri)
        async with ws:
            await ws.send("a")
            async for message in ws:
                assert message == "a"
                break
        assert ws.state is websockets.State.CLOSED


async def test_request_and_response_are_those_of_websockets():
    with websockets_server(echo, subprotocols=["b", "c"]) as uri:
        async with connect(
            uri + "path?query=1",
            origin="https://example.com",
            subprotocols=["a", "b"],
            additional_headers=[("X-A", "1"), ("X-A", "2")],
        ) as ws:
            assert isinstance(ws.request, websockets.Request)
            assert ws.request is ws.request
            assert ws.request.path == "/path?query=1"
            assert ws.request.headers["Origin"] == "https://example.com"
            assert ws.request.headers.get_all("x-a") == ["1", "2"]
            assert ws.request.headers["User-Agent"] == websockets.http11.USER_AGENT
            assert isinstance(ws.response, websockets.Response)
            assert (ws.response.status_code, ws.response.reason_phrase) == (101, "Switching Protocols")
            assert ws.subprotocol == ws.protocol.subprotocol == "b"
            assert ws.protocol.uri.path == ws.protocol.wsuri.path == "/path"


async def test_user_agent_may_be_left_out_or_given_as_a_header():
    with websockets_server(echo) as uri:
        async with connect(uri, user_agent_header=None) as ws:
            assert "User-Agent" not in ws.request.headers
        async with connect(uri, additional_headers={"User-Agent": "Smith"}) as ws:
            assert ws.request.headers["User-Agent"] == "Smith"


async def test_headers_that_were_copied_from_a_browser_do_not_break_the_handshake():
    copied = {
        "Connection": "Upgrade",
        "Upgrade": "websocket",
        "Sec-WebSocket-Key": "AAAAAAAAAAAAAAAAAAAAAA==",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Extensions": "permessage-deflate",
        "Cookie": "a=b",
    }
    with websockets_server(echo) as uri:
        async with connect(uri, additional_headers=copied) as ws:
            assert ws.request.headers["Cookie"] == "a=b"
            assert ws.request.headers["Sec-WebSocket-Key"] != copied["Sec-WebSocket-Key"]


async def test_compression_is_offered_unless_it_is_off():
    with websockets_server(echo) as uri:
        async with connect(uri) as ws:
            assert [extension.name for extension in ws.protocol.extensions] == ["permessage-deflate"]
            await ws.send("a" * 1000)
            assert await ws.recv() == "a" * 1000
        async with connect(uri, compression=None) as ws:
            assert ws.protocol.extensions == []
            assert "Sec-WebSocket-Extensions" not in ws.request.headers


@pytest.mark.parametrize("max_size", [10, (10, None), (None, 10)])
async def test_max_size_is_of_messages_or_of_fragments(max_size):
    with websockets_server(lambda ws: ws.send("x" * 11)) as uri:
        async with connect(uri, max_size=max_size, compression=None) as ws:
            with pytest.raises(websockets.ConnectionClosedError) as raised:
                await ws.recv()
    assert raised.value.sent.code == 1009
    assert isinstance(raised.value.__cause__, websockets.PayloadTooBig)
    assert (raised.value.__cause__.size, raised.value.__cause__.max_size) == (11, 10)


async def test_a_refusal_has_its_response():
    with websockets_server(echo, process_request=refusing(http.HTTPStatus.FORBIDDEN)) as uri:
        with pytest.raises(
            websockets.exceptions.InvalidStatus, match="rejected WebSocket connection: HTTP 403"
        ) as raised:
            await connect(uri)
    answer = raised.value.response
    assert (answer.status_code, answer.body, answer.headers["Content-Length"]) == (403, b"no", "2")
    assert isinstance(raised.value.__cause__, fastws.InvalidStatus)


@pytest.mark.parametrize(
    ("name", "value", "kind", "text"),
    [
        ("Sec-WebSocket-Accept", None, "InvalidHeader", "missing Sec-WebSocket-Accept header"),
        ("Sec-WebSocket-Accept", "x", "InvalidHeaderValue", "invalid Sec-WebSocket-Accept header: x"),
        ("Upgrade", "h2c", "InvalidUpgrade", "invalid Upgrade header: h2c"),
        ("Connection", None, "InvalidUpgrade", "missing Connection header"),
        ("Sec-WebSocket-Protocol", "chat", "NegotiationError", "no subprotocols supported"),
        ("Sec-WebSocket-Extensions", "x-y; a=1", "NegotiationError", "Unsupported extension: name = x-y"),
    ],
)
async def test_what_is_wrong_with_an_answer_is_said_by_its_class(name, value, kind, text):
    def process_response(_ws, _request, response):
        if name in response.headers:
            del response.headers[name]
        if value is not None:
            response.headers[name] = value

    with websockets_server(lambda ws: None, process_response=process_response, compression=None) as uri:
        with pytest.raises(websockets.exceptions.InvalidHandshake, match=text) as raised:
            await connect(uri)
    assert type(raised.value) is getattr(websockets.exceptions, kind)


async def test_a_peer_that_ends_the_handshake_is_worth_another_attempt():
    def leave(wire):
        wire.read_request()

    with Peer(leave, upgrade=False) as peer:
        with pytest.raises(
            websockets.exceptions.InvalidMessage, match="did not receive a valid HTTP response"
        ) as raised:
            await connect(peer.url)
    assert isinstance(raised.value.__cause__, EOFError)
    assert websockets.client.process_exception(raised.value) is None


async def test_what_is_not_http_is_said():
    def other(wire):
        wire.read_request()
        wire.send(b"220 smtp.invalid ESMTP\r\n")

    with Peer(other, upgrade=False) as peer:
        with pytest.raises(websockets.exceptions.InvalidMessage) as raised:
            await connect(peer.url)
    assert str(raised.value.__cause__) == "unsupported protocol; expected HTTP/1.1: 220 smtp.invalid ESMTP"


async def test_network_errors_are_those_of_the_system():
    with socket.socket() as sock:  # nobody listens
        sock.bind(("127.0.0.1", 0))
        with pytest.raises(ConnectionRefusedError):
            await connect(f"ws://127.0.0.1:{sock.getsockname()[1]}/")
    with pytest.raises(socket.gaierror):
        await connect("ws://no-such-host.invalid/")


async def test_opening_has_a_time_limit():
    with socket.create_server(("127.0.0.1", 0)) as sock:
        with pytest.raises(TimeoutError, match=r"^timed out during opening handshake$"):
            await connect(f"ws://127.0.0.1:{sock.getsockname()[1]}/", open_timeout=0.05)


async def test_certificates_that_are_not_trusted_are_an_ssl_error():
    with websockets_server(echo, tls=True) as uri:
        for arguments in ({}, {"ssl": ssl.create_default_context()}):
            with pytest.raises(ssl.SSLCertVerificationError, match="certificate verify failed"):
                await connect(uri, **arguments)
        with pytest.raises(ssl.SSLCertVerificationError, match=r" ssl=ssl\.create_default_context\(") as raised:
            await connect(uri)
        assert "TlsConfig" not in str(raised.value)
        for tls in (context(), fastws.TlsConfig(ca=authority_pem())):
            with pytest.raises(ssl.SSLCertVerificationError) as raised:
                await connect(uri, ssl=tls, server_hostname="other.example")
            assert raised.value.verify_code == 62
            assert raised.value.verify_message == "Hostname mismatch, certificate is not valid for 'other.example'."
            assert f"certificate verify failed: {raised.value.verify_message} (" in str(raised.value)


@pytest.mark.parametrize(
    ("shown", "told", "code", "said"),
    [
        (ROOT.issue("localhost", not_before=now() - 2 * DAY, not_after=now() - DAY), {}, 10, "certificate has expired"),
        (
            ROOT.issue("localhost", not_before=now() + DAY, not_after=now() + 2 * DAY),
            {},
            9,
            "certificate is not yet valid",
        ),
        (self_signed("localhost"), {}, 18, "self-signed certificate"),
        (OTHER.issue("localhost"), {}, 20, "unable to get local issuer certificate"),
        (ROOT.issue("localhost", use=CLIENT), {}, 26, "unsuitable certificate purpose"),
        (GOOD, {"crls": [ROOT.revocation_list(GOOD)]}, 23, "certificate revoked"),
        # "Whether it is revoked is not known".
        (GOOD, {"crls": [OTHER.revocation_list()]}, 1, ""),
    ],
)
async def test_what_is_wrong_with_a_certificate_is_said_as_ssl_says_it(shown, told, code, said):
    with Server(shown.server_context()) as server:
        with pytest.raises(ssl.SSLCertVerificationError) as raised:
            await connect(server.url, host="127.0.0.1", ssl=fastws.TlsConfig(ca=ROOT.pem, **told))
    error = raised.value
    words = f": {said}" if said else ""
    assert error.args[1].startswith(f"[SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed{words} (wss://")
    assert (error.library, error.reason, error.verify_code) == ("SSL", "CERTIFICATE_VERIFY_FAILED", code)
    assert error.verify_message == (said or "unspecified certificate verification error")


async def test_an_ssl_context_is_used_and_its_object_is_there():
    with websockets_server(echo, tls=True) as uri:
        used = context()
        async with connect(uri, ssl=used) as ws:
            assert ws.transport.get_extra_info("sslcontext") is used
            tls = ws.transport.get_extra_info("ssl_object")
            assert (tls.version()[:3], tls.server_hostname) == ("TLS", "localhost")
            assert ws.transport.get_extra_info("peercert")["subjectAltName"]
            assert ws.transport.get_extra_info("cipher")[0]
            assert not ws.transport.can_write_eof()


async def test_the_host_may_be_another_and_a_socket_given():
    with websockets_server(echo) as uri:
        port = int(uri.rstrip("/").rpartition(":")[2])
        async with connect("ws://overridden/", host="localhost", port=port) as ws:
            assert ws.request.headers["Host"] == "overridden"
        with socket.create_connection(("localhost", port)) as sock:
            async with connect("ws://invalid/", sock=sock) as ws:
                await ws.send("a")
                assert await ws.recv() == "a"


async def test_unix_sockets(tmp_path):
    path = str(tmp_path / "socket")
    with websockets_server(echo, unix=path):
        async with unix_connect(path) as ws:
            await ws.send("a")
            assert await ws.recv() == "a"
            assert ws.request.headers["Host"] == "localhost"


async def test_redirects_are_followed_and_secrets_stay_with_their_origin():
    def redirect(ws, request):
        if request.path == "/there":
            return None
        answer = ws.respond(http.HTTPStatus.FOUND, "")
        answer.headers["Location"] = "/there" if request.path == "/here" else other + "there"
        return answer

    secret = {"Authorization": "Bearer x", "X-Custom": "kept"}
    with websockets_server(echo) as other, websockets_server(echo, process_request=redirect) as uri:
        async with connect(uri + "here", additional_headers=secret) as ws:
            assert (ws.protocol.uri.path, ws.request.headers["Authorization"]) == ("/there", "Bearer x")
        async with connect(uri, additional_headers=secret) as ws:
            assert "Authorization" not in ws.request.headers
            assert ws.request.headers["X-Custom"] == "kept"
        with pytest.raises(
            ValueError, match=r"cannot follow cross-origin redirect to .* with an explicit host or port"
        ):
            await connect(uri, host="localhost")


async def test_endless_redirects_end():
    with websockets_server(echo, process_request=refusing(http.HTTPStatus.FOUND, Location="/again")) as uri:
        with pytest.raises(websockets.exceptions.InvalidHandshake, match="more than 10 redirects"):
            await connect(uri)


async def test_iteration_connects_again_with_growing_delays(caplog):
    answers = [http.HTTPStatus.SERVICE_UNAVAILABLE, None, http.HTTPStatus.BAD_GATEWAY, None, http.HTTPStatus.GONE]
    delays_made = []

    def process_request(ws, _request):
        status = answers.pop(0)
        return None if status is None else ws.respond(status, "")

    def delays():
        delays_made.append(1)
        while True:
            yield 0.001

    opened = 0
    with websockets_server(echo, process_request=process_request) as uri, caplog.at_level(logging.INFO, "websockets"):
        with pytest.raises(websockets.exceptions.InvalidStatus, match="HTTP 410"):
            async for ws in connect(uri, reconnect_delays=delays):
                await ws.send("a")
                assert await ws.recv() == "a"
                opened += 1
    assert (opened, len(delays_made)) == (2, 2)
    said = [record.getMessage() for record in caplog.records if "connect failed" in record.getMessage()]
    assert len(said) == 2
    assert said[0].startswith("connect failed; reconnecting in 0.0 seconds: ")
    assert said[0].endswith("server rejected WebSocket connection: HTTP 503")


async def test_process_exception_decides():
    def raising(error):
        raise LookupError("mine") from error

    for decide in (lambda _: LookupError("mine"), raising):
        with websockets_server(echo, process_request=refusing(http.HTTPStatus.IM_A_TEAPOT)) as uri:
            with pytest.raises(LookupError, match="mine"):
                async for _ in connect(uri, process_exception=decide):
                    pytest.fail("it opened")


async def test_connections_may_be_of_a_subclass():
    class Mine(ClientConnection):
        def __init__(self, *args, name, **kwargs):
            super().__init__(*args, **kwargs)
            self.name = name

        async def greet(self):
            await self.send(f"I am {self.name}")

    with websockets_server(echo) as uri:
        async with connect(uri, create_connection=lambda *args, **kwargs: Mine(*args, name="Ann", **kwargs)) as ws:
            await ws.greet()
            assert await ws.recv() == "I am Ann"
        with pytest.raises(TypeError, match="no ClientConnection"):
            await connect(uri, create_connection=lambda *_, **__: object())


async def test_the_close_of_a_subclass_needs_no_parameters():
    class Counting(ClientConnection):
        closed = 0

        async def close(self):
            self.closed += 1
            await super().close()

    with websockets_server(echo) as uri:
        async with connect(uri, create_connection=Counting) as ws:
            pass
        assert (ws.closed, ws.close_code) == (1, 1000)


async def test_iteration_is_by_recv_where_a_subclass_has_one_of_its_own():
    class Shouting(ClientConnection):
        async def recv(self, *args, **kwargs):
            return (await super().recv(*args, **kwargs)).upper()

    def speak(ws):
        ws.send("a")
        ws.send("b")

    with websockets_server(speak) as uri:
        async with connect(uri, create_connection=Shouting) as ws:
            assert [message async for message in ws] == ["A", "B"]


async def test_logger_and_id():
    logger = logging.getLogger("mine")
    with websockets_server(echo) as uri:
        async with connect(uri, logger=logger) as ws, connect(uri) as other:
            assert ws.logger.logger is logger
            assert ws.logger.extra["websocket"].id == ws.id == ws.protocol.id != other.id
            assert other.logger.logger.name == "websockets.client"


@pytest.mark.parametrize(
    ("arguments", "kind", "text"),
    [
        ({"uri": "http://localhost/"}, websockets.InvalidURI, "scheme isn't ws or wss"),
        ({"ssl": True}, ValueError, "ssl argument is incompatible with a ws:// URI"),
        ({"uri": "wss://localhost/", "ssl": None}, ValueError, "ssl=None is incompatible with a wss:// URI"),
        ({"subprotocols": "chat"}, TypeError, "subprotocols must be a list, not a str"),
        ({"compression": "brotli"}, ValueError, "unsupported compression: brotli"),
        ({"proxy": "ftp://localhost"}, websockets.exceptions.InvalidProxy, "scheme ftp isn't supported"),
        ({"proxy": "https://h:1", "proxy_ssl": None}, ValueError, "proxy_ssl=None is incompatible with an https"),
        ({"proxy": "http://h:1", "proxy_ssl": True}, ValueError, "proxy_ssl argument is incompatible with an http"),
        ({"no_such": 1}, TypeError, "unexpected keyword argument 'no_such'"),
        ({"unix": True}, ValueError, "no path and sock were specified"),
        ({"max_queue": (1, 2)}, ValueError, "high must be greater than or equal to low"),
    ],
)
async def test_wrong_arguments(arguments, kind, text):
    with pytest.raises(kind, match=text):
        await connect(**{"uri": "ws://localhost/", **arguments})


async def test_connect_is_not_reentrant():
    with websockets_server(echo) as uri:
        opening = connect(uri)
        async with opening:
            with pytest.raises(RuntimeError, match="connect\\(\\) isn't reentrant"):
                await opening.__aenter__()


async def test_the_proxy_of_the_environment_is_used(monkeypatch):
    for name in [name for name in os.environ if name.lower().endswith("_proxy")]:
        monkeypatch.delenv(name)
    with websockets_server(echo) as uri, proxy(http_proxy()) as through:
        monkeypatch.setenv("https_proxy", f"http://127.0.0.1:{through.port}")
        async with connect(uri) as ws:
            await ws.send("a")
            assert await ws.recv() == "a"
        assert through.accepted == 1
        async with connect(uri, proxy=None):
            assert through.accepted == 1


async def test_a_proxy_that_refuses():
    def refuse(wire):
        wire.read_request()
        wire.send(b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n")

    with proxy(refuse) as through:
        with pytest.raises(websockets.exceptions.InvalidProxyStatus, match="proxy rejected connection: HTTP 407"):
            await connect("ws://example.com/", proxy=f"http://127.0.0.1:{through.port}")


async def test_cancelling_gives_the_attempt_up():
    with socket.create_server(("127.0.0.1", 0)) as sock:
        opening = asyncio.ensure_future(connect(f"ws://127.0.0.1:{sock.getsockname()[1]}/").connect())
        accepted, _ = await asyncio.to_thread(sock.accept)
        with accepted:
            opening.cancel()
            with pytest.raises(asyncio.CancelledError):
                await opening
            accepted.settimeout(5)
            while accepted.recv(4096):
                pass


@pytest.mark.parametrize(
    "name", ["ping_interval", "ping_timeout", "close_timeout", "max_size", "max_queue", "write_limit"]
)
async def test_an_argument_that_is_no_number_is_named(name):
    with websockets_server(echo) as uri:
        with pytest.raises((TypeError, ValueError), match=rf"^{name}\b.*'x'"):
            await connect(uri, **{name: "x"})


async def test_a_subclass_hears_of_its_transport():
    told = []

    class Mine(ClientConnection):
        def connection_made(self, transport):
            super().connection_made(transport)
            told.append(transport.get_extra_info("peername"))

        def connection_lost(self, exc):
            told.append((self.state, exc))
            super().connection_lost(exc)

    with websockets_server(echo) as uri:
        async with connect(uri, create_connection=Mine) as ws:
            remote = ws.remote_address
            assert told == [remote]
        assert told == [remote, (websockets.State.CLOSED, None)]


async def test_headers_go_out_in_the_order_of_websockets():
    def names(wire):
        return [line.partition(b":")[0] for line in wire.read_request().split(b"\r\n")]

    arguments = {
        "additional_headers": {"X-One": "1", "Authorization": "mine", "X-Two": "2"},
        "origin": "https://example.com",
        "subprotocols": ["a"],
    }
    with Peer(names, upgrade=False) as peer:
        for module in (websockets.asyncio.client, fastws.compat.websockets.asyncio.client):
            with pytest.raises(websockets.InvalidMessage):
                await module.connect(peer.url, **arguments)
        with pytest.raises(websockets.InvalidMessage):
            await websockets.asyncio.client.connect(peer.url.replace("//", "//user:password@"))
        with pytest.raises(websockets.InvalidMessage):
            await connect(peer.url.replace("//", "//user:password@"))
    assert peer.results[0] == peer.results[1]
    assert peer.results[2] == peer.results[3]


@pytest.mark.parametrize(
    "lines",
    [
        ["HTTP/1.0 101 Switching Protocols", "Upgrade: websocket"],
        ["SSH-2.0-OpenSSH_9.6"],
        ["HTTP/2 101 Switching Protocols"],
        ["HTTP/1.1 101 Switching Protocols", "Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Protocol: b"],
    ],
)
@pytest.mark.parametrize("asked", [None, ["a"]])
async def test_what_is_wrong_with_an_answer_is_said_as_by_websockets(lines, asked):
    def answer(wire):
        accept = accept_key(re.search(rb"Sec-WebSocket-Key: (\S+)", wire.read_request())[1].decode())
        wire.send("\r\n".join([*lines, f"Sec-WebSocket-Accept: {accept}", "", ""]).encode())

    said = []
    for module in (websockets.asyncio.client, fastws.compat.websockets.asyncio.client):
        with Peer(answer, upgrade=False) as peer, pytest.raises(websockets.InvalidHandshake) as raised:
            await module.connect(peer.url, subprotocols=asked)
        error, cause = raised.value, raised.value.__cause__
        said.append((type(error), str(error), str(cause) if isinstance(error, websockets.InvalidMessage) else None))
    assert said[0] == said[1]
