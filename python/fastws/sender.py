"""A handle that sends."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from .connection import BytesLike

if TYPE_CHECKING:
    from ._options import Seconds
    from .client import WebSocketClient
    from .outbox import Receipt

__all__ = ["Sender"]


class Sender:
    """Sends through a client, whichever connection it has: made by ``client.sender()``.

    Hand it to code that shall send and do nothing else. It is bound to the client, not to a connection: after a
    reconnect it goes on. All methods are those of ``WebSocketClient``.
    """

    __slots__ = ("_client",)

    def __init__(self, client: WebSocketClient) -> None:
        self._client = client

    @property
    def is_ready(self) -> bool:
        """Whether a message would leave at once."""
        return self._client.is_ready

    def send_nowait(self, message: str | BytesLike, text: bool | None = None, **options: Any) -> None:
        """See ``WebSocketClient.send_nowait``."""
        self._client.send_nowait(message, text, **options)

    async def send(self, message: str | BytesLike, text: bool | None = None, **options: Any) -> Receipt | None:
        """See ``WebSocketClient.send``."""
        return await self._client.send(message, text, **options)

    send_async = send

    async def send_timeout(self, message: str | BytesLike, timeout: Seconds) -> None:  # noqa: ASYNC109 - the model's
        """See ``WebSocketClient.send_timeout``."""
        await self._client.send(message, timeout=timeout)

    async def send_many(self, messages: Iterable[str | BytesLike], text: bool | None = None) -> None:
        """See ``WebSocketClient.send_many``."""
        await self._client.send_many(messages, text)

    async def send_json(self, value: object) -> None:
        """See ``WebSocketClient.send_json``."""
        await self._client.send_json(value)

    async def send_text(self, message: str) -> None:
        """See ``WebSocketClient.send_text``."""
        await self._client.send_text(message)

    async def send_binary(self, message: BytesLike) -> None:
        """See ``WebSocketClient.send_binary``."""
        await self._client.send_binary(message)

    async def ping(self, data: str | BytesLike | None = None) -> float:
        """See ``WebSocketClient.ping``."""
        return await self._client.ping(data)

    def __repr__(self) -> str:
        return f"<fastws.Sender of {self._client!r}>"
