"""Types in the signatures of ``websockets``."""

from __future__ import annotations

import http
import logging
import os
from collections.abc import Sequence
from typing import Any, NewType

__all__ = ["Data", "ExtensionName", "ExtensionParameter", "LoggerLike", "Origin", "StatusLike", "Subprotocol"]

Data = str | bytes
"""A message: ``str`` is text, ``bytes`` is binary."""

BytesLike = bytes | bytearray | memoryview
"""What is taken where ``bytes`` are expected."""

DataLike = str | bytes | bytearray | memoryview
"""What is taken where ``Data`` is expected."""

LoggerLike = logging.Logger | logging.LoggerAdapter[Any]
"""What is taken where a logger is expected."""

PathLike = str | bytes | os.PathLike[str] | os.PathLike[bytes]
"""What is taken where a path is expected."""

StatusLike = http.HTTPStatus | int
"""What is taken where an HTTP status is expected."""

Origin = NewType("Origin", str)
"""The value of an ``Origin`` header."""

Subprotocol = NewType("Subprotocol", str)
"""A subprotocol of a ``Sec-WebSocket-Protocol`` header."""

ExtensionName = NewType("ExtensionName", str)
"""The name of an extension."""

ExtensionParameter = tuple[str, str | None]
"""A parameter of an extension: name, and value if it has one."""

ExtensionHeader = tuple[ExtensionName, Sequence[ExtensionParameter]]
"""An extension of a ``Sec-WebSocket-Extensions`` header."""

ConnectionOption = NewType("ConnectionOption", str)
"""An option of a ``Connection`` header."""

UpgradeProtocol = NewType("UpgradeProtocol", str)
"""A protocol of an ``Upgrade`` header."""
