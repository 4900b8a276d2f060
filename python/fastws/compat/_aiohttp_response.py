"""``ClientWebSocketResponse`` of aiohttp's: what is received and sent, and how it ends."""

from __future__ import annotations

import asyncio
import json as _json
import ssl
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Any, NamedTuple, Self, cast

import fastws
from fastws import errors

from . import _aiohttp_arguments as arguments
from ._aiohttp_errors import headers_of, worded
from ._aiohttp_types import (
    ClientConnectionResetError,
    ClientWSTimeout,
    ServerTimeoutError,
    WebSocketError,
    WSCloseCode,
    WSMessage,
    WSMessageTextBytes,
    WSMessageTypeError,
    WSMsgType,
    original,
)

__all__ = ["Answer", "ClientWebSocketResponse"]

_CLOSED = WSMessage(WSMsgType.CLOSED, None, None)
_CLOSING = WSMessage(WSMsgType.CLOSING, None, None)
_TEXT, _BINARY = WSMsgType.TEXT, WSMsgType.BINARY
_new: Any = tuple.__new__  # a third of the time that the class itself takes
_ENDS = frozenset({WSMsgType.CLOSE, WSMsgType.CLOSING, WSMsgType.CLOSED})

if TYPE_CHECKING or original is None:

    class _Response:
        pass

else:
    # So that isinstance() of programs holds; nothing of it is used.
    from aiohttp import ClientWebSocketResponse as _Response


class Answer(NamedTuple):
    """What the server said to the upgrade; ``headers`` is a ``CIMultiDictProxy`` where multidict is installed."""

    status: int
    reason: str
    headers: Any


class ClientWebSocketResponse(_Response):
    """A WebSocket, made by ``ws_connect``; by its methods aiohttp's.

    Attributes:
        connection: The ``fastws.Connection`` below: its counters, its ``latency``, its batches.
    """

    def __init__(
        self,
        connection: fastws.Connection,
        timeout: ClientWSTimeout,
        *,
        tls: tuple[ssl.SSLObject, ssl.SSLContext] | tuple[()] = (),
        autoclose: bool = True,
        autoping: bool = True,
        heartbeat: float | None = None,
        decode_text: bool = True,
    ) -> None:
        self.connection = connection
        self._timeout = timeout
        self._tls = tls
        self._autoclose = autoclose
        self._autoping = autoping
        self._is_plain = autoping and decode_text
        self._recv = connection.recv
        self._heartbeat = heartbeat
        self._decode_text = decode_text
        self._closed = False
        self._closing = False
        self._close_code: int | None = None
        self._exception: BaseException | None = None
        self._reader: asyncio.Task[Any] | None = None
        self._interrupted: asyncio.Future[None] | None = None
        self._when_closed: Callable[[], None] | None = None
        self._left_out_since: float | None = None
        self._pieces: list[bytes] = []
        self._opcode = 0

    @property
    def _response(self) -> Answer:
        """Programs look at its headers, by this name."""
        answer = self.connection.response
        assert answer is not None, "it was opened by an answer"
        return Answer(answer.status_code, answer.reason_phrase, headers_of(answer.headers.raw_items()))

    @property
    def closed(self) -> bool:
        """Whether ``close`` was called, or the connection is lost."""
        self._notice()
        return self._closed

    @property
    def close_code(self) -> int | None:
        """The peer's close code, 0 for a Close frame without one, 1006 for none; None while open."""
        self._notice()
        return self._close_code

    @property
    def protocol(self) -> str | None:
        """The subprotocol that the server chose."""
        return self.connection.subprotocol

    @property
    def compress(self) -> int:
        """The bits of the window that we compress with; 0: not compressed."""
        agreed = self.connection.compression
        return 0 if agreed is None else agreed.client_max_window_bits

    @property
    def client_notakeover(self) -> bool:
        """Whether our window is forgotten after each message."""
        agreed = self.connection.compression
        return agreed is not None and agreed.client_no_context_takeover

    def exception(self) -> BaseException | None:
        """What ended the connection, if it was an error of ours or of the network."""
        self._notice()
        return self._exception

    def _notice(self) -> None:
        """A peer that answered no heartbeat is known of without a ``receive``."""
        if self._heartbeat is None or self._closed:
            return
        info = self.connection.close_info
        if info is not None and isinstance(info.cause, errors.KeepaliveTimeout):
            self._silent(info.cause)

    def _silent(self, cause: errors.KeepaliveTimeout) -> None:
        assert self._heartbeat is not None
        self._closed, self._close_code = True, WSCloseCode.ABNORMAL_CLOSURE
        self._exception = ServerTimeoutError(f"No PONG received after {self._heartbeat / 2} seconds")
        self._exception.__cause__ = cause
        self.connection._abandon()  # whoever is silent answers no Close frame
        self._tell_closed()

    def _tell_closed(self) -> None:
        """The connection is over, and counts no longer."""
        if self._when_closed is not None:
            self._when_closed()

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """What is known of the connection, by the names of asyncio's transports; ``default`` once closed.

        These are ``"peername"``, ``"sockname"`` and ``"socket"``, and where Python's ``ssl`` does TLS, by a context of
        the caller's, ``"ssl_object"``, ``"sslcontext"``, ``"peercert"`` and ``"cipher"``.
        """
        from .websockets._transport import Transport

        if self._closed:
            return default
        return Transport(cast("Any", self.connection), *self._tls).get_extra_info(name, default)

    async def ping(self, message: str | bytes = b"") -> None:
        """Sends a Ping."""
        await self._sent(self.connection.ping, message)

    async def pong(self, message: str | bytes = b"") -> None:
        """Sends a Pong; nothing where the peer has closed meanwhile, as nobody waits for it."""
        if self._closed or self.connection.state is fastws.State.OPEN:
            await self._sent(self.connection.pong, message)

    async def send_str(self, data: str, compress: int | None = None) -> None:  # noqa: ARG002
        """Sends a text message. ``compress`` is the connection's affair and ignored."""
        if not isinstance(data, str):
            raise TypeError(f"data argument must be str ({type(data)!r})")
        await self._sent(self.connection.send, data)

    async def send_bytes(self, data: bytes | bytearray | memoryview, compress: int | None = None) -> None:  # noqa: ARG002
        """Sends a binary message. ``compress`` is the connection's affair and ignored."""
        if not isinstance(data, bytes | bytearray | memoryview):
            raise TypeError(f"data argument must be byte-ish ({type(data)!r})")
        await self._sent(self.connection.send, data)

    async def send_json(
        self, data: Any, compress: int | None = None, *, dumps: Callable[[Any], str] = _json.dumps
    ) -> None:
        """Sends JSON as text."""
        await self.send_str(dumps(data), compress)

    async def send_json_bytes(self, data: Any, compress: int | None = None, *, dumps: Callable[[Any], bytes]) -> None:
        """Sends what ``dumps`` makes of the data as a binary message."""
        await self.send_bytes(dumps(data), compress)

    async def send_frame(self, message: bytes, opcode: WSMsgType, compress: int | None = None) -> None:
        """Sends a message, a Ping or a Pong by its opcode."""
        match opcode:
            case WSMsgType.TEXT:
                await self._sent(self.connection.send, message, True)
            case WSMsgType.BINARY:
                await self.send_bytes(message, compress)
            case WSMsgType.PING:
                await self.ping(message)
            case WSMsgType.PONG:
                await self.pong(message)
            case _:
                raise ValueError(f"a message, a ping or a pong can be sent so, not {opcode!r}")

    async def _sent(self, send: Callable[..., Any], *arguments: Any) -> None:
        try:
            await send(*arguments)
        except errors.ConnectionClosed as error:
            if not self._is_left_out(error.info):
                raise ClientConnectionResetError("Cannot write to closing transport") from error
            await asyncio.sleep(0)  # so that who receives learns of it

    def _is_left_out(self, info: errors.CloseInfo) -> bool:
        """Whether nothing is said of what cannot be sent any more.

        That is so while aiohttp would still send it, to a peer that has closed and ignores it: as long as ``receive``
        has not given the Close frame, and the peer would wait for ours.
        """
        if self._closed or info.rcvd is None:
            return False
        now = asyncio.get_running_loop().time()
        if self._left_out_since is None:
            self._left_out_since = now
        return now - self._left_out_since < (self._timeout.ws_close or arguments.CLOSE_TIMEOUT)

    async def receive(self, timeout: float | None = None) -> WSMessage:
        """The next message, or what became of the connection: see ``WSMsgType``.

        Raises:
            TimeoutError: Nothing came within ``timeout`` seconds, or the connection's ``ws_receive``.
            RuntimeError: Another task is receiving.
        """
        if self._reader is not None:
            raise RuntimeError("Concurrent call to receive() is not allowed")
        if self._closed:
            return _CLOSED
        if self._closing:
            await self.close()
            return _CLOSED
        limit = timeout or self._timeout.ws_receive
        task = self._reader = asyncio.current_task()
        assert task is not None
        cancellations = task.cancelling()
        try:
            if limit:
                async with asyncio.timeout(limit):
                    return await self._next()
            if not self._is_plain:
                return await self._next()
            # The same as _next(), without a coroutine of its own for each message.
            message = await self._recv()
            received: WSMessage = _new(WSMessage, (_TEXT if type(message) is str else _BINARY, message, ""))
            return received  # noqa: TRY300
        except asyncio.CancelledError:
            if self._interrupted is not None and task.uncancel() <= cancellations:
                return _CLOSED if self._closed else _CLOSING
            self._close_code = WSCloseCode.ABNORMAL_CLOSURE
            raise
        except errors.ConnectionClosed as error:
            ended = error
        except TimeoutError:
            self._close_code = WSCloseCode.ABNORMAL_CLOSURE
            raise
        finally:
            self._reader = None
            if self._interrupted is not None and not self._interrupted.done():
                self._interrupted.set_result(None)
        return await self._over(ended)

    async def _next(self) -> WSMessage:
        if not self._autoping:
            return await self._next_frame()
        message = await self.connection.recv()
        if type(message) is str:
            return self._text(message if self._decode_text else message.encode())
        return WSMessage(WSMsgType.BINARY, message, "")

    async def _next_frame(self) -> WSMessage:
        """The next message of what comes frame by frame. What was joined so far survives a cancellation."""
        while True:
            frame: Any = await self.connection.recv()
            opcode, fin, _, payload = frame
            if opcode in (WSMsgType.PING, WSMsgType.PONG):
                return WSMessage(WSMsgType(opcode), payload, "")
            if opcode == WSMsgType.CLOSE:
                continue  # the next recv() says how it ended
            if opcode != WSMsgType.CONTINUATION:
                self._opcode = opcode
            self._pieces.append(payload)
            if not fin:
                continue
            data, kind = b"".join(self._pieces), WSMsgType(self._opcode)
            self._pieces.clear()
            if kind is WSMsgType.TEXT:
                try:
                    return self._text(data.decode() if self._decode_text else data)
                except UnicodeDecodeError as error:
                    return await self._failed(WebSocketError(WSCloseCode.INVALID_TEXT, str(error)))
            return WSMessage(kind, data, "")

    def _text(self, data: str | bytes) -> WSMessage:
        if self._decode_text:
            return WSMessage(WSMsgType.TEXT, data, "")
        return cast("WSMessage", WSMessageTextBytes(WSMsgType.TEXT, data, ""))

    async def _over(self, error: errors.ConnectionClosed) -> WSMessage:
        """What the end of the connection is to its reader."""
        info = error.info
        if isinstance(info.cause, errors.KeepaliveTimeout):
            self._silent(info.cause)
            return WSMessage(WSMsgType.ERROR, self._exception, None)
        if info.rcvd is not None:
            self._closing = True
            self._close_code = _seen(info.rcvd.code)
            if self._autoclose:
                await self.close()
            return WSMessage(WSMsgType.CLOSE, self._close_code, info.rcvd.reason)
        if isinstance(info.cause, errors.ProtocolError):
            code = WSCloseCode.PROTOCOL_ERROR if info.sent is None else _named(info.sent.code)
            return await self._failed(WebSocketError(code, worded(str(info.cause))))
        self._closed, self._close_code = True, WSCloseCode.ABNORMAL_CLOSURE
        self._exception = _lost(self.connection)
        self._tell_closed()
        return _CLOSED

    async def _failed(self, error: WebSocketError) -> WSMessage:
        self._closed, self._close_code = True, error.code
        try:
            await self.connection.close(error.code)
        finally:
            self._tell_closed()
        return WSMessage(WSMsgType.ERROR, error, None)

    async def receive_str(self, *, timeout: float | None = None) -> Any:
        """The next message, which is text; WSMessageTypeError otherwise."""
        return await self._of_type(WSMsgType.TEXT, timeout)

    async def receive_bytes(self, *, timeout: float | None = None) -> Any:
        """The next message, which is binary; WSMessageTypeError otherwise."""
        return await self._of_type(WSMsgType.BINARY, timeout)

    async def receive_json(self, *, loads: Callable[[Any], Any] = _json.loads, timeout: float | None = None) -> Any:
        """The next message, which is text, parsed; WSMessageTypeError otherwise."""
        return loads(await self._of_type(WSMsgType.TEXT, timeout))

    async def _of_type(self, wanted: WSMsgType, timeout: float | None) -> Any:
        message = await self.receive(timeout)
        if message.type is not wanted:
            raise WSMessageTypeError(f"Received message {message.type}:{message.data!r} is not WSMsgType.{wanted.name}")
        return message.data

    async def close(self, *, code: int = WSCloseCode.OK, message: str | bytes = b"") -> bool:
        """Closes the connection; a ``receive`` that waits gets CLOSING. False if it was closed already.

        What goes wrong is told by ``exception``. A code that may not be sent (RFC 6455 §7.4.1), such as 1005, ends TCP
        without a Close frame.
        """
        if self._reader is not None and not self._closing:
            self._closing = True
            self._interrupted = asyncio.get_running_loop().create_future()
            self._reader.cancel()
            await self._interrupted
        if self._closed:
            return False
        self._closed = True
        try:
            await self.connection.close(code, message if isinstance(message, str) else bytes(message).decode())
        except asyncio.CancelledError:
            self._close_code = WSCloseCode.ABNORMAL_CLOSURE
            raise
        except (ValueError, TypeError) as error:  # what cannot be sent
            self._close_code, self._exception = WSCloseCode.ABNORMAL_CLOSURE, error
            self.connection._abandon()
            return True
        finally:
            self._tell_closed()
        info = self.connection.close_info
        if info is not None and info.rcvd is not None:
            self._close_code = _seen(info.rcvd.code)
        elif not self._close_code:
            self._close_code = WSCloseCode.ABNORMAL_CLOSURE
            self._exception = _lost(self.connection)
        return True

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> WSMessage:
        message = await self.receive()
        kind = message[0]
        if kind is not _TEXT and kind is not _BINARY and kind in _ENDS:
            raise StopAsyncIteration
        return message

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    def __repr__(self) -> str:
        return f"<fastws.compat.aiohttp.ClientWebSocketResponse of {self.connection!r}>"


def _lost(connection: fastws.Connection) -> Exception:
    """What ``exception`` gives where the peer sent no Close frame."""
    info = connection.close_info
    if connection._close_info[5] == "close_timeout":
        made: Exception = TimeoutError("the peer did not answer the Close frame")
    else:
        made = ClientConnectionResetError("Cannot write to closing transport")
    made.__cause__ = None if info is None else info.cause
    return made


def _named(code: int) -> int:
    """The close code as a ``WSCloseCode``, if it is one."""
    return WSCloseCode(code) if code in list(WSCloseCode) else code


def _seen(code: int) -> int:
    """A close code as aiohttp has it: 0 where the frame had none."""
    return 0 if code == 1005 else code
