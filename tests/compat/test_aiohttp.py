"""aiohttp's WebSocket client on fastws: against a server of aiohttp's, and bytes of our own where that one cannot."""

import asyncio
import base64
import errno
import inspect
import os
import socket
import subprocess
import sys
import warnings

import aiohttp
import pytest
from aiohttp import web
from aiohttp.http import WSMessageTextBytes

import fastws
from aiohttp_server import echo, mirror, server
from fastws import dial
from fastws.compat import aiohttp as compat
from fastws.compat.aiohttp import ClientWSTimeout, WSMsgType, ws_connect
from peers import Peer, Wire, authority_pem, frame, server_context

TEXT, BINARY, PING, PONG = 1, 2, 9, 10


async def test_messages_of_all_kinds_go_and_come():
    async with server(echo) as address, ws_connect(f"ws://{address}/") as ws:
        await ws.send_str("text")
        assert await ws.receive() == (WSMsgType.TEXT, "text", "")
        await ws.send_bytes(b"bytes")
        assert await ws.receive_bytes() == b"bytes"
        await ws.send_bytes(memoryview(b"view"))
        assert await ws.receive_bytes() == b"view"
        await ws.send_json({"a": [1]})
        assert await ws.receive_json() == {"a": [1]}
        await ws.send_json([1], dumps=lambda value: f"<{value}>")
        assert await ws.receive_str() == "<[1]>"
        await ws.send_json_bytes([2], dumps=lambda value: repr(value).encode())
        assert await ws.receive_bytes() == b"[2]"
        await ws.send_str('{"b": 2}')
        assert (await ws.receive()).json() == {"b": 2}
        await ws.send_str("loads")
        assert await ws.receive_json(loads=str.upper) == "LOADS"
        await ws.send_frame(b"frame", WSMsgType.TEXT)
        assert await ws.receive_str() == "frame"
        await ws.send_frame(b"frame", WSMsgType.BINARY)
        assert await ws.receive_bytes() == b"frame"
        assert isinstance(ws, aiohttp.ClientWebSocketResponse)
        assert isinstance(await _message(ws), aiohttp.WSMessage)


async def _message(ws):
    await ws.send_str("more")
    return await ws.receive()


def counting(count):
    """Sends so many numbers and closes, with 4001."""

    async def handler(request):
        ws = web.WebSocketResponse()
        await ws.prepare(request)
        for number in range(count):
            await ws.send_str(str(number))
        await ws.close(code=4001, message=b"enough")
        return ws

    return handler


async def test_iteration_ends_with_the_connection():
    async with server(counting(3)) as address, ws_connect(f"http://{address}/") as ws:
        assert [message.data async for message in ws] == ["0", "1", "2"]
        assert (ws.closed, ws.close_code, ws.exception()) == (True, 4001, None)
        assert await ws.receive() == (WSMsgType.CLOSED, None, None)
        assert await ws.close() is False


async def test_what_was_agreed_can_be_asked():
    async with server(echo) as address:
        ws = await ws_connect(f"ws://{address}/", protocols=("two", "three"), compress=15)
        async with ws:
            assert (ws.protocol, ws.compress, ws.client_notakeover) == ("two", 15, False)
            host, port = ws.get_extra_info("peername")
            assert f"{host}:{port}" == address
            assert ws.get_extra_info("sockname")[0] == "127.0.0.1"
            assert ws.get_extra_info("socket").fileno() == ws.connection.fileno()
            assert ws.get_extra_info("cipher", "none") == "none"
            assert not ws.closed
            assert ws.close_code is None
            assert ws._response.headers["upgrade"] == "websocket"
            await ws.send_str("a" * 5000)
            assert await ws.receive_str() == "a" * 5000
        assert (ws.closed, ws.close_code) == (True, 1000)


async def test_parameters_reach_the_request():
    with pytest.warns(DeprecationWarning, match="BasicAuth"):
        basic = aiohttp.BasicAuth("user", "secret")
    async with server(mirror) as address:
        async with ws_connect(
            f"ws://{address}/a?b=1",
            params={"c": "ü d", "e": [1, 2]},
            headers={"X-Own": "value"},
            origin="https://origin.example",
            auth=basic,
        ) as ws:
            seen = await ws.receive_json()
        assert seen["path"] == "/a?b=1&c=%C3%BC%20d&e=1&e=2"
        assert seen["headers"]["X-Own"] == "value"
        assert seen["headers"]["Origin"] == "https://origin.example"
        assert seen["headers"]["Authorization"] == "Basic " + base64.b64encode(b"user:secret").decode()
        async with ws_connect(f"ws://{address}", params="x=y", auth=("u", "p"), headers=[("User-Agent", "own")]) as ws:
            seen = await ws.receive_json()
        assert seen["path"] == "/?x=y"
        assert seen["headers"]["User-Agent"] == "own"
        assert seen["headers"]["Authorization"].startswith("Basic ")


@pytest.mark.parametrize("ssl", ["config", "context", "none"])
async def test_tls_as_it_is_asked_for(ssl, tmp_path):
    import ssl as module

    (tmp_path / "ca.pem").write_bytes(authority_pem())
    given = {
        "config": fastws.TlsConfig(ca=authority_pem()),
        "context": module.create_default_context(cafile=str(tmp_path / "ca.pem")),
        "none": False,
    }[ssl]
    async with server(echo, ssl_context=server_context()) as address:
        async with ws_connect(f"wss://{address}/", ssl=given) as ws:
            await ws.send_str("secured")
            assert await ws.receive_str() == "secured"
            # By rustls there is nothing of Python's to be asked.
            is_pythons = ssl == "context"
            assert (ws.get_extra_info("sslcontext") is given) is is_pythons
            assert isinstance(ws.get_extra_info("ssl_object"), module.SSLObject) is is_pythons
            assert ("issuer" in ws.get_extra_info("peercert", {})) is is_pythons
            assert bool(ws.get_extra_info("cipher")) is is_pythons
        with pytest.raises(aiohttp.ClientConnectorCertificateError) as caught:
            await ws_connect(f"https://{address}/")
        assert isinstance(caught.value.__cause__, fastws.CertificateError)
        error = caught.value.certificate_error
        assert (error.verify_code, error.reason) == (20, "CERTIFICATE_VERIFY_FAILED")


async def test_a_type_that_was_not_asked_for_is_an_error():
    async with server(echo) as address, ws_connect(f"ws://{address}/") as ws:
        await ws.send_bytes(b"x")
        with pytest.raises(aiohttp.WSMessageTypeError, match=r"is not WSMsgType\.TEXT"):
            await ws.receive_str()
        await ws.send_str("x")
        with pytest.raises(TypeError, match=r"is not WSMsgType\.BINARY"):
            await ws.receive_bytes()
        with pytest.raises(TypeError, match="data argument must be str"):
            await ws.send_str(b"x")
        with pytest.raises(TypeError, match="data argument must be byte-ish"):
            await ws.send_bytes("x")
        with pytest.raises(ValueError, match=r"not <WSMsgType\.CLOSE"):
            await ws.send_frame(b"", WSMsgType.CLOSE)


async def test_text_can_be_had_as_bytes():
    async with server(echo) as address, ws_connect(f"ws://{address}/", decode_text=False) as ws:
        await ws.send_str("ż")
        assert await ws.receive() == (WSMsgType.TEXT, "ż".encode(), "")


@pytest.mark.parametrize("autoping", [True, False])
@pytest.mark.parametrize(("decode_text", "kind"), [(True, aiohttp.WSMessage), (False, WSMessageTextBytes)])
async def test_text_that_is_not_decoded_is_a_message_of_its_own_kind(autoping, decode_text, kind):
    async with server(echo) as address:
        async with ws_connect(f"ws://{address}/", decode_text=decode_text, autoping=autoping) as ws:
            await ws.send_str("[1]")
            message = await ws.receive()
            assert (type(message), message.json()) == (kind, [1])
            await ws.send_bytes(b"[1]")
            assert type(await ws.receive()) is aiohttp.WSMessage


async def test_without_autoping_pings_and_pongs_are_messages():
    def script(wire):
        wire.send(frame(PING, b"are you there"), frame(TEXT, "ż".encode()[:1], fin=False), frame(PONG, b"unasked"))
        wire.send(frame(0, "ż".encode()[1:]), frame(BINARY, b"b"))
        seen = wire.read_frames(1)
        return seen + wire.close(4000, "bye")

    with Peer(script) as peer:
        async with ws_connect(peer.url, autoping=False) as ws:
            assert await ws.receive() == (WSMsgType.PING, b"are you there", "")
            assert await ws.receive() == (WSMsgType.PONG, b"unasked", "")
            assert await ws.receive() == (WSMsgType.TEXT, "ż", "")
            assert await ws.receive() == (WSMsgType.BINARY, b"b", "")
            await ws.pong(b"I am")
            assert await ws.receive() == (WSMsgType.CLOSE, 4000, "bye")
            assert await ws.receive() == (WSMsgType.CLOSED, None, None)
    [seen] = peer.results
    assert (seen[0].opcode, seen[0].payload) == (PONG, b"I am")


async def test_invalid_text_is_found_without_autoping_too():
    def script(wire):
        wire.send(frame(TEXT, b"\xff"))
        return wire.answer_close()

    with Peer(script) as peer:
        async with ws_connect(peer.url, autoping=False) as ws:
            message = await ws.receive()
            assert (message.type, message.data.code, ws.close_code) == (WSMsgType.ERROR, 1007, 1007)


async def test_a_close_frame_without_a_code_is_code_0():
    with Peer(lambda wire: wire.close(None)) as peer:
        async with ws_connect(peer.url) as ws:
            assert await ws.receive() == (WSMsgType.CLOSE, 0, "")
            assert ws.close_code == 0


async def test_without_autoclose_the_program_closes():
    with Peer(lambda wire: wire.close(4002)) as peer:
        async with ws_connect(peer.url, autoclose=False) as ws:
            assert await ws.receive() == (WSMsgType.CLOSE, 4002, "")
            assert not ws.closed
            assert await ws.receive() == (WSMsgType.CLOSED, None, None)
            assert ws.closed


@pytest.mark.parametrize(
    ("sent", "code"),
    [(frame(3, b""), 1002), (frame(TEXT, b"\xff"), 1007), (frame(BINARY, b"x" * 1025), 1009)],
    ids=["opcode", "UTF-8", "size"],
)
async def test_a_peers_violation_is_an_error_with_its_code(sent, code):
    def script(wire):
        wire.send(sent)
        return wire.answer_close()

    with Peer(script) as peer:
        async with ws_connect(peer.url, max_msg_size=1024) as ws:
            message = await ws.receive()
            assert message.type is WSMsgType.ERROR
            assert isinstance(message.data, aiohttp.WebSocketError)
            assert (message.data.code, ws.close_code, ws.closed) == (code, code, True)
            assert message.data.code is ws.close_code is aiohttp.WSCloseCode(code)
            assert ("(max_msg_size)" in str(message.data)) == (code == 1009)


async def test_a_close_of_a_lost_connection_tells_that_it_is_lost():
    with Peer(Wire.reset) as peer:
        ws = await ws_connect(peer.url)
        await ws.connection.wait_closed()
        assert await ws.close() is True
        assert ws.close_code == 1006
        assert isinstance(ws.exception(), aiohttp.ClientConnectionResetError)


@pytest.mark.parametrize("code", [1005, 70000])
async def test_a_code_that_cannot_be_sent_ends_the_connection_without_a_close_frame(code):
    with Peer(Wire.read_to_end) as peer:
        ws = await ws_connect(peer.url)
        assert await ws.close(code=code) is True
        assert (ws.closed, ws.close_code) == (True, 1006)
        assert isinstance(ws.exception(), ValueError)
        assert await ws.close() is False
    assert peer.results == [[]]


async def test_a_connection_that_is_lost_is_closed():
    with Peer(Wire.reset) as peer:
        async with ws_connect(peer.url) as ws:
            assert await ws.receive() == (WSMsgType.CLOSED, None, None)
            assert (ws.closed, ws.close_code) == (True, 1006)
            assert isinstance(ws.exception(), aiohttp.ClientConnectionResetError)
            with pytest.raises(aiohttp.ClientConnectionResetError, match="Cannot write to closing transport"):
                await ws.send_str("too late")


async def test_a_peer_that_answers_no_heartbeat_is_lost():
    with Peer(Wire.read_to_end) as peer:
        async with ws_connect(peer.url, heartbeat=0.1, timeout=ClientWSTimeout(ws_close=0.1)) as ws:
            message = await ws.receive()
            assert message.type is WSMsgType.ERROR
            assert isinstance(message.data, aiohttp.ServerTimeoutError)
            assert str(message.data) == "No PONG received after 0.05 seconds"
            assert ws.exception() is message.data
            assert (ws.closed, ws.close_code) == (True, 1006)


async def test_a_silent_peer_is_known_of_without_a_receive():
    with Peer(Wire.read_to_end) as peer:
        async with ws_connect(peer.url, heartbeat=0.1) as ws:
            await ws.connection.wait_closed()
            assert (ws.close_code, ws.closed) == (1006, True)
            assert isinstance(ws.exception(), aiohttp.ServerTimeoutError)
            assert await ws.receive() == (WSMsgType.CLOSED, None, None)


async def test_a_pong_for_who_has_closed_meanwhile_is_left_out():
    with Peer(lambda wire: (wire.send(frame(PING, b"p")), wire.close(4000))) as peer:
        async with ws_connect(peer.url, autoping=False) as ws:
            await ws.connection.wait_closed()
            assert await ws.receive() == (WSMsgType.PING, b"p", "")
            await ws.pong(b"p")
            assert (await ws.receive()).type is WSMsgType.CLOSE


async def test_a_writer_hears_of_a_close_frame_when_the_reader_does():
    async with server(counting(2)) as address, ws_connect(f"ws://{address}/") as ws:
        assert (await ws.receive()).data == "0"
        await ws.connection.wait_closed()
        for send in (ws.send_str("late"), ws.send_bytes(b"late"), ws.ping(), ws.pong()):
            await send
        assert (await ws.receive()).data == "1"
        await ws.send_str("later")
        assert await ws.receive() == (WSMsgType.CLOSE, 4001, "enough")
        with pytest.raises(aiohttp.ClientConnectionResetError):
            await ws.send_str("too late")


async def test_a_writer_without_a_reader_hears_of_a_close_frame_in_the_end():
    with Peer(lambda wire: wire.close(4001)) as peer:
        async with ws_connect(peer.url, timeout=ClientWSTimeout(ws_close=0.05)) as ws:
            await ws.connection.wait_closed()
            await ws.send_str("not yet")
            async with asyncio.timeout(5):
                with pytest.raises(aiohttp.ClientConnectionResetError):
                    while True:
                        await ws.send_str("again")


async def test_a_writer_whose_reader_waits_lets_it_go_on():
    with Peer(lambda wire: wire.close(4001)) as peer:
        async with ws_connect(peer.url) as ws:

            async def write():
                while not ws.closed:
                    await ws.send_str("again")

            async with asyncio.timeout(5), asyncio.TaskGroup() as tasks:
                await ws.connection.wait_closed()
                tasks.create_task(write())
                assert (await ws.receive()).type is WSMsgType.CLOSE


async def test_two_that_close_at_once():
    async with server(echo) as address, ws_connect(f"ws://{address}/") as ws:
        waiting = asyncio.create_task(ws.receive())
        await asyncio.sleep(0)
        assert await asyncio.gather(ws.close(), ws.close()) == [False, True]
        assert await waiting == (WSMsgType.CLOSED, None, None)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [({"timeout": 3.0}, "of type 'float' is deprecated"), ({"receive_timeout": 1}, "'receive_timeout' is deprecated")],
)
def test_older_ways_to_say_a_time_warn(arguments, said):
    with pytest.warns(DeprecationWarning, match=said) as caught:
        ws_connect("ws://h/", **arguments)
    assert caught[0].filename == __file__


def test_headers_of_the_handshake_itself_are_left_out():
    opening = ws_connect("ws://h/", headers={"Upgrade": "h2c", "Sec-WebSocket-Version": "8", "X-Own": "1"})
    assert [name.lower() for name, _ in opening._fields] == ["x-own", "accept", "accept-encoding", "user-agent"]


async def test_the_request_has_the_headers_that_aiohttp_sends():
    async with server(mirror) as address, aiohttp.ClientSession() as session:
        async with session.ws_connect(f"ws://{address}/") as ws:
            theirs = (await ws.receive_json())["headers"]
        async with ws_connect(f"ws://{address}/") as ws:
            ours = (await ws.receive_json())["headers"]
        async with ws_connect(f"ws://{address}/", headers={"accept": "x/y"}) as ws:
            assert (await ws.receive_json())["headers"]["Accept"] == "x/y"
    assert theirs["User-Agent"].startswith("Python/")
    assert {**ours, "Sec-WebSocket-Key": ""} == {**theirs, "Sec-WebSocket-Key": ""}


async def test_no_message_in_time():
    async with server(echo) as address, ws_connect(f"ws://{address}/", timeout=ClientWSTimeout(ws_receive=0.01)) as ws:
        with pytest.raises(TimeoutError):
            await ws.receive()
        assert ws.close_code == 1006
        with pytest.raises(TimeoutError):
            await ws.receive(timeout=0.02)
        await ws.send_str("in time")
        assert await ws.receive_str(timeout=10) == "in time"


async def test_closing_ends_a_receive_that_waits():
    async with server(echo) as address, ws_connect(f"ws://{address}/") as ws:
        waiting = asyncio.create_task(ws.receive())
        await asyncio.sleep(0)
        with pytest.raises(RuntimeError, match=r"Concurrent call to receive\(\) is not allowed"):
            await ws.receive()
        assert await ws.close(code=4003, message=b"done") is True
        assert await waiting == (WSMsgType.CLOSING, None, None)
        assert not waiting.cancelled()
        assert (ws.closed, ws.close_code) == (True, 1000)  # what the server said


async def test_a_receive_that_is_cancelled_loses_nothing():
    async with server(echo) as address, ws_connect(f"ws://{address}/") as ws:
        waiting = asyncio.create_task(ws.receive())
        await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        await ws.send_str("here")
        assert await ws.receive_str() == "here"


async def test_a_peer_that_does_not_answer_the_close_frame():
    with Peer(Wire.read_to_end) as peer:
        ws = await ws_connect(peer.url, timeout=ClientWSTimeout(ws_close=0.05))
        assert await ws.close() is True
        assert (ws.closed, ws.close_code) == (True, 1006)
        assert isinstance(ws.exception(), TimeoutError)
        assert ws.get_extra_info("peername") is None


async def test_a_refusal_is_aiohttps_exception():
    async def refuse(request):
        return web.Response(status=403, text="no", headers={"X-Why": "rules"})

    async with server(refuse) as address:
        with pytest.raises(aiohttp.WSServerHandshakeError) as caught:
            await ws_connect(f"http://{address}/path#part", params={"a": 1})
        error = caught.value
        assert (error.status, error.message, error.headers["x-why"]) == (403, "Invalid response status", "rules")
        assert str(error.request_info.url) == f"http://{address}/path?a=1"
        assert str(error.request_info.real_url) == f"http://{address}/path?a=1#part"
        assert error.__cause__.response.body == b"no"


async def test_a_server_that_hangs_up_before_it_is_open():
    with Peer(lambda wire: (wire.read_request(), wire.end()), upgrade=False) as peer:
        with pytest.raises(aiohttp.ServerDisconnectedError):
            await ws_connect(peer.url)


async def test_a_port_where_nobody_listens(closed_port):
    with pytest.raises(aiohttp.ClientConnectorError) as caught:
        await ws_connect(f"ws://127.0.0.1:{closed_port}/")
    assert caught.value.port == closed_port
    assert isinstance(caught.value.os_error, ConnectionRefusedError)


@pytest.mark.parametrize(
    ("number", "kind"),
    [
        (errno.EHOSTUNREACH, OSError),
        (errno.ENETUNREACH, OSError),
        (errno.ETIMEDOUT, TimeoutError),
        (errno.ECONNRESET, ConnectionResetError),
    ],
)
async def test_an_error_of_the_system_keeps_its_number(monkeypatch, number, kind):
    monkeypatch.setattr(dial, "begin", refused_by(number))
    with pytest.raises(aiohttp.ClientConnectorError) as caught:
        await ws_connect("ws://127.0.0.1:1/")
    assert (caught.value.errno, type(caught.value.os_error)) == (number, kind)


def refused_by(number):
    """In place of ``dial.begin``: no address can be connected to."""

    def begin(sock, address):
        sock.close()
        raise OSError(number, os.strerror(number))

    return begin


async def test_a_name_that_is_not_found_keeps_the_resolvers_number(monkeypatch):
    def getaddrinfo(*arguments):
        raise socket.gaierror(socket.EAI_AGAIN, "later")

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    with pytest.raises(aiohttp.ClientConnectorDNSError) as caught:
        await ws_connect("ws://nowhere.invalid/")
    assert isinstance(caught.value.os_error, socket.gaierror)
    assert caught.value.errno == socket.EAI_AGAIN


def test_no_verification_is_not_warned_of_and_the_filters_of_all_threads_stay(monkeypatch):
    entered = []

    class Filters(warnings.catch_warnings):
        def __enter__(self):
            entered.append(self)
            return super().__enter__()

    with monkeypatch.context() as patched:
        patched.setattr(warnings, "catch_warnings", Filters)
        ws_connect("wss://h/", ssl=False)  # a warning would be an error here
    assert not entered


async def test_a_server_that_does_not_answer_in_time():
    with Peer(lambda wire: (wire.read_request(), wire.read_to_end()), upgrade=False) as peer:
        with pytest.raises(TimeoutError) as caught:
            await ws_connect(peer.url, open_timeout=0.05)
        assert not isinstance(caught.value, aiohttp.ClientError)


async def test_a_server_whose_tls_does_not_answer_in_time():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        with pytest.raises(aiohttp.ConnectionTimeoutError):
            await ws_connect(f"wss://127.0.0.1:{listener.getsockname()[1]}/", open_timeout=0.05)


@pytest.mark.parametrize(
    ("arguments", "error", "said"),
    [
        ({"url": "ftp://h/"}, aiohttp.NonHttpUrlClientError, "ftp"),
        ({"url": "/path"}, aiohttp.InvalidUrlClientError, "/path"),
        ({"url": "nonsense"}, aiohttp.InvalidUrlClientError, "nonsense"),
        ({"url": "ws://h:99999/"}, aiohttp.InvalidUrlClientError, "99999"),
        ({"url": 5}, TypeError, "not 5"),
        ({"method": "POST"}, ValueError, "opened by GET"),
        ({"compress": 8}, ValueError, "between 9 and 15"),
        ({"params": {"a": True}}, TypeError, "str, int or float"),
        ({"ssl": "yes"}, TypeError, "ssl should be SSLContext"),
        ({"fingerprint": b"a" * 32}, TypeError, "TlsConfig has pins"),
    ],
)
def test_arguments_are_checked(arguments, error, said):
    with pytest.raises(error, match=said):
        ws_connect(**{"url": "ws://h/"} | arguments)


def test_the_parameters_are_those_of_a_session():
    theirs = inspect.signature(aiohttp.ClientSession._ws_connect).parameters
    assert theirs.keys() - {"self"} <= inspect.signature(ws_connect).parameters.keys()


async def test_the_name_of_a_certificate_is_ignored_where_there_is_none():
    async with server(echo) as address, ws_connect(f"ws://{address}/", server_hostname="elsewhere") as ws:
        await ws.send_str("hello")
        assert await ws.receive_str() == "hello"


@pytest.fixture
def closed_port():
    """A port that is taken, and where nobody listens."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        yield sock.getsockname()[1]


# ---- without aiohttp -------------------------------------------------------------------------------------------------

ALONE = """
import asyncio, importlib.abc, sys

class Absent(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name.partition(".")[0] in ("aiohttp", "yarl", "multidict"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Absent())
from fastws.compat.aiohttp import *
from fastws.testing import Server

async def main():
    with Server() as echo:
        url = echo.url("/echo")
        async with ws_connect(url, protocols=["x"]) as ws:
            await ws.send_json({"alone": True})
            assert await ws.receive_json() == {"alone": True}
            await ws.ping(b"p")
            assert await ws.close(message="bye") and ws.close_code == WSCloseCode.OK
    try:
        await ws_connect(url)
    except ClientConnectorError as error:
        assert isinstance(error, ClientError) and isinstance(error.os_error, ConnectionRefusedError)
    else:
        raise AssertionError
    assert ClientWebSocketResponse.__module__ == WSMsgType.__module__.replace("_types", "_response")
    print("done")

asyncio.run(main())
"""


def test_without_aiohttp_it_stands_alone():
    done = subprocess.run([sys.executable, "-X", "dev", "-c", ALONE], capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == "done", done.stderr


def test_all_names_are_there():
    assert all(hasattr(compat, name) for name in compat.__all__)
    assert compat.WSMsgType is aiohttp.WSMsgType
    assert compat.WSMessage is aiohttp.WSMessage
