"""TLS against the embedded server: what is trusted, and what is said when it is not."""

import asyncio
import contextlib
import datetime as dt
import shutil
import socket
import ssl
import subprocess
import threading
import warnings

import pytest
import trustme

import fastws
from fastws.runner import loop_factory


def run(loop, main):
    with asyncio.Runner(loop_factory=loop_factory(loop)) as runner:
        return runner.run(asyncio.wait_for(main, 30))


@pytest.fixture(params=["asyncio", "uvloop"])
def loop(request):
    if request.param == "uvloop":
        pytest.importorskip("uvloop", reason="uvloop is not installed on this platform")
    return request.param


@pytest.fixture(params=[False, True], ids=["tls1.3", "tls1.2"])
def server(request, fastws_server_factory):
    return fastws_server_factory(tls=True, tls12_only=request.param)


async def echo(url, **arguments):
    async with fastws.connect(url, **arguments) as ws:
        await ws.send("hello")
        return await ws.recv()


def test_a_certificate_of_a_trusted_authority_is_accepted(loop, server, tmp_path):
    path = tmp_path / "ca.pem"
    path.write_bytes(server.ca_pem)
    for ca in (server.ca_pem, path, str(path)):
        assert run(loop, echo(server.url(), tls=fastws.TlsConfig(ca=ca))) == "hello"


@pytest.mark.parametrize("roots", ["system", "webpki"])
def test_an_unknown_authority_is_refused_and_the_remedy_named(loop, server, roots):
    with pytest.raises(fastws.CertificateError, match=r"unknown issuer.*TlsConfig\(ca=") as caught:
        run(loop, echo(server.url(), tls=roots))
    assert caught.value.phase == "tls"


def test_another_authority_is_refused(loop, server, fastws_tls_server):
    with pytest.raises(fastws.CertificateError, match="certificate"):
        run(loop, echo(server.url(), tls=fastws.TlsConfig(ca=fastws_tls_server.ca_pem)))


def test_a_certificate_for_another_name_is_refused_and_both_are_named(loop, server):
    tls = fastws.TlsConfig(ca=server.ca_pem)
    with pytest.raises(fastws.CertificateError, match=r"example\.com.*localhost"):
        run(loop, echo(server.url(), tls=tls, server_hostname="example.com"))


def test_the_name_can_be_overridden(loop, fastws_server_factory):
    server = fastws_server_factory(tls=True, names=["feed.example.com"])
    tls = fastws.TlsConfig(ca=server.ca_pem, server_hostname="feed.example.com")
    assert run(loop, echo(server.url(), tls=tls)) == "hello"


def test_verification_can_be_turned_off_and_that_is_said(loop, server):
    with pytest.warns(RuntimeWarning, match="not checked"):
        assert run(loop, echo(server.url(), tls=fastws.TlsConfig(verify=False))) == "hello"


def test_a_plain_connection_to_a_tls_port_says_so(loop, server):
    url = server.url().replace("wss://", "ws://")
    with pytest.raises(fastws.InvalidHandshake, match="wss://"):
        run(loop, echo(url))


def test_a_tls_connection_to_a_plain_port_says_so(loop, fastws_server):
    url = fastws_server.url().replace("ws://", "wss://")
    with pytest.raises(fastws.TlsError, match="ws://") as caught:
        run(loop, echo(url))
    assert caught.value.phase == "tls"


def test_a_connection_lost_during_the_tls_handshake_is_worth_another_attempt(loop, server, fastws_server):
    async def attempt():
        async def hang_up(reader, writer):
            await reader.read(1)
            writer.close()

        async with await asyncio.start_server(hang_up, "127.0.0.1", 0) as listening:
            await fastws.connect(f"wss://127.0.0.1:{listening.sockets[0].getsockname()[1]}/")

    with pytest.raises(fastws.TlsError) as lost:
        run(loop, attempt())
    assert (lost.value.lost, lost.value.kind, lost.value.is_retryable) == (True, "io", True)
    for url in (server.url(), fastws_server.url().replace("ws://", "wss://")):
        with pytest.raises(fastws.TlsError) as wrong:
            run(loop, echo(url))
        assert (wrong.value.lost, wrong.value.is_retryable) == (False, False)


def test_a_tls_port_that_is_silent_times_out_in_its_phase(loop):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"wss://127.0.0.1:{silent.getsockname()[1]}/"
        with pytest.raises(fastws.OpenTimeout, match="TLS handshake") as caught:
            run(loop, echo(url, tls="webpki", open_timeout=1))
    assert caught.value.phase == "tls"


@pytest.mark.parametrize("size", [1, 16_383, 16_384, 16_385, 1_000_000])
def test_messages_cross_records_whole(loop, server, size):
    async def main():
        async with fastws.connect(server.url(), tls=fastws.TlsConfig(ca=server.ca_pem)) as ws:
            for message in (b"\x01" * size, "é" * (size // 2), b"end"):
                await ws.send(message)
            return [await ws.recv() for _ in range(3)]

    assert run(loop, main()) == [b"\x01" * size, "é" * (size // 2), b"end"]


def test_a_flood_arrives_whole_and_in_order(loop, server):
    async def main():
        expected = 0
        url = server.url("/blast?n=50000&size=64&seq=1")
        async with fastws.connect(url, tls=fastws.TlsConfig(ca=server.ca_pem)) as ws:
            async for message in ws:
                assert int.from_bytes(message[:8], "little") == expected
                expected += 1
        return expected

    assert run(loop, main()) == 50_000


@pytest.mark.parametrize(("fault", "cause"), [("truncate", "cut off"), ("reset", "reset"), ("eof", "without a Close")])
def test_an_end_without_close_is_an_error_and_says_how(loop, server, fault, cause):
    async def main():
        url = server.url(f"/blast?n=1000&size=16&fault={fault}@500")
        count = 0
        async with fastws.connect(url, tls=fastws.TlsConfig(ca=server.ca_pem)) as ws:
            with pytest.raises(fastws.ConnectionClosedError) as caught:
                async for _ in ws:
                    count += 1
        assert caught.value.code == 1006
        return count, str(caught.value)

    count, text = run(loop, main())
    assert cause in text
    # A reset may overtake what was sent before it; an ordinary end may not.
    assert count == 500 or fault == "reset"


def test_equal_configurations_share_their_sessions(loop, fastws_tls_server):
    async def main():
        for _ in range(3):
            async with fastws.connect(fastws_tls_server.url(), tls=fastws.TlsConfig(ca=fastws_tls_server.ca_pem)) as ws:
                await ws.send("x")
                await ws.recv()

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        run(loop, main())
    assert fastws_tls_server.stats().resumed == 2


def test_sessions_are_resumed_by_authorities_not_by_the_object(loop, server, tmp_path):
    """Under TLS 1.3 and 1.2; what trusts something else does a whole handshake."""
    path = tmp_path / "ca.pem"
    path.write_bytes(server.ca_pem)
    other = fastws.TlsConfig(ca=server.ca_pem + b"\n# the same authority, by other bytes\n")

    async def main():
        seen = []
        for tls in (fastws.TlsConfig(ca=server.ca_pem), fastws.TlsConfig(ca=path), other, other):
            before = server.stats().resumed
            async with fastws.connect(server.url(), tls=tls) as ws:
                await ws.send("x")
                assert await ws.recv() == "x"
            seen.append(server.stats().resumed - before)
        return seen

    assert run(loop, main()) == [0, 1, 0, 1]


@pytest.mark.loop_driver("by transports they do not all begin in one turn of the loop")
def test_many_connections_at_once_resume_what_tickets_there_are(loop, fastws_tls_server):
    """Each ticket is used once: no two connections share one, and who finds none does a whole handshake."""
    url, tls = fastws_tls_server.url(), fastws.TlsConfig(ca=fastws_tls_server.ca_pem)

    async def resumed(number):
        """How many of so many do, that all begin in one turn of the loop, before any can have brought a new ticket."""
        before = fastws_tls_server.stats().resumed
        connections = await asyncio.gather(*(fastws.connect(url, tls=tls)._open() for _ in range(number)))
        for ws in connections:
            await ws.send("x")
            await ws.recv()  # behind the tickets
        for ws in connections:
            await ws.close()
        return fastws_tls_server.stats().resumed - before

    async def main():
        return [await resumed(number) for number in (1, 20, 1, 200)]

    tickets = 2  # that the server gives at a time
    kept = 8  # of a server name
    assert run(loop, main()) == [0, tickets, 1, kept]


def openssl(folder, *arguments):
    """Runs the openssl command, as people do who make their certificates themselves."""
    subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True)


NEW_KEY = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]


def openssl_certificate(folder):
    """A self-signed certificate for localhost, and its key."""
    request = ["req", "-x509", *NEW_KEY, "-keyout", "key.pem", "-out", "certificate.pem", "-days", "2"]
    openssl(folder, *request, "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost")
    return folder / "key.pem", folder / "certificate.pem"


def openssl_certificate_of_a_name_only(folder, extensions):
    """A certificate for localhost that has the name in its subject alone; with its key, and the authority's."""
    openssl(folder, "req", "-x509", *NEW_KEY, "-keyout", "ca.key", "-out", "ca.pem", "-days", "2", "-subj", "/CN=ca")
    openssl(folder, "req", *NEW_KEY, "-keyout", "key.pem", "-out", "request.csr", "-subj", "/CN=localhost")
    sign = ["x509", "-req", "-in", "request.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-days", "2"]
    if extensions:
        (folder / "extensions").write_text(extensions)
        sign += ["-extfile", "extensions"]
    openssl(folder, *sign, "-out", "certificate.pem")
    return folder / "key.pem", folder / "certificate.pem", folder / "ca.pem"


def server_context(authority, **dates):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost", **dates).configure_cert(context)
    return context


def refused(loop, context, ca, kind):
    """What is said of a server with this context."""

    def connect(port):
        return run(loop, fastws.connect(f"wss://localhost:{port}/", tls=config, host="127.0.0.1")._open())

    config = fastws.TlsConfig(ca=ca)
    with pytest.raises(fastws.TlsError) as caught:
        served(context, connect)
    assert type(caught.value) is kind
    assert caught.value.phase == "tls"
    return str(caught.value)


def served(context, connect):
    """What `connect(port)` does against a TLS server that reads until the end."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve():
            sock, _ = listener.accept()
            with contextlib.suppress(OSError), sock, context.wrap_socket(sock, server_side=True) as secured:
                secured.recv(1)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            return connect(listener.getsockname()[1])
        finally:
            thread.join(30)


needs_openssl = pytest.mark.skipif(shutil.which("openssl") is None, reason="makes its certificate by that command")


@needs_openssl
def test_a_certificate_that_openssl_made_is_accepted_where_it_is_trusted(loop, tmp_path):
    key, certificate = openssl_certificate(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    assert "is self-signed, and not trusted" in refused(loop, context, None, fastws.CertificateError)
    config = fastws.TlsConfig(ca=certificate)

    def connect(port):
        with pytest.raises(fastws.InvalidHandshake):
            run(loop, fastws.connect(f"wss://localhost:{port}/", tls=config, host="127.0.0.1")._open())
        return True

    assert served(context, connect)


@needs_openssl
@pytest.mark.parametrize("extensions", ["", "basicConstraints=CA:FALSE\n"], ids=["version 1", "version 3"])
def test_a_certificate_with_its_name_in_the_subject_alone_is_explained(loop, tmp_path, extensions):
    key, certificate, authority = openssl_certificate_of_a_name_only(tmp_path, extensions)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    assert "make one with -addext subjectAltName=DNS:" in refused(loop, context, authority, fastws.CertificateError)


@pytest.mark.parametrize(
    ("begin", "end", "bound"),
    [(-4, -2, "expired on"), (2, 4, "is not valid before")],
    ids=["expired", "not yet valid"],
)
def test_a_certificate_of_another_time_is_named_with_the_date(loop, begin, end, bound):
    authority = trustme.CA()
    now = dt.datetime.now(dt.UTC).replace(microsecond=0)
    begins, ends = now + dt.timedelta(days=begin), now + dt.timedelta(days=end)
    context = server_context(authority, not_before=begins, not_after=ends)
    said = refused(loop, context, authority.cert_pem.bytes(), fastws.CertificateError)
    date = (ends if begin < 0 else begins).strftime("%Y-%m-%d %H:%M:%S UTC")
    assert f'certificate "localhost" {bound} {date}, or this machine\'s clock is wrong' in said


def test_a_server_that_speaks_old_tls_only_is_explained(loop):
    authority = trustme.CA()
    context = server_context(authority)
    context.set_ciphers("DEFAULT:@SECLEVEL=0")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_1
    said = refused(loop, context, authority.cert_pem.bytes(), fastws.TlsError)
    assert "the server speaks none of the TLS versions offered: 1.2 and 1.3" in said


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3], ids=["tls1.2", "tls1.3"])
def test_a_client_certificate_that_is_wanted_is_said(loop, version):
    authority = trustme.CA()
    context = server_context(authority)
    context.minimum_version = context.maximum_version = version
    context.verify_mode = ssl.CERT_REQUIRED
    authority.configure_trust(context)
    said = refused(loop, context, authority.cert_pem.bytes(), fastws.CertificateError)
    assert "wants a client certificate" in said
    assert "TlsConfig(certificate=..., key=...)" in said


def test_a_server_without_a_cipher_suite_of_ours_is_explained(loop):
    authority = trustme.CA()
    context = server_context(authority)
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers("DHE-RSA-AES128-GCM-SHA256:AES128-SHA:@SECLEVEL=0")
    assert "such as other cipher suites" in refused(loop, context, authority.cert_pem.bytes(), fastws.TlsError)
