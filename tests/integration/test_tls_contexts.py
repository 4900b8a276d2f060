"""TLS contexts: who waits while one is made, and what a forked child has of its parent's."""

import textwrap

import pytest

BEING_MADE = """
import fastws.sync, ssl
from fastws.tls import context_for
from tls_peers import GOOD, ROOT, Answering, opened

begun, gate = Gate(), Gate()
load = ssl.SSLContext.load_default_certs

def slow(*args, **given):
    # As a large store on a slow disk is.
    begun.open()
    gate.wait()
    return load(*args, **given)

def making():
    ssl.SSLContext.load_default_certs = slow
    thread = threading.Thread(target=lambda: asyncio.run(context_for(fastws.TlsConfig(backend="openssl"))))
    thread.start()
    begun.wait()
    return thread

def reached(loop):
    with Answering(GOOD.server_context()) as server:
        try:
            opened(server, fastws.TlsConfig(ca=ROOT.pem), loop)
        except fastws.InvalidStatus:
            pass
        else:
            raise AssertionError("it has no handshake to end with")

"""


def test_open_timeout_ends_waiting_for_a_context_that_another_makes(process):
    process(
        BEING_MADE
        + textwrap.dedent(
            """
            thread = making()
            dials = [lambda: fastws.sync.connect("wss://127.0.0.1:1/", tls="openssl", open_timeout=0.05)]
            async def on_a_loop():
                await fastws.connect("wss://127.0.0.1:1/", tls="openssl", open_timeout=0.05)
            dials.append(lambda: run(on_a_loop()))
            for dial in dials:
                try:
                    dial()
                except fastws.OpenTimeout as error:
                    assert error.phase == "tls", error
                    assert "the trusted certificates were being loaded" in str(error), error
                else:
                    raise AssertionError("it has no context")
            assert thread.is_alive()
            gate.open()
            thread.join()
            print("ok")
            """
        )
    )


def test_another_context_is_made_meanwhile(process):
    process(
        BEING_MADE
        + textwrap.dedent(
            """
            thread = making()
            reached("sync")
            reached("asyncio")
            assert thread.is_alive()
            gate.open()
            thread.join()
            print("ok")
            """
        )
    )


def test_a_child_that_is_forked_meanwhile_makes_its_own(process):
    process(
        BEING_MADE
        + textwrap.dedent(
            """
            thread = making()

            def child():
                ssl.SSLContext.load_default_certs = load
                reached("sync")
                try:
                    fastws.sync.connect("wss://127.0.0.1:1/", tls="openssl", open_timeout=20)
                except fastws.DialError:
                    pass
                else:
                    raise AssertionError("nobody listens there")

            in_a_child(child)
            assert thread.is_alive()
            gate.open()
            thread.join()
            print("ok")
            """
        )
    )


@pytest.mark.parametrize("backend", ["system", "openssl"])
def test_a_forked_child_has_none_of_its_parents_tickets(process, backend):
    process(
        f"""
        import fastws.sync, fastws.testing

        with fastws.testing.Server(tls=True) as server:
            tls = fastws.TlsConfig(backend={backend!r}, ca=server.ca_pem)

            def echo():
                with fastws.sync.connect(server.url(), tls=tls) as ws:
                    ws.send("a")
                    ws.recv()

            echo()
            in_a_child(echo)
            assert server.stats().resumed == 0, server.stats()
            echo()
            assert server.stats().resumed == 1, server.stats()
        print("ok")
        """
    )
