"""Requests that wait for their answers, and what a change of connections means for them."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Literal

import orjson

from . import _core
from ._checks import is_async
from ._direct import may_be_sent
from ._sendable import plain
from .connection import BytesLike
from .errors import ConnectionLost, DecodeError, MaybeSent, NotSent, RequestTimeout
from .handshakes.channel import MISSHAPEN
from .markers import Down
from .outbox import Receipt
from .sender import Sending
from .streams import Stream

if TYPE_CHECKING:
    from ._options import Seconds
    from .outbox import Outbox

__all__ = ["Request", "Requesting", "Requests"]

Request = tuple[Stream[Any], Receipt | None]


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

        ::

            answer = await client.request({"id": 7, …}, match=lambda m: m["id"] == 7, decode=orjson.loads)

        Args:
            message: As for ``send``; a dict is sent as JSON.
            match: Tells whether a message is the answer. Where it raises because a message is of another shape
                (LookupError, TypeError, AttributeError, ValueError), that one is not.
            timeout: Seconds for the answer; None for no limit.
            decode: Applied to each message before ``match``, such as ``orjson.loads``; gets ``bytes``. What it fails on
                is not the answer. None: ``match`` gets ``str`` or ``bytes``.

        Raises:
            RequestTimeout: No answer within ``timeout``. What waited for a connection until then is withdrawn;
                ``outcome`` says whether the request was sent.
            ConnectionLost: The connection ended before the answer; ``outcome`` says whether the request was sent.
            NotSent: An extension stopped it, or it was dropped: ``on_disconnect_send`` is ``"drop"``.
            NotConnected, …: As for ``send``.
        """
        for name, function in (("match", match), ("decode", decode)):
            if function is not None and not callable(function):
                raise TypeError(f"{name} is a function that gets a message, not {type(function).__name__}")
            if is_async(function):
                raise TypeError(f"{name} is a plain function, not an async one")
        parts, text = self._parts, None
        if isinstance(message, Mapping):
            message, text = orjson.dumps(message), True
        message = plain(message)
        seconds = None if timeout is None else _core.seconds("timeout", timeout)
        limit, judge = asyncio.timeout(seconds), _Judge(match, decode is None)
        receipt: Receipt | None = None
        try:
            async with limit:
                await parts.requests.may_begin()
                with contextlib.ExitStack() as stack:
                    answers: Stream[Any] | None = None
                    if not parts.outbox.is_native:
                        answers = stack.enter_context(Stream._aside(parts.ring, markers=True, decode=decode))
                    receipt = await self.send(message, text, receipt=True)
                    if receipt is not None and receipt.done():
                        receipt.result()  # what an extension stopped, or was dropped, has no answer
                    if answers is None:
                        # No turn of the loop has passed since it was accepted: its answer is still to come.
                        answers = stack.enter_context(Stream._aside(parts.ring, markers=True, decode=decode))
                    return await self._answer(receipt, answers, judge)
        except MaybeSent as error:
            raise ConnectionLost(f"{parts.supervisor.uri}: {error.why}", outcome="maybe_sent") from error
        except asyncio.CancelledError:
            if receipt is not None:
                parts.outbox.withdraw(receipt)
            raise
        except TimeoutError as error:
            if not limit.expired():
                raise
            if receipt is not None:
                parts.outbox.withdraw(receipt)
            outcome = _outcome(receipt, if_none="maybe_sent" if may_be_sent(error) else "not_sent")
            why = self._why_unanswered(judge)
            what = f"{parts.supervisor.uri}: no answer within {seconds:g} s{why}"
            raise RequestTimeout(what, timeout=seconds, outcome=outcome) from error

    def _why_unanswered(self, judge: _Judge) -> str:
        """For an error: what came, and what holds up the rest."""
        ring = self._parts.ring
        if ring.is_full and not ring.streams:
            return (
                f"; nothing is received: {ring.retained} messages wait for a first client.stream(). "
                "Make one, or say ClientConfig(receive=False) if you read nothing but answers"
            )
        blocked = ring._blocked_by()
        return judge.verdict if blocked is None else f"{judge.verdict}; reading waits for {blocked[0]!r} to be read"

    async def _answer(self, receipt: Receipt | None, answers: Stream[Any], judge: _Judge) -> Any:
        """The answer to what was just accepted."""
        parts = self._parts
        uri = parts.supervisor.uri
        with parts.requests.under_way(answers, receipt):
            while True:
                try:
                    item = await anext(answers)
                except StopAsyncIteration:
                    break
                except DecodeError as error:  # by the callable that streams share: each message is decoded once
                    judge.cannot_read(error)
                    continue
                if isinstance(item, Down) and not parts.outbox.holds(receipt):
                    raise ConnectionLost(f"{uri}: {item.reason}", outcome=_outcome(receipt))
                if isinstance(item, _core.Message) and judge.holds(item.data):
                    return item.data
        raise parts.outbox.over or ConnectionLost(
            f"{uri}: the connection was replaced before the answer came", outcome=_outcome(receipt)
        )


class _Judge:
    """Says of each message whether it is an answer, and at last why none was."""

    __slots__ = ("_error", "_is_raw", "_looked_at", "_match")

    def __init__(self, match: Callable[[Any], Any], is_raw: bool) -> None:
        self._match = match
        self._is_raw = is_raw
        self._looked_at = 0
        self._error: BaseException | None = None

    def cannot_read(self, error: DecodeError) -> None:
        """``decode`` failed on a message: that one is not the answer."""
        self._looked_at += 1
        self._error = error.__cause__

    def holds(self, message: Any) -> bool:
        """Whether it is the answer."""
        self._looked_at += 1
        try:
            return bool(self._match(message))
        except MISSHAPEN as error:
            self._error = error
            return False

    @property
    def verdict(self) -> str:
        """Why there is no answer, for an error: of what came only the number is said."""
        if not self._looked_at:
            return "; no message came"
        came = "1 message came" if self._looked_at == 1 else f"{self._looked_at} messages came"
        text = f"; {came}, none of which match= took for the answer"
        if self._error is not None:
            text += f" (the last error was {type(self._error).__name__})"
        if self._is_raw:
            text += "; it got str or bytes, as no decode= such as orjson.loads was given"
        return text


class Requests:
    """The requests of a client that are under way.

    An answer comes on the connection that the request went out on. So a change of connections holds new requests back,
    lets the others be answered, and gives up those that are not in time.
    """

    __slots__ = ("_answered", "_held", "under_way_now")

    def __init__(self) -> None:
        self.under_way_now: tuple[Request, ...] = ()
        """Where answers are awaited, and the receipt of what was asked."""
        self._held: asyncio.Future[None] | None = None
        self._answered: asyncio.Future[None] | None = None

    async def may_begin(self) -> None:
        """Waits while a change of connections is under way."""
        while self._held is not None:
            await asyncio.shield(self._held)

    @contextlib.contextmanager
    def under_way(self, answers: Stream[Any], receipt: Receipt | None) -> Iterator[None]:
        """A request waits for its answer among ``answers``, which ends if there will be none."""
        self.under_way_now += ((answers, receipt),)
        try:
            yield
        finally:
            self.under_way_now = tuple(each for each in self.under_way_now if each[0] is not answers)
            if not self.under_way_now and self._answered is not None and not self._answered.done():
                self._answered.set_result(None)

    def hold(self) -> None:
        """No request begins until ``go_on``."""
        if self._held is None:
            self._held = asyncio.get_running_loop().create_future()

    async def answered(self) -> None:
        """Waits until none is under way."""
        if self.under_way_now:
            self._answered = asyncio.get_running_loop().create_future()
            await self._answered

    def give_up(self, requests: tuple[Request, ...], outbox: Outbox) -> None:
        """The answers to these will not come any more, but to those that are still to be sent."""
        for answers, receipt in requests:
            if not outbox.holds(receipt):
                answers.close()

    def go_on(self) -> None:
        """Requests may begin again."""
        held, self._held = self._held, None
        if held is not None:
            held.set_result(None)


def _outcome(
    receipt: Receipt | None, *, if_none: Literal["not_sent", "maybe_sent"] = "maybe_sent"
) -> Literal["not_sent", "maybe_sent"]:
    """Whether the peer may have what the receipt is for."""
    if receipt is None:
        return if_none
    is_known = receipt.done() and isinstance(receipt.exception(), NotSent)
    return "not_sent" if is_known else "maybe_sent"
