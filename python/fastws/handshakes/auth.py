"""Authentication by a token."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping
from datetime import timedelta
from typing import Any, Final, Literal, Self

from fastws.context import ConnectionContext
from fastws.errors import AuthFailed, HandshakeError

from .base import Frozen, called, changed, excerpt, fix, limit, masked, predicate_or_none
from .channel import HandshakeChannel, Predicate
from .template import Filler, template
from .verdict import AUTHENTICATION, Verdict, judge

__all__ = ["REFUSED_CODES", "AuthHandshaker", "Token"]

Token = str | Callable[[], str | Awaitable[str]]
"""A token, or a callable, async or not, that gives one."""

Payload = str | bytes | Mapping[str, Any]

REFUSED_CODES: Final = frozenset({3000, 3003, 4401, 4403})
"""Close codes that refuse credentials: Unauthorized and Forbidden (IANA), and how venues write HTTP's 401 and 403."""


class AuthHandshaker(Frozen):
    """Sends a token and waits until the server accepts it.

    What it sends is the token itself, unless ``json`` or ``custom_format`` says otherwise::

        AuthHandshaker(token).json()                                  # {"type":"auth","token":"…"}
        AuthHandshaker(fetch_token).custom_format('{"op":"login","args":["{}"]}')

    Args:
        token: The token. Or a callable, async or not, that gives one: it is called at every handshake, so that an
            expired token is replaced.
        confirm: Whether a decoded message accepts the token; by default what is said below.
        deny: Whether a decoded message refuses it. A string that it returns is the reason given in the error.
        refused_codes: Close codes that refuse it: 3000, 3003, 4401 and 4403. Another Close ends the attempt, and the
            next may succeed.
        timeout: Seconds for all of it, 10 by default, the call of ``token`` included.

    A predicate gets the message decoded: the value of a JSON object or array, any other message as ``str`` or
    ``bytes``. ``confirm`` is asked first. Messages that neither accept nor refuse stay unclaimed: the streams get them.

    **What the default accepts.** An object that has a name (``type``, ``event``, ``op``, ``action``, ``method`` or
    ``msg_type``) counts only if that is about authentication (``auth``, ``login`` and their kin) or general
    (``response``, ``success``, ``error`` and the like). Then:

    - it *refuses* if ``error`` or ``errors`` is there and is neither null, false, 0 nor empty; if ``success``, ``ok``,
      ``authenticated``, ``authorized`` or ``result`` is false; if a word of the name, of ``status`` or of ``result``
      is one like error, failed, denied, unauthorized, forbidden, rejected, invalid or expired; if ``code``,
      ``status`` or ``retCode`` is a number from 400 to 499 or 4400 to 4499, or, in a message about authentication or
      with a text such as ``msg``, any but 0, 200 to 299 and 20000;
    - it *accepts* if ``status`` is a word like ok, success or authenticated; or, without a ``status``, if one of the
      flags is true, if the name says so (``authenticated``, ``auth_ok``), if such a number says so, or if it has a
      ``result`` or an empty ``error``: ``{"error": null}`` is no failure.

    A refusal with 408, 425, 429, a number from 500 to 599 or words like *rate limit* or *maintenance* is no judgement
    of the token: it may be tried again. A text of at most 200 characters that is no JSON accepts or refuses by the same
    words. An array is judged by the objects in it. Binary that is no JSON, pings and pongs say nothing.
    """

    __slots__ = ("_answers", "_confirm", "_deny", "_fill", "_kind", "_token", "refused_codes", "timeout")

    name = "auth"

    _token: Token
    _fill: Filler
    _kind: Literal["plain", "json", "custom"]
    _confirm: Predicate | None
    _deny: Predicate | None
    _answers: bool
    refused_codes: frozenset[int]

    def __init__(
        self,
        token: Token,
        *,
        confirm: Predicate | None = None,
        deny: Predicate | None = None,
        refused_codes: Iterable[int] = REFUSED_CODES,
        timeout: float | timedelta | None = 10.0,
    ) -> None:
        if not (callable(token) or isinstance(token, str)):
            raise TypeError(f"token is a str, or a callable that gives one, not {type(token).__name__}")
        fix(
            self,
            _token=token,
            _fill=_plain,
            _kind="plain",
            _answers=True,
            _confirm=predicate_or_none("confirm", confirm),
            _deny=predicate_or_none("deny", deny),
            refused_codes=frozenset(refused_codes),
            timeout=limit("timeout", timeout),
        )

    def plain(self) -> Self:
        """Sends the token itself, as text."""
        return changed(self, _fill=_plain, _kind="plain")

    def json(self) -> Self:
        """Sends ``{"type":"auth","token":TOKEN}``."""
        return changed(self, _fill=_json, _kind="json")

    def custom_format(self, format: str | Callable[[str], Payload]) -> Self:  # noqa: A002 - the model's name
        """Sends what ``format`` makes of the token.

        Args:
            format: A text in which every ``{}`` stands for the token. If it is JSON, the token is filled in as a JSON
                string, whatever characters it has. Or a callable that gets the token and returns what to send: ``str``
                (text), ``bytes`` (binary) or a mapping (JSON text); it may sign with the time of day.

        Raises:
            ValueError: There is no ``{}`` in it.
        """
        fill = format if callable(format) else template(format)
        return changed(self, _fill=fill, _kind="custom")

    def with_confirmation(self, confirm: Predicate | None = None, deny: Predicate | None = None) -> Self:
        """Waits for a message that ``confirm`` accepts; see ``AuthHandshaker``. None: the default."""
        return changed(
            self, _answers=True, _confirm=predicate_or_none("confirm", confirm), _deny=predicate_or_none("deny", deny)
        )

    def without_confirmation(self) -> Self:
        """Only sends, for a server that says nothing when it accepts."""
        return changed(self, _answers=False)

    async def handshake(self, channel: HandshakeChannel, context: ConnectionContext, /) -> None:
        """Sends the token and waits for the answer.

        Raises:
            AuthFailed: It was refused, by a message or by a Close with one of ``refused_codes``.
            HandshakeError: The connection closed otherwise, or the server is not able to say.
        """
        token = await called(self._token) if callable(self._token) else self._token
        if not isinstance(token, str):
            raise HandshakeError(
                f"the callable gave {type(token).__name__} and not a str as the token", retryable=False
            )
        payload = self._fill(token)
        try:
            if isinstance(payload, Mapping):
                await channel.send_json(payload)
            else:
                await channel.send(payload)
            if self._answers:
                await self._answer(channel, token)
        except HandshakeError as error:
            if error.kind == "closed" and error.code in self.refused_codes:
                why = masked(str(error.args[0]), token)
                raise AuthFailed(why, handshaker=self.name, code=error.code) from error.__cause__
            raise

    async def _answer(self, channel: HandshakeChannel, token: str) -> None:
        verdict: Verdict | None = None
        why = ""

        def judged(value: Any) -> bool:
            nonlocal verdict, why
            verdict, why = self._judge(channel, value)
            return verdict is not None

        message = await channel.expect(judged)
        if verdict is Verdict.DENIED:
            raise AuthFailed(why or excerpt(message, token), handshaker=self.name)
        if verdict is Verdict.UNAVAILABLE:
            raise HandshakeError(why or excerpt(message, token), handshaker=self.name)

    def _judge(self, channel: HandshakeChannel, value: Any) -> tuple[Verdict | None, str]:
        if self._confirm is not None and channel.asked(self._confirm, value):
            return Verdict.CONFIRMED, ""
        if self._deny is not None and (why := channel.asked(self._deny, value)):
            return Verdict.DENIED, why if isinstance(why, str) else ""
        verdict = judge(value, AUTHENTICATION)
        mine = self._confirm is None if verdict is Verdict.CONFIRMED else self._deny is None
        return (verdict if mine else None), ""

    def __repr__(self) -> str:
        how = {"plain": "", "json": ".json()", "custom": ".custom_format(...)"}[self._kind]
        return f"AuthHandshaker(***){how}"


def _plain(token: str) -> str:
    return token


def _json(token: str) -> dict[str, str]:
    return {"type": "auth", "token": token}
