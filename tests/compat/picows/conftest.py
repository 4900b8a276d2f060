"""Fixtures of the drop-in for picows."""

import functools
import ssl
from types import SimpleNamespace

import pytest

from fastws.compat.picows import ws_connect
from peers import Peer, authority_pem


@pytest.fixture(params=["tcp", "tls"])
def way(request):
    """How a peer is reached: `way.peer(script)` makes one, `way.connect(listener, peer)` connects to it."""
    secure = request.param != "tcp"
    options = {}
    if secure:
        options["ssl_context"] = ssl.create_default_context(cadata=authority_pem().decode())
    return SimpleNamespace(
        name=request.param,
        secure=secure,
        peer=functools.partial(Peer, tls=secure),
        connect=lambda listener, peer, **more: ws_connect(listener, peer.url, **(options | more)),
    )
