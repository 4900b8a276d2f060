"""Subscriptions that every connection begins with."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import timedelta
from typing import Any, Final, Self

from fastws.context import ConnectionContext
from fastws.errors import HandshakeError, HandshakeTimeout

from .base import Frozen, changed, excerpt, fix, limit, predicate_or_none
from .channel import HandshakeChannel
from .template import Filler, template
from .verdict import SUBSCRIPTION, Verdict, judge, mentions

__all__ = ["ChannelPredicate", "SubscribeHandshaker"]

ChannelPredicate = Callable[[Any, str], object]
"""Judges a decoded message for a channel: ``predicate(message, channel)``."""

Payload = str | bytes | Mapping[str, Any]


class SubscribeHandshaker(Frozen):
    """Subscribes to channels, at every connection anew; ``client.subscriptions`` is for those that come and go.

    Args:
        channels: The channels, in order; one that is there twice is subscribed to once.
        timeout: Seconds, 5 by default: if confirmations are waited for, each must come within this after the one before
            it (the first after the last channel was sent). All of it may take as many times this as there are channels.

    All are sent first; their confirmations may come in any order. What is sent is
    ``{"type":"subscribe","channel":CHANNEL}`` unless ``custom_format`` says otherwise. Data that comes before the last
    confirmation is not lost: the streams get it.
    """

    __slots__ = ("_confirm", "_deny", "_fill", "_waits", "channel_timeout", "channels")

    name = "subscribe"
    channels: tuple[str, ...]
    channel_timeout: float | None
    _fill: Filler
    _waits: bool
    _confirm: ChannelPredicate | None
    _deny: ChannelPredicate | None

    def __init__(self, channels: Iterable[str], *, timeout: float | timedelta | None = 5.0) -> None:
        if isinstance(channels, str | bytes):
            raise TypeError("channels is a list, or another iterable, of str, not a single one")
        kept = tuple(dict.fromkeys(channels))
        for channel in kept:
            if not isinstance(channel, str):
                raise TypeError(f"a channel is a str, not {type(channel).__name__}")
        fix(
            self,
            channels=kept,
            channel_timeout=limit("timeout", timeout),
            _fill=_json,
            _waits=False,
            _confirm=None,
            _deny=None,
        )

    @property
    def timeout(self) -> float | None:  # type: ignore[override]
        """Seconds for all of it: ``channel_timeout`` for each channel."""
        return None if self.channel_timeout is None else self.channel_timeout * max(1, len(self.channels))

    def with_timeout(self, timeout: float | timedelta | None) -> Self:
        """The same with another time limit per channel, in seconds or as a ``timedelta``; None for no limit."""
        return changed(self, channel_timeout=limit("timeout", timeout))

    def json(self) -> Self:
        """Sends ``{"type":"subscribe","channel":CHANNEL}`` for each channel."""
        return changed(self, _fill=_json)

    def custom_format(self, format: str | Callable[[str], Payload]) -> Self:  # noqa: A002 - the model's name
        """Sends what ``format`` makes of each channel: see ``AuthHandshaker.custom_format``.

        Raises:
            ValueError: There is no ``{}`` in it.
        """
        return changed(self, _fill=format if callable(format) else template(format))

    def wait_confirmation(
        self, confirm: ChannelPredicate | None = None, *, deny: ChannelPredicate | None = None
    ) -> Self:
        """Waits until each channel is confirmed.

        Args:
            confirm: ``confirm(message, channel)`` says whether a decoded message confirms a channel. One message may
                confirm several. None for the default below.
            deny: The same for a refusal; None for the default.

        By default a message is understood as one of ``AuthHandshaker`` is, but about subscriptions (``subscribe``,
        ``subscribed``, ``subscription`` and the like, any of which confirms). It is about the channels that are among
        its values, anywhere in it. If none of ours is, it is about the oldest that is not confirmed, unless it names a
        channel (``channel``, ``channels``, ``topic``, ``topics``, ``stream``, ``streams``, ``arg`` or ``args``) that is
        not ours: then it is data like any other.
        """
        return changed(
            self,
            _waits=True,
            _confirm=predicate_or_none("confirm", confirm),
            _deny=predicate_or_none("deny", deny),
        )

    async def handshake(self, channel: HandshakeChannel, context: ConnectionContext, /) -> None:
        """Subscribes to all channels, and waits if it is to.

        Raises:
            HandshakeError: A channel was refused.
            HandshakeTimeout: The next confirmation did not come in time; the message names the channels.
        """
        for name in self.channels:
            payload = self._fill(name)
            if isinstance(payload, Mapping):
                await channel.send_json(payload)
            else:
                await channel.send(payload)
        if self._waits:
            await self._confirmed(channel)

    async def _confirmed(self, channel: HandshakeChannel) -> None:
        pending = dict.fromkeys(self.channels)
        answer: tuple[Verdict | None, list[str]] = (None, [])

        def judged(value: Any) -> bool:
            nonlocal answer
            answer = self._judge(channel, value, list(pending))
            return answer[0] is not None

        while pending:
            deadline = channel.limit(self.channel_timeout)
            try:
                async with deadline:
                    message = await channel.expect(judged)
            except TimeoutError:
                if not deadline.expired():
                    raise
                raise HandshakeTimeout(
                    f"no confirmation of {_listed(list(pending))} within {self.channel_timeout:g} s",
                    handshaker=self.name,
                    timeout=self.channel_timeout,
                ) from channel.predicate_error
            verdict, names = answer
            if verdict is not Verdict.CONFIRMED:
                raise HandshakeError(f"{_listed(names)}: {excerpt(message)}", handshaker=self.name)
            for name in names:
                del pending[name]

    def _judge(self, channel: HandshakeChannel, value: Any, pending: list[str]) -> tuple[Verdict | None, list[str]]:
        for verdict, predicate in ((Verdict.CONFIRMED, self._confirm), (Verdict.DENIED, self._deny)):
            if predicate is not None:
                names = [name for name in pending if channel.asked(predicate, value, name)]
                if names:
                    return verdict, names
        said = judge(value, SUBSCRIPTION)
        mine = self._confirm is None if said is Verdict.CONFIRMED else self._deny is None
        if said is None or not mine:
            return None, []
        names = [name for name in pending if mentions(value, name)]
        if not names and not _names_a_channel(value):
            names = pending[:1]
        return (said, names) if names else (None, [])

    def __repr__(self) -> str:
        return f"SubscribeHandshaker({_listed(list(self.channels)) or 'nothing'})"


def _json(channel: str) -> dict[str, str]:
    return {"type": "subscribe", "channel": channel}


def _listed(channels: list[str]) -> str:
    shown = ", ".join(map(repr, channels[:_SHOWN]))
    return shown if len(channels) <= _SHOWN else f"{shown} and {len(channels) - _SHOWN} more"


def _names_a_channel(value: Any) -> bool:
    return isinstance(value, dict) and any(value.get(field) for field in _CHANNEL_FIELDS)


_SHOWN: Final = 5

_CHANNEL_FIELDS: Final = ("channel", "channels", "topic", "topics", "stream", "streams", "arg", "args")
