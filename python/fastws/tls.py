"""TLS: which certificates are trusted, and which name the server's must have."""

from __future__ import annotations

import asyncio
import os
import warnings
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Literal

from . import _core

__all__ = ["TlsConfig"]


@dataclass(frozen=True, slots=True)
class TlsConfig:
    """How a ``wss://`` connection is secured.

    Args:
        roots: ``"system"`` (the platform's certificate store, the default) or ``"webpki"`` (Mozilla's roots, bundled).
        ca: Trust only these certificate authorities instead: a path to a PEM file, or PEM as ``bytes``.
        verify: False accepts any certificate, and warns: whoever is on the way can read and change everything.
        server_hostname: The name to ask for (SNI) and to find in the certificate, instead of the URI's host.
    """

    roots: Literal["system", "webpki"] = "system"
    ca: str | os.PathLike[str] | bytes | None = None
    verify: bool = True
    server_hostname: str | None = None

    def __post_init__(self) -> None:
        if self.roots not in ("system", "webpki"):
            raise ValueError(f'TlsConfig.roots must be "system" or "webpki", not {self.roots!r}')
        if isinstance(self.ca, bytearray | memoryview):
            object.__setattr__(self, "ca", bytes(self.ca))
        if not self.verify and self.ca is not None:
            raise ValueError("TlsConfig(verify=False) trusts any certificate; leave out ca, or leave out verify=False")


async def context_for(config: TlsConfig) -> _core.TlsContext:
    """The native context of ``config``: made once, off the event loop, and shared (with its session tickets)."""
    if not config.verify:
        warnings.warn(
            "TlsConfig(verify=False): the server's certificate is not checked; anybody on the way can read and change "
            "what is sent",
            RuntimeWarning,
            stacklevel=2,
        )
        return _make("none", None)
    ca = config.ca
    if ca is None:
        return await _made(config.roots, None)
    if isinstance(ca, bytes):
        return await _made("ca", ca)
    try:
        data = await asyncio.to_thread(Path(ca).read_bytes)
    except OSError as error:
        raise ValueError(f"the CA file {os.fspath(ca)!r} cannot be read: {error.strerror}") from error
    return await _made("ca", data)


async def _made(roots: str, ca: bytes | None) -> _core.TlsContext:
    if (roots, ca) in _known:
        return _make(roots, ca)
    context = await asyncio.to_thread(_make, roots, ca)
    _known.add((roots, ca))
    return context


_known: set[tuple[str, bytes | None]] = set()


@lru_cache(maxsize=64)
def _make(roots: str, ca: bytes | None) -> _core.TlsContext:
    return _core.TlsContext(roots, ca)
