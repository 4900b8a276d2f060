"""What gives streams: a client of one line, or of several."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, NoReturn, TypedDict, TypeVar, Unpack, overload

from ._core import Message, Ring
from .markers import Marker
from .streams import Policy, Stream

__all__ = ["Receiving", "StreamOptions"]

T = TypeVar("T")


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
        return stream

    def __aiter__(self) -> NoReturn:
        raise TypeError("a client is read by a stream: `async for message in client.stream()`")

    def _stream_made(self) -> None:
        """There is a stream more."""

    subscribe = stream
