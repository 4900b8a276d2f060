"""What an extension is."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import TYPE_CHECKING, Any

from fastws.context import ConnectionContext

if TYPE_CHECKING:
    from fastws.events import DisconnectReason, Event

__all__ = ["Extension", "Message"]

Message = str | bytes


class Extension:
    """Something that takes part in the life of a ``WebSocketClient``. Derive from it and write the hooks you need.

    Every hook may be a plain or an ``async`` function. All get the ``ConnectionContext`` of the session, which
    handshakers and extensions share. Give the extension a name of its own: a client refuses a second one of that name.

    The order: ``on_init``, then for each session ``on_connect``, messages and ``on_disconnect``, at last
    ``on_shutdown``, once for each run of the client. The extension registered first is nearest to the wire: of what is
    received it sees everything first, of what is sent it has the last word. So ``on_init``, ``on_connect``,
    ``on_message`` and ``on_event`` go in the order of registration, ``on_send``, ``on_disconnect`` and ``on_shutdown``
    in the reverse order.

    Hooks for messages cost Python for every message, so an extension also says that it wants them::

        class Upper(fastws.Extension):
            name = "upper"
            handles_messages = True

            def on_message(self, message, context):
                return message.upper()

    Attributes:
        name: What it is called in errors and logs.
        version: Its version.
        description: One line on what it does.
        handles_lifecycle: Whether ``on_connect``, ``on_disconnect`` and ``on_event`` are called. ``on_init`` and
            ``on_shutdown`` always are.
        handles_messages: Whether ``on_message`` is called. Read when the extension is registered.
        handles_outgoing: Whether ``on_send`` is called. Read when the extension is registered.
    """

    name: str = "extension"
    version: str = "1.0.0"
    description: str = ""
    handles_lifecycle: bool = True
    handles_messages: bool = False
    handles_outgoing: bool = False

    def on_init(self, context: ConnectionContext, /) -> Awaitable[None] | None:
        """It is registered; once. If it raises, the extension is not registered, or the client does not start."""

    def on_connect(self, context: ConnectionContext, /) -> Awaitable[None] | None:
        """A session is about to be ready: the upgrade and the handshake are done, messages and ``Ready`` follow.

        What is sent here by the client finds no connection yet: a handshaker sends what is to be said first, and
        ``on_event`` hears of ``Ready``. It comes behind that if it is registered in a session, or when a connection
        that has reached its age is replaced.
        """

    def on_disconnect(self, context: ConnectionContext, reason: DisconnectReason | None, /) -> Awaitable[None] | None:
        """A session that ``on_connect`` was called for is over."""

    def on_shutdown(self, context: ConnectionContext, /) -> Awaitable[None] | None:
        """The client has ended, whatever the reason; once for each run. Or the extension was unregistered."""

    def on_message(self, message: Message, context: ConnectionContext, /) -> Message | Awaitable[Message | None] | None:
        """A message was received. Returns it, or another to put in its place, or None: then nobody gets it."""
        return message

    def on_send(self, message: Message, context: ConnectionContext, /) -> Message | Awaitable[Message | None] | None:
        """The user sends a message. Returns it, or another to send in its place, or None: then nothing is sent.

        Messages of handshakers and of the subscription registry do not come here.
        """
        return message

    def on_event(self, event: Event, context: ConnectionContext, /) -> Awaitable[None] | None:
        """Something of ``fastws.events`` happened."""

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name!r} {self.version}>"


def overrides(extension: object, hook: str) -> bool:
    """Whether an extension has a hook of its own."""
    found: Any = getattr(extension, hook, None)
    return found is not None and getattr(found, "__func__", None) is not getattr(Extension, hook)
