"""permessage-deflate (RFC 7692) as an extension in Python. The installed original's classes, where there is one.

A connection whose only extension this is has the native one instead; these run where others are beside it.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from typing import Any, Literal

from fastws.compat._installed import NotInstalledError, required, unavailable
from fastws.compat.websockets._adopt import adopted
from fastws.compat.websockets.exceptions import (
    DuplicateParameter,
    InvalidParameterName,
    InvalidParameterValue,
    NegotiationError,
    PayloadTooBig,
    ProtocolError,
)
from fastws.compat.websockets.frames import CONT, CTRL_OPCODES, Frame
from fastws.compat.websockets.typing import ExtensionName, ExtensionParameter

from .base import ClientExtensionFactory, Extension

__all__ = ["ClientPerMessageDeflateFactory", "PerMessageDeflate", "enable_client_permessage_deflate"]


@adopted
class PerMessageDeflate(Extension):
    """permessage-deflate on the terms that both sides agreed to.

    Args:
        remote_no_context_takeover: The peer forgets its window after each message.
        local_no_context_takeover: We do.
        remote_max_window_bits: The largest window of the peer, 8 to 15 bits.
        local_max_window_bits: Ours, 9 to 15 bits.
        compress_settings: More arguments of ``zlib.compressobj``, but for ``wbits``.
    """

    name = ExtensionName("permessage-deflate")

    def __init__(
        self,
        remote_no_context_takeover: bool,
        local_no_context_takeover: bool,
        remote_max_window_bits: int,
        local_max_window_bits: int,
        compress_settings: dict[Any, Any] | None = None,
    ) -> None:
        self.remote_no_context_takeover = remote_no_context_takeover
        self.local_no_context_takeover = local_no_context_takeover
        self.remote_max_window_bits = remote_max_window_bits
        self.local_max_window_bits = local_max_window_bits
        self.compress_settings = compress_settings if compress_settings is not None else {}
        self._inflate = self._new_inflate()
        self._deflate = self._new_deflate()
        self._is_compressed = False

    def __repr__(self) -> str:
        return (
            f"PerMessageDeflate(remote_no_context_takeover={self.remote_no_context_takeover}, "
            f"local_no_context_takeover={self.local_no_context_takeover}, "
            f"remote_max_window_bits={self.remote_max_window_bits}, "
            f"local_max_window_bits={self.local_max_window_bits})"
        )

    def decode(self, frame: Frame, *, max_size: int | None = None) -> Frame:
        """The frame received, decompressed if its message is compressed.

        Raises:
            PayloadTooBig: It becomes longer than ``max_size`` bytes; no more than that is decompressed.
            ProtocolError: It is not what RFC 7692 §7.2.2 wants.
        """
        if frame.opcode in CTRL_OPCODES:
            return frame
        if frame.opcode is not CONT:
            self._is_compressed = frame.rsv1
            if frame.rsv1 and self.remote_no_context_takeover:
                self._inflate = self._new_inflate()
        elif frame.rsv1:
            # RFC 7692 §6.1: only a message's first frame says that it is compressed.
            raise ProtocolError("RSV1 bit set in continuation frame")
        if not self._is_compressed:
            return frame
        data = bytes(frame.data) + _TAIL if frame.fin else bytes(frame.data)
        try:
            plain = self._inflate.decompress(data, 0 if max_size is None else max_size)
            if self._inflate.unconsumed_tail and self._inflate.decompress(self._inflate.unconsumed_tail, 1):
                raise PayloadTooBig(None, max_size)
        except zlib.error as error:
            raise ProtocolError("decompression failed") from error
        return Frame(frame.opcode, plain, frame.fin, False, frame.rsv2, frame.rsv3)

    def encode(self, frame: Frame) -> Frame:
        """The frame, compressed if it is one of a message."""
        if frame.opcode in CTRL_OPCODES:
            return frame
        is_first = frame.opcode is not CONT
        if is_first and self.local_no_context_takeover:
            self._deflate = self._new_deflate()
        data = self._deflate.compress(frame.data) + self._deflate.flush(zlib.Z_SYNC_FLUSH)
        # RFC 7692 §7.2.1: the tail of the last frame is not sent.
        data = data.removesuffix(_TAIL) if frame.fin else data
        return Frame(frame.opcode, data, frame.fin, is_first, frame.rsv2, frame.rsv3)

    def _new_inflate(self) -> zlib._Decompress:
        return zlib.decompressobj(wbits=-self.remote_max_window_bits)

    def _new_deflate(self) -> zlib._Compress:
        return zlib.compressobj(wbits=-self.local_max_window_bits, **self.compress_settings)


@adopted
class ClientPerMessageDeflateFactory(ClientExtensionFactory):
    """An offer of permessage-deflate (RFC 7692 §7.1).

    Args:
        server_no_context_takeover: The server is to forget its window after each message.
        client_no_context_takeover: We forget ours.
        server_max_window_bits: The largest window that the server is to use, 8 to 15 bits; None asks for none.
        client_max_window_bits: The largest window that we use, 9 to 15 bits; True leaves it to the server, None does
            not offer to be told.
        compress_settings: More arguments of ``zlib.compressobj``, but for ``wbits``.

    Raises:
        ValueError: A number is out of its range, or ``compress_settings`` has ``wbits``.
    """

    name = ExtensionName("permessage-deflate")

    def __init__(
        self,
        server_no_context_takeover: bool = False,
        client_no_context_takeover: bool = False,
        server_max_window_bits: int | None = None,
        client_max_window_bits: int | Literal[True] | None = True,
        compress_settings: dict[str, Any] | None = None,
    ) -> None:
        if server_max_window_bits is not None and not 8 <= server_max_window_bits <= 15:
            raise ValueError("server_max_window_bits must be between 8 and 15")
        if client_max_window_bits not in (None, True) and not 9 <= client_max_window_bits <= 15:
            raise ValueError("client_max_window_bits must be between 9 and 15")
        if compress_settings is not None and "wbits" in compress_settings:
            raise ValueError("compress_settings must not include wbits, set client_max_window_bits instead")
        self.server_no_context_takeover = server_no_context_takeover
        self.client_no_context_takeover = client_no_context_takeover
        self.server_max_window_bits = server_max_window_bits
        self.client_max_window_bits = client_max_window_bits
        self.compress_settings = compress_settings

    def get_request_params(self) -> Sequence[ExtensionParameter]:
        """The parameters to offer."""
        params: list[ExtensionParameter] = []
        if self.server_no_context_takeover:
            params.append(("server_no_context_takeover", None))
        if self.client_no_context_takeover:
            params.append(("client_no_context_takeover", None))
        if self.server_max_window_bits is not None:
            params.append(("server_max_window_bits", str(self.server_max_window_bits)))
        if self.client_max_window_bits is not None:
            bits = None if self.client_max_window_bits is True else str(self.client_max_window_bits)
            params.append(("client_max_window_bits", bits))
        return params

    def process_response_params(
        self, params: Sequence[ExtensionParameter], accepted_extensions: Sequence[Extension]
    ) -> PerMessageDeflate:
        """The extension on the server's terms (RFC 7692 §7.1).

        Raises:
            NegotiationError: They are not what was offered.
        """
        if any(other.name == self.name for other in accepted_extensions):
            raise NegotiationError(f"received duplicate {self.name}")
        answer = _parsed(params)
        if self.server_no_context_takeover and "server_no_context_takeover" not in answer:
            raise NegotiationError("expected server_no_context_takeover")
        server_bits = answer.get("server_max_window_bits")
        if self.server_max_window_bits is not None:
            if server_bits is None:
                raise NegotiationError("expected server_max_window_bits")
            if server_bits > self.server_max_window_bits:
                raise NegotiationError("unsupported server_max_window_bits")
        client_bits = answer.get("client_max_window_bits")
        match self.client_max_window_bits:
            case None:
                if client_bits is not None:
                    raise NegotiationError("unexpected client_max_window_bits")
            case True:
                pass
            case most:
                client_bits = most if client_bits is None else client_bits
                if client_bits > most:
                    raise NegotiationError("unsupported client_max_window_bits")
        if client_bits == 8:
            # zlib makes no raw stream of so small a window.
            raise NegotiationError("unsupported client_max_window_bits = 8, use 9")
        return PerMessageDeflate(
            "server_no_context_takeover" in answer,
            self.client_no_context_takeover or "client_no_context_takeover" in answer,
            server_bits or 15,
            client_bits or 15,
            self.compress_settings,
        )


@adopted
def enable_client_permessage_deflate(
    extensions: Sequence[ClientExtensionFactory] | None,
) -> Sequence[ClientExtensionFactory]:
    """The extensions with permessage-deflate as the last one, unless it is among them already."""
    offered = list(extensions or ())
    if not any(factory.name == ClientPerMessageDeflateFactory.name for factory in offered):
        offered.append(ClientPerMessageDeflateFactory(compress_settings={"memLevel": 5}))
    return offered


def _parsed(params: Sequence[ExtensionParameter]) -> dict[str, int]:
    """A server's parameters by name: the bits, or 1 for a flag. Raises NegotiationError."""
    found: dict[str, int] = {}
    for name, value in params:
        if name in found:
            raise DuplicateParameter(name)
        if name in ("server_no_context_takeover", "client_no_context_takeover"):
            if value is not None:
                raise InvalidParameterValue(name, value)
            found[name] = 1
        elif name in ("server_max_window_bits", "client_max_window_bits"):
            if value not in _WINDOW_BITS:
                raise InvalidParameterValue(name, value)
            found[name] = int(value)
        else:
            raise InvalidParameterName(name)
    return found


def __getattr__(name: str) -> Any:
    if name in ("ServerPerMessageDeflateFactory", "enable_server_permessage_deflate"):
        try:
            return getattr(required(_ORIGINAL, f"{_ORIGINAL}.{name}"), name)
        except NotInstalledError as error:
            raise unavailable(error, name) from None
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


_ORIGINAL = "websockets.extensions.permessage_deflate"

# RFC 7692 §7.2.1: what ends a flushed block.
_TAIL = b"\x00\x00\xff\xff"

_WINDOW_BITS = tuple(str(bits) for bits in range(8, 16))
