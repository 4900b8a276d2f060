"""Sending: what a client and its handles have in common, and the handle."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING

import orjson

from .connection import BytesLike

if TYPE_CHECKING:
    from ._options import Seconds
    from .client import WebSocketClient
    from .outbox import Receipt

__all__ = ["Sender", "Sending"]


class Sending(ABC):
    """What sends messages: a client, or a handle of one."""

    __slots__ = ()

    @abstractmethod
    def send_nowait(
        self,
        message: str | BytesLike,
        text: bool | None = None,
        *,
        urgent: bool = False,
        expires: Seconds = None,
        key: str | None = None,
    ) -> None:
        """Sends a message, or raises at once."""

    @abstractmethod
    async def send(
        self,
        message: str | BytesLike,
        text: bool | None = None,
        *,
        timeout: Seconds = None,  # noqa: ASYNC109 - the model's
        receipt: bool = False,
        urgent: bool = False,
        expires: Seconds = None,
        key: str | None = None,
    ) -> Receipt | None:
        """Sends a message; waits where there is no room."""

    @abstractmethod
    def _corked(self) -> AbstractContextManager[object]:
        """A block in which what is sent leaves together."""

    async def send_async(self, message: str | BytesLike) -> None:
        """``send(message)``, as the model crate spells it."""
        await self.send(message)

    async def send_timeout(self, message: str | BytesLike, timeout: Seconds) -> None:  # noqa: ASYNC109 - the model's
        """``send(message, timeout=timeout)``, as the model crate spells it."""
        await self.send(message, timeout=timeout)

    async def send_many(self, messages: Iterable[str | BytesLike], text: bool | None = None) -> None:
        """Sends messages in order, waiting for room where there is none. They leave together, as in ``cork()``."""
        if isinstance(messages, str | bytes | bytearray | memoryview):
            raise TypeError("send_many() takes several messages, such as a list; send() takes one")
        with self._corked():
            for message in messages:
                await self.send(message, text)

    async def send_json(self, value: object) -> None:
        """Sends ``value`` as JSON text (by orjson)."""
        await self.send(orjson.dumps(value), text=True)

    async def send_text(self, message: str) -> None:
        """Sends text."""
        await self.send(message, text=True)

    async def send_binary(self, message: BytesLike) -> None:
        """Sends binary."""
        await self.send(message, text=False)


class Sender(Sending):
    """Sends through a client, whichever connection it has: made by ``client.sender()``.

    Hand it to code that shall send and do nothing else. It is bound to the client, not to a connection: after a
    reconnect it goes on. Its methods are those of ``WebSocketClient``.
    """

    __slots__ = ("_client",)

    def __init__(self, client: WebSocketClient) -> None:
        self._client = client

    @property
    def is_ready(self) -> bool:
        """Whether a message would leave at once."""
        return self._client.is_ready

    def send_nowait(
        self,
        message: str | BytesLike,
        text: bool | None = None,
        *,
        urgent: bool = False,
        expires: Seconds = None,
        key: str | None = None,
    ) -> None:
        """See ``WebSocketClient.send_nowait``."""
        self._client.send_nowait(message, text, urgent=urgent, expires=expires, key=key)

    async def send(
        self,
        message: str | BytesLike,
        text: bool | None = None,
        *,
        timeout: Seconds = None,  # noqa: ASYNC109 - the model's
        receipt: bool = False,
        urgent: bool = False,
        expires: Seconds = None,
        key: str | None = None,
    ) -> Receipt | None:
        """See ``WebSocketClient.send``."""
        return await self._client.send(
            message, text, timeout=timeout, receipt=receipt, urgent=urgent, expires=expires, key=key
        )

    async def ping(self, data: str | BytesLike | None = None) -> float:
        """See ``WebSocketClient.ping``."""
        return await self._client.ping(data)

    def _corked(self) -> AbstractContextManager[object]:
        return self._client._corked()

    def __repr__(self) -> str:
        return f"<fastws.Sender of {self._client!r}>"
