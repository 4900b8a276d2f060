"""The resilient client whose calls block. The client is ``fastws.WebSocketClient``, on an event loop in a thread."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, NoReturn, Self, TypeVar, Unpack, overload

from fastws import _arguments, _core, builder, client
from fastws._keywords import explains_unknown_keywords
from fastws._parts import MessageKey
from fastws._tap import Tap
from fastws.config import ClientConfig
from fastws.connection import BytesLike
from fastws.errors import AlreadyRunning, RequestTimeout, Unsent, tell_unsent
from fastws.events import Event
from fastws.extensions import Extension, ExtensionHost
from fastws.handshakes import SupportsHandshake
from fastws.markers import Marker
from fastws.observe import ClientStats
from fastws.receiving import StreamOptions
from fastws.redact import Redactor
from fastws.state import ConnectionSnapshot, Status
from fastws.subscriptions import Subscriptions as Registry
from fastws.supervisor import HeadersSource, UriSource
from fastws.tls import Backend, TlsConfig

from ._thread import ClientThread, Run
from .connection import Seconds
from .sender import Sender, Sending
from .streams import EventStream, Stream
from .subscriptions import Subscriptions

if TYPE_CHECKING:
    import ssl

    from fastws.connector import Connector
    from fastws.proxy import ProxyLike
    from fastws.rate import ConnectLimiter, RateLimit, RateLimits
    from fastws.retry import RetryStrategy

__all__ = ["ClientBuilder", "WebSocketClient"]

T = TypeVar("T")


class WebSocketClient(Sending):
    """A WebSocket connection that stays, without an event loop: ``fastws.WebSocketClient``, with calls that block.

    ::

        client = fastws.sync.WebSocketClient("wss://host/feed", handshake=AuthHandshaker(token).json())
        client.subscriptions.add("BTC-USD", message={"op": "subscribe", "channel": "BTC-USD"})
        with client:  # returns at the first Ready
            for message in client.stream():
                ...

    While it runs it has a thread of its own, in which the client of that name runs on an event loop (uvloop where it
    is installed). Whatever is given to it to be called is called in that thread: callbacks of ``on``, ``filter``,
    ``decode`` and ``match``, ``uri`` and ``headers``, ``tap``, handshakers, extensions; they are plain functions, and
    ``async`` ones where the other client takes them. They hold up the connection for as long as they last, and may not
    make calls that wait, which are a ``RuntimeError`` there. ``send_nowait``, ``send_threadsafe``, ``reconnect``,
    ``shutdown``, ``subscriptions.add`` and ``remove`` are allowed.

    Any thread may call it. A stream is read by one thread at a time, streams by as many as there are.

    The arguments are those of ``fastws.WebSocketClient``.

    Raises:
        ConfigError: An argument is wrong; it names the field.
        TypeError: There is no such argument; it says where else it is to be given, if it is one of a connection.
    """

    __slots__ = ("__weakref__", "_is_started", "_run", "_thread", "subscriptions")

    @explains_unknown_keywords(_arguments.client_has_not)
    def __init__(
        self,
        uri: UriSource,
        *,
        retry: RetryStrategy | None = None,
        handshake: SupportsHandshake | None = None,
        extensions: Iterable[Extension] = (),
        subscriptions: Registry | None = None,
        config: ClientConfig | None = None,
        tls: TlsConfig | ssl.SSLContext | Backend | None = None,
        headers: HeadersSource = None,
        subprotocols: Sequence[str] | None = None,
        proxy: ProxyLike = None,
        connector: Connector | None = None,
        rate_limit: RateLimit | RateLimits | None = None,
        connect_limiter: ConnectLimiter | None = None,
        tap: Tap | None = None,
        message_key: MessageKey | None = None,
        metadata: Mapping[str, Any] | None = None,
        redact: Redactor | str | Iterable[str] | None = None,
    ) -> None:
        self._is_started = False
        self._run: Run | None = None
        self._thread = ClientThread(
            client.WebSocketClient(
                uri,
                retry=retry,
                handshake=handshake,
                extensions=extensions,
                subscriptions=subscriptions,
                config=config,
                tls=tls,
                headers=headers,
                subprotocols=subprotocols,
                proxy=proxy,
                connector=connector,
                rate_limit=rate_limit,
                connect_limiter=connect_limiter,
                tap=tap,
                message_key=message_key,
                metadata=metadata,
                redact=redact,
            )
        )
        self.subscriptions = Subscriptions(self._thread)

    @classmethod
    def builder(cls, uri: UriSource) -> ClientBuilder:
        """A builder: the same arguments, one call each."""
        return ClientBuilder(uri)

    # ---- what can be read ------------------------------------------------------------------------------------------

    @property
    def config(self) -> ClientConfig:
        """Its settings."""
        return self._thread.client.config

    @property
    def uri(self) -> str:
        """The URI that was used last, with userinfo and query masked."""
        return self._thread.client.uri

    @property
    def status(self) -> Status:
        """The state of the connection."""
        return self._thread.client.status

    def snapshot(self) -> ConnectionSnapshot:
        """What is known of the connection at this moment."""
        return self._thread.now(self._thread.client.snapshot)

    state = snapshot

    def stats(self) -> ClientStats:
        """Counters since the client was made, over all its connections; they only grow.

        ``stats().as_prometheus()`` is them as Prometheus reads them.
        """
        return self._thread.now(self._thread.client.stats)

    @property
    def is_connected(self) -> bool:
        """As ``is_ready``: what is open and not ready cannot be used."""
        return self._thread.client.is_connected

    @property
    def is_ready(self) -> bool:
        """Whether a connection is open and the application handshake is done."""
        return self._thread.client.is_ready

    @property
    def is_running(self) -> bool:
        """Whether ``run`` is under way, or what ``start`` began."""
        return self._thread.is_running

    def is_healthy(self, timeout: float | None = None) -> bool:
        """Whether it is ready and something was received within ``timeout`` seconds (``receive_timeout``)."""
        return self._thread.now(self._thread.client.is_healthy, timeout)

    @property
    def extensions(self) -> ExtensionHost:
        """The plug-ins; they stay readable."""
        return self._thread.client.extensions

    def register_extension(self, extension: Extension, *, timeout: Seconds = None) -> None:
        """Adds a plug-in, also while the client runs: then its hooks are called from now on.

        Args:
            extension: The plug-in.
            timeout: Seconds (or a ``timedelta``) that its ``on_init`` may take; None: ``extension_timeout``.

        Raises:
            TimeoutError: Its ``on_init`` took longer; it was not added.
            ExtensionError: Its ``on_init`` failed; it was not added.
            ValueError: There is one of that name already.
        """
        self._thread.errand_for(
            timeout, "the extension was not ready", self._thread.client.register_extension, extension
        )

    # ---- events ----------------------------------------------------------------------------------------------------

    def events(self) -> EventStream:
        """An iterator of what happens to the connection, the current state first.

        It keeps 256 events, drops the oldest with a count (``.dropped``), and ends after ``Shutdown``.
        """
        return EventStream(self._thread)

    def on(self, kind: type[Event] | None, callback: Callable[[Any], Any]) -> Callable[[], None]:
        """Calls ``callback(event)`` for each event of ``kind`` (None: of every kind), in the client's thread.

        Returns what ends that.
        """
        remove = self._thread.now(self._thread.client.on, kind, callback)
        return lambda: self._thread.now(remove)

    # ---- running ---------------------------------------------------------------------------------------------------

    def run(self, timeout: Seconds = None) -> None:
        """Runs until ``shutdown``, or raises the cause of any other end.

        An exception of a signal's handler, such as KeyboardInterrupt, shuts it down.

        Args:
            timeout: Seconds (or a ``timedelta``) to run; then it is shut down, which is a TimeoutError. None for no
                limit.

        Raises:
            TimeoutError: It still ran after ``timeout``.
            AlreadyRunning: It runs already.
            RetriesExhausted: The retry strategy gave up; ``__cause__`` is the last failure.
            ConnectError, HandshakeError, ConnectionClosed, …: A failure that no repetition mends.
        """
        seconds = _seconds(timeout)
        run = self._thread.start()
        try:
            run.over.result(seconds)
        except BaseException as error:
            if run.over.done():
                self._thread.join(run)
                raise
            unsent = self._stop_anyway()
            if not isinstance(error, TimeoutError):
                tell_unsent(error, unsent)
                raise
            fate = "was" if run.over.done() else "is being"  # a callback holds its thread
            late = TimeoutError(f"{self.uri}: the client ran for {seconds:g} s, and {fate} shut down")
            tell_unsent(late, unsent)
            raise late from None
        self._thread.join(run)

    def start(self, timeout: Seconds = None) -> Self:
        """Runs in the background; returns at the first Ready, or raises what makes that impossible.

        ``with client:`` does so without a limit, ``with client.start(timeout=10):`` within one.

        Args:
            timeout: Seconds (or a ``timedelta``) to wait; None for no limit.

        Raises:
            TimeoutError: It was not ready within ``timeout``, and was stopped.
            AlreadyRunning, …: As for ``run``.
        """
        _seconds(timeout)
        try:
            self._run = self._thread.start()
            self.wait_ready(timeout)
        except AlreadyRunning:
            raise
        except BaseException as error:
            if isinstance(error, TimeoutError) and not self._thread.answers():
                with contextlib.suppress(Exception):  # it is what wait_ready() raised
                    self._thread.give_up()  # when its callback returns
            else:
                self._stop_for(error)
            raise
        self._is_started = True
        return self

    def __enter__(self) -> Self:
        """As ``start()``, if that was not called."""
        if not (self._is_started and self.is_running):
            self.start()
        self._is_started = False
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        run, self._run = self._run, None
        try:
            self._stop()
            if run is not None:
                run.over.result()
        except Exception as end:
            if exc is None:
                raise
            tell_unsent(exc, getattr(end, "unsent", ()))

    def wait_ready(self, timeout: Seconds = None) -> None:
        """Waits for the application handshake.

        Args:
            timeout: Seconds (or a ``timedelta``) to wait; None for no limit.

        Raises:
            TimeoutError: It is not ready within ``timeout``; it goes on. Its text and ``__cause__`` have the failure of
                the last attempt, if one has failed.
            ClientError, ConnectError, …: The client is over; the cause.
            NotConnected: It does not run.
        """
        try:
            self._thread.wait_for(timeout, "the client was not ready", self._thread.client.wait_ready)
        except TimeoutError as error:
            if type(error) is not TimeoutError or error.__cause__ is None:
                raise  # the client's end; or a callback holds its thread
            known = self.snapshot()
            last = known.last_error
            if last is None or (known.attempts <= 1 and known.status is not Status.RECONNECTING):
                raise
            why = (str(last) or type(last).__name__).removeprefix(f"{self.uri}: ")
            raise TimeoutError(f"{error}; the last attempt: {why}") from last

    wait_connected = wait_ready

    def shutdown(self, timeout: Seconds = None) -> None:
        """Ends the client: sends what is queued, then Close, and waits for the peer's, and for its thread.

        Every call that waits is interrupted. Nothing happens if it does not run. A callback's call returns at once, and
        what it asks for goes on.

        Args:
            timeout: Seconds (or a ``timedelta``) for all of it; None: ``ClientConfig.shutdown_timeout``. What is not
                done by then is given up.

        Raises:
            ShutdownTimeout: Some messages were not sent by then; ``unsent`` has them.
            TimeoutError: A callback holds the client's thread; the client ends when that returns.
        """
        seconds = _seconds(timeout)
        if not self.is_running:
            self._thread.check_process()
            return
        if self._thread.is_here:
            self._thread.submit(self._thread.shutdown, seconds)
            return
        self._stop(seconds)

    def reconnect(self, reason: str = "requested") -> None:
        """Closes the present connection politely and opens another, at once: attempts are counted anew.

        Nothing happens while there is none that is ready.
        """
        self._thread.now(self._thread.client.reconnect, reason)

    # ---- sending ---------------------------------------------------------------------------------------------------

    def sender(self) -> Sender:
        """A handle that sends, and nothing else; it survives reconnects."""
        return Sender(self._thread)

    def request(
        self,
        message: str | BytesLike | Mapping[str, Any],
        *,
        match: Callable[[Any], Any],
        timeout: Seconds = 10.0,
        decode: Callable[[Any], Any] | None = None,
    ) -> Any:
        """Sends a message and waits for its answer.

        The answer is seen by streams too.

        ::

            answer = client.request({"id": 7, …}, match=lambda m: m["id"] == 7, decode=orjson.loads)

        Args:
            message: As for ``send``; a dict is sent as JSON.
            match: Tells whether a message is the answer. Where it raises because a message is of another shape
                (LookupError, TypeError, AttributeError, ValueError), that one is not.
            timeout: Seconds (or a ``timedelta``) for the answer; None for no limit.
            decode: Applied to each message before ``match``, such as ``orjson.loads``; gets ``bytes``. What it fails on
                is not the answer. None: ``match`` gets ``str`` or ``bytes``.

        Raises:
            RequestTimeout: No answer within ``timeout``. What waited for a connection until then is withdrawn;
                ``outcome`` says whether the request was sent.
            ConnectionLost: The connection ended before the answer; ``outcome`` says whether the request was sent.
            NotSent: An extension stopped it, or it was dropped: ``on_disconnect_send`` is ``"drop"``.
            NotConnected, …: As for ``send``.
        """

        def late(held: str, is_withdrawn: bool) -> RequestTimeout:
            outcome: Literal["not_sent", "maybe_sent"] = "not_sent" if is_withdrawn else "maybe_sent"
            return RequestTimeout(held, timeout=_seconds(timeout), outcome=outcome)

        return self._thread.wait_at_most(
            timeout,
            "no answer",
            late,
            self._thread.client.request,
            message,
            match=match,
            timeout=timeout,
            decode=decode,
        )

    # ---- receiving -------------------------------------------------------------------------------------------------

    @overload
    def stream(
        self, *, markers: Literal[False] = False, decode: None = None, **options: Unpack[StreamOptions]
    ) -> Stream[str | bytes]: ...

    @overload
    def stream(
        self, *, markers: Literal[False] = False, decode: Callable[[bytes], T], **options: Unpack[StreamOptions]
    ) -> Stream[T]: ...

    @overload
    def stream(
        self, *, markers: Literal[True], decode: None = None, **options: Unpack[StreamOptions]
    ) -> Stream[_core.Message[str | bytes] | Marker]: ...

    @overload
    def stream(
        self, *, markers: Literal[True], decode: Callable[[bytes], T], **options: Unpack[StreamOptions]
    ) -> Stream[_core.Message[T] | Marker]: ...

    def stream(self, *wrong: Any, **options: Any) -> Stream[Any]:
        """An independent cursor on what is received: see ``fastws.Stream`` for the keywords.

        The first one starts at the oldest message that is retained, later ones at the next message.

        Raises:
            TypeError, ValueError: A keyword is wrong; the text names it.
        """
        if wrong:
            raise TypeError(
                f"stream() takes keywords only; did you mean client.subscriptions.add({wrong[0]!r}, message=...)?"
            )
        return Stream(self._thread, options)

    subscribe = stream

    def __iter__(self) -> Iterator[NoReturn]:
        raise TypeError("a client is read by a stream: `for message in client.stream()`")

    # ---- inside ----------------------------------------------------------------------------------------------------

    def _stop(self, seconds: float | None = None) -> None:
        """Shuts it down and waits for its thread. An exception of a signal's handler gives the peer up."""
        thread = self._thread
        thread.refuse_callbacks()
        run = thread.last
        most = self.config.shutdown_timeout if seconds is None else seconds
        over = None
        try:
            over = thread.submit(thread.shutdown, seconds)
            if over is not None:
                thread.outcome(over, most, "the client was not shut down", None)
        except Exception:
            if over is not None and over.done():
                thread.join(run)
            raise  # else a callback holds the thread
        except BaseException:
            thread.give_up()
            with contextlib.suppress(TimeoutError):
                thread.join(run)
            raise
        thread.join(run)

    def _stop_for(self, error: BaseException) -> None:
        """Stops it because of ``error``, which is raised, and says what was not sent."""
        tell_unsent(error, self._stop_anyway())

    def _stop_anyway(self) -> tuple[Unsent, ...]:
        """Stops it, whatever that ends with. Returns what was not sent."""
        try:
            self._stop()
        except Exception as end:  # noqa: BLE001 - something else is raised
            unsent: tuple[Unsent, ...] = getattr(end, "unsent", ())
            return unsent
        return ()

    def __repr__(self) -> str:
        return f"<fastws.sync.WebSocketClient {self.uri} {self.status}>"

    def __del__(self, _warn: Any = warnings.warn) -> None:
        thread: ClientThread | None = getattr(self, "_thread", None)
        if thread is not None and thread.is_running:
            _warn(f"unclosed {self!r}; use `with` or shutdown()", ResourceWarning, source=self, stacklevel=2)
            thread.give_up()


class ClientBuilder(builder.ClientBuilder):
    """Collects what a ``fastws.sync.WebSocketClient`` is given: ``fastws.ClientBuilder``, for that class."""

    __slots__ = ()

    def build(self) -> WebSocketClient:  # type: ignore[override]
        """A client. Does no I/O; may be called again for another one like it."""
        return WebSocketClient(self._uri, **self._arguments())


def _seconds(timeout: Seconds) -> float | None:
    return None if timeout is None else _core.seconds("timeout", timeout)
