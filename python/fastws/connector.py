"""How a supervised connection is dialled, and what a connection must be able to do."""

from __future__ import annotations

import logging
import ssl
from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol, Self, runtime_checkable

from ._interrupt import apart, users_code
from .connect import connect
from .connection import Connection
from .errors import CloseInfo
from .tls import Backend, TlsConfig

__all__ = ["Connector", "DefaultConnector", "Wire"]

log = logging.getLogger("fastws.client")


@runtime_checkable
class Wire(Protocol):
    """An open connection, as a connector gives it.

    ``fastws.Connection`` is one, and its messages never pass through Python on their way to a stream. Anything else
    with these methods will do: another transport, or a connection made up for a test. It may also have ``abort()``, a
    plain function that ends it at once: that is called where there is no time for ``close``, and where it fails.
    """

    async def recv(self) -> str | bytes:
        """The next message. Raises ConnectionClosed when there is none any more, or an OSError."""
        ...

    def send_nowait(self, message: str | bytes, text: bool | None = None) -> None:
        """Accepts a message. Raises SendQueueFull or ConnectionClosed."""
        ...

    async def send(self, message: str | bytes, text: bool | None = None) -> None:
        """Accepts a message, when there is room for it.

        It is cancelled where the session ends meanwhile. Whether it has accepted the message is unknown then: the
        message counts as maybe sent, and is not sent again.
        """
        ...

    async def close(self, code: int = 1000, reason: str = "") -> None:
        """Closes the connection, in a time that is bounded."""
        ...

    @property
    def close_info(self) -> CloseInfo | None:
        """How it ended; None while it is open."""
        ...


class Connector(Protocol):
    """Makes connections. ``name`` is what messages call it."""

    @property
    def name(self) -> str:
        """What messages call it."""
        ...

    async def connect(self, uri: str, options: Mapping[str, Any]) -> Wire:
        """Opens a connection.

        Args:
            uri: Where to.
            options: Keywords of ``fastws.connect``: ``additional_headers``, ``subprotocols``, ``tls``, ``proxy``,
                ``open_timeout`` (seconds that are left of it) and whatever ``ClientConfig.ws_config`` has.

        Raises:
            ConnectError, OSError, TimeoutError: It could not be opened; the client tries again if that may help.
        """
        ...


class DefaultConnector:
    """Dials by ``fastws.connect``.

    Args:
        options: Keywords of ``fastws.connect`` that win over the client's own, such as ``max_size=`` or ``busy_poll=``.
    """

    __slots__ = ("_options",)

    name = "default"

    def __init__(self, **options: Any) -> None:
        self._options = options

    @classmethod
    def low_latency(cls) -> DefaultConnector:
        """TCP_NODELAY (which is on in any case) and a limit of 64 MiB for a message, 16 MiB for a frame."""
        return cls(nodelay=True, max_size=64 * 2**20, max_frame_size=16 * 2**20)

    def with_options(self, **options: Any) -> Self:
        """The same with more keywords of ``fastws.connect``."""
        return type(self)(**{**self._options, **options})

    def with_tls(self, tls: TlsConfig | ssl.SSLContext | Backend) -> Self:
        """The same with this TLS configuration."""
        return self.with_options(tls=tls)

    def with_nodelay(self, nodelay: bool = True) -> Self:
        """The same with TCP_NODELAY set, or left as it is."""
        return self.with_options(nodelay=nodelay)

    async def connect(self, uri: str, options: Mapping[str, Any]) -> Wire:
        """Opens a connection; see ``Connector.connect``."""
        return await connect(uri, **{**options, **self._options})

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(sorted(self._options))})"


async def close_wire(wire: Wire, code: int, reason: str, limit: AbstractAsyncContextManager[Any]) -> None:
    """Closes a connection politely; by force when that takes longer than ``limit``, fails, or is cancelled."""
    try:
        async with limit:
            if isinstance(wire, Connection):
                await wire.close(code, reason)
            else:
                with users_code:
                    await apart(wire.close(code, reason))
    except TimeoutError:
        abort_wire(wire, "the closing handshake took too long")
    except Exception:
        log.debug("closing failed", exc_info=True)
        abort_wire(wire, "closing failed")
    except BaseException:
        abort_wire(wire, "there was no time for the closing handshake")
        raise


def abort_wire(wire: Wire, why: str) -> None:
    """Ends a connection at once, if it can be."""
    if isinstance(wire, Connection):
        wire._abort(why)  # noqa: SLF001 - a friend of the connection
        return
    abort = getattr(wire, "abort", None)
    if abort is None:
        return
    try:
        with users_code:
            abort()
    except Exception:
        log.debug("aborting failed", exc_info=True)
