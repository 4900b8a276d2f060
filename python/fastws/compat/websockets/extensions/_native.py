"""Which extensions the native side has, and on what terms."""

from __future__ import annotations

import zlib
from collections.abc import Sequence

from fastws.compression import Deflate

from .base import ClientExtensionFactory, Extension
from .permessage_deflate import ClientPerMessageDeflateFactory, PerMessageDeflate

__all__ = ["agreed", "is_native", "native_deflate"]


def is_native(factories: Sequence[ClientExtensionFactory] | None) -> bool:
    """Whether frames need no Python: nothing is offered, or permessage-deflate alone, on terms that are native."""
    if not factories:
        return True
    if len(factories) > 1 or type(factories[0]) is not ClientPerMessageDeflateFactory:
        return False
    factory = factories[0]
    settings = factory.compress_settings or {}
    # The native side always offers to be told a window.
    return factory.client_max_window_bits is not None and not settings.keys() - {"level", "memLevel"}


def native_deflate(factories: Sequence[ClientExtensionFactory] | None) -> Deflate | None:
    """The native permessage-deflate that the one factory of ``is_native`` stands for; None where nothing is offered."""
    if not factories:
        return None
    factory = factories[0]
    assert isinstance(factory, ClientPerMessageDeflateFactory)
    settings = factory.compress_settings or {}
    level = settings.get("level", zlib.Z_DEFAULT_COMPRESSION)
    return Deflate(
        server_no_context_takeover=factory.server_no_context_takeover,
        client_no_context_takeover=factory.client_no_context_takeover,
        server_max_window_bits=factory.server_max_window_bits or _LARGEST,
        client_max_window_bits=_LARGEST
        if factory.client_max_window_bits is True
        else factory.client_max_window_bits or 9,
        level=_USUAL_LEVEL if level == zlib.Z_DEFAULT_COMPRESSION else level,
        memory_level=settings.get("memLevel", zlib.DEF_MEM_LEVEL),
        # websockets has no such bound: what the format can say is what max_size admits.
        max_ratio=_MOST_RATIO,
    )


def agreed(terms: tuple[bool, bool, int, int], factories: Sequence[ClientExtensionFactory] | None) -> Extension:
    """What ``websockets`` has for the native permessage-deflate: an object that tells its terms.

    Args:
        terms: ``Connection._compression``.
        factories: Those of the connection.
    """
    server_forgets, client_forgets, server_bits, client_bits = terms
    settings = getattr(factories[0], "compress_settings", None) if factories else None
    return PerMessageDeflate(server_forgets, client_forgets, server_bits, max(client_bits, 9), settings)


_LARGEST = 15

_USUAL_LEVEL = 6

# RFC 1951: a bit for 258 bytes, 1032 to 1 at most.
_MOST_RATIO = 1033
