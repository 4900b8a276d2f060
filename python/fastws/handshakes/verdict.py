"""What a server's message says about what was asked of it, where the user gave no predicate.

The one place that knows how venues say yes and no. A message that says neither is none of the handshake's business: it
neither confirms nor is lost.
"""

from __future__ import annotations

import re
from enum import Enum, auto
from typing import Any, Final

__all__ = ["AUTHENTICATION", "SUBSCRIPTION", "Topic", "Verdict", "judge", "mentions"]


class Verdict(Enum):
    """What a message says."""

    CONFIRMED = auto()
    DENIED = auto()
    UNAVAILABLE = auto()
    """No, but for a reason that passes: too many requests, overload, maintenance."""


class Topic:
    """What was asked for.

    Attributes:
        words: How messages about it are called.
        done: Those of the words that say by themselves that it is done.
    """

    __slots__ = ("done", "words")

    def __init__(self, words: str, done: str) -> None:
        self.done = frozenset(done.split())
        self.words = frozenset(words.split()) | self.done


AUTHENTICATION: Final = Topic(
    "auth authenticate authentication authorize authorization authorise authorisation login logon signin",
    "authenticated authorized authorised logged",
)

SUBSCRIPTION: Final = Topic("sub", "subscribe subscribed subscription subscriptions")


def judge(value: Any, topic: Topic) -> Verdict | None:
    """What a decoded message says about ``topic``; None if it is about something else or says nothing."""
    if isinstance(value, dict):
        return _judge_object(value, topic)
    if isinstance(value, str):
        return _judge_text(value, topic)
    if isinstance(value, list):
        # Some venues pack several messages into an array. A bare row of data holds no object that says anything.
        verdicts = [_judge_object(item, topic) for item in value[:16] if isinstance(item, dict)]
        return next((v for v in (Verdict.DENIED, Verdict.UNAVAILABLE, Verdict.CONFIRMED) if v in verdicts), None)
    return None


def mentions(value: Any, wanted: Any, depth: int = 4) -> bool:
    """Whether ``wanted``, a string or a decoded JSON value, is among the values of a decoded message."""
    if value == wanted and isinstance(value, type(wanted)):
        return True
    if depth == 0 or not isinstance(value, dict | list):
        return False
    return any(mentions(item, wanted, depth - 1) for item in (value.values() if isinstance(value, dict) else value))


def _judge_object(message: dict[str, Any], topic: Topic) -> Verdict | None:
    names = frozenset[str]().union(*(_words(message.get(name)) for name in _NAMES))
    named_so = bool(names & topic.words)
    if names and not named_so and not names & (_GENERIC | _BAD | _GOOD):
        return None
    no = _denial(message, names, named_so=named_so)
    if no is not None:
        return no
    status = _words(message.get("status"))
    if status:
        return Verdict.CONFIRMED if status & (_GOOD | topic.done) else None
    if names & topic.done or names & _GOOD or any(message.get(field) is True for field in _FLAGS):
        return Verdict.CONFIRMED
    if any(_number(message[field]) in _GOOD_NUMBERS for field in _NUMBERS if field in message):
        return Verdict.CONFIRMED
    if "error" in message or "result" in message:
        return Verdict.CONFIRMED
    return None


def _denial(message: dict[str, Any], names: frozenset[str], *, named_so: bool) -> Verdict | None:
    texts = [text for field in _TEXTS if isinstance(text := message.get(field), str)]
    error = message.get("error") or message.get("errors")
    if isinstance(error, dict):
        texts += [text for field in _TEXTS if isinstance(text := error.get(field), str)]
        numbers = [_number(error.get(field)) for field in _NUMBERS]
    else:
        texts += [error] if isinstance(error, str) else []
        numbers = [_number(error)]
    # Elsewhere than in an answer, a code may be anything, such as an instrument's.
    is_answer = named_so or bool(texts) or not names
    numbers += [_number(message.get(field)) for field in _NUMBERS if is_answer or field == "status"]
    if any(n in _PASSING_NUMBERS or (n is not None and 500 <= n < 600) for n in numbers):
        return Verdict.UNAVAILABLE
    said = names | _words(message.get("status")) | _words(message.get("result"))
    no = (
        bool(error)
        or bool(said & _BAD)
        or "not" in said
        or any(message.get(field) is False for field in (*_FLAGS, "result"))
        or any(n is not None and (400 <= n < 500 or 4400 <= n < 4500) for n in numbers)
        or ((named_so or bool(texts)) and any(n is not None and n not in _GOOD_NUMBERS for n in numbers))
    )
    if not no:
        return None
    return Verdict.UNAVAILABLE if any(_PASSING.search(text) for text in texts) else Verdict.DENIED


def _judge_text(text: str, topic: Topic) -> Verdict | None:
    if len(text) > _LONGEST_TEXT:
        return None
    words = _words(text)
    if words & _BAD or ("not" in words and words & (_GOOD | topic.words)):
        return Verdict.UNAVAILABLE if _PASSING.search(text) else Verdict.DENIED
    return Verdict.CONFIRMED if words & (_GOOD | topic.done) else None


def _words(text: object) -> frozenset[str]:
    """The words of a name such as ``auth_ok``, ``login.failed`` or ``AuthenticationError``, in lower case."""
    return frozenset(word.lower() for word in _WORD.findall(text)) if isinstance(text, str) else frozenset()


def _number(value: object) -> int | None:
    if isinstance(value, str) and len(value) < 10 and value.isascii() and value.isdigit():
        return int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) else None


_NAMES: Final = ("type", "event", "op", "action", "method", "msg_type")
"""The fields in which a message says what it is."""

_FLAGS: Final = ("success", "ok", "authenticated", "authorized")

_NUMBERS: Final = ("code", "status", "retCode", "ret_code")

_TEXTS: Final = ("message", "msg", "reason", "ret_msg", "retMsg", "detail", "description")

_GENERIC: Final = frozenset({"response", "result", "reply", "ack", "status", "info"})

_GOOD: Final = frozenset({"ok", "success", "successful", "successfully", "succeeded", "accepted", "granted"})

_BAD: Final = frozenset(
    [
        "error",
        "errors",
        "err",
        "fail",
        "failed",
        "failure",
        "denied",
        "unauthorized",
        "unauthorised",
        "unauthenticated",
        "forbidden",
        "rejected",
        "refused",
        "invalid",
        "expired",
    ]
)

_GOOD_NUMBERS: Final = frozenset({0, *range(200, 300), 20000})

_PASSING_NUMBERS: Final = frozenset({408, 425, 429})
"""The statuses that ask for another attempt (RFC 9110, RFC 8470, RFC 6585)."""

_PASSING: Final = re.compile(
    r"rate.?limit|too many|busy|overload|unavailable|maintenance|try again|timed? ?out|throttl", re.IGNORECASE
)

_WORD: Final = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])")

_LONGEST_TEXT: Final = 200
"""Characters of a plain text that may be an answer. More is data."""
