"""The drop-in's ``websockets.sync.client``: opening connections, with the real websockets server as the peer."""

import contextlib
import errno
import http
import logging
import socket
import ssl
import threading

import pytest
import python_socks
import websockets
import websockets.exceptions

import fastws.sync
from compat_peers import echo, websockets_server
from fastws.compat.websockets.sync.client import ClientConnection, connect, reconnect, unix_connect, unix_reconnect
from peers import Peer, authority_pem
from proxies import http_proxy, proxy


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


def test_messages_go_both_ways(tls):
    with websockets_server(echo, tls=tls) as uri, connect(uri, **trusting(tls)) as ws:
        assert isinstance(ws, ClientConnection)
        assert isinstance(ws, fastws.sync.Connection)
        for message in ("grüß", b"\x00\xff", "", "x" * 100_000):
            ws.send(message)
            assert ws.recv() == message
        assert ws.protocol.state is websockets.State.OPEN
        assert [extension.name for extension in ws.protocol.extensions] == ["permessage-deflate"]
    assert ws.state is websockets.State.CLOSED
    assert (ws.close_code, ws.close_reason) == (1000, "")


def test_without_compression_nothing_is_offered():
    with websockets_server(echo) as uri, connect(uri, compression=None) as ws:
        assert ws.protocol.extensions == []
        assert "Sec-WebSocket-Extensions" not in ws.request.headers
    with pytest.raises(ValueError, match="unsupported compression: brotli"):
        connect(uri, compression="brotli")


def test_the_request_is_as_the_arguments_say():
    with websockets_server(echo, subprotocols=["chat"]) as uri:
        with connect(
            uri + "path?query",
            origin="https://example.com",
            subprotocols=["superchat", "chat"],
            additional_headers={"X-Two": "2"},
            user_agent_header="Smith",
        ) as ws:
            assert isinstance(ws.request, websockets.Request)
            assert isinstance(ws.response, websockets.Response)
            assert ws.request is ws.request
            assert ws.request.path == "/path?query"
            sent = {name: ws.request.headers[name] for name in ("Origin", "X-Two", "User-Agent")}
            assert sent == {"Origin": "https://example.com", "X-Two": "2", "User-Agent": "Smith"}
            assert ws.response.status_code == 101
            assert ws.subprotocol == ws.protocol.subprotocol == "chat"
    with websockets_server(echo) as uri:
        with connect(uri, user_agent_header=None) as ws:
            assert "User-Agent" not in ws.request.headers
        with connect(uri, additional_headers=[("user-agent", "Jones")]) as ws:
            assert ws.request.headers["User-Agent"] == "Jones"
        with connect(uri) as ws:
            assert "websockets/" in ws.request.headers["User-Agent"]


def test_a_refusal_is_invalid_status():
    with websockets_server(echo, process_request=refusing(http.HTTPStatus.FORBIDDEN)) as uri:
        with pytest.raises(websockets.exceptions.InvalidStatus) as refused:
            connect(uri)
    assert refused.value.response.status_code == 403
    assert refused.value.response.body == b"no"


@pytest.mark.parametrize(
    ("change", "kind", "text"),
    [
        (("Sec-WebSocket-Accept", None), websockets.InvalidHeader, "missing Sec-WebSocket-Accept header"),
        (("Sec-WebSocket-Accept", "x"), websockets.InvalidHeaderValue, "invalid Sec-WebSocket-Accept header: x"),
        (("Upgrade", None), websockets.InvalidUpgrade, "missing Upgrade header"),
        (("Connection", "close"), websockets.InvalidUpgrade, "invalid Connection header: close"),
        (("Sec-WebSocket-Protocol", "chat"), websockets.NegotiationError, "subprotocol"),
        (("Sec-WebSocket-Extensions", "x-other"), websockets.NegotiationError, "x-other"),
    ],
    ids=lambda value: value[0] if isinstance(value, tuple) else "",
)
def test_an_answer_that_is_no_upgrade_says_why(change, kind, text):
    name, value = change

    def process_response(_ws, _request, response):
        if name in response.headers:
            del response.headers[name]
        if value is not None:
            response.headers[name] = value

    # The server takes the connection for open.
    with websockets_server(lambda _ws: None, process_response=process_response, close_timeout=0.1) as uri:
        with pytest.raises(kind, match=text):
            connect(uri)


def test_a_port_where_nothing_listens_is_a_connection_refused():
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        with pytest.raises(ConnectionRefusedError):
            connect(f"ws://127.0.0.1:{sock.getsockname()[1]}/")


def test_a_server_that_says_nothing_is_a_timeout():
    with socket.create_server(("localhost", 0)) as listener:
        with pytest.raises(TimeoutError, match="timed out while waiting for handshake response"):
            connect(f"ws://localhost:{listener.getsockname()[1]}/", open_timeout=0.05)


def test_a_connection_that_ends_in_the_handshake_is_an_invalid_message_of_an_eof():
    def hang_up(ws, _request):
        ws.socket.shutdown(socket.SHUT_RDWR)

    with websockets_server(echo, process_request=hang_up) as uri:
        with pytest.raises(websockets.InvalidMessage) as failed:
            connect(uri)
    assert isinstance(failed.value.__cause__, EOFError)


def test_a_certificate_that_is_not_trusted_is_an_error_of_ssl():
    with websockets_server(echo, tls=True) as uri:
        with pytest.raises(ssl.SSLCertVerificationError, match="certificate verify failed"):
            connect(uri)
        with pytest.raises(ssl.SSLCertVerificationError, match="certificate verify failed") as raised:
            connect(uri, ssl=context(), server_hostname="other.example")
        assert (raised.value.verify_code, raised.value.reason) == (62, "CERTIFICATE_VERIFY_FAILED")


@pytest.mark.parametrize("tls", [None, ssl.create_default_context()], ids=["native", "ssl"])
def test_a_server_without_tls_is_an_error_of_ssl(tls):
    arguments = {} if tls is None else {"ssl": tls}

    def hang_up(wire):
        wire.sock.recv(65536)

    def answer(wire):
        wire.sock.recv(65536)
        wire.send(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    for script, kind, reason in (
        (hang_up, ssl.SSLEOFError, "UNEXPECTED_EOF_WHILE_READING"),
        (answer, ssl.SSLError, "WRONG_VERSION_NUMBER"),
    ):
        with Peer(script, upgrade=False) as peer, pytest.raises(kind) as raised:
            connect(peer.url.replace("ws:", "wss:"), **arguments)
        assert (raised.value.library, raised.value.reason) == ("SSL", reason)
        assert f"[SSL: {reason}] " in str(raised.value)


def test_arguments_that_cannot_be_are_refused():
    with pytest.raises(websockets.InvalidURI, match="isn't a valid URI"):
        connect("http://localhost/")
    with pytest.raises(ValueError, match="ssl argument is incompatible with a ws:// URI"):
        connect("ws://localhost/", ssl=context())
    with pytest.raises(TypeError, match="unexpected keyword argument 'addres'"):
        connect("ws://localhost/", addres=("localhost", 1))
    with pytest.raises(websockets.InvalidProxy, match="isn't a valid proxy"):
        connect("ws://localhost/", proxy="ftp://proxy/")
    with pytest.raises(ValueError, match="proxy_ssl argument is incompatible with an http:// proxy"):
        connect("ws://localhost/", proxy="http://localhost:1/", proxy_ssl=context())


@pytest.mark.parametrize("own", [False, True], ids=["rustls", "openssl"])
def test_the_name_of_a_proxy_with_tls_is_that_of_the_socket(own):
    given = {"proxy_ssl": context()} if own else {"proxy_ssl": fastws.TlsConfig(ca=authority_pem())}
    with websockets_server(echo) as uri, proxy(http_proxy(), tls=True) as hop:
        by = f"https://localhost:{hop.port}"
        with connect(uri, proxy=by, **given) as ws:
            assert ws.socket.server_hostname == "localhost"
        with connect(uri, proxy=by.replace("localhost", "127.0.0.1"), proxy_server_hostname="localhost", **given) as ws:
            assert ws.socket.server_hostname == "localhost"
    with websockets_server(echo) as uri, connect(uri) as ws:
        assert ws.socket.server_hostname is None


@pytest.mark.parametrize(
    ("scheme", "raised", "said"),
    [
        ("http", TimeoutError, "timed out while connecting to HTTP proxy"),
        ("socks5h", python_socks.ProxyTimeoutError, "timed out while connecting to SOCKS proxy"),
    ],
)
def test_a_proxy_that_says_nothing_takes_the_time(scheme, raised, said):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        by = f"{scheme}://127.0.0.1:{silent.getsockname()[1]}"
        with pytest.raises(TimeoutError, match=said) as late:
            connect("ws://example.com/", proxy=by, open_timeout=0.1)
    assert type(late.value) is raised


def test_ssl_context_is_an_older_name():
    with websockets_server(echo, tls=True) as uri:
        with pytest.warns(DeprecationWarning, match="ssl_context was renamed to ssl"):
            ws = connect(uri, ssl_context=context(), legacy=True)
        ws.close()


def test_address_and_sock_say_where_to_connect(tls):
    with websockets_server(echo, tls=tls) as uri:
        port = int(uri.rpartition(":")[2].strip("/"))
        elsewhere = uri.replace(str(port), "1")
        with connect(elsewhere, address=("localhost", port), source_address=("127.0.0.1", 0), **trusting(tls)) as ws:
            assert ws.request.headers["Host"] == "localhost:1"
            assert ws.remote_address[1] == port
            assert ws.local_address == ws.socket.getsockname()
            assert ws.remote_address == ws.socket.getpeername()
        with (
            socket.create_connection(("localhost", port)) as sock,
            connect(elsewhere, sock=sock, **trusting(tls)) as ws,
        ):
            ws.send("by my own socket")
            assert ws.recv() == "by my own socket"


def test_by_a_unix_socket(tls, tmp_path):
    path = tmp_path / "feed.sock"
    with websockets_server(echo, tls=tls, unix=str(path)):
        with unix_connect(path, **trusting(tls)) as ws:
            assert ws.request.headers["Host"] == "localhost"
            assert (ws.socket.version() is not None) is tls
            assert ws.socket.server_hostname == ("localhost" if tls else None)
        with unix_reconnect(str(path), **trusting(tls)) as ws:
            ws.send("again")
            assert ws.recv() == "again"
    with pytest.raises(ValueError, match="missing path argument"):
        unix_connect()
    with socket.socket() as sock, pytest.raises(ValueError, match="path is incompatible with sock"):
        unix_connect(path, sock=sock)


def redirecting(location):
    """Sends ``/`` to ``location``, and takes what comes at another path."""

    def process_request(ws, request):
        if request.path != "/":
            return None
        answer = ws.respond(http.HTTPStatus.FOUND, "")
        answer.headers["Location"] = location
        return answer

    return process_request


def test_redirects_are_followed_at_one_origin_with_the_secrets_and_at_another_without():
    with websockets_server(echo) as other:
        secret = {"Authorization": "Bearer x", "X-Two": "2"}
        with websockets_server(echo, process_request=redirecting("/moved")) as uri:
            with connect(uri, additional_headers=secret) as ws:
                assert ws.request.path == "/moved"
                assert ws.request.headers["Authorization"] == "Bearer x"
        with websockets_server(echo, process_request=redirecting(other)) as uri:
            with connect(uri, additional_headers=secret) as ws:
                assert "Authorization" not in ws.request.headers
                assert ws.request.headers["X-Two"] == "2"
            port = int(uri.rpartition(":")[2].strip("/"))
            with pytest.raises(
                ValueError, match=r"cannot follow cross-origin redirect .* with an explicit host and port"
            ):
                connect(uri, address=("localhost", port))
            with socket.create_connection(("localhost", port)) as sock:
                with pytest.raises(ValueError, match=r"cannot follow redirect to .* with a preexisting socket"):
                    connect(uri, sock=sock)


def test_redirects_that_lead_nowhere():
    with websockets_server(echo, process_request=redirecting("/")) as uri:
        with pytest.raises(websockets.exceptions.SecurityError, match="more than 10 redirects"):
            connect(uri)
    with websockets_server(echo, tls=True, process_request=redirecting("ws://localhost/")) as uri:
        with pytest.raises(websockets.exceptions.SecurityError, match="cannot follow redirect to non-secure URI"):
            connect(uri, ssl=context())
    with websockets_server(echo, process_request=redirecting("http://localhost/")) as uri:
        with pytest.raises(websockets.InvalidURI):
            connect(uri)


def test_without_with_a_connection_warns_once_unless_it_is_wanted_so():
    with websockets_server(echo) as uri:
        ws = connect(uri)
        assert isinstance(ws, ClientConnection)
        with pytest.warns(DeprecationWarning, match="connect\\(\\) must be used as a context manager") as warned:
            ws.send("a")
        assert warned[0].filename == __file__
        assert ws.recv() == "a"
        assert type(ws) is ClientConnection
        ws.close()
        ws = connect(uri, legacy=True)
        ws.send("b")
        assert ws.recv() == "b"
        ws.close()
        with connect(uri, legacy=False) as ws:
            ws.send("c")
            assert ws.recv() == "c"


def test_reconnect_gives_one_connection_after_the_other():
    with websockets_server(lambda ws: ws.send(str(ws.id))) as uri:
        seen = []
        for ws in reconnect(uri):
            seen.append(ws.recv())
            if len(seen) == 3:
                break
            with pytest.raises(websockets.ConnectionClosedOK):
                ws.recv()
        assert len(set(seen)) == 3


def test_reconnect_waits_as_it_is_told_after_failures_that_may_pass(caplog):
    attempts = []

    def process_request(ws, _request):
        attempts.append(ws)
        return ws.respond(http.HTTPStatus.SERVICE_UNAVAILABLE, "later") if len(attempts) < 3 else None

    waits = []

    def delays():
        for number in range(5):
            waits.append(number)
            yield 0.0

    with websockets_server(echo, process_request=process_request) as uri, caplog.at_level(logging.INFO):
        for ws in reconnect(uri, reconnect_delays=delays):
            ws.send("at last")
            assert ws.recv() == "at last"
            break
    assert waits == [0, 1]
    assert [record.message for record in caplog.records if record.name == "websockets.client"] == 2 * [
        (
            "connect failed; reconnecting in 0.0 seconds: websockets.exceptions.InvalidStatus: "
            "server rejected WebSocket connection: HTTP 503"
        )
    ]


def test_reconnect_ends_with_a_failure_that_is_final():
    with websockets_server(echo, process_request=refusing(http.HTTPStatus.UNAUTHORIZED)) as uri:
        with pytest.raises(websockets.InvalidStatus):
            next(iter(reconnect(uri)))
        with pytest.raises(LookupError, match="mine") as raised:
            next(iter(reconnect(uri, process_exception=lambda _error: LookupError("mine"))))
        assert isinstance(raised.value.__cause__, websockets.InvalidStatus)

    def raising(error):
        raise LookupError("raised") from error

    with websockets_server(echo, process_request=refusing(http.HTTPStatus.UNAUTHORIZED)) as uri:
        with pytest.raises(LookupError, match="raised"):
            next(iter(reconnect(uri, process_exception=raising)))


def test_reconnect_is_not_entered_twice():
    with websockets_server(echo) as uri:
        connecter = reconnect(uri)
        with connecter:
            with pytest.raises(RuntimeError, match="connect\\(\\) isn't reentrant"):
                connecter.__enter__()
        with connecter as ws:
            ws.send("again")
            assert ws.recv() == "again"


def test_iteration_is_by_recv_where_a_subclass_has_one_of_its_own():
    class Shouting(ClientConnection):
        def recv(self, *args, **kwargs):
            return super().recv(*args, **kwargs).upper()

    def speak(ws):
        ws.send("a")
        ws.send("b")

    with websockets_server(speak) as uri, connect(uri, create_connection=Shouting) as ws:
        assert list(ws) == ["A", "B"]


def test_create_connection_makes_the_connection():
    class Counting(ClientConnection):
        def __init__(self, *args, **kwargs):
            super().__init__(*args, **kwargs)
            self.sent = 0

        def send(self, message, **how):
            self.sent += 1
            super().send(message, **how)

    def made(*args, **kwargs):
        ws = ClientConnection(*args, **kwargs)
        ws.made_by = "a function"
        return ws

    with websockets_server(echo) as uri:
        with connect(uri, create_connection=Counting) as ws:
            ws.send("one")
            ws.send(["t", "wo"])
            assert (ws.recv(), ws.recv(), ws.sent) == ("one", "two", 2)
            assert type(ws) is Counting
        with connect(uri, create_connection=made) as ws:
            assert ws.made_by == "a function"
        with pytest.raises(TypeError, match="a connection of fastws is wanted"):
            connect(uri, create_connection=lambda *_args, **_kwargs: object())


def test_the_socket_of_a_subclass_is_called_as_in_websockets():
    class Mine(ClientConnection):
        def __init__(self, sock, protocol, **kwargs):
            super().__init__(sock=sock, protocol=protocol, **kwargs)
            self.address = sock.getpeername()

    def made(sock, protocol, **kwargs):
        return Mine(sock=sock, protocol=protocol, **kwargs)

    with websockets_server(echo) as uri, connect(uri, create_connection=made) as ws:
        assert ws.address == ws.remote_address


def test_the_close_of_a_subclass_needs_no_parameters():
    class Counting(ClientConnection):
        closed = 0

        def close(self):
            self.closed += 1
            super().close()

    with websockets_server(echo) as uri, connect(uri, create_connection=Counting) as ws:
        pass
    assert (ws.closed, ws.close_code) == (1, 1000)
    with websockets_server(echo) as uri:
        with pytest.raises(KeyError), connect(uri, create_connection=ClientConnection) as failed:
            raise KeyError
        assert failed.protocol.close_sent.code == 1011


def test_the_logger_carries_the_connection(caplog):
    logger = logging.getLogger("feed")
    with websockets_server(echo) as uri, connect(uri, logger=logger) as ws:
        assert ws.logger.name == "feed"
        ws.logger.error("mine")
        assert caplog.records[-1].websocket.id == ws.id
        assert ws.protocol.logger is logger


def test_keepalive_measures_the_latency():
    with websockets_server(echo) as uri, connect(uri, ping_interval=0.01) as ws:
        answered = threading.Event()
        while ws.latency == 0:
            answered.wait(0.001)
        assert (ws.ping_interval, ws.ping_timeout, ws.close_timeout) == (0.01, 20, 10)


def test_the_time_for_tcp_is_that_of_the_socket():
    with socket.create_server(("127.0.0.1", 0), backlog=0) as full, contextlib.ExitStack() as waiting:
        address = full.getsockname()
        for _ in range(4):  # its queue is full: the next is not answered
            sock = waiting.enter_context(socket.socket())
            sock.setblocking(False)
            sock.connect_ex(address)
        with pytest.raises(TimeoutError) as late:
            connect(f"ws://127.0.0.1:{address[1]}/", timeout=0.05, open_timeout=20)
        assert late.value.errno == errno.ETIMEDOUT
    with websockets_server(echo) as uri, connect(uri, timeout=3) as ws:
        ws.send("in time")
        assert ws.recv() == "in time"
