"""Records what a client receives and sends, in the format that the embedded server replays."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import errno
import gzip
import logging
import os
import threading
from collections import deque
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from time import sleep
from types import TracebackType
from typing import Any, Final, Literal, Self, get_args

import orjson

from ._checks import count, duration
from .errors import ConfigError, RecordingError

__all__ = ["Recorder", "TapDirection"]

TapDirection = Literal["in", "out", "open"]
"""What a tap is told: a message was received, a connection accepted one, a connection was opened (the data is its URI,
with secrets masked)."""


class Recorder:
    """A tap that writes a recording: ``WebSocketClient(uri, tap=recorder)``.

    The file is JSON Lines, gzip'd, a line a message; see the how-to on testing. ``fastws.testing.Server.load_feed``,
    ``fastws serve --feed`` and ``fastws demo --feed`` replay it. A thread of its own compresses and writes, so that the
    event loop only notes the message. A recorder serves one client and is called in its thread.

    The file grows as ``PATH.part`` and gets its name when the recorder is closed, replacing what was there. What a
    program that crashed had flushed is whole in its ``.part``, which can be replayed too: the next recorder of this
    path keeps it as ``PATH.part.1``, or with the next number that is free, up to 99.

    If the disk is full, or takes less than arrives, recording stops and the session goes on: ``error`` says why, the
    log too, once, and ``close()`` raises it. What was written until then stays in ``PATH.part``.

    Args:
        path: The file, usually ``….jsonl.gz``.
        compresslevel: 0 (none) to 9 (smallest); 6 by default.
        flush_every: Seconds (or a ``timedelta``) after which a message is in the file at the latest; 5 by default.
        max_pending: Bytes (characters of text) that may wait to be written; 64 MiB by default.

    Attributes:
        path: The file.
        error: Why recording stopped, or None.
        messages: Messages recorded so far.

    Raises:
        RecordingError: The file cannot be written; the message names it.
        ConfigError: An argument is out of its range.
    """

    __slots__ = (
        "_closing",
        "_file",
        "_flush_every",
        "_good",
        "_level",
        "_max_pending",
        "_part",
        "_pending",
        "_raised",
        "_stopped",
        "_taken",
        "_thread",
        "_wake",
        "_written",
        "error",
        "messages",
        "path",
    )

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        compresslevel: int = 6,
        flush_every: float | timedelta = 5.0,
        max_pending: int = 64 * 2**20,
    ) -> None:
        self._level = count("compresslevel", compresslevel, least=0)
        if self._level > 9:
            raise ConfigError(f"compresslevel is a number from 0 to 9; not {compresslevel}", field="compresslevel")
        self._flush_every = duration("flush_every", flush_every)
        self._max_pending = count("max_pending", max_pending, "bytes")
        self.path: Final = Path(path)
        self._part = self.path.with_name(f"{self.path.name}.part")
        self.error: RecordingError | None = None
        self.messages = 0
        # Each counter is written by one thread only, so neither needs a lock.
        self._taken = 0
        self._written = 0
        self._good = 0
        self._stopped = self._closing = self._raised = False
        self._pending: deque[tuple[str, int, str | bytes] | threading.Event] = deque()
        self._wake = threading.Event()
        try:
            self._keep_last()
            self._file = self._part.open("wb", buffering=0)
        except OSError as error:
            raise RecordingError(f"{self._part} cannot be written: {error.strerror}", path=self.path) from error
        self._thread = threading.Thread(target=self._run, name=f"fastws recorder {self.path.name}", daemon=True)
        self._thread.start()

    def __call__(self, direction: TapDirection, received_ns: int, data: Any) -> None:
        """Records a message.

        Args:
            direction: ``"in"`` for a received message, ``"out"`` for a sent one, ``"open"`` for a connection.
            received_ns: When: CLOCK_REALTIME, nanoseconds.
            data: ``str`` for text, bytes-like for binary.

        Raises:
            ValueError: ``direction`` is none of these.
        """
        if self._stopped:
            return
        name = _NAMES.get(direction)
        if name is None:
            raise ValueError(f"direction is one of {get_args(TapDirection)}, not {direction!r}")
        if not isinstance(data, str | bytes):
            # A view may not stay what it is.
            data = str(memoryview(data), "utf-8") if getattr(data, "is_text", False) else bytes(data)
        self._pending.append((name, received_ns, data))
        self.messages += direction != "open"
        self._taken += len(data) + _LINE
        waiting = self._taken - self._written
        if waiting > _WAKE and not self._wake.is_set():
            self._wake.set()
        if waiting > self._max_pending:
            self._stop(f"{self._part}: the disk takes less than arrives; {waiting} bytes waited to be written")

    def flush(self) -> None:
        """Waits until everything recorded so far is in the file."""
        done = threading.Event()
        self._pending.append(done)
        self._wake.set()
        while not done.wait(_PATIENCE) and self._thread.is_alive():
            pass

    def close(self) -> None:
        """Writes what is left and gives the file its name. Does nothing the second time.

        It waits for the disk; in an event loop ``await aclose()`` does so elsewhere.

        Raises:
            RecordingError: The recording is not complete: ``error``. It is raised once.
        """
        self._stopped = self._closing = True
        self._wake.set()
        self._thread.join()
        if not self._file.closed:
            self._finish()
        if self.error is not None and not self._raised:
            self._raised = True
            raise self.error

    async def aclose(self) -> None:
        """As ``close()``; the event loop goes on meanwhile."""
        await asyncio.to_thread(self.close)

    @property
    def closed(self) -> bool:
        """Whether it is closed."""
        return self._file.closed

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        self._raised = self._raised or exc is not None
        self.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        self._raised = self._raised or exc is not None
        await self.aclose()

    def __repr__(self) -> str:
        state = "stopped" if self.error else "closed" if self.closed else "open"
        return f"<fastws.Recorder {str(self.path)!r} {state}, {self.messages} messages>"

    # What the thread does.

    def _run(self) -> None:
        while True:
            self._wake.wait(self._flush_every)
            self._wake.clear()
            closing = self._closing
            try:
                for member in self._members():
                    self._write(member)
            except Exception as error:  # noqa: BLE001 - whatever it is, it must not be silent
                why = error.strerror if isinstance(error, OSError) else repr(error)
                self._stop(f"{self._part}: {why}", error)
            if self.error is not None:
                # Half a member would spoil the rest.
                with contextlib.suppress(OSError):
                    self._file.truncate(self._good)
            if closing or self.error is not None:
                break
        for waiting in self._pending:
            if isinstance(waiting, threading.Event):
                waiting.set()
        self._pending.clear()

    def _members(self) -> Iterator[bytes]:
        """What waits, as complete gzip members of about ``_MEMBER`` bytes each."""
        lines: list[bytes] = []
        size, due = 0, len(self._pending)
        while due and self.error is None:
            due -= 1
            item = self._pending.popleft()
            if isinstance(item, threading.Event):
                if lines:
                    yield gzip.compress(b"".join(lines), self._level, mtime=0)
                    lines, size = [], 0
                item.set()
                continue
            line = _line(*item)
            lines.append(line)
            size += len(line)
            self._written += len(item[2]) + _LINE
            if len(lines) % _SLICE == 0 and self._taken - self._written < self._max_pending // 8 and not self._closing:
                # Lets the event loop have the GIL now, and not after Python's switch interval of 5 ms.
                sleep(_BREATH)
            if size >= _MEMBER:
                yield gzip.compress(b"".join(lines), self._level, mtime=0)
                lines, size = [], 0
        if lines:
            yield gzip.compress(b"".join(lines), self._level, mtime=0)

    def _write(self, member: bytes) -> None:
        rest = memoryview(member)
        while rest:
            rest = rest[self._file.write(rest) :]
        self._good += len(member)

    def _keep_last(self) -> None:
        """A recording that was not closed is not written over."""
        if not (self._part.is_file() and self._part.stat().st_size):
            return
        for number in range(1, _MOST_KEPT + 1):
            kept = self._part.with_name(f"{self._part.name}.{number}")
            if not kept.exists():
                self._part.rename(kept)
                _LOGGER.warning("%s was not closed, and is %s from now on", self._part, kept)
                return
        text = f"it and {_MOST_KEPT} others are recordings that were not closed; move them elsewhere"
        raise FileExistsError(errno.EEXIST, text)

    # What both do.

    def _stop(self, why: str, cause: BaseException | None = None) -> None:
        self._stopped = True
        if self.error is None:
            error = RecordingError(f"recording stopped: {why}", path=self.path)
            error.__cause__ = cause
            self.error = error
            _LOGGER.error("%s", error)
            self._wake.set()

    def _finish(self) -> None:
        try:
            if self.error is None:
                with contextlib.suppress(OSError):  # some files, such as pipes, cannot
                    os.fsync(self._file.fileno())
                self._part.replace(self.path)
        except OSError as error:
            self._stop(f"{self._part} cannot become {self.path}: {error.strerror}", error)
        finally:
            self._file.close()


def _line(direction: str, at_ns: int, data: str | bytes) -> bytes:
    body = {"text": data} if isinstance(data, str) else {"b64": base64.b64encode(data).decode()}
    return orjson.dumps({"t": at_ns / 1e9, "dir": direction, **body}, option=orjson.OPT_APPEND_NEWLINE)


_NAMES: Final = {"in": "recv", "out": "send", "open": "open"}

_LINE: Final = 64
"""What a message costs in memory beside its payload, about."""

_MOST_KEPT: Final = 99
"""Recordings of one path that were not closed."""

_WAKE: Final = 256 * 1024
"""Bytes that are worth waking the thread for."""

_MEMBER: Final = 2**20
"""Bytes compressed together; more hardly compress better."""

_SLICE: Final = 64
"""Lines made at a stretch: some 50 µs."""

_BREATH: Final = 50e-6
"""Seconds between them."""

_PATIENCE: Final = 0.1
"""Seconds after which ``flush`` looks whether the thread lives."""

_LOGGER: Final = logging.getLogger("fastws.recorder")
