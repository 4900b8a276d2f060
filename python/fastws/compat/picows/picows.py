"""Enumerations, frames, listeners and transports. Frames and what sends them are native, see ``_core``."""

from __future__ import annotations

import asyncio
import contextlib
import enum
import logging
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from fastws import _core
from fastws.compat import _installed
from fastws.errors import ConnectionClosed

from .common import WSProtocolError

if TYPE_CHECKING:
    from fastws.connection import Connection

    from ._underlying import Underlying
    from .common import WSUpgradeRequest, WSUpgradeResponse

__all__ = [
    "WSAutoPingStrategy",
    "WSCloseCode",
    "WSCloseHandshake",
    "WSCloseInfo",
    "WSFrame",
    "WSListener",
    "WSMsgType",
    "WSTransport",
]


class _MsgType(enum.IntEnum):
    """Opcodes (RFC 6455 §5.2)."""

    CONTINUATION = 0x0
    TEXT = 0x1
    BINARY = 0x2
    PING = 0x9
    PONG = 0xA
    CLOSE = 0x8


class _CloseCode(enum.IntEnum):
    """Close codes (RFC 6455 §7.4). One that is not listed, such as an application's, is a member without a name."""

    NO_INFO = 0
    OK = 1000
    GOING_AWAY = 1001
    PROTOCOL_ERROR = 1002
    UNSUPPORTED_DATA = 1003
    ABNORMAL_CLOSURE = 1006
    INVALID_TEXT = 1007
    POLICY_VIOLATION = 1008
    MESSAGE_TOO_BIG = 1009
    MANDATORY_EXTENSION = 1010
    INTERNAL_ERROR = 1011
    SERVICE_RESTART = 1012
    TRY_AGAIN_LATER = 1013
    BAD_GATEWAY = 1014

    @classmethod
    def _missing_(cls, value: object) -> _CloseCode | None:
        if not isinstance(value, int) or not 0 <= value < 2**16:
            return None
        member = int.__new__(cls, value)
        member._name_ = ""
        member._value_ = value
        return member

    def __repr__(self) -> str:
        return super().__repr__() if self._name_ else f"<{type(self).__name__}: {self._value_}>"


class _AutoPingStrategy(enum.IntEnum):
    """When pings are sent by themselves."""

    PING_WHEN_IDLE = 1
    PING_PERIODICALLY = 2


class _Writing:
    """What a listener of ours has where picows is not installed."""

    def pause_writing(self) -> None:
        """More waits to be sent than the transport's upper limit. What is sent nevertheless waits, too."""

    def resume_writing(self) -> None:
        """Less waits to be sent than the transport's lower limit."""


if TYPE_CHECKING:
    WSMsgType = _MsgType
    WSCloseCode = _CloseCode
    WSAutoPingStrategy = _AutoPingStrategy
    AnyListener = _Writing
else:
    _original = _installed.find("picows.picows")
    for _class in (_MsgType, _CloseCode, _AutoPingStrategy):
        _class.__name__ = _class.__qualname__ = "WS" + _class.__name__.removeprefix("_")
    WSMsgType = getattr(_original, "WSMsgType", _MsgType)
    WSCloseCode = getattr(_original, "WSCloseCode", _CloseCode)
    WSAutoPingStrategy = getattr(_original, "WSAutoPingStrategy", _AutoPingStrategy)
    # So picows' server takes our listeners.
    AnyListener = getattr(_original, "WSListener", _Writing)

WSFrame = _core.Frame

_core._frame_kinds(WSMsgType, WSCloseCode)


def _make_test_ws_frame(msg_type: WSMsgType, payload: bytes, fin: bool, rsv1: bool) -> WSFrame:
    """A frame that no connection received."""
    return WSFrame._of(payload, bool(fin) << 7 | bool(rsv1) << 6 | int(msg_type))


class WSListener(AnyListener):
    """What a connection calls back. Override what is needed; each method is called with the connection's transport."""

    __slots__ = ()

    def on_ws_connected(self, transport: WSTransport) -> None:
        """The connection is open.

        An exception closes it with 1011, or as a ``WSProtocolError`` says, and is raised by ``wait_disconnected``.
        """

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        """A frame came; it and its ``memoryview`` stay valid for as long as they are kept.

        An exception does the same, unless ``disconnect_on_exception`` is False.
        """

    def on_ws_disconnected(self, transport: WSTransport) -> None:
        """The connection is over."""

    def send_user_specific_ping(self, transport: WSTransport) -> None:
        """A ping is due: sends a Ping frame, unless it is overridden to send something else."""
        transport.send_ping()

    def is_user_specific_pong(self, frame: WSFrame) -> bool:
        """Whether ``frame`` answers the ping that is waited for; ``on_ws_frame`` does not get it then."""
        return bool(frame.msg_type == WSMsgType.PONG)


@dataclass(frozen=True, slots=True)
class WSCloseInfo:
    """A Close frame.

    Attributes:
        code: Its code; ``NO_INFO`` if it has none.
        reason: Its reason; None if one that was received has none.
    """

    code: WSCloseCode
    reason: str | None


@dataclass(frozen=True, slots=True)
class WSCloseHandshake:
    """The Close frames of a connection.

    Attributes:
        recv: The one received, if any.
        sent: The one sent, if any.
        recv_then_sent: Whether the peer's was the first.
    """

    recv: WSCloseInfo | None
    sent: WSCloseInfo | None
    recv_then_sent: bool


class WSTransport(_core.FrameTransport):
    """A connection: what frames are sent by.

    Attributes:
        underlying_transport: What asyncio's transports tell and do: ``get_extra_info``, the limits of the write buffer.
        request: The upgrade request.
        response: The server's answer to it.
        is_client_side: True.
        is_secure: Whether it is TLS.
        is_disconnected: Whether it is over.
    """

    __slots__ = ("__dict__", "is_disconnected", "is_secure", "request", "response", "underlying_transport")

    is_client_side = True

    def __init__(
        self,
        conn: Connection,
        underlying: type[Underlying],
        *,
        request: WSUpgradeRequest,
        response: WSUpgradeResponse,
        is_secure: bool,
        logger: logging.Logger | logging.LoggerAdapter[Any],
        disconnect_on_exception: bool,
    ) -> None:
        self._conn = conn
        self._loop = conn._loop
        self._logger = logger
        self._disconnect_on_exception = disconnect_on_exception
        self._error: BaseException | None = None
        self._over: asyncio.Future[None] = self._loop.create_future()
        self._pong: asyncio.Future[float] | None = None
        self._measuring = 0
        self._auto_ping_waits = False
        self._pinging: asyncio.Task[None] | None = None
        self._waiting: asyncio.Task[None] | None = None
        self._listener: WSListener = WSListener()
        self.underlying_transport = underlying(self, conn)
        self.request = request
        self.response = response
        self.is_secure = is_secure
        self.is_disconnected = False

    @property
    def is_close_frame_sent(self) -> bool:
        """Whether a Close frame was sent."""
        return self._conn._close_info[2] is not None

    @property
    def close_handshake(self) -> WSCloseHandshake | None:
        """The Close frames that were received and sent; None if there was none."""
        received, why, sent, reason, initiator, _, _ = self._conn._close_info
        if received is None and sent is None:
            return None
        return WSCloseHandshake(
            recv=None if received is None else WSCloseInfo(_code(received), why or None),
            sent=None if sent is None else WSCloseInfo(_code(sent), reason or ""),
            recv_then_sent=initiator == "remote",
        )

    async def wait_disconnected(self) -> None:
        """Waits until the connection is over and ``on_ws_disconnected`` has returned.

        Raises what a callback raised if that ended the connection, or WSProtocolError if the peer broke the protocol.
        However the peer ends it, that is no exception.
        """
        self._check_thread("wait_disconnected")
        await asyncio.shield(self._over)

    async def measure_roundtrip_time(self, rounds: int) -> list[float]:
        """Pings so many times, by ``send_user_specific_ping``; returns the seconds that each answer took.

        Raises:
            ConnectionResetError: The connection was lost meanwhile.
        """
        self._check_thread("measure_roundtrip_time")
        self._measuring += 1
        try:
            if self._auto_ping_waits:
                await asyncio.shield(self._awaited_pong())
            results = []
            for _ in range(rounds):
                begun = time.monotonic()
                pong = self._awaited_pong()
                self._listener.send_user_specific_ping(self)
                results.append(await asyncio.shield(pong) - begun)
            return results
        finally:
            self._measuring -= 1
            if not self._measuring:
                # Whoever gave up waits for no pong: pings by themselves go on.
                self._pong, self._expects_pong = None, self._auto_ping_waits

    def notify_user_specific_pong_received(self) -> None:
        """Tells that the answer to a ping came, where ``is_user_specific_pong`` cannot know. Else it does nothing."""
        self._check_thread("notify_user_specific_pong_received")
        self._answered()

    def __repr__(self) -> str:
        return f"<WSTransport {self._conn.uri}{', disconnected' if self.is_disconnected else ''}>"

    # ---- pings -----------------------------------------------------------------------------------------------------

    def _awaited_pong(self) -> asyncio.Future[float]:
        if self._pong is None or self._pong.done():
            self._pong = self._loop.create_future()
            if self.is_disconnected:
                self._lose_pong()
        self._expects_pong = True
        return self._pong

    def _answered(self) -> None:
        self._auto_ping_waits = False
        self._expects_pong = False
        pong, self._pong = self._pong, None
        if pong is not None and not pong.done():
            pong.set_result(time.monotonic())

    def _is_pong(self, frame: WSFrame) -> bool:
        """Whether a frame is the pong that is waited for: then ``on_ws_frame`` does not get it."""
        if not self._listener.is_user_specific_pong(frame):
            return False
        self._answered()
        return True

    async def _auto_ping(self, strategy: WSAutoPingStrategy, idle: float, reply: float) -> None:
        try:
            while await self._is_ping_due(strategy, idle):
                self._listener.send_user_specific_ping(self)
                self._auto_ping_waits = self._expects_pong = True
                await asyncio.sleep(reply)
                if self._auto_ping_waits:
                    self._logger.info("no pong within %s seconds: disconnecting", reply)
                    why = f"peer has not replied to ping/heartbeat request within {reply} second(s)"
                    self.send_close(WSCloseCode.GOING_AWAY, why)
                    # Nobody is there to take it: one try to write, then the end.
                    self._loop.call_later(_DELAY, self.disconnect, False)
                    return
        except asyncio.CancelledError:
            raise
        except Exception:
            self._logger.exception("the auto-ping loop failed: disconnecting")
            self.send_close(WSCloseCode.INTERNAL_ERROR, "an exception occurred in auto-ping loop")
            self._loop.call_later(_DELAY, self.disconnect)

    async def _is_ping_due(self, strategy: WSAutoPingStrategy, idle: float) -> bool:
        """Waits until it is. Always True."""
        while True:
            if strategy == WSAutoPingStrategy.PING_WHEN_IDLE:
                while (left := idle - self._conn._silence) > 0:  # noqa: ASYNC110 - bytes that come tell nobody
                    await asyncio.sleep(left)
            else:
                await asyncio.sleep(idle)
            if self._pong is None:
                return True
            # measure_roundtrip_time() pings meanwhile.
            await asyncio.sleep(idle)

    # ---- what the native side calls ---------------------------------------------------------------------------------

    def _ignored(self) -> None:
        self._logger.debug("a frame behind the Close frame, or after the end, is not sent")

    def _pause_writing(self) -> None:
        self._call_writing("pause_writing")
        self._waiting = self._loop.create_task(self._resume_writing())

    async def _resume_writing(self) -> None:
        while self._unsent_bytes > self._limits[1]:
            if self._conn._state == "closed":
                return
            with contextlib.suppress(ConnectionClosed):
                await self._conn._drain_future(again=True)
        self._resumed()
        self._call_writing("resume_writing")

    def _call_writing(self, name: str) -> None:
        if getattr(type(self._listener), name) is getattr(WSListener, name):
            self._logger.warning("%s: the write buffer crossed its limit", name)
        else:
            getattr(self._listener, name)()

    def _frame_failed(self, error: BaseException) -> None:
        """``on_ws_frame`` raised."""
        if not self._disconnect_on_exception and not isinstance(error, WSProtocolError):
            self._logger.error("on_ws_frame raised", exc_info=error)
        elif self._error is not None and not isinstance(error, WSProtocolError):
            self._logger.error("on_ws_frame raised again", exc_info=error)
        else:
            self._callback_failed("on_ws_frame", error)

    def _callback_failed(self, name: str, error: BaseException) -> None:
        self._logger.warning("disconnecting, since %s raised: %s", name, error)
        self._error = error
        if isinstance(error, WSProtocolError):
            self.send_close(error.code, error.args[1])
        else:
            self.send_close(WSCloseCode.INTERNAL_ERROR)
        self._loop.call_later(_DELAY, self.disconnect)

    # ---- what the connection's link calls ---------------------------------------------------------------------------

    def _connected(self, listener: WSListener) -> None:
        self._listener = listener
        try:
            listener.on_ws_connected(self)
        except Exception as error:  # noqa: BLE001 - it is the user's, and is told by wait_disconnected
            self._callback_failed("on_ws_connected", error)

    def _ended(self, failure: WSProtocolError | None) -> None:
        """The connection is over; ``failure`` is what the peer did."""
        self.is_disconnected = True
        if failure is not None:
            self._logger.error("the peer broke the protocol: %s", failure)
            self._error = self._error or failure
        self._logger.info("disconnected")
        try:
            self._listener.on_ws_disconnected(self)
        except Exception as error:  # noqa: BLE001 - as above
            self._logger.warning("on_ws_disconnected raised: %s", error)
            self._error = self._error or error
        if self._pinging is not None:
            self._pinging.cancel()
        self._lose_pong()
        if self._over.done():
            return
        if self._error is None:
            self._over.set_result(None)
        else:
            self._over.set_exception(self._error)

    def _lose_pong(self) -> None:
        if self._pong is not None and not self._pong.done():
            self._pong.set_exception(ConnectionResetError("the connection was lost before the pong came"))


def _code(code: int) -> WSCloseCode:
    return WSCloseCode(0 if code == _NO_STATUS else code)


def __getattr__(name: str) -> Any:
    """What only the original has: of its server."""
    original = _installed.find("picows.picows")
    if original is None or name.startswith("__"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(original, name)


_DELAY = 0.01
"""Seconds in which a Close frame of ours may leave, and the peer's answer may come."""

_NO_STATUS = 1005
