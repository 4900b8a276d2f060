"""Requests that wait for their answers, and what a change of connections means for them."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Literal

import orjson

from . import _core
from .connection import BytesLike
from .errors import ConnectionLost, NotSent, RequestTimeout
from .markers import Down
from .outbox import Receipt
from .sender import Sending
from .streams import Stream

if TYPE_CHECKING:
    from ._options import Seconds

__all__ = ["Requesting", "Requests"]


class Requesting(Sending):
    """What asks: a client, which sends and has what it receives to read."""

    __slots__ = ()

    async def request(
        self,
        message: str | BytesLike | Mapping[str, Any],
        *,
        match: Callable[[Any], Any],
        timeout: Seconds = 10.0,  # noqa: ASYNC109 - part of what is asked
        decode: Callable[[Any], Any] | None = None,
    ) -> Any:
        """Sends a message and waits for its answer.

        The answer is seen by streams too.

        Args:
            message: As for ``send``; a dict is sent as JSON.
            match: Tells whether a message is the answer.
            timeout: Seconds for the answer; None for no limit.
            decode: Applied to each message before ``match``, such as ``orjson.loads``; gets ``bytes``.

        Raises:
            RequestTimeout: No answer within ``timeout``.
            ConnectionLost: The connection ended before the answer; ``outcome`` says whether the request was sent.
            NotSent: An extension stopped it, or it was dropped: ``on_disconnect_send`` is ``"drop"``.
            NotConnected, …: As for ``send``.
        """
        parts, text = self._parts, None
        if isinstance(message, Mapping):
            message, text = orjson.dumps(message), True
        seconds = None if timeout is None else _core.seconds("timeout", timeout)
        limit = asyncio.timeout(seconds)
        try:
            async with limit:
                await parts.requests.may_begin()
                receipt = await self.send(message, text, receipt=True)
                if receipt is not None and receipt.done():
                    receipt.result()  # what an extension stopped, or was dropped, has no answer
                # No turn of the loop has passed since it was accepted: its answer is still to come.
                return await self._answer(receipt, match, decode)
        except TimeoutError as error:
            if not limit.expired():
                raise
            why = ""
            if parts.ring.is_full and not parts.ring.streams:
                why = (
                    f"; nothing is received: {parts.ring.retained} messages wait for a first client.stream(). "
                    "Make one, or say ClientConfig(receive=False) if you read nothing but answers"
                )
            what = f"{parts.supervisor.uri}: no answer within {seconds:g} s{why}"
            raise RequestTimeout(what, timeout=seconds) from error

    async def _answer(
        self, receipt: Receipt | None, match: Callable[[Any], Any], decode: Callable[[Any], Any] | None
    ) -> Any:
        """The answer to what was just sent."""
        parts = self._parts
        uri = parts.supervisor.uri
        with Stream.aside(parts.ring, markers=True, decode=decode) as answers, parts.requests.under_way(answers):
            async for item in answers:
                if isinstance(item, Down):
                    raise ConnectionLost(f"{uri}: {item.reason}", outcome=_outcome(receipt))
                if isinstance(item, _core.Message) and match(item.data):
                    return item.data
        raise parts.outbox.over or ConnectionLost(
            f"{uri}: the connection was replaced before the answer came", outcome=_outcome(receipt)
        )


class Requests:
    """The requests of a client that are under way.

    An answer comes on the connection that the request went out on. So a change of connections holds new requests back,
    lets the others be answered, and gives up those that are not in time.
    """

    __slots__ = ("_answered", "_held", "_streams")

    def __init__(self) -> None:
        self._streams: tuple[Stream[Any], ...] = ()
        self._held: asyncio.Future[None] | None = None
        self._answered: asyncio.Future[None] | None = None

    async def may_begin(self) -> None:
        """Waits while a change of connections is under way."""
        while self._held is not None:
            await asyncio.shield(self._held)

    @contextlib.contextmanager
    def under_way(self, answers: Stream[Any]) -> Iterator[None]:
        """A request waits for its answer among ``answers``, which ends if there will be none."""
        self._streams += (answers,)
        try:
            yield
        finally:
            self._streams = tuple(each for each in self._streams if each is not answers)
            if not self._streams and self._answered is not None and not self._answered.done():
                self._answered.set_result(None)

    def hold(self) -> None:
        """No request begins until ``go_on``."""
        if self._held is None:
            self._held = asyncio.get_running_loop().create_future()

    async def answered(self) -> None:
        """Waits until none is under way."""
        if self._streams:
            self._answered = asyncio.get_running_loop().create_future()
            await self._answered

    @property
    def streams(self) -> tuple[Stream[Any], ...]:
        """Where those that are under way wait for their answers."""
        return self._streams

    def give_up(self, streams: tuple[Stream[Any], ...]) -> None:
        """The answers that are awaited among these will not come any more."""
        for answers in streams:
            answers.close()

    def go_on(self) -> None:
        """Requests may begin again."""
        held, self._held = self._held, None
        if held is not None:
            held.set_result(None)


def _outcome(receipt: Receipt | None) -> Literal["not_sent", "maybe_sent"]:
    """Whether the peer may have what the receipt is for."""
    is_known = receipt is not None and receipt.done() and isinstance(receipt.exception(), NotSent)
    return "not_sent" if is_known else "maybe_sent"
