"""The native half of fastws: what a connection does for each message."""

import asyncio
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextvars import Context
from datetime import timedelta
from types import GenericAlias
from typing import Any, Final, Generic, Literal, Self, TypeVar, final, overload

from typing_extensions import Buffer, disjoint_base

from ._openssl import Secured
from .errors import CertificateFault

__all__ = [
    "Batch",
    "Connection",
    "Cork",
    "Cursor",
    "Frame",
    "FrameTransport",
    "Hub",
    "Key",
    "Message",
    "MessageView",
    "Protocol",
    "Request",
    "Ring",
    "Settings",
    "SyncConnection",
    "TestServer",
    "TestVenue",
    "TlsContext",
    "TlsTunnel",
    "Waiter",
    "__version__",
    "_clock_at",
    "_frame_kinds",
    "_panic_at",
    "_work_elsewhere",
    "certificate_fault",
    "certificate_pin",
    "parse_uri",
    "seconds",
]

__version__: Final[str]

_T = TypeVar("_T")
_T_co = TypeVar("_T_co", covariant=True)

def seconds(name: str, value: float | timedelta) -> float: ...
def parse_uri(uri: str) -> tuple[bool, str, int, str, str]: ...
def certificate_fault(code: int, host: str, chain: list[bytes]) -> tuple[CertificateFault, str | None]: ...
def certificate_pin(certificate: bytes) -> str: ...
def _clock_at(now: int | None = None, step: int = 0) -> bool: ...
def _frame_kinds(opcodes: Any, close_codes: Any) -> None: ...
def _work_elsewhere(conn: Connection, at_least: int) -> None: ...
def _panic_at(place: Literal["parse", "poll", "work", "memory"] | None = None) -> bool: ...

class _Native:
    @property
    def uri(self) -> str: ...
    @property
    def _compression(self) -> tuple[bool, bool, int, int] | None: ...
    def _pong(self, data: bytes) -> None: ...
    def _close(self, code: int | None = None, reason: str = "") -> None: ...
    def _abort(self, why: str) -> None: ...
    def _stats(self) -> dict[str, Any]: ...
    def _abandon(self) -> None: ...
    @property
    def _phase(self) -> str: ...
    @property
    def _state(self) -> str: ...
    @property
    def _close_info(
        self,
    ) -> tuple[
        int | None,
        str | None,
        int | None,
        str | None,
        Literal["local", "remote"] | None,
        str | None,
        str | None,
    ]: ...
    @property
    def _limit(self) -> tuple[str, int | None, int, int] | None: ...
    @property
    def _not_utf8_at(self) -> int | None: ...
    @property
    def _errno(self) -> int | None: ...
    @property
    def _listener_error(self) -> BaseException | None: ...
    @property
    def _response(self) -> tuple[int, str, list[tuple[str, str]], bytes] | None: ...
    @property
    def _request(self) -> bytes | None: ...
    @property
    def _is_live(self) -> bool: ...

@disjoint_base
class Connection(_Native):
    def __new__(cls, event_loop: asyncio.AbstractEventLoop, policy: Any, settings: Settings) -> Self: ...
    def recv(self, decode: bool | None = None) -> Coroutine[Any, Any, Any]:
        """Waits for the next message.

        Args:
            decode: None gives text as ``str`` and binary as ``bytes``, or what ``messages=`` of ``connect`` chose;
                True gives ``str`` also for binary; False gives ``bytes`` also for text, whose UTF-8 was checked.

        Cancelling it loses no message. A message already received is returned without a turn of the event loop.

        Raises:
            ConnectionClosed: The connection is closed and every message received was taken.
            ConcurrencyError: Another task is waiting for a message, or a listener takes them.
            UnicodeDecodeError: ``decode=True`` and the message is not UTF-8.
        """
    def _recv_piece(self) -> Coroutine[Any, Any, tuple[int, bool, int, bytes]]: ...
    def __aiter__(self) -> _Iteration[Any]: ...
    def __anext__(self) -> Coroutine[Any, Any, Any]: ...
    def batches(
        self, max_messages: int = 4096, max_bytes: int | None = None, max_wait: float | timedelta = 0.0
    ) -> _Iteration[Batch]:
        """Iterates over what has arrived, many messages at a time.

        Args:
            max_messages: Messages in a batch at most.
            max_bytes: Bytes in a batch at most; None for no limit. A larger message comes alone.
            max_wait: Seconds (or a ``timedelta``) to wait for more after a batch's first message; 0 takes what is here.

        Cancelling loses no message. It ends as ``async for`` over the connection ends.

        Raises:
            ValueError: A limit is not more than zero, or ``max_wait`` less.
            TypeError: An argument is of another type; the text names it.
        """
    def send(
        self,
        message: Any,
        text: bool | None = None,
        *,
        timeout: float | timedelta | None = None,
        compress: bool | None = None,
    ) -> Coroutine[Any, Any, None]:
        """Sends a message; waits only where the send queue is full.

        The message is accepted by the call, not by the ``await``: below ``write_limit`` it is on its way at once, above
        it the ``await`` lasts until the queue is at its low-water mark. Only where the queue is at its hard bound
        (``max_send_queue`` messages, ``max_send_bytes`` bytes) nothing is accepted until the ``await``, which then
        waits for room, first come first served.

        Args:
            message: ``str`` is sent as text, bytes-like as binary, an iterable or async iterable of either in
                fragments.
            text: True sends bytes-like as text, which must be UTF-8; False sends ``str`` as binary.
            timeout: Seconds (or a ``timedelta``) that the ``await`` may take; None for no limit. After that a message
                that was accepted leaves nevertheless, and the ``await`` is over.
            compress: Where compression was negotiated: True and False say whether this message is compressed; by
                default it is if it has at least ``Deflate.threshold`` bytes.

        Raises:
            ConnectionClosed: The connection is closed or closing.
            TimeoutError: There was no room within ``timeout``: nothing was sent. A message in fragments of which a part
                was sent closes the connection with 1011.
            TypeError: The message cannot be sent.
            ValueError: ``text=True`` and the bytes are not UTF-8, or no send queue of this size can hold the message.
        """
    def send_nowait(self, message: Any, text: bool | None = None, *, compress: bool | None = None) -> None:
        """Sends a ``str`` or bytes-like message, or raises at once.

        Args:
            message: ``str`` is sent as text, bytes-like as binary.
            text: True sends bytes-like as text, which must be UTF-8; False sends ``str`` as binary.
            compress: As for ``send``.

        Raises:
            SendQueueFull: The send queue is at its hard bound; nothing was accepted.
            ConnectionClosed: The connection is closed or closing.
            ConcurrencyError: A message is being sent in fragments.
            TypeError: The message cannot be sent.
        """
    def flush(self) -> None:
        """Lets what is queued leave now, as far as the kernel takes it, instead of at the end of the loop's turn.

        It waits for nothing: what the kernel does not take leaves when it does. Does nothing where nothing is queued,
        and on a closed connection.

        Raises:
            RuntimeError: The connection belongs to another thread, event loop or process.
        """
    def cork(self) -> Cork:
        """Collects what is sent in a ``with`` block, so that it leaves together when the block ends::

            with ws.cork():
                ws.send_nowait(cancel)
                ws.send_nowait(replace)

        Outside of such a block the first message of a turn leaves alone, at once. In it, what is queued leaves before
        the end of the block only if it is worth a system call (64 KiB, or more than ``write_limit``), at the end of the
        loop's turn if the block awaits, and by ``flush()``. An exception changes nothing: what was accepted leaves.
        Blocks may be nested, the outermost one counts. It concerns the connection: what other tasks send meanwhile is
        collected too. Does nothing on a closed connection.

        Raises:
            RuntimeError: The connection belongs to another thread, event loop or process.
        """
    @property
    def driver(self) -> Literal["loop", "protocol"]:
        """Who moves its bytes: ``"loop"``, where the loop watches its socket, or ``"protocol"``, where a transport of
        asyncio's has it; see ``driver=`` of ``connect``.
        """
    def fileno(self) -> int:
        """The socket's descriptor, or -1 when it is closed. Do not read, write or close it."""
    @property
    def received_ns(self) -> int:
        """When the message last taken was received: CLOCK_REALTIME, nanoseconds; 0 before the first."""
    @property
    def received_mono_ns(self) -> int:
        """The same moment on CLOCK_MONOTONIC, nanoseconds."""
    @property
    def kernel_ns(self) -> int | None:
        """When the kernel received the message last taken: CLOCK_REALTIME, nanoseconds; the last segment of its
        read.

        None without ``kernel_timestamps=True``, before the first message, and where the kernel gave none.
        """
    @property
    def seq(self) -> int:
        """Number of the message last taken, from 1; 0 before the first."""
    @property
    def latency(self) -> float:
        """Round-trip time of the last ping that was answered, in seconds; 0 before the first."""
    @property
    def uri(self) -> str:
        """The URI, with userinfo and query masked."""
    @property
    def local_address(self) -> Any:
        """The socket's own address, as ``socket.getsockname()`` gives it; None before it is connected."""
    @property
    def remote_address(self) -> Any:
        """The peer's address, as ``socket.getpeername()`` gives it; None before it is connected."""
    def _start(
        self,
        fd: int,
        request: Request | None,
        uri: str,
        tls: TlsContext | Secured | None = None,
        server_name: str | None = None,
        listener: Any | None = None,
        opened: bool = False,
    ) -> asyncio.Future[None]: ...
    def _try_send_frame(self, opcode: int, fin: bool, rsv: int, data: Any) -> bool: ...
    def _try_send(
        self, message: Any, text: bool | None = None, fin: bool | None = None, compress: bool | None = None
    ) -> bool: ...
    def _is_sending_fragments(self) -> bool: ...
    def _may_begin(self) -> bool: ...
    def _ping(self, data: bytes | None = None) -> asyncio.Future[float]: ...
    def _closed_future(self) -> asyncio.Future[None]: ...
    def _drain_future(self, again: bool = False) -> asyncio.Future[None]: ...
    def _room_future(self, again: bool) -> asyncio.Future[None]: ...
    def _forget_closed(self, future: asyncio.Future[None]) -> None: ...
    def _written_future(self) -> asyncio.Future[None]: ...
    def _over_future(self) -> asyncio.Future[None]: ...
    def _waits_for_room(self, change: int) -> None: ...
    def _wake_room(self) -> None: ...
    @property
    def _write_limit(self) -> int: ...
    @property
    def _unsent(self) -> tuple[int, int, int]: ...
    @property
    def _has_unsent(self) -> bool: ...
    @property
    def _control_frames_sent(self) -> int: ...
    @property
    def _is_above_write_limit(self) -> bool: ...
    @property
    def _silence(self) -> float: ...
    @property
    def _is_paused(self) -> bool: ...
    @property
    def _loop(self) -> asyncio.AbstractEventLoop: ...

@disjoint_base
class SyncConnection(_Native):
    """A WebSocket connection whose calls block. The base of `fastws.sync.Connection`."""

    def __new__(cls, policy: Any, settings: Settings, background: bool = True) -> Self: ...
    def recv(self, timeout: float | timedelta | None = None, decode: bool | None = None) -> Any:
        """Waits for the next message.

        Args:
            timeout: Seconds (or a ``timedelta``) to wait; 0 takes what is here, None waits without a limit. Giving up
                loses no message.
            decode: None gives text as ``str`` and binary as ``bytes``, or what ``messages=`` of ``connect`` chose;
                True gives ``str`` also for binary; False gives ``bytes`` also for text, whose UTF-8 was checked.

        Raises:
            TimeoutError: No message came within ``timeout``.
            ConnectionClosed: The connection is closed and every message received was taken.
            ConcurrencyError: Another thread is waiting for a message.
            UnicodeDecodeError: ``decode=True`` and the message is not UTF-8.
        """
    def _recv_piece(self, timeout: float | timedelta | None = None) -> tuple[int, bool, int, bytes]: ...
    def __iter__(self) -> Self: ...
    def __next__(self) -> Any: ...
    def send(
        self,
        message: Any,
        text: bool | None = None,
        *,
        timeout: float | timedelta | None = None,
        compress: bool | None = None,
    ) -> None:
        """Sends a message; waits only where the send queue is above its limit.

        The message leaves at once, as far as the kernel takes it. The rest waits in the send queue, and the call does
        not wait for up to ``write_limit`` bytes of it; above that it lasts until the queue is at its low-water mark.
        Only where the queue is at its hard bound (``max_send_queue`` messages, ``max_send_bytes`` bytes) nothing is
        accepted until there is room. With ``background=False`` the call lasts until the kernel has everything.

        Any number of threads may send at the same time, also while one receives.

        Args:
            message: ``str`` is sent as text, bytes-like as binary, an iterable of either in fragments.
            text: True sends bytes-like as text, which must be UTF-8; False sends ``str`` as binary.
            timeout: Seconds (or a ``timedelta``) that the call may take; None for no limit. After that a message that
                was accepted leaves nevertheless, and the call is over.
            compress: Where compression was negotiated: True and False say whether this message is compressed; by
                default it is if it has at least ``Deflate.threshold`` bytes.

        Raises:
            ConnectionClosed: The connection is closed or closing.
            TimeoutError: There was no room within ``timeout``: nothing was sent. A message in fragments of which a part
                was sent closes the connection with 1011. With ``background=False`` also where the message was accepted
                and not all of it left in time: the text says which, and the next call goes on with it.
            TypeError: The message cannot be sent.
            ValueError: ``text=True`` and the bytes are not UTF-8, or no send queue of this size can hold the message.
        """
    def flush(self) -> None:
        """Lets what is queued leave now, as far as the kernel takes it: inside of ``cork()``.

        Raises:
            RuntimeError: The connection belongs to another process.
        """
    @property
    def driver(self) -> Literal["blocking"]:
        """Who moves its bytes: ``"blocking"``, the thread that calls."""
    def fileno(self) -> int:
        """The socket's descriptor, or -1 when it is closed. Do not read, write or close it."""
    @property
    def uri(self) -> str:
        """The URI, with userinfo and query masked."""
    @property
    def local_address(self) -> Any:
        """The socket's own address, as ``socket.getsockname()`` gives it; None before it is connected."""
    @property
    def remote_address(self) -> Any:
        """The peer's address, as ``socket.getpeername()`` gives it; None before it is connected."""
    @property
    def received_ns(self) -> int:
        """When the message last taken was received: CLOCK_REALTIME, nanoseconds; 0 before the first."""
    @property
    def received_mono_ns(self) -> int:
        """The same moment on CLOCK_MONOTONIC, nanoseconds."""
    @property
    def kernel_ns(self) -> int | None:
        """When the kernel received the message last taken: CLOCK_REALTIME, nanoseconds; the last segment of its
        read.

        None without ``kernel_timestamps=True``, before the first message, and where the kernel gave none.
        """
    @property
    def seq(self) -> int:
        """Number of the message last taken, from 1; 0 before the first."""
    @property
    def latency(self) -> float:
        """Round-trip time of the last ping that was answered, in seconds; 0 before the first."""
    def _open(
        self,
        fd: int,
        request: Request | None,
        uri: str,
        tls: TlsContext | Secured | None = None,
        server_name: str | None = None,
        timeout: float | None = None,
        opened: bool = False,
    ) -> bool: ...
    def _try_send_frame(self, opcode: int, fin: bool, rsv: int, data: Any) -> bool: ...
    def _send_frame(
        self, opcode: int, fin: bool, rsv: int, data: Any, timeout: float | timedelta | None = None
    ) -> bool: ...
    def _batch(
        self,
        max_messages: int = 4096,
        max_bytes: int | None = ...,
        max_wait: float | timedelta | None = None,
        takes: bool = True,
    ) -> Batch | None: ...
    def _send_fragment(
        self,
        message: Any,
        text: bool | None,
        fin: bool,
        timeout: float | timedelta | None = None,
        begins: bool = False,
    ) -> bool | None: ...
    def _cork(self) -> None: ...
    def _uncork(self, timeout: float | timedelta | None = None) -> None: ...
    def _ping(self, data: bytes | None, future: Any) -> None: ...
    def _wait_for(self, future: Any, timeout: float | timedelta | None = None) -> bool: ...
    def _wait_closed(self, timeout: float | timedelta | None = None) -> bool: ...

@final
class Cork:
    """A block in which what is sent is collected; made by ``Connection.cork()``."""

    def __enter__(self) -> None: ...
    def __exit__(self, *_exc: object) -> None: ...

class _Iteration(Generic[_T]):
    def __aiter__(self) -> Self: ...
    def __anext__(self) -> Coroutine[Any, Any, _T]: ...
    def aclose(self) -> Coroutine[Any, Any, None]:
        """Ends the iteration; awaiting this waits for nothing."""

@final
class Settings:
    """What connections of a kind share."""

    def __new__(cls, options: dict[str, Any]) -> Self: ...
    @property
    def offer(self) -> str | None: ...

@final
class Batch(Sequence[Any]):
    """Messages that were received together: a sequence, with what is known of them."""

    @property
    def generation(self) -> int:
        """The session of a client that they came in: +1 each time that it became Ready, from 1; 0 without a client."""
    @property
    def connection_id(self) -> int:
        """The connection of a client that they came over: +1 per upgrade; 0 without a client."""
    @property
    def source(self) -> str | None:
        """The line of a client that they came over, as it is named; None where it is not."""
    @property
    def messages(self) -> list[Any]:
        """The messages, as the list that holds them."""
    @property
    def first_seq(self) -> int:
        """Number of the first message on its connection, or of a stream's in its client, from 1."""
    @property
    def last_seq(self) -> int:
        """Number of the last one."""
    @property
    def received_ns(self) -> int:
        """When the last message was received: CLOCK_REALTIME, nanoseconds, taken as its bytes were read."""
    @property
    def received_mono_ns(self) -> int:
        """The same moment on CLOCK_MONOTONIC, nanoseconds."""
    @property
    def kernel_ns(self) -> int | None:
        """When the kernel received the last message: CLOCK_REALTIME, nanoseconds; the last segment of its read.

        None without ``kernel_timestamps=True``, and where the kernel gave none.
        """
    def __len__(self) -> int: ...
    @overload
    def __getitem__(self, index: int, /) -> Any: ...
    @overload
    def __getitem__(self, index: slice, /) -> list[Any]: ...
    def __iter__(self) -> Iterator[Any]: ...
    def __reversed__(self) -> Iterator[Any]: ...
    def __contains__(self, message: object, /) -> bool: ...
    def index(self, message: Any, start: int = 0, stop: int = ..., /) -> int:
        """Position of the first message that equals this one, from ``start`` to before ``stop``.

        Raises ValueError if there is none.
        """
    def count(self, message: Any, /) -> int:
        """Messages that equal this one."""
    def _part(self, start: int, stop: int) -> Batch: ...
    def _messages(self) -> list[Message[Any]]: ...

@final
class Key:
    """What a message is about: a callable that takes its payload, ``bytes`` or ``str``, and returns its key, or None.

    Made by ``fastws.keys``; for ``Conflate``, ``message_key=``, ``RedundantClient``, or to be called.
    """

    @staticmethod
    def json(path: list[str], text: str) -> Key: ...
    @staticmethod
    def slice(start: int, stop: int, text: str) -> Key: ...
    @staticmethod
    def regex(pattern: str, text: str) -> Key: ...
    def __call__(self, payload: bytes | str, /) -> Any: ...

@final
class Message(Generic[_T_co]):
    """A message with what is known of it: what a stream with ``markers=True`` gives.

    ``match`` takes it apart by its data: ``case Message(tick)``. Two are equal if all they say is.
    """

    __match_args__ = ("data",)

    def __new__(
        cls,
        data: _T_co,
        seq: int = 0,
        generation: int = 0,
        connection_id: int = 0,
        received_ns: int = 0,
        received_mono_ns: int = 0,
        kernel_ns: int | None = None,
        source: str | None = None,
    ) -> Self: ...
    @property
    def data(self) -> _T_co:
        """The message: ``str`` or ``bytes``, or what ``decode`` made of it."""
    @property
    def seq(self) -> int:
        """Its number among the messages of the client, from 1."""
    @property
    def generation(self) -> int:
        """The session that it came in: +1 each time that the client became Ready, from 1; 0 outside of one."""
    @property
    def connection_id(self) -> int:
        """The connection that it came over: +1 per upgrade."""
    @property
    def received_ns(self) -> int:
        """When it was received: CLOCK_REALTIME, nanoseconds, taken as its bytes were read."""
    @property
    def received_mono_ns(self) -> int:
        """The same moment on CLOCK_MONOTONIC, nanoseconds."""
    @property
    def kernel_ns(self) -> int | None:
        """When the kernel received it: CLOCK_REALTIME, nanoseconds; None without ``kernel_timestamps=True``."""
    @property
    def source(self) -> str | None:
        """The line that it came over, as its connection was named; None if it was not."""
    @classmethod
    def __class_getitem__(cls, key: Any) -> GenericAlias: ...
    def __eq__(self, other: object, /) -> bool: ...
    def __hash__(self) -> int: ...

@disjoint_base
class Cursor(Generic[_T]):
    """A place in a client's messages, from which they are read. The base of ``fastws.Stream``."""

    def __new__(
        cls,
        ring: Ring,
        *,
        oldest: bool,
        markers: bool,
        policy: str,
        capacity: int | None,
        capacity_bytes: int | None,
        filter: Callable[[bytes], Any] | bytes | None = None,  # noqa: A002 - the public name
        decode: Callable[[bytes], Any] | None = None,
        skips: bool = False,
        key: Callable[[bytes], Any] | None = None,
        aside: bool = False,
    ) -> Self: ...
    def recv(self) -> Coroutine[Any, Any, _T]:
        """Waits for the next message.

        Cancelling it loses no message. A message already received is returned without a turn of the event loop.

        Raises:
            ClientStopped: The client was shut down and every message was given. Any other end of the client raises its
                cause.
            SubscriberOverflow: The stream has ``policy="fail"`` and was too slow.
            DecodeError: ``decode`` failed; the next call gives the next message.
            ConcurrencyError: Another task is waiting for a message of this stream.
        """
    def __aiter__(self) -> _Iteration[_T]: ...
    def __anext__(self) -> Coroutine[Any, Any, _T]: ...
    def batches(
        self, max_messages: int = 4096, max_bytes: int | None = None, max_wait: float | timedelta = 0.0
    ) -> _Iteration[Any]:
        """Iterates over what has arrived, many messages at a time.

        Args:
            max_messages: Messages in a batch at most.
            max_bytes: Bytes in a batch at most, before decoding; None for no limit. A larger message comes alone.
            max_wait: Seconds (or a ``timedelta``) to wait for more after a batch's first message; 0 takes what is here.

        A batch is of one session: it never spans a generation, a marker or two lines. With ``markers=True`` the markers
        come between the batches. Cancelling loses no message. It ends as ``async for`` over the stream ends.

        Raises:
            ValueError: A limit is not more than zero.
        """
    @property
    def generation(self) -> int:
        """The session of the item last given: +1 each time that the client became Ready, from 1; 0 before the first."""
    @property
    def connection_id(self) -> int:
        """The connection of the item last given: +1 per upgrade; 0 before the first."""
    @property
    def source(self) -> str | None:
        """The line that the item last given came over; None where it has no name."""
    @property
    def received_ns(self) -> int:
        """When the item last given was received: CLOCK_REALTIME, nanoseconds; 0 before the first."""
    @property
    def received_mono_ns(self) -> int:
        """The same moment on CLOCK_MONOTONIC, nanoseconds."""
    @property
    def kernel_ns(self) -> int | None:
        """When the kernel received the item last given: CLOCK_REALTIME, nanoseconds; the last segment of its read.

        None without ``kernel_timestamps=True``, before the first message, and where the kernel gave none.
        """
    @property
    def seq(self) -> int:
        """Number of the item last given among the messages of the client, from 1; 0 before the first."""
    @property
    def dropped(self) -> int:
        """Messages that the stream lost, as it was too slow: ``policy="drop_oldest"``."""
    @property
    def conflated(self) -> int:
        """Messages whose place a newer one of the same key took: ``policy=Conflate(key)``."""
    @property
    def skipped(self) -> int:
        """Messages that could not be decoded and were left out: ``on_decode_error="skip"``."""
    @property
    def outages(self) -> int:
        """Outages that are behind the item last given."""
    @property
    def last_outage(self) -> Any:
        """The last of them, an ``Outage``; None: there was none."""
    @property
    def lag(self) -> tuple[int, int]:
        """What waits for the stream's reader: (messages, bytes), before filter and decoder."""
    @property
    def closed(self) -> bool:
        """Whether the stream was closed."""
    def _ready(self) -> None: ...
    def _be_exact(self, exact: bool) -> None: ...
    def _detach(self) -> None: ...
    @classmethod
    def __class_getitem__(cls, key: Any) -> GenericAlias: ...

@final
class Ring:
    """The messages of a client, received and not yet taken by all of its streams.

    It belongs to the event loop given, or to the one that runs at the first use that needs one; without connections and
    readers it may move to another.
    """

    def __new__(
        cls,
        event_loop: asyncio.AbstractEventLoop | None,
        policy: Any,
        water: tuple[int, int, int, int],
        *,
        receive: bool = True,
    ) -> Self: ...
    def _attach(self, conn: Connection, generation: int, connection_id: int, source: str | None = None) -> None: ...
    def _detach(self, conn: Connection) -> None: ...
    def _begin(self, generation: int, connection_id: int, source: str | None = None) -> None: ...
    def _push(self, data: Any, received_ns: int, received_mono_ns: int, kernel_ns: int | None = None) -> None: ...
    def _room(self) -> asyncio.Future[None] | None: ...
    def _mark(self, marker: Any) -> None: ...
    def _end(self, error: BaseException | None = None) -> None: ...
    def _reopen(self) -> None: ...
    def _leave(self) -> None: ...
    def _blocked_by(self) -> tuple[Any, float] | None: ...
    def _make_room(self) -> None: ...
    @property
    def retained(self) -> int:
        """Messages and markers that some stream has not passed."""
    @property
    def retained_bytes(self) -> int:
        """Bytes of those messages."""
    @property
    def seq(self) -> int:
        """Number of the newest message, from 1; 0 before the first."""
    @property
    def discarded(self) -> int:
        """Messages that came where none is received."""
    @property
    def streams(self) -> int:
        """Streams that have a place in the ring."""
    @property
    def is_awaited(self) -> bool:
        """Whether somebody waits for what comes next in a stream."""
    @property
    def is_full(self) -> bool:
        """Whether there is no room, so that reading waits."""
    @property
    def is_overfull(self) -> bool:
        """Whether four times as much waits as there is room for: what comes whether or not there is room adds up."""

@final
class Frame:
    """A received frame. It stays valid for as long as it is kept."""

    @staticmethod
    def _of(payload: bytes, head: int) -> Frame: ...
    @property
    def msg_type(self) -> Any:
        """What kind of frame it is: an opcode of RFC 6455 §5.2."""
    @property
    def fin(self) -> bool:
        """Whether it is the last frame of its message."""
    @property
    def rsv1(self) -> bool:
        """The first reserved bit."""
    @property
    def rsv2(self) -> bool:
        """The second reserved bit."""
    @property
    def rsv3(self) -> bool:
        """The third reserved bit."""
    @property
    def last_in_buffer(self) -> bool:
        """Whether no other frame that was read with it is behind it."""
    @property
    def tail_size(self) -> int:
        """Bytes behind it that were read with it."""
    @property
    def payload_size(self) -> int:
        """Bytes of the payload."""
    def get_payload_as_bytes(self) -> bytes:
        """The payload, as a new ``bytes`` for each call, but for large ones: that is the same each time."""
    def get_payload_as_utf8_text(self) -> str:
        """The payload as ``str``. Raises UnicodeDecodeError if it is not UTF-8."""
    def get_payload_as_ascii_text(self) -> str:
        """The payload as ``str``. Raises UnicodeDecodeError if it is not ASCII."""
    def get_payload_as_memoryview(self) -> memoryview:
        """The payload as a read-only ``memoryview``, not copied. It stays valid for as long as it is kept."""
    def get_close_code(self) -> Any:
        """The code of a Close frame, 0 if it has none.

        Raises AssertionError for other frames.
        """
    def get_close_message(self) -> bytes | None:
        """What a Close frame says besides the code, as ``bytes``; None if it says nothing.

        Raises AssertionError for other frames.
        """
    def get_close_reason(self) -> str | None:
        """The same as ``str``.

        Raises AssertionError for other frames.
        """

@disjoint_base
class FrameTransport:
    """Sends frames over a connection whose delivery is ``raw``, and is told of those that come."""

    def __new__(cls, conn: Connection, *_args: Any, **_kwargs: Any) -> Self: ...
    def send(
        self,
        msg_type: int,
        message: str | Buffer | None,
        fin: bool = True,
        rsv1: bool = False,
        rsv2: bool = False,
        rsv3: bool = False,
    ) -> None:
        """Sends a frame.

        It is copied, masked, and leaves at once if it is the first of the loop's turn; later ones of the turn leave
        together at its end, or earlier if they are worth a system call. Does nothing after a Close frame was sent, and
        after the connection was lost.

        Args:
            msg_type: The opcode, 0 to 15.
            message: The payload: ``str``, bytes-like, or None for none.
            fin: It is the last frame of its message.
            rsv1: The first reserved bit, which extensions give a meaning to.
            rsv2: The second.
            rsv3: The third.

        Raises:
            TypeError: The payload is of another type.
            ValueError: A control frame's payload is longer than 125 bytes, or the opcode is none.
            RuntimeError: The call comes from another thread than the connection's.
        """
    def send_reuse_external_bytearray(
        self,
        msg_type: int,
        buffer: bytearray,
        msg_offset: int,
        fin: bool = True,
        rsv1: bool = False,
        rsv2: bool = False,
        rsv3: bool = False,
    ) -> None:
        """Sends the part of ``buffer`` behind ``msg_offset`` as a frame's payload. The buffer is left as it is.

        Args:
            msg_type: The opcode, 0 to 15, but not that of a Close frame.
            buffer: What holds the payload.
            msg_offset: Where in it the payload begins, at least 14.
            fin: As for ``send``, and so are the others.
            rsv1: The first reserved bit.
            rsv2: The second.
            rsv3: The third.

        Raises:
            ValueError: The offset is less than 14 or behind the buffer's end, there is no buffer, or it is Close.
            RuntimeError: The call comes from another thread than the connection's.
        """
    def send_ping(self, message: str | Buffer | None = None) -> None:
        """Sends a Ping frame.

        Args:
            message: Its payload, at most 125 bytes; None for none.

        Raises as ``send``.
        """
    def send_pong(self, message: str | Buffer | None = None) -> None:
        """Sends a Pong frame.

        Args:
            message: Its payload, at most 125 bytes; None for none.

        Raises as ``send``.
        """
    def send_close(self, close_code: int = 0, close_message: str | Buffer | None = None) -> None:
        """Sends a Close frame, once. The connection stays until ``disconnect``, or until the peer ends it.

        Args:
            close_code: The code; 0 sends a frame without one.
            close_message: The reason: ``str`` or UTF-8, at most 123 bytes; None for none.

        Raises:
            ValueError: The code is one that no endpoint may send (RFC 6455 §7.4), or the reason is too long.
            UnicodeDecodeError: The reason is not UTF-8.
            RuntimeError: The call comes from another thread than the connection's.
        """
    def disconnect(self, graceful: bool = True) -> None:
        """Closes the connection.

        Args:
            graceful: What waits to be sent leaves before; False drops it.

        Does nothing on a connection that is over. Raises RuntimeError in another thread than the connection's.
        """
    _expects_pong: bool
    @property
    def _limits(self) -> tuple[int, int]: ...
    @property
    def _unsent_bytes(self) -> int: ...
    def _check_thread(self, method: str) -> None: ...
    def _hold_reading(self, hold: bool) -> None: ...
    def _resumed(self) -> None: ...
    def _set_limits(self, high: int, low: int) -> None: ...
    def _show_frames(self, callback: Callable[..., object]) -> None: ...
    def _write(self, data: Buffer) -> None: ...

@final
class MessageView:
    """A message that was not copied; it stays valid for as long as it is kept.

    Supports the buffer protocol, ``len()``, ``bytes()``, comparison with bytes and indexing.
    """

    @property
    def is_text(self) -> bool:
        """Whether the message is text; its bytes are then valid UTF-8."""
    def tobytes(self) -> bytes:
        """A copy of the message."""
    def __bytes__(self) -> bytes: ...
    def __len__(self) -> int: ...
    def __getitem__(self, index: Any, /) -> Any: ...
    def __eq__(self, other: object, /) -> bool: ...
    def __hash__(self) -> int: ...
    def __buffer__(self, flags: int, /) -> memoryview: ...

@final
class Hub:
    def __len__(self) -> int: ...

@final
class Request:
    def __new__(
        cls,
        uri: str,
        headers: list[tuple[str, str]],
        subprotocols: list[str],
        origin: str | None,
        user_agent: str | None,
        extensions: list[str],
        any_extension: bool = False,
        latin_1: bool = False,
        order: list[str] = ...,
    ) -> Self: ...
    @property
    def uri(self) -> tuple[bool, str, int, str, str]: ...

@disjoint_base
class Protocol:
    def __new__(cls, conn: Connection) -> Self: ...
    def connection_made(self, transport: asyncio.BaseTransport) -> None: ...
    def get_buffer(self, _sizehint: int) -> bytearray: ...
    def buffer_updated(self, count: int) -> None: ...
    def eof_received(self) -> bool: ...
    def connection_lost(self, error: BaseException | None) -> None: ...
    def pause_writing(self) -> None: ...
    def resume_writing(self) -> None: ...

@final
class TlsContext:
    def __new__(cls, options: dict[str, Any]) -> Self: ...
    @property
    def anchors(self) -> int | None: ...

@final
class TlsTunnel:
    def __new__(cls, context: TlsContext, server_name: str) -> Self: ...
    def work(self, cipher: bytes, plain: bytes, close: bool) -> tuple[bytes, bytes, bool, str | None]: ...
    def enter(self, context: TlsContext, server_name: str) -> None: ...

@final
class Waiter:
    def __call__(self, callback: Callable[[Self], object], *, context: Context | None = None) -> None: ...
    def _wake(self) -> None: ...
    def add_done_callback(self, callback: Callable[[Self], object], *, context: Context | None = None) -> None: ...
    def remove_done_callback(self, callback: Callable[[Self], object], /) -> int: ...
    def cancel(self, msg: Any = None) -> bool: ...
    def cancelled(self) -> bool: ...
    def done(self) -> bool: ...
    def exception(self) -> BaseException | None: ...
    def result(self) -> None: ...
    def get_loop(self) -> asyncio.AbstractEventLoop: ...

@final
class TestServer:
    def __new__(cls, host: str, port: int, options: dict[str, Any]) -> Self: ...
    @property
    def host(self) -> str: ...
    @property
    def port(self) -> int: ...
    @property
    def ca_pem(self) -> bytes: ...
    def add_feed(self, name: str, messages: list[tuple[float, bool, bytes]]) -> None: ...
    def load_feed(self, name: str, path: str) -> None: ...
    def script(self, path: str, steps: list[tuple[Any, ...]]) -> None: ...
    def add_venue(self, path: str, options: dict[str, Any]) -> TestVenue: ...
    def replay_started_ns(self, name: str) -> int | None: ...
    def stats(self) -> dict[str, int]: ...
    def connections(self) -> list[dict[str, Any]]: ...
    def stop(self) -> None: ...

@final
class TestVenue:
    def start(self) -> None: ...
    @property
    def started_ns(self) -> int | None: ...
    @property
    def position(self) -> int: ...
    def report(self) -> dict[str, Any]: ...
