"""What a wire extension (RFC 6455 §9) and what offers it are. The installed original's classes, where there is one."""

from __future__ import annotations

from collections.abc import Sequence

from fastws.compat.websockets._adopt import adopted
from fastws.compat.websockets.frames import Frame
from fastws.compat.websockets.typing import ExtensionName, ExtensionParameter

__all__ = ["ClientExtensionFactory", "Extension", "ServerExtensionFactory"]


@adopted
class Extension:
    """A wire extension of one connection: it has each frame before it is sent and after it was received."""

    name: ExtensionName
    """As in the ``Sec-WebSocket-Extensions`` header."""

    def decode(self, frame: Frame, *, max_size: int | None = None) -> Frame:
        """The frame received, without what the extension made of it.

        Args:
            frame: As the extension behind this one left it.
            max_size: Bytes that its payload may have; None for no limit.

        Raises:
            PayloadTooBig: The payload is longer.
            ProtocolError: The peer broke the rules of the extension.
        """
        raise NotImplementedError

    def encode(self, frame: Frame) -> Frame:
        """The frame as it is to be sent."""
        raise NotImplementedError


@adopted
class ClientExtensionFactory:
    """What a client offers, and what it makes of the server's answer."""

    name: ExtensionName
    """As in the ``Sec-WebSocket-Extensions`` header."""

    def get_request_params(self) -> Sequence[ExtensionParameter]:
        """The parameters to offer."""
        raise NotImplementedError

    def process_response_params(
        self, params: Sequence[ExtensionParameter], accepted_extensions: Sequence[Extension]
    ) -> Extension:
        """The extension on the server's terms.

        Args:
            params: The parameters that the server gave.
            accepted_extensions: Those that it named before this one.

        Raises:
            NegotiationError: Not on these terms.
        """
        raise NotImplementedError


@adopted
class ServerExtensionFactory:
    """What a server accepts of what clients offer."""

    name: ExtensionName
    """As in the ``Sec-WebSocket-Extensions`` header."""

    def process_request_params(
        self, params: Sequence[ExtensionParameter], accepted_extensions: Sequence[Extension]
    ) -> tuple[list[ExtensionParameter], Extension]:
        """The parameters to answer with, and the extension on these terms.

        Args:
            params: The parameters that the client offered.
            accepted_extensions: Those accepted before this one.

        Raises:
            NegotiationError: The offer is declined.
        """
        raise NotImplementedError
