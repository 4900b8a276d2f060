"""What a connection of the drop-in raises: the table that the native class asks, see ``fastws._policy``."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from fastws._policy import _when_room as when_room
from fastws._policy import (
    drained,
    has_listener,
    has_streams,
    no_room,
    not_finished,
    open_failed,
    send_at_home,
    send_when_room,
    wrong_loop,
    wrong_thread,
)
from fastws.compat._wording import Wording

from ._fragments import Fragments, as_async
from .datastructures import Headers
from .exceptions import (
    ConcurrencyError,
    ConnectionClosed,
    ConnectionClosedError,
    ConnectionClosedOK,
    PayloadTooBig,
    ProtocolError,
    TooManyFragments,
)
from .frames import OK_CLOSE_CODES, Close, CloseCode
from .http11 import Request, Response
from .protocol import CLOSING

if TYPE_CHECKING:
    from fastws._core import _Native

    from .asyncio.connection import Connection

    class Accept(Protocol):
        """Returns when the send queue has taken a piece."""

        async def __call__(self, piece: Any, *, begins: bool, fin: bool) -> None: ...


__all__ = [
    "closed",
    "concurrent",
    "concurrent_streaming",
    "drained",
    "has_listener",
    "has_streams",
    "iteration_over",
    "misuse",
    "no_room",
    "not_sendable",
    "open_failed",
    "received",
    "request",
    "response",
    "send_at_home",
    "send_other",
    "send_when_room",
    "tapped",
    "too_big",
    "worded",
    "wrong_loop",
    "wrong_thread",
]

_ROOTS = "ssl=ssl.create_default_context(cafile=...)"
_IDENTITY = "ssl= with a context after load_cert_chain(...)"

worded = Wording(
    {"max_size": "max_size", "max_frame_size": "max_size"},
    tls={"ca": _ROOTS, "certificate": _IDENTITY},
    proxy_tls={"ca": f"proxy_{_ROOTS}", "certificate": f"proxy_{_IDENTITY}"},
)
"""Our texts by the arguments of ``connect``."""


def received(ws: Any) -> Close | None:
    """The Close frame received. What comes behind a failure of ours does not count, RFC 6455 §7.1.7."""
    code, reason = ws._close_info[:2]
    return None if code is None or ws.protocol.given_up is not None else Close(code, reason or "")


def closed(ws: Any) -> ConnectionClosed:
    """The exception of reading from or sending on a connection that is closed or closing."""
    _, _, sent_code, sent_reason, initiator, kind, text = ws._close_info
    rcvd = received(ws)
    sent = None if sent_code is None else Close(sent_code, sent_reason or "")
    given_up, fault = ws.protocol.given_up or (None, None)
    if ws.protocol.given_up is not None and initiator != "local":
        sent = given_up  # the peer's Close, or the end, was read ahead of what failed
    if kind == "keepalive":
        sent = Close(CloseCode.INTERNAL_ERROR, "keepalive ping timeout")  # the verdict is the cause
    clean = rcvd is not None and sent is not None and rcvd.code in OK_CLOSE_CODES and sent.code in OK_CLOSE_CODES
    made = ConnectionClosedOK if clean else ConnectionClosedError
    error = made(rcvd, sent, initiator == "remote" if rcvd is not None and sent is not None else None)
    error.__cause__ = ws._listener_error or fault or _cause(ws, kind, text or "")
    return error


def _cause(ws: _Native, kind: str | None, text: str) -> Exception | None:
    match kind:
        case "protocol" | "masked":
            return ProtocolError(text)
        case "utf8":
            at = ws._not_utf8_at or 0
            return UnicodeDecodeError("utf-8", b"", at, at + 1, text)  # what came is not kept
        case "limit":
            return _over_limit(ws, worded(text))
        case "eof" | "truncated":
            return EOFError(text)
        case "keepalive":
            return TimeoutError(text)
        case "close_timeout":
            return TimeoutError("timed out while closing connection")
        case "transport":
            return _lost(ws._errno, text)
        case "aborted":
            return ConnectionAbortedError(text)
    return None


def _over_limit(ws: Any, text: str) -> Exception:
    """What is over a limit of ours."""
    setting: str | None
    setting, size, before, limit = ws._limit or (None, 0, 0, 0)
    match setting:
        case "max_fragments":
            return TooManyFragments(limit)
        case "max_size":
            return too_big(size - before, ws.protocol.max_message_size, before, text)
        case "max_frame_size":
            terms = ws.protocol
            allowed = terms.max_message_size if terms.max_fragment_size is None else terms.max_fragment_size
            return too_big(size, allowed, 0, text)
    return ProtocolError(text)


def too_big(size: int, limit: int, before: int, text: str) -> PayloadTooBig:
    """A frame of this size is over the limit of its message, ``before`` bytes of which are there."""
    if not hasattr(PayloadTooBig, "set_current_size"):  # before release 14 it has a text
        return PayloadTooBig(text)
    return PayloadTooBig(size, limit - before, before or None)


def _lost(number: int | None, text: str) -> OSError:
    """The system's error of that number; without one it is of TLS, or of a transport."""
    return ConnectionResetError(text) if number is None else OSError(number, os.strerror(number))


def iteration_over(ws: _Native) -> Exception:
    """What ends ``async for``: a clean end ends it, any other is raised."""
    error = closed(ws)
    return StopAsyncIteration() if isinstance(error, ConnectionClosedOK) else error


def concurrent() -> Exception:
    """Two readers at once."""
    return ConcurrencyError("cannot call recv while another coroutine is already running recv or recv_streaming")


def concurrent_streaming() -> Exception:
    """Two readers at once, of which this one wants pieces."""
    return ConcurrencyError(
        "cannot call recv_streaming while another coroutine is already running recv or recv_streaming"
    )


def misuse(kind: str, text: str) -> Exception:
    """What the protocol or the connection's state does not allow."""
    return ConcurrencyError(text) if kind == "fragment" else ProtocolError(text)


def not_sendable(message: object) -> Exception:
    """A message of a type that cannot be sent."""
    if isinstance(message, Mapping):
        return TypeError("data is a dict-like object")
    return TypeError(f"data must be str or bytes, not {type(message).__name__}")


def request(ws: _Native) -> Request | None:
    """The upgrade request as it was sent."""
    data = ws._request
    if data is None:
        return None
    start, *lines = data.decode("iso-8859-1").split("\r\n")
    fields = (line.partition(":") for line in lines if line)
    return Request(start.split(" ")[1], headers_of((name, value.strip()) for name, _, value in fields))


def response(ws: _Native) -> Response | None:
    """The server's answer to the upgrade."""
    answer = ws._response
    if answer is None:
        return None
    status, reason, fields, body = answer
    return Response(status, reason, headers_of(fields), body)


def headers_of(fields: Iterable[tuple[str, str]]) -> Headers:
    """Header fields that were sent or received, which are taken as they are."""
    headers = Headers()
    add = getattr(headers, "set_insecure", headers.__setitem__)  # added in release 17
    for name, value in fields:
        add(name, value)
    return headers


def tapped(ws: Any, spans: Sequence[tuple[bool, bytes]]) -> None:
    """Bytes passed, and the logger wants DEBUG: see ``Narrator.tell``."""
    narrator = ws.protocol.narrator
    if narrator is not None:
        narrator.tell(ws.logger, spans)


async def ended(ws: Connection) -> ConnectionClosed:
    """The exception of sending on a connection that is closing, or closed. It says how, so the end is waited for."""
    if ws.state is CLOSING:
        await ws._closed()
    return closed(ws)


async def send_failed(ws: Connection, error: BaseException) -> None:
    """``send`` of a connection that is closed: raised by the ``await``, so that ``gather`` of many sends goes on."""
    if isinstance(error, ConnectionClosed):
        raise await ended(ws)
    raise error


async def send_other(ws: Connection, message: object, text: bool | None, timeout: float | None) -> None:  # noqa: ASYNC109
    """``send`` of what is neither str nor bytes-like: a message in fragments (RFC 6455 §5.4)."""

    async def accept(piece: Any, *, begins: bool, fin: bool) -> None:
        if not begins:
            while not ws._try_send(piece, text, fin):
                await ws._drain_future(again=True)
        # The message begins when those who wait for room already have had theirs.
        elif not (ws._may_begin() and ws._try_send(piece, text, fin)):
            await when_room(ws, lambda: not ws._is_sending_fragments() and ws._try_send(piece, text, fin))

    try:
        await send_fragments(ws, message, timeout, accept)
    finally:
        ws._wake_room()


async def send_fragments(ws: Connection, message: object, timeout: float | None, accept: Accept) -> None:  # noqa: ASYNC109
    """A message in fragments, each of which ``accept`` is given as it comes: the whole takes ``timeout`` at most."""
    if isinstance(message, Mapping):
        raise not_sendable(message)
    if not isinstance(message, Iterable | AsyncIterable):
        raise TypeError("data must be str, bytes, iterable, or async iterable")
    fragments = Fragments(ws, "iterable" if isinstance(message, Iterable) else "async iterable")

    async def put(piece: object, *, fin: bool) -> None:
        try:
            await accept(piece, begins=not fragments.has_begun, fin=fin)
        except ConnectionClosed:
            error = await ended(ws)
            raise error from error.__cause__
        fragments.has_begun = not fin

    limit = asyncio.timeout(timeout)
    try:
        with fragments:
            async with limit:
                async for piece in as_async(message):
                    fragments.check(piece)
                    await put(piece, fin=False)
                    await drain(ws)
                if not fragments.has_begun:
                    return
                await put(fragments.last, fin=True)
    except TimeoutError as error:
        if timeout is None or not limit.expired():
            await _over(ws, fragments)
            raise
        raise not_finished(timeout, begun=fragments.has_begun) from error
    except Exception:
        await _over(ws, fragments)
        raise
    # All of it was accepted: that the peer is slow to take it is no error.
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout_at(limit.when()):
            await drain(ws)


async def _over(ws: Connection, fragments: Fragments) -> None:
    """Waits for the end, where a message cannot be finished: who hears of it finds the connection closed."""
    if fragments.has_failed:
        await ws._closed()


async def drain(ws: Connection) -> None:
    """Waits while more waits to be sent than ``write_limit`` says."""
    if ws._is_above_write_limit:
        await ws._drain_future()
