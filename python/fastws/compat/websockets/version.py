"""The version of ``websockets``: of the installed one, else of the one that this shim follows."""

from __future__ import annotations

from ._adopt import original

__all__ = ["commit", "tag", "version"]

_original = original(__name__)

tag: str = "17.4" if _original is None else _original.tag
version: str = "17.4" if _original is None else _original.version
commit: str = "17.4" if _original is None else _original.commit
released = True
