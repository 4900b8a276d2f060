"""What a connection does differently for a while. Each is a class in front of its own, so that no call asks whether."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NoReturn

from fastws.compat.websockets._shared import derived
from fastws.compat.websockets.exceptions import ConcurrencyError

if TYPE_CHECKING:
    from .connection import Connection

__all__ = ["Sending", "Streaming", "Unentered", "class_for", "concurrent_send"]


def class_for(kind: type[Connection], modes: frozenset[type]) -> type[Any]:
    """``kind`` in these modes."""
    key: Any = kind
    made: type[Any] = _class_for(key, modes)
    return made


@functools.lru_cache(maxsize=64)
def _class_for(kind: Any, modes: frozenset[type]) -> Any:
    if not modes:
        return kind
    return derived(kind, *(mode for mode in _ORDER if mode in modes), kind)


def concurrent_send() -> ConcurrencyError:
    """A message cannot go between the fragments of another one (RFC 6455 §5.4)."""
    return ConcurrencyError("cannot call send while another thread is already running send")


class Sending:
    """A message in fragments is being sent."""

    __slots__ = ()

    def send(self, *_: Any, **__: Any) -> NoReturn:
        """Another message has to wait."""
        raise concurrent_send()


class Streaming:
    """A message is being received fragment by fragment."""

    __slots__ = ()

    def recv(self, *_: Any, **__: Any) -> NoReturn:
        """Its fragments are not for others."""
        raise ConcurrencyError("cannot call recv while another thread is already running recv or recv_streaming")

    def __next__(self) -> NoReturn:
        self.recv()

    def recv_streaming(self, decode: bool | None = None) -> Iterator[Any]:  # noqa: ARG002
        """Its fragments are not for others."""
        raise ConcurrencyError(
            "cannot call recv_streaming while another thread is already running recv or recv_streaming"
        )
        yield


class Unentered:
    """``connect()`` was called without ``with``, which is deprecated: the first call of a method says so."""

    __slots__ = ()

    def __enter__(self: Connection) -> Connection:  # type: ignore[misc]
        self._leave(Unentered)
        return self.__enter__()


def _warns(name: str) -> Any:
    def method(self: Connection, *arguments: Any, **named: Any) -> Any:
        self._leave(Unentered)
        warnings.warn(
            "connect() must be used as a context manager: with connect(...) as websocket: ...; alternatively, use "
            "websocket = connect(..., legacy=True) to connect directly",
            DeprecationWarning,
            stacklevel=2,
        )
        return getattr(self, name)(*arguments, **named)

    method.__name__ = name
    return method


for _name in ("recv", "recv_streaming", "send", "close", "ping", "pong", "__iter__", "__next__"):
    setattr(Unentered, _name, _warns(_name))

_ORDER = [Unentered, Streaming, Sending]
