"""Redirects that are followed, credentials, and what answers a 401 (redirects.py, _opening.py)."""

import asyncio
import base64
import contextlib
import socket
import ssl

import pytest

import fastws
from certificates import CLIENT
from peers import PATIENCE, Gate, Peer, Wire, authority_pem, ignoring_the_end, no_descriptor_left
from tls_peers import GOOD, ROOT

pytestmark = pytest.mark.also_sync


def answering(*heads):
    """Scripts that answer one request each with a head, and then accept an upgrade."""

    def script_of(head):
        def script(wire):
            wire.read_request()
            wire.send(f"HTTP/1.1 {head}\r\nContent-Length: 0\r\n\r\n".encode())
            wire.end()

        return ignoring_the_end(script)

    return *(script_of(head) for head in heads), accepting


def accepting(wire):
    wire.upgrade()
    wire.answer_close()


def to(place, status="302 Found"):
    return f"{status}\r\nLocation: {place}"


def fields_of(wire: Wire) -> dict[str, str]:
    return dict(line.split(": ", 1) for line in wire.request.decode().split("\r\n")[1:])


def line_of(wire: Wire) -> str:
    return wire.request.decode().split("\r\n")[0]


@pytest.mark.parametrize("status", ["301 Moved", "302 Found", "303 See Other", "307 Temporary", "308 Permanent"])
async def test_a_redirect_is_followed(status, open_fds):
    async with no_descriptor_left(open_fds):
        with Peer(*answering(to("/there?x=1", status)), upgrade=False) as peer:
            async with peer.connect() as ws:
                assert ws.uri == f"{peer.url}there?***"
                assert ws.request.path == "/there?x=1"
            assert [line_of(wire) for wire in peer._wires] == ["GET / HTTP/1.1", "GET /there?x=1 HTTP/1.1"]
            keys = {fields_of(wire)["Sec-WebSocket-Key"] for wire in peer._wires}
            assert len(keys) == 2


SECRETS = {"Authorization": "Bearer hunter2", "Cookie": "sid=hunter2", "X-Api-Key": "hunter2", "X-Client": "bot"}


async def test_secrets_go_to_their_origin_only():
    with Peer(accepting, upgrade=False) as other:
        with Peer(*answering(to("/again"), to(other.url)), upgrade=False) as peer:
            async with peer.connect(additional_headers=SECRETS | {"Host": "exchange.example"}, origin="https://o"):
                pass
            for wire in peer._wires:
                fields = fields_of(wire)
                assert {name: fields[name] for name in SECRETS} == SECRETS
                assert fields["Host"] == "exchange.example"
        fields = fields_of(other._wires[0])
        assert "hunter2" not in str(fields)
        assert fields["X-Client"] == "bot"
        assert fields["Origin"] == "https://o"
        assert fields["Host"] == f"127.0.0.1:{other.port}"


async def test_cookies_that_are_set_on_the_way_go_to_their_origin_only():
    with Peer(accepting, upgrade=False) as other:
        heads = (
            to("/in/gate") + "\r\nSet-Cookie: sid=1; Path=/; HttpOnly\r\nSet-Cookie: step=1; Path=/in",
            "401 Unauthorized\r\nSet-Cookie: nonce=x; Path=/",
            to(other.url),
        )
        with Peer(*answering(*heads), upgrade=False) as peer:
            opening = peer.connect(
                additional_headers={"Cookie": "sid=0; theme=dark"}, on_auth_challenge=lambda _: {"X-Answer": "42"}
            )
            async with opening:
                pass
            assert [fields_of(wire)["Cookie"] for wire in peer._wires] == [
                "sid=0; theme=dark",
                "theme=dark; step=1; sid=1",
                "theme=dark; step=1; sid=1; nonce=x",
            ]
        assert "Cookie" not in fields_of(other._wires[0])


async def test_a_cookie_that_answers_a_challenge_holds():
    head = "401 Unauthorized\r\nSet-Cookie: sid=theirs\r\nSet-Cookie: node=7"
    with Peer(*answering(head), upgrade=False) as peer:
        async with peer.connect(on_auth_challenge=lambda _: {"Cookie": "sid=ours"}):
            pass
        assert fields_of(peer._wires[1])["Cookie"] == "sid=ours; node=7"


@pytest.mark.parametrize("given", ["uri", "auth"])
async def test_user_and_password_go_to_their_origin_only(given):
    credentials = "Basic " + base64.b64encode("usér:p@ss".encode()).decode()
    with Peer(accepting, upgrade=False) as other:
        with Peer(*answering(to("/again"), to(other.url)), upgrade=False) as peer:
            if given == "uri":
                opening = fastws.connect(peer.url.replace("ws://", "ws://us%C3%A9r:p%40ss@"))
            else:
                opening = peer.connect(auth=("usér", "p@ss"))
            async with opening:
                pass
            assert [fields_of(wire).get("Authorization") for wire in peer._wires] == [credentials] * 2
        assert "Authorization" not in fields_of(other._wires[0])


async def test_a_redirect_leads_into_tls_but_not_out_of_it(open_fds):
    async with no_descriptor_left(open_fds):
        with Peer(accepting, upgrade=False) as plain:
            with Peer(*answering(to(plain.url)), tls=True, upgrade=False) as secure:
                with pytest.raises(fastws.RedirectError, match="leaves TLS") as caught:
                    await secure.connect()
                assert caught.value.chain == (secure.url, plain.url)
                assert caught.value.response.status_code == 302
        assert plain.accepted == 0
        with Peer(*answering(to("/there")), tls=True, upgrade=False) as secure:
            async with secure.connect() as ws:
                assert ws.uri == f"{secure.url}there"
        # By way of the system's authorities, which have not signed its certificate.
        with contextlib.suppress(ssl.SSLError), Peer(accepting, tls=True, upgrade=False) as secure:
            with Peer(*answering(to(secure.url.replace("wss", "https"))), upgrade=False) as peer:
                with pytest.raises(fastws.CertificateError, match="wss://127") as failed:
                    await peer.connect()
                assert failed.value.__notes__ == [f"redirected: {peer.url} → {secure.url}"]


async def test_host_and_port_are_those_of_the_first_place_only():
    with Peer(accepting, upgrade=False) as other:
        with Peer(*answering(to(other.url)), upgrade=False) as peer:
            async with fastws.connect("ws://exchange.example/", host="127.0.0.1", port=peer.port) as ws:
                assert ws.remote_address == ("127.0.0.1", other.port)


async def test_a_circle_ends_and_the_error_names_the_chain(open_fds):
    async with no_descriptor_left(open_fds):
        with Peer(answering(to("/again"))[0], upgrade=False) as peer:
            with pytest.raises(fastws.RedirectError, match="more than 10 redirects"):
                await peer.connect()
            assert peer.accepted == 11
            with pytest.raises(fastws.RedirectError) as caught:
                await peer.connect(max_redirects=1)
            assert caught.value.chain == (peer.url, f"{peer.url}again", f"{peer.url}again")
            with pytest.raises(fastws.InvalidStatus, match="302"):
                await peer.connect(max_redirects=0)


async def test_redirects_share_one_deadline():
    gate = Gate()

    @ignoring_the_end
    def silent(wire):
        gate.wait()

    with Peer(answering(to("/silent"))[0], silent, upgrade=False) as peer:
        with pytest.raises(fastws.OpenTimeout, match="had not answered the upgrade") as caught:
            await peer.connect(open_timeout=1)
        assert caught.value.__notes__ == [f"redirected: {peer.url} → {peer.url}silent"]
        gate.open()


async def test_with_a_socket_of_ones_own_none_is_followed():
    with Peer(*answering(to("/there")), upgrade=False) as peer:
        with pytest.raises(fastws.InvalidStatus, match="302 Found to /there"):
            await peer.connect(sock=socket.create_connection(("127.0.0.1", peer.port)))


# 401.

CHALLENGE = '401 Unauthorized\r\nWWW-Authenticate: Digest realm="x"'


@pytest.mark.also_sync(False)
@pytest.mark.parametrize("kind", ["plain", "async"])
async def test_a_challenge_is_answered_once(kind, open_fds):
    asked = []

    def plain(response):
        asked.append(response)
        return {"Authorization": "Digest hunter2"}

    async def coroutine(response):
        await asyncio.sleep(0)
        return plain(response)

    hook = plain if kind == "plain" else coroutine
    async with no_descriptor_left(open_fds):
        with Peer(*answering(CHALLENGE), upgrade=False) as peer:
            async with peer.connect(additional_headers={"authorization": "Basic x", "X": "y"}, on_auth_challenge=hook):
                pass
            first, second = map(fields_of, peer._wires)
            assert (first["authorization"], second["Authorization"]) == ("Basic x", "Digest hunter2")
            assert "authorization" not in second
            assert second["X"] == "y"
        assert [response.status_code for response in asked] == [401]
        assert asked[0].headers["WWW-Authenticate"] == 'Digest realm="x"'
        with Peer(*answering(CHALLENGE, CHALLENGE), upgrade=False) as peer:
            with pytest.raises(fastws.InvalidStatus, match="401"):
                await peer.connect(on_auth_challenge=hook)
            assert peer.accepted == 2


async def test_a_challenge_may_be_let_be():
    with Peer(answering(CHALLENGE)[0], upgrade=False) as peer:
        for hook in (None, lambda response: None):
            with pytest.raises(fastws.InvalidStatus, match="401"):
                await peer.connect(on_auth_challenge=hook)
        with pytest.raises(TypeError, match="what on_auth_challenge returns is a mapping"):
            await peer.connect(on_auth_challenge=lambda response: "Bearer x")
        with pytest.raises(ZeroDivisionError):
            await peer.connect(on_auth_challenge=lambda response: 1 / 0)


async def test_the_answer_to_a_challenge_is_not_for_another_origin():
    asked = []

    def hook(response):
        asked.append(response)
        return {"X-Answer": "hunter2"}

    with Peer(answering(CHALLENGE)[0], upgrade=False) as other:
        with Peer(*answering(CHALLENGE, to(other.url)), upgrade=False) as peer:
            with pytest.raises(fastws.InvalidStatus, match="401"):
                await peer.connect(on_auth_challenge=hook)
            assert len(asked) == 1
            assert fields_of(peer._wires[1])["X-Answer"] == "hunter2"
        assert "X-Answer" not in fields_of(other._wires[0])
        with Peer(*answering(to(other.url)), upgrade=False) as peer:
            with pytest.raises(fastws.InvalidStatus, match="401"):
                await peer.connect(on_auth_challenge=hook)
        assert len(asked) == 1


@pytest.mark.also_sync(False)
async def test_open_timeout_says_that_the_challenge_was_being_answered():
    with Peer(answering(CHALLENGE)[0], upgrade=False) as peer:
        with pytest.raises(fastws.OpenTimeout, match="on_auth_challenge had not returned") as caught:
            await peer.connect(on_auth_challenge=lambda response: asyncio.Event().wait(), open_timeout=1)
        assert caught.value.phase == "upgrade"


@pytest.mark.also_sync(False)
async def test_a_client_follows_too():
    with Peer(accepting, tls=True, upgrade=False) as other:
        with Peer(*answering(to(other.url)), tls=True, upgrade=False) as peer:
            tls = fastws.TlsConfig(ca=authority_pem())
            async with fastws.WebSocketClient(peer.url, tls=tls) as client:
                assert client.is_ready


# TLS of one's own.


def asking_peer(*scripts, issued=GOOD):
    """A TLS server that asks for a client certificate, and takes none too; and what it was shown, by connection."""
    context = issued.server_context()
    context.verify_mode = ssl.CERT_OPTIONAL
    context.load_verify_locations(cadata=ROOT.pem.decode())
    shown = []

    def secured(script):
        def run(wire):
            wire.sock = context.wrap_socket(wire.sock, server_side=True)
            wire.sock.settimeout(PATIENCE)
            shown.append(wire.sock.getpeercert())
            script(wire)

        return run

    return Peer(*map(secured, scripts), upgrade=False), shown


@pytest.mark.parametrize("kind", ["system", "openssl", "context"])
async def test_a_client_certificate_goes_to_its_origin_only(kind, tmp_path):
    mine = ROOT.issue("client.example", use=CLIENT)
    if kind == "context":
        tls = ssl.create_default_context(cadata=ROOT.pem.decode())
        tmp_path.joinpath("mine.pem").write_bytes(mine.pem + mine.key_pem())
        tls.load_cert_chain(tmp_path / "mine.pem")
    else:
        tls = fastws.TlsConfig(backend=kind, ca=ROOT.pem, certificate=mine.pem, key=mine.key_pem())
    other, shown_there = asking_peer(accepting)
    away = to(f"wss://localhost:{other.port}/")
    peer, shown = asking_peer(answering(to("/again"))[0], answering(away)[0])
    with other, peer:
        async with fastws.connect(f"wss://localhost:{peer.port}/", tls=tls):
            pass
    assert list(map(bool, shown)) == [True, True]
    # A context is used as it is, also there.
    assert list(map(bool, shown_there)) == [kind == "context"]


async def test_the_name_that_was_given_is_its_origins_only():
    other, _ = asking_peer(accepting)
    peer, _ = asking_peer(answering(to(f"wss://localhost:{other.port}/"))[0], issued=ROOT.issue("feed.example"))
    with other, peer:
        tls = fastws.TlsConfig(ca=ROOT.pem)
        async with fastws.connect(f"wss://127.0.0.1:{peer.port}/", tls=tls, server_hostname="feed.example"):
            pass
    assert (other.accepted, peer.accepted) == (1, 1)
