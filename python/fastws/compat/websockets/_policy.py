"""What a connection of the drop-in raises: the table that the native class asks, see ``fastws._policy``."""

from __future__ import annotations

import re
from collections.abc import AsyncIterable, AsyncIterator, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from fastws._policy import _when_room as when_room
from fastws._policy import (
    drained,
    has_listener,
    has_streams,
    no_room,
    open_failed,
    send_when_room,
    wrong_loop,
    wrong_thread,
)
from fastws.compat._wording import Wording

from .datastructures import Headers
from .exceptions import (
    ConcurrencyError,
    ConnectionClosed,
    ConnectionClosedError,
    ConnectionClosedOK,
    PayloadTooBig,
    ProtocolError,
)
from .frames import OK_CLOSE_CODES, Close, CloseCode
from .http11 import Request, Response
from .typing import BytesLike

if TYPE_CHECKING:
    from fastws._core import _Native

    from .asyncio.connection import Connection

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
    "request",
    "response",
    "send_other",
    "send_when_room",
    "tapped",
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


def closed(ws: _Native) -> ConnectionClosed:
    """The exception of reading from or sending on a connection that is closed or closing."""
    code, reason, sent_code, sent_reason, initiator, kind, text = ws._close_info
    rcvd = None if code is None else Close(code, reason or "")
    sent = None if sent_code is None else Close(sent_code, sent_reason or "")
    if sent in _GIVEN_UP:
        rcvd = None  # what comes behind a failure does not count, RFC 6455 §7.1.7
    if kind == "keepalive":
        sent = Close(CloseCode.INTERNAL_ERROR, "keepalive ping timeout")  # the verdict is the cause
    clean = rcvd is not None and sent is not None and rcvd.code in OK_CLOSE_CODES and sent.code in OK_CLOSE_CODES
    made = ConnectionClosedOK if clean else ConnectionClosedError
    error = made(rcvd, sent, initiator == "remote" if rcvd is not None and sent is not None else None)
    error.__cause__ = ws._listener_error or _cause(kind, text or "")
    return error


_GIVEN_UP = (
    Close(CloseCode.INTERNAL_ERROR, "error in fragmented message"),
    Close(CloseCode.INTERNAL_ERROR, "close during fragmented message"),
)


def _cause(kind: str | None, text: str) -> Exception | None:
    match kind:
        case "protocol":
            return ProtocolError(text)
        case "limit":
            return _too_big(worded(text))
        case "eof" | "truncated":
            return EOFError(text)
        case "keepalive":
            return TimeoutError(text)
        case "close_timeout":
            return TimeoutError("timed out while closing connection")
        case "transport":
            return ConnectionResetError(text)
        case "aborted":
            return ConnectionAbortedError(text)
    return None


def _too_big(text: str) -> Exception:
    numbers = [int(number) for number in re.findall(r"(\d+) bytes", text)]
    if len(numbers) != 2 or "over the limit of" not in text:
        return ProtocolError(text)
    try:
        return PayloadTooBig(*numbers)
    except TypeError:  # that of releases before 14 takes a text
        return PayloadTooBig(text)


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
    start, *lines = data.decode("utf-8").split("\r\n")
    headers = Headers()
    for name, _, value in (line.partition(":") for line in lines if line):
        headers[name] = value.strip()
    return Request(start.split(" ")[1], headers)


def response(ws: _Native) -> Response | None:
    """The server's answer to the upgrade."""
    answer = ws._response
    if answer is None:
        return None
    status, reason, fields, body = answer
    return Response(status, reason, headers_of(fields), body)


def headers_of(fields: Iterable[tuple[str, str]]) -> Headers:
    """Header fields of the peer's, which are taken as they are."""
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


async def send_failed(error: BaseException) -> None:
    """``send`` of a connection that is closed: raised by the ``await``, so that ``gather`` of many sends goes on."""
    raise error


async def send_other(
    ws: Connection,
    message: object,
    text: bool | None,
    _timeout: float | None,
) -> None:
    """``send`` of what is neither str nor bytes-like: a message in fragments (RFC 6455 §5.4)."""
    match message:
        case Mapping():
            raise TypeError("data is a dict-like object")
        case Iterable():
            await _send_fragments(ws, _as_async(message), text, "iterable")
        case AsyncIterable():
            await _send_fragments(ws, message, text, "async iterable")
        case _:
            raise TypeError("data must be str, bytes, iterable, or async iterable")


async def _as_async(items: Iterable[object]) -> AsyncIterator[object]:
    for item in items:
        yield item


async def _send_fragments(ws: Connection, pieces: AsyncIterable[object], text: bool | None, kind: str) -> None:
    """Each piece leaves as it comes; an empty one ends the message, as nobody knows before that it was the last."""
    begun: type[Any] | tuple[type[Any], ...] = ()
    try:
        async for piece in pieces:
            if not begun:
                begun = str if isinstance(piece, str) else (bytes, bytearray, memoryview)
                if not isinstance(piece, begun):
                    begun = ()
                    raise TypeError(f"{kind} must contain bytes or str")
                await _begin(ws, piece, text)
            elif not isinstance(piece, begun):
                raise TypeError(f"{kind} must contain uniform types")
            else:
                await _go_on(ws, piece, text, fin=False)
        if begun:
            await _go_on(ws, "" if begun is str else b"", text, fin=True)
    except BaseException:
        if begun:
            # The message cannot be finished, and no other may begin: the connection is of no more use.
            ws._close(CloseCode.INTERNAL_ERROR, "error in fragmented message")
        raise
    finally:
        if begun:
            ws._wake_room()


async def _begin(ws: Connection, piece: Any, text: bool | None) -> None:
    # The message begins when those who wait for room already have had theirs.
    if not (ws._may_begin() and ws._try_send(piece, text, fin=False)):
        await when_room(ws, lambda: not ws._is_sending_fragments() and ws._try_send(piece, text, fin=False))
    await _drain(ws)


async def _go_on(ws: Connection, piece: str | BytesLike, text: bool | None, *, fin: bool) -> None:
    while not ws._try_send(piece, text, fin):
        await ws._drain_future(again=True)
    await _drain(ws)


async def _drain(ws: Connection) -> None:
    if ws._stats()["send_queue_bytes"] > ws._write_limit:
        await ws._drain_future()
