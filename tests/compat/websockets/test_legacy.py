"""The drop-in's ``websockets.legacy.client``, with the real websockets server as the peer."""

import asyncio
import http
import subprocess
import sys
import warnings

import pytest
import websockets
from websockets.asyncio.server import serve, unix_serve

from peers import authority_pem, server_context

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)
    from fastws.compat.websockets.legacy.client import Connect, WebSocketClientProtocol, connect, unix_connect
    from fastws.compat.websockets.legacy.exceptions import InvalidStatusCode

import ssl

import uvloop


@pytest.fixture(params=["asyncio", "uvloop"])
def run(request):
    def runs(coroutine):
        factory = uvloop.new_event_loop if request.param == "uvloop" else asyncio.new_event_loop
        with asyncio.Runner(loop_factory=factory) as runner:
            runner.run(coroutine)

    return runs


@pytest.fixture(params=[False, True], ids=["tcp", "tls"])
def tls(request):
    return request.param


async def echo(ws):
    async for message in ws:
        await ws.send(message)


def serving(handler=echo, *, tls=False, **options):
    return serve(handler, "localhost", 0, ssl=server_context() if tls else None, **options)


def uri_of(server, *, tls=False):
    return f"{'wss' if tls else 'ws'}://localhost:{server.sockets[0].getsockname()[1]}/path"


def answering(status, **headers):
    def process_request(ws, _request):
        answer = ws.respond(status, "no")
        for name, value in headers.items():
            answer.headers[name] = value
        return answer

    return process_request


def test_a_connection_has_what_it_had(run, tls):
    async def main():
        options = {"ssl": ssl.create_default_context(cadata=authority_pem().decode())} if tls else {}
        async with serving(tls=tls) as server:
            async with connect(uri_of(server, tls=tls), extra_headers={"X-One": "1"}, **options) as ws:
                assert isinstance(ws, WebSocketClientProtocol)
                assert type(ws).__name__ == "WebSocketClientProtocol"
                assert (ws.open, ws.closed) == (True, False)
                assert ws.path == "/path"
                assert ws.request_headers["X-One"] == "1"
                assert ws.response_headers["Upgrade"] == "websocket"
                assert [extension.name for extension in ws.extensions] == ["permessage-deflate"]
                assert (ws.max_size, ws.max_queue, ws.read_limit) == (2**20, 32, 2**16)
                await ws.send("grüß")
                assert await ws.recv() == "grüß"
                assert await (await ws.ping()) > 0
                await ws.ensure_open()
            assert (ws.open, ws.closed, ws.close_code) == (False, True, 1000)
            with pytest.raises(websockets.ConnectionClosedOK):
                await ws.ensure_open()

    run(main())


def test_additional_headers_do_as_well(run):
    async def main():
        async with serving() as server, connect(uri_of(server), additional_headers={"X-One": "1"}) as ws:
            assert ws.request_headers["X-One"] == "1"

    run(main())


def test_names_that_are_deprecated_say_so(run):
    async def main():
        async with serving() as server:
            with warnings.catch_warnings(record=True) as warned:
                warnings.simplefilter("always")
                connecting = connect(
                    uri_of(server), timeout=3, klass=WebSocketClientProtocol, loop=asyncio.get_running_loop()
                )
            # What an earlier test has left may be collected meanwhile, and warn.
            warned = [one for one in warned if one.category is DeprecationWarning]
            assert [str(one.message) for one in warned] == [
                "rename timeout to close_timeout",
                "rename klass to create_protocol",
                "remove loop argument",
            ]
            assert {one.filename for one in warned} == {__file__}
            async with connecting as ws:
                assert ws.close_timeout == 3
                for name in ("host", "port", "secure"):
                    with pytest.warns(DeprecationWarning, match=name):
                        getattr(ws, name)

    run(main())


def test_legacy_recv_gives_none_at_the_end(run):
    async def main():
        async with serving(lambda ws: ws.send("only")) as server:
            connecting = connect(uri_of(server), legacy_recv=True)
            with pytest.warns(DeprecationWarning, match="legacy_recv is deprecated"):
                ws = await connecting
            assert await ws.recv() == "only"
            assert await ws.recv() is None
            await ws.close()

    run(main())


def test_create_protocol_makes_the_connection(run):
    class Mine(WebSocketClientProtocol):
        def __init__(self, *args, **kwargs):
            super().__init__(*args, **kwargs)
            self.mine = 1

    async def main():
        async with serving() as server:
            async with connect(uri_of(server), create_protocol=Mine) as ws:
                assert (isinstance(ws, Mine), ws.mine) == (True, 1)
            with pytest.raises(TypeError, match="derive from that one"):
                await connect(uri_of(server), create_protocol=lambda **_options: object())

    run(main())


def test_a_refusal_is_invalid_status_code(run):
    async def main():
        async with serving(process_request=answering(http.HTTPStatus.FORBIDDEN)) as server:
            with pytest.raises(InvalidStatusCode) as refused:
                await connect(uri_of(server))
            assert refused.value.status_code == 403
            assert refused.value.headers["Content-Length"] == "2"
            assert str(refused.value) == "server rejected WebSocket connection: HTTP 403"

    run(main())


def test_redirects(run):
    async def main():
        async with serving() as elsewhere:
            async with serving(process_request=answering(http.HTTPStatus.FOUND, Location=uri_of(elsewhere))) as server:
                async with connect(uri_of(server), extra_headers={"Authorization": "x", "X-One": "1"}) as ws:
                    assert "Authorization" not in ws.request_headers
                    assert ws.request_headers["X-One"] == "1"
            async with serving(process_request=answering(http.HTTPStatus.FOUND)) as server:
                with pytest.raises(websockets.InvalidHeader, match="missing Location header"):
                    await connect(uri_of(server))
            async with serving(process_request=answering(http.HTTPStatus.FOUND, Location="/again")) as server:
                with pytest.raises(websockets.exceptions.SecurityError):
                    await connect(uri_of(server))
            to_none = answering(http.HTTPStatus.FOUND, Location="ws://localhost/")
            async with serving(tls=True, process_request=to_none) as server:
                context = ssl.create_default_context(cadata=authority_pem().decode())
                with pytest.raises(websockets.exceptions.SecurityError, match="redirect from WSS to WS"):
                    await connect(uri_of(server, tls=True), ssl=context)

    run(main())


def test_a_redirect_elsewhere_leaves_the_host_and_port_that_were_given(run):
    async def main():
        async with serving() as elsewhere:
            async with serving(process_request=answering(http.HTTPStatus.FOUND, Location=uri_of(elsewhere))) as server:
                port = server.sockets[0].getsockname()[1]
                connecting = connect("ws://elsewhere.example/", host="localhost", port=port)
                ws = await connecting
                assert connecting.protocol is ws
                await ws.send("found")
                assert await ws.recv() == "found"
                await ws.close()

                class Short(Connect):
                    MAX_REDIRECTS_ALLOWED = 1

                with pytest.raises(websockets.exceptions.SecurityError):
                    await Short(uri_of(server))

    run(main())


def test_an_exception_in_the_block_closes_with_1000(run):
    async def main():
        async with serving() as server:
            with pytest.raises(LookupError):
                async with connect(uri_of(server)) as ws:
                    raise LookupError
            assert ws.protocol.close_sent.code == 1000

    run(main())


def test_async_for_connects_again_and_again(run):
    async def main():
        refused = []

        def process_request(ws, _request):
            refused.append(ws)
            return ws.respond(http.HTTPStatus.FORBIDDEN, "") if len(refused) == 1 else None

        class Quick(Connect):
            BACKOFF_INITIAL = BACKOFF_MIN = BACKOFF_MAX = 0

        async with serving(process_request=process_request) as server:
            seen = 0
            async for ws in Quick(uri_of(server)):
                seen += 1
                await ws.send(str(seen))
                assert await ws.recv() == str(seen)
                if seen == 2:
                    break
            await ws.close()
        assert len(refused) == 3

    run(main())


def test_arguments_that_cannot_be_are_refused():
    with pytest.raises(ValueError, match="use a wss:// URI to enable TLS"):
        connect("ws://localhost/", ssl=True)
    with pytest.raises(ValueError, match="unsupported compression: brotli"):
        connect("ws://localhost/", compression="brotli")


def test_by_a_unix_socket(run, tmp_path):
    async def main():
        path = str(tmp_path / "feed.sock")
        async with unix_serve(echo, path), unix_connect(path) as ws:
            await ws.send("by a file")
            assert await ws.recv() == "by a file"

    run(main())


def test_the_older_names_warn_where_they_are_imported_from():
    program = """
import warnings
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    from fastws.compat.websockets.client import connect
    from fastws.compat.websockets import WebSocketClientProtocol
print(*(str(one.message).partition(";")[0] for one in caught), sep="\\n")
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert list(dict.fromkeys(done.stdout.splitlines())) == [
        "fastws.compat.websockets.client.connect is deprecated",
        "websockets.legacy is deprecated",
        "fastws.compat.websockets.WebSocketClientProtocol is deprecated",
    ]
