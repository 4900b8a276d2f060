"""Streams: independent places in a client's messages.

What happens for each message is native; this file has what happens once.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Literal, Self, TypeVar

from . import _core
from ._checks import is_async

__all__ = ["Conflate", "Policy", "Stream"]

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Conflate:
    """A stream's policy: of each key only the newest message waits, at the place of the oldest that was not read.

    **Not for deltas.** Use it where a message replaces the one before it: a quote, a state, a full snapshot.

    Args:
        key: Gets the payload as ``bytes`` and returns what the message is about, which must be hashable; or a native
            key of ``fastws.keys``. It is called only while the stream is behind. A message whose key is None, or for
            which it fails, replaces nothing and is not replaced.
    """

    key: Callable[[bytes], Any]

    def __post_init__(self) -> None:
        if not callable(self.key) or is_async(self.key):
            raise TypeError(f"Conflate(key): key is a callable or one of fastws.keys, not {self.key!r}")


Policy = Literal["block", "drop_oldest", "fail"] | Conflate

_POLICIES = ("block", "drop_oldest", "fail")


class Stream(_core.Cursor[T]):
    """An independent place in a client's messages, made by ``client.stream(...)``.

    Iterate over it, await ``recv()``, or iterate over ``batches()``. Each stream has every message from its start on,
    however fast others are. ``seq``, ``generation``, ``received_ns`` and their like tell about the item last given.

    A stream is a context manager; leaving it, ``aclose()`` and its collection detach it.

    Keywords of ``client.stream()``, behind ``ring``, which a client brings:

    - ``start``: ``"live"`` starts behind the newest message, ``"oldest"`` at the oldest that is still kept. A client's
      first stream starts at the oldest in any case.
    - ``markers``: Every item is a ``Message`` with what is known of it, or a marker (``Down``, ``Outage``, ``Gap``,
      ``Dropped``).
    - ``policy``: What happens when the stream is not read: ``"block"`` loses nothing and makes the server wait,
      ``"drop_oldest"`` loses and counts, ``"fail"`` raises ``SubscriberOverflow``, ``Conflate(key)`` keeps the
      newest of each key.
    - ``capacity``: Messages that may wait, before ``policy`` has its say; None for the client's. With ``Conflate``:
      messages that wait conflated, so at least the number of keys; more of them make the server wait.
    - ``capacity_bytes``: The same in bytes of payload; None for the client's.
    - ``filter``: Gives only messages for which it is true: a callable that gets the payload as ``bytes``, or ``bytes``
      that must occur in it.
    - ``decode``: Makes the item of the payload, which it gets as ``bytes``, text too. It is called once for a message
      for all streams that have the same one, so what it makes is theirs together.
    - ``on_decode_error``: ``"raise"`` raises ``DecodeError``, after which the stream goes on with the next message;
      ``"skip"`` leaves the message out and counts it in ``skipped``.

    Raises:
        TypeError: An argument is of a wrong type; the text names it.
        ValueError: An argument has a wrong value; the text names it.
    """

    __slots__ = ()

    def __new__(  # noqa: D102 - the arguments are in the docstring of the class
        cls,
        ring: _core.Ring,
        *,
        start: Literal["live", "oldest"] = "live",
        markers: bool = False,
        policy: Policy = "block",
        capacity: int | None = None,
        capacity_bytes: int | None = None,
        filter: Callable[[bytes], Any] | bytes | None = None,  # noqa: A002 - what it is
        decode: Callable[[bytes], Any] | None = None,
        on_decode_error: Literal["raise", "skip"] = "raise",
    ) -> Self:
        if start not in ("live", "oldest"):
            raise ValueError(f'start is "live" or "oldest", not {start!r}')
        if on_decode_error not in ("raise", "skip"):
            raise ValueError(f'on_decode_error is "raise" or "skip", not {on_decode_error!r}')
        if not isinstance(markers, bool):
            raise TypeError(f"markers is True or False, not {markers!r}")
        _check_policy(policy)
        if filter is not None and not (callable(filter) or isinstance(filter, bytes)):
            raise TypeError(f"filter is a callable that gets bytes, or the bytes to look for, not {filter!r}")
        if decode is not None and not callable(decode):
            raise TypeError(f"decode is a callable that gets bytes, not {decode!r}")
        for name, function in (("filter", filter), ("decode", decode)):
            if is_async(function):
                raise TypeError(f"{name} is a plain function: what an async one returns is no result, {function!r}")
        stream: Self = super().__new__(
            cls,
            ring,
            oldest=start == "oldest",
            markers=markers,
            policy="conflate" if isinstance(policy, Conflate) else policy,
            capacity=_capacity("capacity", capacity),
            capacity_bytes=_capacity("capacity_bytes", capacity_bytes),
            filter=filter,
            decode=decode,
            skips=on_decode_error == "skip",
            key=policy.key if isinstance(policy, Conflate) else None,
        )
        stream._ready()
        return stream

    @classmethod
    def _aside(
        cls, ring: _core.Ring, *, markers: bool = False, decode: Callable[[bytes], Any] | None = None
    ) -> Stream[Any]:
        """For the library's own use: a stream that is not the client's first, where the user has none yet."""
        stream: Stream[Any] = super().__new__(
            cls,
            ring,
            oldest=False,
            markers=markers,
            policy="block",
            capacity=None,
            capacity_bytes=None,
            decode=decode,
            aside=True,
        )
        stream._ready()
        return stream

    def close(self) -> None:
        """As ``aclose()``."""
        self._detach()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        self._detach()

    async def aclose(self) -> None:
        """Detaches the stream: iteration over it ends, and nothing waits for it any more."""
        self._detach()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        self._detach()

    def __repr__(self) -> str:
        if self.closed:
            return "<fastws.Stream closed>"
        messages, size = self.lag
        return f"<fastws.Stream seq={self.seq}, {messages} messages of {size} bytes wait>"


def _check_policy(policy: object) -> None:
    if isinstance(policy, Conflate) or (isinstance(policy, str) and policy in _POLICIES):
        return
    known = ", ".join(f'"{name}"' for name in _POLICIES)
    hint = "; did you mean Conflate(key)?" if policy in ("conflate", Conflate) else ""
    raise (ValueError if isinstance(policy, str) else TypeError)(
        f"policy is {known} or Conflate(key), not {policy!r}{hint}"
    )


def _capacity(name: str, value: int | None) -> int | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{name} is a number of at least 1, or None for the client's, not {value!r}")
    if value < 1:
        raise ValueError(f"{name} must be at least 1, not {value}")
    return value
