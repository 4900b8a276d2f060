"""What Python decides for a native connection: its exceptions, and everything about sending that may wait.

The native class calls these by name, and only off the message path. Compatibility layers bring a module of their own.
"""

from __future__ import annotations

import asyncio
import codecs
import contextlib
import copy
import os
import threading
import warnings
from collections.abc import AsyncIterable, Coroutine, Generator, Iterable, Mapping
from collections.abc import Set as AbstractSet
from typing import TYPE_CHECKING, Any, Literal, NoReturn

from . import _tls_words, dial, errors, markers
from .http import Headers, Response
from .redact import printable, redact_uri

if TYPE_CHECKING:
    from ._core import _Native as AnyConnection
    from .connection import Connection
    from .streams import Stream

OK_CODES = frozenset({1000, 1001, 1005})


def close_info(ws: AnyConnection) -> errors.CloseInfo:
    """How ``ws`` ended, as far as is known."""
    received, reason, sent, sent_reason, initiator, kind, text = ws._close_info
    return errors.CloseInfo(
        code=received if received is not None else 1006,
        reason=reason or "",
        initiator=initiator,
        cause=_cause(ws, kind, text),
        rcvd=errors.Close(received, reason or "") if received is not None else None,
        sent=errors.Close(sent, sent_reason or "") if sent is not None else None,
    )


def _cause(ws: AnyConnection, kind: str | None, text: str | None) -> errors.FastwsError | None:
    error = ws._listener_error
    if error is not None:
        cause = errors.FastwsError(f"a listener's callback raised {error!r}")
        cause.__cause__ = error
        return cause
    return _CAUSES.get(kind, errors.FastwsError)(text) if kind is not None else None


def closed(ws: AnyConnection) -> errors.ConnectionClosed:
    """The exception of reading from or sending on a connection that is closed or closing."""
    error = closed_by(close_info(ws))
    error.__cause__ = ws._listener_error or error.info.cause
    return error


def closed_by(info: errors.CloseInfo) -> errors.ConnectionClosed:
    """The exception of a connection that ended so."""
    clean = (
        info.cause is None
        and (info.rcvd is None or info.rcvd.code in OK_CODES)
        and (info.sent is None or info.sent.code in OK_CODES)
        and (info.rcvd is not None or info.sent is not None)
    )
    error = errors.ConnectionClosedOK(info) if clean else errors.ConnectionClosedError(info)
    error.__cause__ = info.cause
    return error


def iteration_over(ws: Connection) -> Exception:
    """What ends ``async for``: a clean end ends it, any other is raised."""
    error = closed(ws)
    return StopAsyncIteration() if isinstance(error, errors.ConnectionClosedOK) else error


def wrong_thread(ident: int, what: Literal["connection", "client"] = "connection") -> Exception:
    """A call from another thread than that of the connection's, or the client's, loop."""
    owner = next((repr(thread.name) for thread in threading.enumerate() if thread.ident == ident), "that has ended")
    return RuntimeError(
        f"this {what} belongs to the event loop of the thread {owner}, and this is the thread "
        f"{threading.current_thread().name!r}; from here use `{what}.send_threadsafe(...)`, or for the rest "
        "`loop.call_soon_threadsafe(...)` and `asyncio.run_coroutine_threadsafe(...)`"
    )


def wrong_loop(loop: asyncio.AbstractEventLoop, what: Literal["connection", "client"] = "connection") -> Exception:
    """A call in another event loop than the connection's, or the client's, or after that one was closed."""
    return RuntimeError(
        f"this {what} belongs to the event loop {loop!r}, which "
        + ("is closed" if loop.is_closed() else "is not the one that runs here; let it do the call")
    )


def concurrent() -> Exception:
    """Two readers at once."""
    return errors.ConcurrencyError(
        "another task is already waiting for a message of this connection; let one task read and pass messages on"
    )


def has_listener() -> Exception:
    """A reader where a listener takes the messages."""
    return errors.ConcurrencyError("this connection's messages go to its listener; recv() and iteration are not for it")


def has_streams() -> Exception:
    """A reader where a client's streams take the messages."""
    return errors.ConcurrencyError("this connection's messages go to the streams of its client; read those")


def receives_nothing() -> Exception:
    """A stream of a client that keeps no messages."""
    return errors.ConfigError(
        "a client with receive=False has no streams: what it receives goes; leave receive= away to read it",
        field="receive",
    )


def concurrent_stream() -> Exception:
    """Two readers of a stream at once."""
    return errors.ConcurrencyError(
        "another task is already waiting for a message of this stream; make a stream for each task"
    )


def overflow(stream: Stream[Any]) -> Exception:
    """A stream with ``policy="fail"`` was too slow."""
    return errors.SubscriberOverflow(f"{stream!r} was read too slowly: more waited than it may hold; it was detached")


def stream_closed() -> Exception:
    """A stream that was closed is read."""
    return errors.ReceiveError("this stream was closed")


def stream_over() -> Exception:
    """A stream is read after a client was shut down and everything was given."""
    return errors.ClientStopped("the client was shut down, and every message was given")


def stream_failed(error: BaseException) -> BaseException:
    """The end of a client, for a reader of one of its streams: each has an exception, and a traceback, of its own."""
    try:
        own = copy.copy(error)
    except Exception:  # noqa: BLE001 - a class of the user's that cannot be copied
        own = error
    if type(own) is not type(error):
        own = error
    own.__cause__, own.__suppress_context__ = error.__cause__, True
    return own.with_traceback(None)


def decode_error(error: BaseException, data: bytes, generation: int, received_ns: int) -> BaseException:
    """``decode`` of a stream failed on a message. What ends the program is raised as it is."""
    if not isinstance(error, Exception):
        return error
    failed = errors.DecodeError(data, generation, received_ns)
    failed.__cause__ = error
    return failed


def dropped(count: int, first_seq: int, last_seq: int, generation: int) -> markers.Dropped:
    """The marker of messages that a stream lost."""
    return markers.Dropped(count=count, first_seq=first_seq, last_seq=last_seq, generation=generation)


def misuse(kind: str, text: str) -> Exception:
    """What the protocol or the connection's state does not allow."""
    match kind:
        case "queue_full":
            return errors.SendQueueFull(f"{text}; the peer takes data more slowly than it is sent")
        case "fragment":
            return errors.ConcurrencyError(text)
        case _:
            return ValueError(text)


def not_sendable(message: object) -> Exception:
    """A message of a type that cannot be sent."""
    if isinstance(message, Mapping):
        return TypeError("a dict cannot be sent; use send_json()")
    if isinstance(message, AbstractSet):
        return TypeError("a set has no order to be sent in; use a list")
    return TypeError(f"a message is str or bytes-like, not {type(message).__name__}")


def open_failed(ws: AnyConnection, phase: str, kind: Literal["status"] | errors.UpgradeFault, text: str) -> Exception:
    """The exception of a connection that did not open."""
    uri = ws.uri
    tls = _tls_words.while_opening(phase, text)
    match phase, kind:
        case "tcp", _:
            number = ws._errno
            why = text if number is None else dial.reason(OSError(number, os.strerror(number)))
            return errors.DialError(why, uri=uri, phase="tcp", errno=number)
        case _ if tls is not None:
            said = f"{uri}: TLS handshake failed: {tls.reason}"
            if tls.fault is not None:
                return errors.CertificateError(said, uri=uri, fault=tls.fault)
            return errors.TlsError(said, uri=uri, lost=tls.lost)
        case _, "status":
            answer = response(ws)
            assert answer is not None
            line = f"HTTP {answer.status_code} {answer.reason_phrase}".rstrip()
            line += "".join(f" to {redact_uri(place)}" for place in answer.headers.get_all("Location"))
            line += _excerpt(answer.body)
            return errors.InvalidStatus(
                f"{uri}: the server refused the upgrade: {printable(line)}", uri=uri, response=answer
            )
        case _:
            said = text or "the connection was given up"
            if kind == "lost" and uri.startswith("ws:") and not ws._stats()["bytes_received"]:
                said += "; if the port speaks TLS, use wss://"
            return errors.InvalidHandshake(f"{uri}: {said}", uri=uri, response=response(ws), fault=kind)


def response(ws: AnyConnection) -> Response | None:
    """The server's answer to the upgrade."""
    if ws._response is None:
        return None
    status, reason, headers, body = ws._response
    return Response(status, reason, Headers(headers), body)


def send_failed(_ws: Connection, error: BaseException) -> NoReturn:
    """``send`` accepted nothing: its call says so. A drop-in may let the ``await`` say it."""
    raise error


async def send_at_home(
    ws: Connection,
    message: Any,
    text: bool | None,
    timeout: float | None,  # noqa: ASYNC109 - that of send()
    compress: bool | None,
) -> None:
    """``send`` that another thread called, for the connection's loop to await."""
    ws._is_sending_fragments()  # raises in a thread or a process that is not the connection's
    await ws.send(message, text, timeout=timeout, compress=compress)


def send_other(ws: Connection, message: object, text: bool | None, timeout: float | None) -> Coroutine[Any, Any, None]:
    """``send`` of what is neither str nor bytes-like: a message in fragments."""
    ws._is_sending_fragments()  # raises in a thread or a process that is not the connection's
    if isinstance(message, Mapping | AbstractSet):
        raise not_sendable(message)
    if isinstance(message, AsyncIterable):
        return _send_fragments(ws, message, text, timeout)
    if isinstance(message, Iterable):
        return _send_fragments(ws, _as_async(message), text, timeout)
    raise TypeError(
        f"a message is str, bytes-like, an iterable or an async iterable of them, not {type(message).__name__}"
    )


class Fragments:
    """A message that is sent in fragments (RFC 6455 §5.4), each when the next is known: the last one must say it is."""

    __slots__ = ("_decoder", "_kept")

    def __init__(self, text: bool | None) -> None:
        self._kept: Any = None
        # A character may lie across a cut.
        self._decoder = codecs.getincrementaldecoder("utf-8")() if text else None

    def add(self, piece: object) -> Any:
        """Takes the next one; returns the one before it, which is not the last, or None."""
        if not isinstance(piece, str | bytes | bytearray | memoryview):
            raise TypeError(f"a fragment is str or bytes-like, not {type(piece).__name__}")
        if self._decoder is not None and not isinstance(piece, str):
            self._decoder.decode(piece)
        kept, self._kept = self._kept, piece
        if kept is not None and isinstance(kept, str) is not isinstance(piece, str):
            raise TypeError("all fragments of a message must be of one type, str or bytes-like")
        return kept

    def last(self) -> Any:
        """The last one, or None if there was none."""
        if self._kept is not None and self._decoder is not None:
            self._decoder.decode(b"", final=True)
        return self._kept


def not_finished(timeout: float | None, *, begun: bool) -> TimeoutError:
    """A message in fragments was not sent in time."""
    part = "a part of the message was, so the connection is closed" if begun else "nothing of the message was"
    return TimeoutError(f"not sent within {timeout:g} s: {part}")


def no_room(ws: AnyConnection, timeout: float | None) -> TimeoutError:
    """The send queue was full for so long: nothing was accepted."""
    stats = ws._stats()
    return TimeoutError(
        f"not sent: the send queue had no room within {timeout:g} s "
        f"({stats['send_queue_messages']} messages, {stats['send_queue_bytes']} bytes wait); "
        "the peer takes data more slowly than it is sent"
    )


def late(ws: AnyConnection) -> TimeoutError:
    """A message was accepted, not all of it left in time, and nobody sends the rest before the next call."""
    left = ws._stats()["send_queue_bytes"]
    return TimeoutError(
        f"accepted, but not all sent in time: {left} bytes wait, and leave with the next calls; with background=True "
        "they leave by themselves"
    )


async def _as_async(items: Iterable[object]) -> Any:
    for item in items:
        yield item


async def _send_fragments(
    ws: Connection,
    pieces: AsyncIterable[object],
    text: bool | None,
    timeout: float | None,  # noqa: ASYNC109 - that of send()
) -> None:
    """Sends a message in fragments."""
    fragments = Fragments(text)
    begun = False
    limit = asyncio.timeout(timeout)
    try:
        async with limit:
            async for piece in pieces:
                if (ready := fragments.add(piece)) is not None:
                    await _send_fragment(ws, ready, text, fin=False, begun=begun)
                    begun = True
            if (ready := fragments.last()) is None:
                return
            await _send_fragment(ws, ready, text, fin=True, begun=begun)
    except BaseException as error:
        if begun:
            # The message cannot be finished, and no other may begin: the connection is of no more use.
            with contextlib.suppress(RuntimeError):  # its loop may be gone
                ws._close(1011, "a message in fragments was given up")
        if isinstance(error, TimeoutError) and limit.expired():
            raise not_finished(timeout, begun=begun) from error
        raise
    finally:
        if begun:
            ws._wake_room()
    if ws._stats()["send_queue_bytes"] > ws._write_limit:
        # All of it was accepted: that the peer is slow to take it is no error.
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout_at(limit.when()):
                await ws._drain_future()


async def _send_fragment(ws: Connection, piece: Any, text: bool | None, *, fin: bool, begun: bool) -> None:
    if not begun:
        # The message begins when those who wait for room already have had theirs.
        if not (ws._may_begin() and ws._try_send(piece, text, fin)):
            await _when_room(ws, lambda: not ws._is_sending_fragments() and ws._try_send(piece, text, fin))
        return
    while not ws._try_send(piece, text, fin):
        await ws._drain_future(again=True)


async def _when_room(ws: Connection, attempt: Any) -> None:
    """Waits for our turn, first come first served, until ``attempt`` succeeds; then lets the next one try."""
    ws._waits_for_room(1)
    try:
        again = False
        while True:
            await ws._room_future(again)
            if attempt():
                return
            again = True
    finally:
        ws._waits_for_room(-1)
        ws._wake_room()


class _Sending(Coroutine[Any, Any, None]):
    """An awaitable of ``send`` that has something to wait for."""

    __slots__ = ("_inner", "_timeout", "_ws")

    __name__ = "Connection.send"  # how asyncio's log calls a task of it

    def __init__(self, ws: Connection, timeout: float | None) -> None:
        self._ws = ws
        self._timeout = timeout
        self._inner: Coroutine[Any, Any, None] | None = None

    def _run(self) -> Coroutine[Any, Any, None]:
        raise AssertionError

    def _started(self) -> Coroutine[Any, Any, None]:
        if self._inner is None:
            self._inner = self._run()
        return self._inner

    def __await__(self) -> Generator[Any, Any, None]:
        return self._started().__await__()

    def send(self, value: Any, /) -> Any:
        return self._started().send(value)

    def throw(self, typ: Any, val: Any = None, tb: Any = None, /) -> Any:
        if val is None and tb is None:
            return self._started().throw(typ)
        return self._started().throw(typ, val, tb)

    def close(self) -> None:
        if self._inner is not None:
            self._inner.close()


class drained(_Sending):
    """The message was accepted; awaiting this waits until the send queue is at its low-water mark.

    Or for the time that was given: the message leaves nevertheless, so that is no error.
    """

    __slots__ = ()

    async def _run(self) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._timeout):
                await self._ws._drain_future()


class send_when_room(_Sending):
    """The send queue is full: nothing was accepted. Awaiting this waits for room, first come first served."""

    __slots__ = ("_compress", "_message", "_text")

    def __init__(
        self, ws: Connection, message: Any, text: bool | None, timeout: float | None, compress: bool | None
    ) -> None:
        super().__init__(ws, timeout)
        self._message = message
        self._text = text
        self._compress = compress

    async def _run(self) -> None:
        try:
            async with asyncio.timeout(self._timeout):
                await _when_room(
                    self._ws, lambda: self._ws._try_send(self._message, self._text, compress=self._compress)
                )
        except TimeoutError as error:
            raise no_room(self._ws, self._timeout) from error

    def __del__(self) -> None:
        if self._inner is None:
            warnings.warn(
                f"a message of {len(self._message)} "
                f"{'characters' if isinstance(self._message, str) else 'bytes'} was not sent: the send queue was "
                "full and send() was not awaited",
                RuntimeWarning,
                stacklevel=2,
                source=self,
            )


def _excerpt(body: bytes) -> str:
    text = " ".join(body[:200].decode("utf-8", "replace").split())
    return f": {text}" if text and not text.startswith("<") else ""


_CAUSES: dict[str, type[errors.FastwsError]] = {
    "protocol": errors.ProtocolError,
    "utf8": errors.ProtocolError,
    "masked": errors.ProtocolError,
    "limit": errors.PayloadTooBig,
    "keepalive": errors.KeepaliveTimeout,
}
