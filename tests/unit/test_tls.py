"""The native contexts of TLS settings: made once, off the loop, and not kept without end."""

import asyncio
import threading

import pytest

from fastws import TlsConfig, _core, tls
from fastws.testing import Server


@pytest.fixture(scope="module")
def pem():
    with Server(tls=True) as server:
        return server.ca_pem


@pytest.fixture
def makers(monkeypatch):
    """The threads in which contexts are made."""
    made = []

    def make(options):
        made.append(threading.current_thread())
        return real(options)

    real = _core.TlsContext
    monkeypatch.setattr(_core, "TlsContext", make)
    monkeypatch.setattr(tls, "_contexts", {})
    return made


def test_a_context_is_made_once_and_never_in_the_loops_thread(pem, makers):
    async def main():
        first, *others = await asyncio.gather(*(tls.context_for(TlsConfig(ca=pem)) for _ in range(20)))
        assert all(other is first for other in others)
        assert await tls.context_for(TlsConfig(ca=bytearray(pem))) is first

    asyncio.run(main())
    assert len(makers) == 1
    assert makers[0] is not threading.current_thread()


def test_contexts_are_kept_up_to_a_number(pem, makers):
    async def main():
        for number in range(tls._MAX_CONTEXTS + 6):
            await tls.context_for(TlsConfig(ca=b"# %d\n" % number + pem))
        assert len(tls._contexts) == tls._MAX_CONTEXTS
        # One that was let go is made again, and not here.
        await tls.context_for(TlsConfig(ca=b"# 0\n" + pem))

    asyncio.run(main())
    assert len(makers) == tls._MAX_CONTEXTS + 7
    assert threading.current_thread() not in makers


@pytest.mark.parametrize(
    ("cut", "match"),
    [
        (lambda pem: pem[:200], "an -----END CERTIFICATE----- is missing"),
        (lambda pem: b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "cannot be used: BadEncoding"),
        (lambda pem: b"", "holds no certificate"),
    ],
    ids=["cut off", "garbage", "nothing"],
)
def test_authorities_that_cannot_be_used_are_said_in_words(pem, cut, match):
    with pytest.raises(ValueError, match=match):
        asyncio.run(tls.context_for(TlsConfig(ca=cut(pem))))
