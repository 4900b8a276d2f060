"""What TLS failed by, as ``ssl`` of Python's raises it: the drop-ins' originals have no other exceptions of it."""

from __future__ import annotations

import ipaddress
import re
import ssl
from typing import NamedTuple, TypeVar

from fastws.errors import CertificateFault

__all__ = ["cut_short", "failed", "refused"]

T = TypeVar("T", bound=ssl.SSLError)


def refused(fault: CertificateFault, text: str) -> ssl.SSLCertVerificationError:
    """A certificate was not accepted: in OpenSSL's words and numbers, and then what is wrong in ours."""
    verdict = _mismatch(text) if fault == "name" else _VERDICTS.get(fault, _UNSPECIFIED)
    said = "certificate verify failed"
    if verdict is not _UNSPECIFIED:
        said += f": {verdict.message}"
    made = _made(ssl.SSLCertVerificationError, ssl.SSL_ERROR_SSL, "CERTIFICATE_VERIFY_FAILED", said, text)
    made.verify_code, made.verify_message = verdict
    return made


def failed(text: str) -> ssl.SSLError:
    """TLS found something else wrong."""
    known = next((openssl for signs, openssl in _REASONS.items() if any(sign in text for sign in signs)), None)
    if known is not None:
        return _made(ssl.SSLError, ssl.SSL_ERROR_SSL, *known, text)
    made = ssl.SSLError(ssl.SSL_ERROR_SSL, f"[SSL] {text}")
    made.library, made.reason = "SSL", None  # type: ignore[assignment]  # as ssl has it where OpenSSL says none
    return made


def cut_short(text: str) -> ssl.SSLEOFError:
    """The connection ended in the middle of the TLS handshake."""
    said = "EOF occurred in violation of protocol"
    return _made(ssl.SSLEOFError, ssl.SSL_ERROR_EOF, "UNEXPECTED_EOF_WHILE_READING", said, text)


class _Verdict(NamedTuple):
    """Of a verification, by OpenSSL's number (``X509_V_ERR_*``)."""

    code: int
    message: str


def _mismatch(text: str) -> _Verdict:
    """With the name that was wanted, which our text has."""
    found = _WANTED.search(text)
    if found is None:
        return _Verdict(62, "hostname mismatch")
    wanted = found[1]
    try:
        ipaddress.ip_address(wanted)
    except ValueError:
        return _Verdict(62, f"Hostname mismatch, certificate is not valid for '{wanted}'.")
    return _Verdict(64, f"IP address mismatch, certificate is not valid for '{wanted}'.")


def _made(kind: type[T], number: int, reason: str, said: str, text: str) -> T:
    made = kind(number, f"[SSL: {reason}] {said} ({text})")
    made.library, made.reason = "SSL", reason
    return made


_WANTED = re.compile(r" is not for (\S+?)(?: but for |: it has no subjectAltName)")

_VERDICTS: dict[CertificateFault, _Verdict] = {
    "purpose": _Verdict(26, "unsuitable certificate purpose"),
    "self_signed": _Verdict(18, "self-signed certificate"),
    "expired": _Verdict(10, "certificate has expired"),
    "not_yet_valid": _Verdict(9, "certificate is not yet valid"),
    "revoked": _Verdict(23, "certificate revoked"),
    "untrusted": _Verdict(20, "unable to get local issuer certificate"),
}

_UNSPECIFIED = _Verdict(1, "unspecified certificate verification error")

_REASONS = {
    ("InvalidContentType", "wrong version number"): ("WRONG_VERSION_NUMBER", "wrong version number"),
    ("ProtocolVersion", "alert protocol version"): ("TLSV1_ALERT_PROTOCOL_VERSION", "tlsv1 alert protocol version"),
    ("HandshakeFailure", "handshake failure"): ("SSLV3_ALERT_HANDSHAKE_FAILURE", "ssl/tls alert handshake failure"),
}
"""What OpenSSL says where rustls and our text of OpenSSL's say this."""
