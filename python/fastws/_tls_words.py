"""How it is told what TLS failed by: ``tls::words`` of the native side and ``_openssl`` write it, and this reads it."""

from __future__ import annotations

import re
from typing import NamedTuple, cast

from .errors import CertificateFault

__all__ = ["TlsFailure", "tagged", "told", "untagged", "while_opening"]


class TlsFailure(NamedTuple):
    """What TLS failed by."""

    reason: str
    """In words, and what to do."""
    fault: CertificateFault | None
    """What a certificate was not accepted for; None if it is not about one."""
    lost: bool = False
    """The connection ended meanwhile, and TLS itself found nothing wrong."""


def told(text: str) -> TlsFailure:
    """What ``text`` tells, as a TLS stream ends with it."""
    tag = _CERTIFICATE.match(text)
    reason = untagged(text)
    reason = next((f"{reason}; {hint}" for sign, hint in _HINTS.items() if sign in reason), reason)
    return TlsFailure(reason, None if tag is None else cast("CertificateFault", tag[1]))


def while_opening(phase: str, text: str) -> TlsFailure | None:
    """The same of a connection that did not open in ``phase``; None if it was not TLS that failed.

    With TLS 1.3 the server judges the client's certificate after our part of the TLS handshake, in the next phase.
    """
    said = text.removesuffix(_UNFINISHED)
    if said.startswith(_BY_TLS):
        return told(said.removeprefix(_BY_TLS))
    return TlsFailure(f"{said}; if the port does not speak TLS, use ws://", None, lost=True) if phase == "tls" else None


def tagged(fault: CertificateFault, text: str) -> str:
    """A text about a certificate, as a TLS stream ends with it."""
    return f"certificate/{fault}: {text}"


def untagged(text: str) -> str:
    """The text alone."""
    return _CERTIFICATE.sub("", text)


_CERTIFICATE = re.compile(r"\Acertificate/(\w+): ")

_BY_TLS = "TLS: "
"""What ``Inner::read_tls`` puts before it."""

_UNFINISHED = " before the opening handshake was over"

# What is to be said besides what rustls says; of certificates rust/py's `tls::words` says all.
_HINTS = {
    "InvalidContentType": "the port does not seem to speak TLS: use ws://",
    "ProtocolVersion": "the server speaks none of the TLS versions offered: 1.2 and 1.3, if "
    "TlsConfig.minimum_version and maximum_version do not say less",
    "fatal alert: HandshakeFailure": "the server wants what is not offered, such as other cipher suites than those of "
    "TLS 1.3 and the ECDHE ones of TLS 1.2",
    "NoApplicationProtocol": "the server speaks none of the protocols of TlsConfig.alpn",
}
