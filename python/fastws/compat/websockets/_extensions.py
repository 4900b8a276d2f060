"""Which of the extensions that are offered are native."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fastws.compression import Deflate

__all__ = ["native_compression"]


def native_compression(extensions: Sequence[Any] | None, compression: str | None) -> Deflate | None:
    """permessage-deflate as it is offered; None if it is not."""
    for factory in extensions or ():
        if factory.name == "permessage-deflate":
            settings = factory.compress_settings or {}
            return Deflate(
                server_no_context_takeover=bool(factory.server_no_context_takeover),
                client_no_context_takeover=bool(factory.client_no_context_takeover),
                server_max_window_bits=_bits(factory.server_max_window_bits),
                client_max_window_bits=_bits(factory.client_max_window_bits),
                level=settings.get("level", 6),
                memory_level=settings.get("memLevel", 8),
            )
    return Deflate() if compression is not None else None


def _bits(value: int | bool | None) -> int:
    return 15 if value is None or value is True else value
