"""pytest fixtures, available wherever fastws is installed.

``fastws_server``: a plain server; ``fastws_tls_server``: one with TLS; ``fastws_server_factory``: makes servers with
arguments of their own. All are stopped when their test ends.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from .server import Server


@pytest.fixture
def fastws_server_factory() -> Iterator[Callable[..., Server]]:
    """Makes servers: the arguments are those of ``fastws.testing.Server``."""
    from .server import Server

    servers: list[Server] = []

    def make(*args: Any, **kwargs: Any) -> Server:
        server = Server(*args, **kwargs)
        servers.append(server)
        return server

    yield make
    for server in servers:
        server.stop()


@pytest.fixture
def fastws_server(fastws_server_factory: Callable[..., Server]) -> Server:
    """A server without TLS."""
    return fastws_server_factory()


@pytest.fixture
def fastws_tls_server(fastws_server_factory: Callable[..., Server]) -> Server:
    """A server with TLS; trust it by ``TlsConfig(ca=server.ca_pem)``."""
    return fastws_server_factory(tls=True)
