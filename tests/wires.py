"""Connections in memory, for clients under a clock that is made up: a connector whose wires do what a test says."""

import asyncio

import fastws
from fastws.errors import Close, CloseInfo, ConnectionClosedError, ConnectionClosedOK, DialError, KeepaliveTimeout
from fastws.handshakes import Handshaker

URI = "ws://venue.example/feed"

QUIET = fastws.ClientConfig(receive_timeout=None, ping_interval=None)
"""Nothing happens by the clock."""


class MemoryWire:
    """A connection in memory. The test is the server: `deliver`, `drop`, `sent`."""

    def __init__(self, uri="ws://memory/", options=None):
        self.uri = uri
        self.options = dict(options or {})
        self.sent = []
        self.opened_at = asyncio.get_running_loop().time()
        self.closed_by_client = None
        self._incoming = asyncio.Queue()
        self._info = None
        self.on_send = None

    # ---- the client's side

    async def recv(self):
        if self._info is not None and self._incoming.empty():
            raise self._error()
        item = await self._incoming.get()
        if item is None:
            raise self._error()
        return item

    def send_nowait(self, message, text=None):
        if self._info is not None:
            raise self._error()
        if text and not isinstance(message, str):
            message = bytes(message).decode()
        self.sent.append(message)
        if self.on_send is not None:
            self.on_send(self, message)

    async def send(self, message, text=None):
        self.send_nowait(message, text)

    async def close(self, code=1000, reason=""):
        if self._info is None:
            self.closed_by_client = code
            self._end(CloseInfo(code, reason, "local", None, Close(code, reason), Close(code, reason)))

    def abort(self):
        if self._info is None:
            self.closed_by_client = "abort"
            self._end(CloseInfo(1006, "", None, fastws.FastwsError("aborted"), None, None))

    @property
    def close_info(self):
        return self._info

    # ---- the server's side

    def deliver(self, *messages):
        for message in messages:
            self._incoming.put_nowait(message)

    def server_close(self, code, reason=""):
        self._end(CloseInfo(code, reason, "remote", None, Close(code, reason), Close(code, "")))

    def reset(self):
        self._end(CloseInfo(1006, "", None, fastws.FastwsError("connection reset by peer"), None, None))

    def keepalive_lost(self):
        self._end(CloseInfo(1006, "", None, KeepaliveTimeout("the peer is silent"), None, None))

    @property
    def is_open(self):
        return self._info is None

    def _end(self, info):
        if self._info is None:
            self._info = info
            self._incoming.put_nowait(None)

    def _error(self):
        clean = self._info.rcvd is not None and self._info.rcvd.code in (1000, 1001, 1005)
        return (ConnectionClosedOK if clean else ConnectionClosedError)(self._info)


class MemoryConnector:
    """Makes memory wires. `script` says what each attempt gives: an exception, or what is done with its wire."""

    name = "memory"
    make = MemoryWire

    def __init__(self, *script, then=None):
        self.script = list(script)
        self.then = then
        self.attempts = []
        self.wires = []

    async def connect(self, uri, options):
        self.attempts.append(asyncio.get_running_loop().time())
        step = self.script.pop(0) if self.script else self.then
        if isinstance(step, BaseException):
            raise step
        wire = self.make(uri, options)
        self.wires.append(wire)
        if step is not None:
            result = step(wire)
            if asyncio.iscoroutine(result):
                await result
        return wire

    async def wire(self, number):
        """The wire of this number (from 1), as soon as there is one."""
        while len(self.wires) < number:
            await asyncio.sleep(0.01)
        return self.wires[number - 1]


def client_of(connector, **options):
    """A client whose connections the connector makes; one second between attempts, and no timers."""
    options.setdefault("retry", fastws.FixedDelay(1.0))
    options.setdefault("config", QUIET)
    return fastws.WebSocketClient(URI, connector=connector, **options)


def refused():
    """What a dial that nobody answered ends with."""
    return DialError("127.0.0.1:1: connection refused", uri=URI, phase="tcp")


class Failing(Handshaker):
    """Fails with one error after the other, then succeeds."""

    name = "failing"

    def __init__(self, *errors):
        self.errors = list(errors)

    async def handshake(self, channel, context):
        if self.errors:
            raise self.errors.pop(0)


async def cancelled_inside(*_arguments):
    """Waits for what somebody else has cancelled, such as a task that others share."""
    future = asyncio.get_running_loop().create_future()
    future.cancel()
    await future
