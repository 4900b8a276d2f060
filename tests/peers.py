"""A scripted WebSocket peer on a raw socket, in a thread: it sends the exact bytes that a test wants.

It has a frame codec of its own (thirty lines), so that a fault of ours on both sides cannot hide. A script is a
function that gets a `Wire`; unless `upgrade=False` the upgrade is done before it runs. What a script raises
fails the test.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import functools
import hashlib
import itertools
import os
import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple, Self

import fastws

TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10

PATIENCE = 20.0
"""Seconds after which a peer that waits for the client gives up: a hang becomes a failure with a name."""


class Frame(NamedTuple):
    opcode: int
    payload: bytes
    fin: bool = True
    rsv: int = 0


def frame(opcode: int, payload: bytes = b"", *, fin: bool = True, rsv: int = 0) -> bytes:
    """An unmasked frame, as a server sends it."""
    first = (0x80 if fin else 0) | rsv << 4 | opcode
    if len(payload) < 126:
        return bytes((first, len(payload))) + payload
    if len(payload) < 65536:
        return struct.pack("!BBH", first, 126, len(payload)) + payload
    return struct.pack("!BBQ", first, 127, len(payload)) + payload


def text(message: str) -> bytes:
    return frame(TEXT, message.encode())


def binary(message: bytes) -> bytes:
    return frame(BINARY, message)


def close(code: int | None = 1000, reason: str = "") -> bytes:
    return frame(CLOSE, b"" if code is None else struct.pack("!H", code) + reason.encode())


def numbered(numbers: Iterable[int]) -> bytes:
    """Text messages of these numbers."""
    return b"".join(text(str(number)) for number in numbers)


class Ended(Exception):
    """The client ended the stream."""


class Wire:
    """One accepted connection, as a script sees it."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.request = b""
        self._buffer = b""

    # Sending.

    def send(self, *chunks: bytes) -> None:
        self.sock.sendall(b"".join(chunks))

    def upgrade(self, behind: bytes = b"", headers: str = "", status: str = "101 Switching Protocols") -> None:
        """Reads the request and accepts it; `behind` goes in the same segment as the answer."""
        self.read_request()
        key = next(line[19:] for line in self.request.split(b"\r\n") if line.lower().startswith(b"sec-websocket-key: "))
        accept = base64.b64encode(hashlib.sha1(key + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest()).decode()
        self.send(
            f"HTTP/1.1 {status}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Accept: {accept}\r\n{headers}\r\n".encode(),
            behind,
        )

    def send_until_blocked(self, chunk: bytes, quiet: float = 0.3) -> int:
        """Sends `chunk` again and again until the client has taken nothing for `quiet` seconds; returns how many chunks
        went out whole. The rest of the last one is left for `finish`. A client that had no turn for so long takes
        nothing either: see `until_paused`.
        """
        self.sock.settimeout(quiet)
        whole, self._rest = 0, b""
        try:
            while True:
                view = memoryview(chunk)
                while view:
                    try:
                        view = view[self.sock.send(view) :]
                    except (TimeoutError, ssl.SSLWantWriteError):
                        self._rest = bytes(view)
                        return whole
                whole += 1
        finally:
            self.sock.settimeout(PATIENCE)

    def finish(self) -> None:
        """Sends the rest of the chunk that blocked."""
        self.sock.sendall(self._rest)

    # Receiving.

    def _more(self) -> None:
        data = self.sock.recv(1 << 18)
        if not data:
            raise Ended
        self._buffer += data

    def read_request(self) -> bytes:
        while b"\r\n\r\n" not in self._buffer:
            self._more()
        self.request, _, self._buffer = self._buffer.partition(b"\r\n\r\n")
        return self.request

    def _take(self, count: int) -> bytes:
        if len(self._buffer) < count:
            parts, size = [self._buffer], len(self._buffer)
            while size < count:
                data = self.sock.recv(1 << 18)
                if not data:
                    raise Ended
                parts.append(data)
                size += len(data)
            self._buffer = b"".join(parts)
        taken, self._buffer = self._buffer[:count], self._buffer[count:]
        return taken

    def read_frame(self) -> Frame:
        first, second = self._take(2)
        assert second & 0x80, "a client masks"
        length = second & 0x7F
        if length >= 126:
            length = int.from_bytes(self._take(2 if length == 126 else 8), "big")
        mask, payload = self._take(4), self._take(length)
        if payload:
            repeated = (mask * (length // 4 + 1))[:length]
            payload = (int.from_bytes(payload, "big") ^ int.from_bytes(repeated, "big")).to_bytes(length, "big")
        return Frame(first & 0x0F, payload, bool(first & 0x80), first >> 4 & 7)

    def read_frames(self, count: int) -> list[Frame]:
        return [self.read_frame() for _ in range(count)]

    def read_to_close(self) -> list[Frame]:
        """All frames up to and with the Close frame."""
        frames = [self.read_frame()]
        while frames[-1].opcode != CLOSE:
            frames.append(self.read_frame())
        return frames

    def read_to_end(self) -> list[Frame]:
        """All frames until the client ends the stream, by FIN or RST."""
        frames = []
        with contextlib.suppress(Ended, ConnectionError, ssl.SSLEOFError):
            while True:
                frames.append(self.read_frame())
        return frames

    # Ending.

    def answer_close(self) -> list[Frame]:
        """Reads to the Close frame, answers with the same payload, and ends the stream as a server does."""
        frames = self.read_to_close()
        self.send(frame(CLOSE, frames[-1].payload))
        self.end()
        return frames

    def close(self, code: int | None = 1000, reason: str = "") -> list[Frame]:
        """The closing handshake, begun by us."""
        self.send(close(code, reason))
        frames = self.read_to_close()
        self.end()
        return frames

    def end(self) -> None:
        """Ends the stream: close_notify where there is TLS, FIN."""
        if isinstance(self.sock, ssl.SSLSocket):
            with contextlib.suppress(OSError, ValueError):
                self.sock.settimeout(0.5)
                self.sock.unwrap()
        with contextlib.suppress(OSError):
            self.sock.shutdown(socket.SHUT_RDWR)
        self.sock.close()

    def cut(self) -> None:
        """FIN without a close_notify."""
        self.sock.shutdown(socket.SHUT_RDWR)
        self.sock.close()

    def half_close(self) -> None:
        self.sock.shutdown(socket.SHUT_WR)

    def reset(self) -> None:
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()


Script = Callable[[Wire], Any]


class Peer:
    """A listening socket whose connections are served by `scripts`, in turn; the last one serves all later ones too."""

    def __init__(
        self,
        *scripts: Script,
        tls: bool = False,
        upgrade: bool = True,
        buffers: int | None = None,
        host: str = "127.0.0.1",
    ) -> None:
        self._scripts = scripts or (Wire.answer_close,)
        self._tls, self._upgrade = tls, upgrade
        self._threads: list[threading.Thread] = []
        self._errors: list[BaseException] = []
        self._wires: list[Wire] = []
        self._results: dict[int, Any] = {}
        self.listener = socket.create_server((host, 0), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
        if buffers is not None:
            # Accepted sockets inherit them: small ones make backpressure show early.
            self.listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, buffers)
            self.listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffers)
        # With a timeout, it is waited for before accept(): that would keep a descriptor's number while it waits.
        self.listener.settimeout(3600)
        self.port = self.listener.getsockname()[1]
        shown = f"[{host}]" if ":" in host else host
        self.url = f"{'wss' if tls else 'ws'}://{shown}:{self.port}/"
        self._thread = threading.Thread(target=self._accept, name="peer", daemon=True)
        self._thread.start()

    def connect(self, **options: Any) -> fastws.connect:
        if self._tls:
            options.setdefault("tls", fastws.TlsConfig(ca=authority_pem()))
        return fastws.connect(self.url, **options)

    @property
    def accepted(self) -> int:
        return len(self._wires)

    @property
    def results(self) -> list[Any]:
        """What the scripts returned, in the order of their connections, whichever ended first; whole behind `with`."""
        return [self._results[number] for number in sorted(self._results)]

    def _accept(self) -> None:
        for number in itertools.count():
            try:
                sock, _ = self.listener.accept()
            except OSError:
                return
            sock.settimeout(PATIENCE)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            script = self._scripts[min(number, len(self._scripts) - 1)]
            wire = Wire(sock)
            self._wires.append(wire)
            serve = functools.partial(self._serve, number, wire, script)
            thread = threading.Thread(target=serve, name=f"peer {number}", daemon=True)
            self._threads.append(thread)
            thread.start()

    def _serve(self, number: int, wire: Wire, script: Script) -> None:
        try:
            if self._tls:
                wire.sock = server_context().wrap_socket(wire.sock, server_side=True)
            if self._upgrade:
                wire.upgrade()
            self._results[number] = script(wire)
        except BaseException as error:
            self._errors.append(error)
        finally:
            wire.sock.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, error: object, traceback: object) -> None:
        with contextlib.suppress(OSError):
            self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        self._thread.join(PATIENCE)
        for thread in self._threads:
            thread.join(PATIENCE + 1 if error is None else 0.1)
            assert error is not None or not thread.is_alive(), f"{thread.name} hangs"
        if error is None and self._errors:
            raise self._errors[0]


def answering(answer: Callable[[bytes], bytes]) -> Script:
    """A script that sends `answer(payload)` for each message, until the client closes."""

    def script(wire: Wire) -> None:
        while (received := wire.read_frame()).opcode != CLOSE:
            wire.send(answer(received.payload))
        wire.send(frame(CLOSE, received.payload))
        wire.end()

    return script


def ignoring_the_end(script: Script) -> Script:
    """A script whose client may go away at any moment."""

    @functools.wraps(script)
    def wrapped(wire: Wire) -> Any:
        with contextlib.suppress(Ended, OSError):
            return script(wire)

    return wrapped


class Gate:
    """A moment that one side of a test waits for and the other one reaches; each may be a thread or a coroutine."""

    def __init__(self) -> None:
        self._event = threading.Event()

    def open(self) -> None:
        self._event.set()

    @property
    def is_open(self) -> bool:
        return self._event.is_set()

    def wait(self) -> None:
        assert self._event.wait(PATIENCE), "nobody opened the gate"

    async def opened(self) -> None:
        await asyncio.to_thread(self.wait)


_made_once = threading.RLock()


@functools.cache
def _authority() -> Any:
    import trustme

    return trustme.CA()


def authority_pem() -> bytes:
    with _made_once:  # a peer's thread may want it at the same time
        return _authority().cert_pem.bytes()


@functools.cache
def _server_context() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    _authority().issue_cert("localhost", "127.0.0.1").configure_cert(context)
    return context


def server_pem() -> bytes:
    """The private key and the certificate of a server of this machine, for another program."""
    with _made_once:
        return _authority().issue_cert("localhost", "127.0.0.1").private_key_and_cert_chain_pem.bytes()


def server_context() -> ssl.SSLContext:
    with _made_once:
        return _server_context()


SMALL = 16_384
"""Socket buffers with which backpressure shows early."""


def stalled(gate):
    """A script that reads nothing before `gate` is open, and then everything."""

    def script(wire):
        gate.wait()
        frames = wire.read_to_close()
        wire.send(frame(CLOSE, frames[-1].payload[:2]))
        wire.end()
        return frames[:-1]

    return script


def peer_that_stalls(gate, **options):
    return Peer(stalled(gate), buffers=SMALL, **options)


async def fill(ws, message=b"x" * 4096):
    """Sends until the queue takes no more; returns how many messages it took."""
    number = 0
    while True:
        try:
            ws.send_nowait(message)
        except fastws.SendQueueFull:
            # What the kernel takes in the meantime leaves room again.
            await asyncio.sleep(0.01)
            try:
                ws.send_nowait(message)
            except fastws.SendQueueFull:
                return number
        number += 1


@contextlib.asynccontextmanager
async def no_descriptor_left(open_fds):
    """What is opened within is closed again. Another connection holds the hub, which has descriptors too."""
    with Peer() as peer:
        async with peer.connect():
            before = open_fds()
            while before > (now := open_fds()):
                before = now  # an earlier test's are being closed
            yield
            await closed_again(open_fds, before)


async def closed_again(open_fds, before):
    """Waits until there are no more descriptors than before."""
    for pause in while_open(open_fds, before):
        await asyncio.sleep(pause)


def while_open(open_fds, before):
    """Pauses to make until there are no more descriptors than before: a server closes its ends in threads of its own.

    There may be fewer: one of an earlier test's may have been open still.
    """
    until = time.monotonic() + PATIENCE
    while (now := open_fds()) > before:
        assert time.monotonic() < until, f"{now} descriptors, {before} before: {descriptors()}"
        yield 0.001


def descriptors():
    """The process's open descriptors, and what they are of, where the system tells."""
    found = {}
    for fd in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):  # that of the listing itself
            found[int(fd)] = os.readlink(f"/proc/self/fd/{fd}")
    return found


def request_of(peer):
    """The first line and the headers of the first request to a peer."""
    head, *headers = peer._wires[0].request.decode().split("\r\n")
    return head, [tuple(header.split(": ", 1)) for header in headers]


def received(ws, refused=fastws.ConcurrencyError):
    """A message of a blocking connection or stream, for a thread that `until_receiving` waits for."""
    while True:
        with contextlib.suppress(refused):
            return ws.recv()


def until_receiving(ws, refused=fastws.ConcurrencyError):
    """Returns when another thread waits for a message, by `received`: both may meet and be `refused`."""
    while True:
        try:
            ws.recv(timeout=0)
        except refused:
            return
        except TimeoutError:
            pass


def send_on_request(count):
    """Answers each frame with the next message."""

    def script(wire):
        for number in range(count):
            wire.read_frame()
            wire.send(text(str(number)))
        wire.answer_close()

    return script


async def until_paused(ws):
    """Returns when reading is paused: there was no room. A peer that is blocked says only that nothing was read."""
    while not ws.stats().receive_paused:
        await asyncio.sleep(0.001)


async def suspended(ws):
    """A task that waits for a message."""
    task = asyncio.create_task(ws.recv())
    await asyncio.sleep(0)
    return task
