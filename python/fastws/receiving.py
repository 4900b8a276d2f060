"""What gives streams: a client of one line, or of several."""

from __future__ import annotations

import asyncio
import logging
import weakref
from collections.abc import Callable
from typing import Any, Literal, NoReturn, TypedDict, TypeVar, Unpack, overload

from ._core import Message, Ring
from .markers import Marker
from .streams import Policy, Stream

__all__ = ["Receiving", "StreamOptions"]

T = TypeVar("T")

log = logging.getLogger("fastws.client")

REMIND_AFTER = 5.0
"""Seconds after which it is said that a stream waits for a client that does not run."""


class StreamOptions(TypedDict, total=False):
    """Keywords of ``stream()`` that do not change what its items are; see ``Stream``."""

    start: Literal["live", "oldest"]
    policy: Policy
    capacity: int | None
    capacity_bytes: int | None
    filter: Callable[[bytes], Any] | bytes | None
    on_decode_error: Literal["raise", "skip"]


class Receiving:
    """What has messages to read."""

    __slots__ = ()

    _ring: Ring
    _is_running: bool

    @overload
    def stream(
        self, *, markers: Literal[False] = False, decode: None = None, **options: Unpack[StreamOptions]
    ) -> Stream[str | bytes]: ...

    @overload
    def stream(
        self, *, markers: Literal[False] = False, decode: Callable[[bytes], T], **options: Unpack[StreamOptions]
    ) -> Stream[T]: ...

    @overload
    def stream(
        self, *, markers: Literal[True], decode: None = None, **options: Unpack[StreamOptions]
    ) -> Stream[Message[str | bytes] | Marker]: ...

    @overload
    def stream(
        self, *, markers: Literal[True], decode: Callable[[bytes], T], **options: Unpack[StreamOptions]
    ) -> Stream[Message[T] | Marker]: ...

    def stream(self, *wrong: Any, **options: Any) -> Stream[Any]:
        """An independent cursor on what is received: see ``Stream`` for the keywords.

        The first one starts at the oldest message that is retained, later ones at the next message.

        Raises:
            TypeError, ValueError: A keyword is wrong; the text names it.
        """
        if wrong:
            raise TypeError(
                f"stream() takes keywords only; did you mean client.subscriptions.add({wrong[0]!r}, message=...)?"
            )
        stream: Stream[Any] = Stream(self._ring, **options)
        self._stream_made()
        if not self._is_running and self not in _reminded:
            _remind_later(self)
        return stream

    def __aiter__(self) -> NoReturn:
        raise TypeError("a client is read by a stream: `async for message in client.stream()`")

    def _stream_made(self) -> None:
        """There is a stream more."""

    subscribe = stream


_reminded: weakref.WeakSet[Receiving] = weakref.WeakSet()
"""Clients that did not run when a stream was made, and are looked at from time to time."""


def _remind_later(client: Receiving) -> None:
    try:
        loop = asyncio.get_running_loop()
    except RuntimeError:  # it is being put together
        return
    _reminded.add(client)
    loop.call_later(REMIND_AFTER, _remind, weakref.ref(client))


def _remind(reference: weakref.ref[Receiving]) -> None:
    """Says once that somebody reads what will not come, unless the client runs by now or its streams are gone."""
    client = reference()
    if client is None:
        return
    _reminded.discard(client)
    if client._is_running or not client._ring.streams:  # noqa: SLF001 - ours
        return
    if not client._ring.is_awaited:  # noqa: SLF001 - ours
        _remind_later(client)
        return
    log.warning(
        "%r: a stream waits, and the client does not run: use `async with client:`, or a task of client.run()", client
    )
