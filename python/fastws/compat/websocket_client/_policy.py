"""What Python decides for a native connection here, see ``fastws._policy``: the exceptions are websocket-client's."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fastws._policy import response
from fastws._tls_words import while_opening
from fastws.compat import _tls_errors
from fastws.compat._wording import Wording
from fastws.redact import printable
from fastws.sync._policy import no_message, not_sendable, send_other

from ._exceptions import (
    WebSocketBadStatusException,
    WebSocketConnectionClosedException,
    WebSocketException,
    WebSocketPayloadException,
    WebSocketProtocolException,
    WebSocketTimeoutException,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

    from fastws.sync.connection import Connection

__all__ = [
    "LOST",
    "closed",
    "concurrent",
    "headers_of",
    "iteration_over",
    "late",
    "misuse",
    "no_message",
    "no_room",
    "not_sendable",
    "open_failed",
    "refused",
    "send_other",
]

LOST = "Connection to remote host was lost."


def closed(ws: Connection) -> Exception:
    """What reading from, or sending on, a connection raises that is closed or closing."""
    *_, kind, text = ws._close_info
    match kind:
        case "utf8":
            return WebSocketPayloadException(f"cannot decode: {text}")
        case "protocol" | "masked" | "limit":
            return WebSocketProtocolException(text)
    return WebSocketConnectionClosedException(LOST if ws._state == "closed" else "socket is already closed.")


def iteration_over(ws: Connection) -> Exception:
    """The end of iteration over the native connection, which nobody does here."""
    return closed(ws)


def concurrent() -> Exception:
    """Two readers at once, which a lock keeps from meeting."""
    return WebSocketException("another call is already waiting for a message of this connection")


def misuse(kind: str, text: str) -> Exception:
    """What the protocol or the connection's state does not allow."""
    return WebSocketTimeoutException(text) if kind == "queue_full" else ValueError(text)


def late(ws: Connection) -> Exception:
    """A message was accepted, and the peer did not take all of it in time."""
    return WebSocketTimeoutException(f"timed out; {ws._stats()['send_queue_bytes']} bytes leave with the next calls")


def no_room(ws: Connection, timeout: float) -> Exception:
    """Nothing was sent."""
    return WebSocketTimeoutException("timed out")


def open_failed(ws: Connection, phase: str, kind: str, text: str) -> Exception:
    """The exception of an upgrade, or of the TLS before it, that did not succeed."""
    tls = while_opening(phase, text)
    match kind:
        case _ if tls is not None:
            if tls.fault is not None:
                return _tls_errors.refused(tls.fault, _worded(tls.reason))
            return _tls_errors.cut_short(text) if tls.lost else _tls_errors.failed(_worded(tls.reason))
        case "status":
            answer = response(ws)
            assert answer is not None, "it has a status"
            return refused(answer.status_code, answer.reason_phrase, answer.headers.raw_items(), answer.body)
        case "lost":
            return WebSocketConnectionClosedException(LOST)
    return WebSocketException(f"Invalid WebSocket Header: {text}")


def refused(status: int, phrase: str, fields: Iterable[tuple[str, str]], body: bytes | None) -> Exception:
    """The server's answer is another than 101."""
    headers = headers_of(fields)
    said = body.decode(errors="replace") if body else None
    text = printable(f"Handshake status {status} {phrase}") + f" -+-+- {headers} -+-+- {said}"
    return WebSocketBadStatusException(text, status, phrase, headers, body or None)


def headers_of(fields: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Header fields by name in lower case: the last of a name, but all cookies."""
    found: dict[str, str] = {}
    for name, value in fields:
        key = name.lower()
        found[key] = f"{found[key]}; {value}" if key == "set-cookie" and key in found else value
    return found


_worded = Wording({}, tls={"ca": "sslopt={'ca_certs': ...}", "certificate": "sslopt={'certfile': ..., 'keyfile': ...}"})
"""Our texts by the options of TLS that there are here."""
