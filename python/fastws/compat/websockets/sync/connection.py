"""A connection whose calls block, as ``websockets.sync.connection`` has it. Receiving and sending are native."""

from __future__ import annotations

import codecs
import contextlib
import logging
import random
import ssl
import threading
import uuid
import weakref
from collections.abc import Iterable, Iterator
from datetime import timedelta
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Self, overload

import fastws.sync
from fastws.compat.websockets._facade import Facade, MaxQueue
from fastws.compat.websockets._shared import Agreed, check_close, control_payload, extended
from fastws.compat.websockets.exceptions import ConcurrencyError, ConnectionClosed, ConnectionClosedOK
from fastws.compat.websockets.frames import CloseCode
from fastws.compat.websockets.protocol import State
from fastws.compat.websockets.typing import Data, DataLike, LoggerLike

from . import _policy
from ._modes import Sending, Streaming, class_for, concurrent_send
from ._policy import WRITE_LIMIT
from ._pong import PongReceived
from ._socket import BlockingSocket

__all__ = ["Connection"]

Seconds = float | timedelta | None


class _Own:
    """What Python has of one connection."""

    __slots__ = (
        "close_timeout",
        "kind",
        "lock",
        "logger",
        "modes",
        "ping_interval",
        "ping_timeout",
        "pings",
        "protocol",
        "server_hostname",
        "tls",
    )

    def __init__(self, kind: type[Connection], protocol: Facade) -> None:
        self.kind = kind
        self.modes: frozenset[type] = frozenset()
        self.lock = threading.RLock()  # a generator's end, which enters or leaves too, may come at any moment
        self.protocol = protocol
        self.tls: ssl.SSLObject | None = None
        self.server_hostname: str | None = None
        self.logger: LoggerLike
        self.pings: dict[bytes, PongReceived] = {}
        self.ping_interval: float | None
        self.ping_timeout: float | None
        self.close_timeout: float | None


class Connection(Agreed, fastws.sync.Connection):  # type: ignore[misc]  # its handshake is that of websockets
    """A WebSocket connection; ``connect`` makes the ones that clients have.

    ``recv``, ``send`` and iteration are those of ``fastws.sync.Connection``, and so is what it has beyond
    ``websockets``: ``batches``, ``cork``, ``send_many``, ``stats``.

    Args:
        sock: The socket, connected to the server.
        protocol: What the connection is to be.
        ping_interval: Seconds between keepalive pings; None for none.
        ping_timeout: Seconds that an answer may take; None for no limit.
        close_timeout: Seconds that the closing handshake may take; None for no limit.
        max_queue: Messages and fragments after which reading pauses, or a pair (high, low); None for no limit.
    """

    __slots__ = ("__dict__", "_own")

    _own: _Own
    _is_extended = False

    def __new__(
        cls,
        sock: Any,  # noqa: ARG004 - as in websockets; it was taken over
        protocol: Facade,
        *,
        ping_interval: float | None = 20,
        ping_timeout: float | None = 20,
        close_timeout: float | None = 10,
        max_queue: MaxQueue = 16,
        **_: Any,  # what a subclass takes besides
    ) -> Self:
        """Makes the native connection; ``__init__`` is for classes made of this one."""
        if not protocol.is_native and not cls._is_extended:
            cls = _extended(cls)  # noqa: PLW0642
        chosen = protocol.settings(
            ping_interval=ping_interval,
            ping_timeout=ping_timeout,
            close_timeout=close_timeout,
            max_queue=max_queue,
            write_limit=WRITE_LIMIT,
        )
        self = super().__new__(cls, _policy, chosen, True)
        own = self._own = _Own(cls, protocol)
        own.ping_interval, own.ping_timeout, own.close_timeout = ping_interval, ping_timeout, close_timeout
        protocol.tells_of(self)
        own.logger = logging.LoggerAdapter(protocol.logger, {"websocket": weakref.proxy(self)})
        return self

    def __init_subclass__(cls, **arguments: Any) -> None:
        """Iteration is by ``recv`` where a subclass has one of its own."""
        super().__init_subclass__(**arguments)
        if cls.recv is not Connection.recv and cls.__iter__ is Connection.__iter__:
            cls.__iter__ = _by_recv  # type: ignore[method-assign, assignment]

    def __init__(self, sock: Any, protocol: Facade, **arguments: Any) -> None:
        """Gets what ``__new__`` was given."""

    # What is known of it.

    @property
    def protocol(self) -> Facade:
        """State and terms. In ``websockets`` it also does the work, which is native here."""
        return self._own.protocol

    @property
    def id(self) -> uuid.UUID:
        """A name of the connection, for logs."""
        return self._own.protocol.id

    @property
    def logger(self) -> LoggerLike:
        """The logger; what is logged carries the connection as ``websocket``."""
        return self._own.logger

    @property
    def debug(self) -> bool:
        """Whether the logger wanted DEBUG when the connection was made."""
        return self._own.protocol.debug

    @property
    def socket(self) -> BlockingSocket:
        """The socket, for its options and addresses: bytes are not to be read from it or written to it."""
        return BlockingSocket(self, self._own.tls, self._own.server_hostname)

    @property
    def ping_interval(self) -> float | None:
        """Seconds between keepalive pings; None for none. It is set as the connection is made."""
        return self._own.ping_interval

    @property
    def ping_timeout(self) -> float | None:
        """Seconds that an answer to a ping may take; None for no limit. It is set as the connection is made."""
        return self._own.ping_timeout

    @property
    def close_timeout(self) -> float | None:
        """Seconds that the closing handshake may take; None for no limit. It is set as the connection is made."""
        return self._own.close_timeout

    @property
    def state(self) -> State:  # type: ignore[override]
        """The state."""
        return State[self._state.upper()]

    # Calls.

    if TYPE_CHECKING:
        # What they are is known by the arguments; the native methods are declared for more than one kind of message.
        @overload
        def recv(self, timeout: Seconds, decode: Literal[True]) -> str: ...

        @overload
        def recv(self, timeout: Seconds, decode: Literal[False]) -> bytes: ...

        @overload
        def recv(self, timeout: Seconds = None, *, decode: Literal[True]) -> str: ...

        @overload
        def recv(self, timeout: Seconds = None, *, decode: Literal[False]) -> bytes: ...

        @overload
        def recv(self, timeout: Seconds = None, decode: bool | None = None) -> Data: ...

        def recv(self, timeout: Seconds = None, decode: bool | None = None) -> Data:
            """Waits for the next message, see ``fastws.sync.Connection.recv``."""

        def __next__(self) -> Data: ...

        def send(
            self,
            message: DataLike | Iterable[DataLike],
            text: bool | None = None,
            *,
            timeout: Seconds = None,
            compress: bool | None = None,
        ) -> None:
            """Sends a message, see ``fastws.sync.Connection.send``."""

    @overload
    def recv_streaming(self, decode: Literal[True]) -> Iterator[str]: ...

    @overload
    def recv_streaming(self, decode: Literal[False]) -> Iterator[bytes]: ...

    @overload
    def recv_streaming(self, decode: bool | None = None) -> Iterator[Data]: ...

    def recv_streaming(self, decode: bool | None = None) -> Iterator[Data]:
        """The next message fragment by fragment, each as it arrives.

        It is to be read to its end: else the next message cannot be received, which is a ConcurrencyError.

        Args:
            decode: None gives text as ``str`` and binary as ``bytes``, True gives ``str`` and False ``bytes`` for both.

        Raises:
            ConnectionClosed: The connection is closed.
            ConcurrencyError: Another thread receives, or another message was not read to its end.
        """
        self._enter(Streaming)
        begun = False
        decoder = None
        try:
            fin = False
            while not fin:
                opcode, fin, _, payload = self._next_piece()
                if not begun:
                    begun = True
                    is_text = opcode == 1 if decode is None else decode
                    decoder = codecs.getincrementaldecoder("utf-8")() if is_text else None
                if fin:
                    self._leave(Streaming)
                yield payload if decoder is None else decoder.decode(payload, fin)
        except UnicodeDecodeError as error:
            self._leave(Streaming)
            self._give_up(CloseCode.INVALID_DATA, f"{error.reason} at position {error.start}", error)
            self._wait_closed()
            raise self.close_exc from error
        except GeneratorExit:
            if not begun:
                self._leave(Streaming)
            raise
        except BaseException:
            self._leave(Streaming)
            raise

    def _next_piece(self) -> tuple[int, bool, int, bytes]:
        try:
            piece: tuple[int, bool, int, bytes] = self._recv_piece(None)
        except ConcurrencyError:
            raise ConcurrencyError(
                "cannot call recv_streaming while another thread is already running recv or recv_streaming"
            ) from None
        return piece

    def ping(self, data: DataLike | None = None, *, ack_on_close: bool = False) -> threading.Event:  # type: ignore[override]
        """Sends a Ping (RFC 6455 §5.5.2).

        Args:
            data: Its payload; four random bytes if there is none.
            ack_on_close: The event is also set when the connection ends.

        Returns:
            An event that is set when the matching Pong, or that of a later Ping, arrives.

        Raises:
            ConnectionClosed: The connection is closed or closing.
            ConcurrencyError: A Ping with this payload was not answered yet.
            ProtocolError: More than 125 bytes.
            TypeError: ``data`` is neither str nor bytes-like.
        """
        pings = self._own.pings
        payload = None if data is None else control_payload(data)
        if payload in pings:
            raise ConcurrencyError("already waiting for a pong with the same data")
        while payload is None or payload in pings:
            payload = random.getrandbits(32).to_bytes(4, "big")
        pings[payload] = pong = PongReceived(self, payload, pings, ack_on_close=ack_on_close)
        try:
            self._ping(payload, pong)
        except BaseException:
            pings.pop(payload, None)
            raise
        return pong

    def pong(self, data: DataLike = b"") -> None:
        """Sends a Pong that answers no Ping (RFC 6455 §5.5.3).

        Raises:
            ConnectionClosed, ProtocolError, TypeError: As for ``ping``.
        """
        self._pong(control_payload(data))

    def close(self, code: CloseCode | int = CloseCode.NORMAL_CLOSURE, reason: str = "") -> None:
        """Closes the connection and waits until it is closed. Does nothing on a closed one.

        With None for a code the frame is empty. A message that is being sent in fragments is given up, with 1011.

        Raises:
            ProtocolError: The code may not be sent, or the reason is longer than 123 bytes of UTF-8.
        """
        if self._state == "open":
            check_close(code, reason)
            if self.send_in_progress:
                self._give_up(CloseCode.INTERNAL_ERROR, "close during fragmented message")
        try:
            # With ConnectionClosed, what was wanted has happened.
            with contextlib.suppress(ConnectionClosed):
                self._close(None if code is None else int(code), reason)
            self._wait_closed()
        except BaseException:
            self._abort("close() was interrupted")
            raise

    def wait_closed(self, timeout: float | None = None) -> bool:  # type: ignore[override]
        """Waits until the connection is closed; False: it is not within ``timeout`` seconds."""
        return self._wait_closed(None if timeout is None else max(0.0, timeout))

    def close_socket(self) -> None:
        """Ends the connection without a closing handshake."""
        self._abort("close_socket() was called")

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        if exc_type is None:
            self.close()  # a subclass's may have no parameters
        else:
            self.close(CloseCode.INTERNAL_ERROR)

    # What `broadcast` of the installed `websockets` asks of a connection.

    @property
    def protocol_mutex(self) -> contextlib.AbstractContextManager[None]:
        """Nothing: calls of a native connection are in order by themselves."""
        return contextlib.nullcontext()

    @property
    def send_in_progress(self) -> bool:
        """Whether a message is being sent in fragments."""
        return Sending in self._own.modes

    def send_data(self) -> None:
        """Does nothing: what is sent leaves by itself."""

    def send_nowait(self, message: Any, text: bool | None = None) -> None:
        """Sends a message. It may wait where more than 64 KiB wait to be sent, as ``broadcast`` expects."""
        self.send(message, text)

    def __repr__(self) -> str:
        kind = self._own.kind
        return f"<{kind.__module__}.{kind.__qualname__} {self.uri} {self._state}>"

    # What its methods do differently for a while, without a question a message.

    def _enter(self, mode: type) -> None:
        own = self._own
        with own.lock:
            own.modes |= {mode}
            self.__class__ = class_for(own.kind, own.modes)

    def _leave(self, mode: type) -> None:
        own = self._own
        with own.lock:
            own.modes -= {mode}
            self.__class__ = class_for(own.kind, own.modes)

    @contextlib.contextmanager
    def _sending(self) -> Iterator[None]:
        """A message is being sent in fragments. Raises ConcurrencyError where one is already."""
        with self._own.lock:
            if Sending in self._own.modes:
                raise concurrent_send()
            self._enter(Sending)
        try:
            yield
        finally:
            self._leave(Sending)


def _by_recv(connection: Connection) -> Iterator[Data]:
    with contextlib.suppress(ConnectionClosedOK):
        while True:
            yield connection.recv()


def _extended(kind: Any) -> Any:
    """``kind`` for frames that extensions in Python have to see."""
    from ._extended import ExtendedConnection

    return extended(kind, ExtendedConnection)
