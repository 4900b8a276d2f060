"""The native half of fastws: what a connection does for each message."""

import asyncio
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextvars import Context
from datetime import timedelta
from typing import Any, Final, Generic, Literal, Self, TypeVar, final, overload

from typing_extensions import disjoint_base

__all__ = [
    "Batch",
    "Connection",
    "Cork",
    "Hub",
    "MessageView",
    "Request",
    "Settings",
    "TestServer",
    "TestVenue",
    "TlsContext",
    "Waiter",
    "__version__",
    "_panic_at",
    "_work_elsewhere",
    "parse_uri",
    "seconds",
]

__version__: Final[str]

_T = TypeVar("_T")

def seconds(name: str, value: float | timedelta) -> float: ...
def parse_uri(uri: str) -> tuple[bool, str, int, str, str]: ...
def _work_elsewhere(conn: Connection, at_least: int) -> None: ...
def _panic_at(place: Literal["parse", "poll", "work"] | None = None) -> bool: ...

@disjoint_base
class Connection:
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
            ValueError: A limit is not more than zero.
        """
    def send(
        self, message: Any, text: bool | None = None, *, timeout: float | timedelta | None = None
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

        Raises:
            ConnectionClosed: The connection is closed or closing.
            TimeoutError: There was no room within ``timeout``: nothing was sent. A message in fragments of which a part
                was sent closes the connection with 1011.
            TypeError: The message cannot be sent.
            ValueError: ``text=True`` and the bytes are not UTF-8.
        """
    def send_nowait(self, message: Any, text: bool | None = None) -> None:
        """Sends a ``str`` or bytes-like message, or raises at once.

        Args:
            message: ``str`` is sent as text, bytes-like as binary.
            text: True sends bytes-like as text, which must be UTF-8; False sends ``str`` as binary.

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
        """When the kernel received the message last taken: CLOCK_REALTIME, nanoseconds; the last segment of its read.

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
        request: Request,
        uri: str,
        tls: TlsContext | None = None,
        server_name: str | None = None,
        listener: Any | None = None,
    ) -> asyncio.Future[None]: ...
    def _try_send(self, message: Any, text: bool | None = None, fin: bool | None = None) -> bool: ...
    def _is_sending_fragments(self) -> bool: ...
    def _may_begin(self) -> bool: ...
    def _ping(self, data: bytes | None = None) -> asyncio.Future[float]: ...
    def _pong(self, data: bytes) -> None: ...
    def _close(self, code: int | None = None, reason: str = "") -> None: ...
    def _abort(self, why: str) -> None: ...
    def _closed_future(self) -> asyncio.Future[None]: ...
    def _drain_future(self, again: bool = False) -> asyncio.Future[None]: ...
    def _room_future(self, again: bool) -> asyncio.Future[None]: ...
    def _forget_closed(self, future: asyncio.Future[None]) -> None: ...
    def _written_future(self) -> asyncio.Future[None]: ...
    def _over_future(self) -> asyncio.Future[None]: ...
    def _waits_for_room(self, change: int) -> None: ...
    def _wake_room(self) -> None: ...
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
    def _listener_error(self) -> BaseException | None: ...
    @property
    def _response(self) -> tuple[int, str, list[tuple[str, str]], bytes] | None: ...
    @property
    def _request(self) -> bytes | None: ...
    @property
    def _write_limit(self) -> int: ...
    @property
    def _unsent(self) -> tuple[int, int, int]: ...
    @property
    def _has_unsent(self) -> bool: ...
    @property
    def _is_above_write_limit(self) -> bool: ...
    @property
    def _silence(self) -> float: ...
    @property
    def _is_paused(self) -> bool: ...
    @property
    def _loop(self) -> asyncio.AbstractEventLoop: ...
    @property
    def _is_live(self) -> bool: ...

@final
class Cork:
    """A block in which what is sent is collected; made by ``Connection.cork()``."""

    def __enter__(self) -> None: ...
    def __exit__(self, *_exc: object) -> None: ...

class _Iteration(Generic[_T]):
    def __aiter__(self) -> Self: ...
    def __anext__(self) -> Coroutine[Any, Any, _T]: ...

@final
class Settings:
    """What connections of a kind share."""

    def __new__(cls, options: dict[str, Any]) -> Self: ...

@final
class Batch(Sequence[Any]):
    """Messages that were received together: a sequence, with what is known of them."""

    @property
    def messages(self) -> list[Any]:
        """The messages, as the list that holds them."""
    @property
    def first_seq(self) -> int:
        """Number of the first message on its connection, from 1."""
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
    ) -> Self: ...
    @property
    def uri(self) -> tuple[bool, str, int, str, str]: ...

@final
class TlsContext:
    def __new__(cls, roots: str, ca: bytes | None = None) -> Self: ...

@final
class Waiter:
    def add_done_callback(self, callback: Callable[[Self], object], *, context: Context | None = None) -> None: ...
    def remove_done_callback(self, callback: Callable[[Self], object]) -> int: ...
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
