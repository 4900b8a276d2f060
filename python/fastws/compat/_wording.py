"""What our texts call by the names of ``fastws.connect`` is called by those of a drop-in's ``connect``."""

from __future__ import annotations

import re
from collections.abc import Mapping

__all__ = ["Wording"]


class Wording:
    """Calling it with a text of ours gives the text for users of one drop-in.

    Args:
        limits: Its argument for each of ``max_size``, ``max_frame_size``, ``max_fragments`` and ``max_ratio``. Limits
            that it has no argument for are named by none.
        tls: What to pass instead of ``TlsConfig(ca=...)`` and ``TlsConfig(certificate=...)``, by ``ca`` and
            ``certificate``.
        proxy_tls: The same for TLS to a proxy. What is not given stays.
    """

    def __init__(
        self, limits: Mapping[str, str], tls: Mapping[str, str], proxy_tls: Mapping[str, str] | None = None
    ) -> None:
        self._limits = limits
        self._tls = tls
        self._proxy_tls = proxy_tls or {}

    def __call__(self, text: str) -> str:
        """The text in the drop-in's words."""
        return _TLS.sub(self._advice, _LIMIT.sub(self._limit, text))

    def _limit(self, found: re.Match[str]) -> str:
        name = self._limits.get(found[1])
        return f" ({name})" if name else ""

    def _advice(self, found: re.Match[str]) -> str:
        known = self._proxy_tls if found[1] else self._tls
        return known.get(found[2], found[0])


_LIMIT = re.compile(r" \((max_size|max_frame_size|max_fragments|max_ratio)\)")
_TLS = re.compile(r"(proxy_tls=)?TlsConfig\((\w+)=[^)]*\)")
