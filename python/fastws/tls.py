"""TLS: which certificates are trusted, and which name the server's must have."""

from __future__ import annotations

import asyncio
import os
import threading
from dataclasses import dataclass, field
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
    ca: str | os.PathLike[str] | bytes | None = field(default=None, repr=False)
    verify: bool = True
    server_hostname: str | None = None

    def __post_init__(self) -> None:
        if self.roots not in ("system", "webpki"):
            raise ValueError(f'TlsConfig.roots must be "system" or "webpki", not {self.roots!r}')
        if not isinstance(self.verify, bool):
            raise TypeError(f"TlsConfig.verify is True or False, not {self.verify!r}")
        if self.ca is not None and not isinstance(self.ca, str | bytes | bytearray | memoryview | os.PathLike):
            raise TypeError(f"TlsConfig.ca is a path or PEM as bytes, not {self.ca!r}")
        if isinstance(self.ca, str) and "-----BEGIN" in self.ca:
            raise ValueError("TlsConfig.ca is a path if it is a str; give PEM itself as bytes: ca=pem.encode()")
        if isinstance(self.ca, str) and "\0" in self.ca:
            raise ValueError("TlsConfig.ca is a path, and a path has no null characters")
        name = self.server_hostname
        if name is not None and not isinstance(name, str):
            raise TypeError(f"TlsConfig.server_hostname is a name or an address (str), not {name!r}")
        if name is not None and (not name or any(character.isspace() for character in name)):
            raise ValueError(f"TlsConfig.server_hostname must be a name or an address, not {name!r}")
        if isinstance(self.ca, bytearray | memoryview):
            object.__setattr__(self, "ca", bytes(self.ca))
        if not self.verify and self.ca is not None:
            raise ValueError("TlsConfig(verify=False) trusts any certificate; leave out ca, or leave out verify=False")


async def context_for(config: TlsConfig) -> _core.TlsContext:
    """The native context of ``config``: made once, off the event loop, and shared (with its session tickets)."""
    if config.verify and isinstance(config.ca, str | os.PathLike):
        return await asyncio.to_thread(context_for_blocking, config)
    roots, ca = _trusted(config)
    known = _contexts.get((roots, ca))
    return known if known is not None else await asyncio.to_thread(_make, roots, ca)


def context_for_blocking(config: TlsConfig) -> _core.TlsContext:
    """The same, where no event loop waits."""
    return _make(*_trusted(config))


def _trusted(config: TlsConfig) -> tuple[str, bytes | None]:
    """What is trusted, as the native side takes it. Reads the CA file."""
    if not config.verify:
        return "none", None
    ca = config.ca
    if ca is None or isinstance(ca, bytes):
        return (config.roots, None) if ca is None else ("ca", ca)
    try:
        return "ca", Path(ca).read_bytes()
    except OSError as error:
        raise ValueError(f"the CA file {os.fspath(ca)!r} cannot be read: {error.strerror}") from error


_MAX_CONTEXTS = 64
_contexts: dict[tuple[str, bytes | None], _core.TlsContext] = {}
_making = threading.Lock()


def _make(roots: str, ca: bytes | None) -> _core.TlsContext:
    """The context with these roots. Takes long the first time: those who need the same wait for that one."""
    with _making:
        context = _contexts.get((roots, ca))
        if context is None:
            context = _core.TlsContext(roots, ca)
            if len(_contexts) == _MAX_CONTEXTS:
                del _contexts[next(iter(_contexts))]
            _contexts[roots, ca] = context
        return context
