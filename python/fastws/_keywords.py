"""Keywords that ``connect()`` does not have: what to use instead, above all for who comes from another client."""

from __future__ import annotations

import difflib
import functools
import inspect
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

__all__ = ["explains_unknown_keywords"]

F = TypeVar("F", bound=Callable[..., Any])


def explains_unknown_keywords(init: F) -> F:
    """``init``, whose TypeError for a keyword that it does not have says what to use instead."""
    known = [name for name in inspect.signature(init).parameters if not name.startswith("_")]

    @functools.wraps(init)
    def explaining(*args: Any, **kwargs: Any) -> None:
        try:
            init(*args, **kwargs)
        except TypeError:
            unknown = [name for name in kwargs if not name.startswith("_") and name not in known]
            if not unknown:
                raise
            raise TypeError("; ".join(_explained(name, known) for name in unknown)) from None

    return explaining  # type: ignore[return-value]


def _explained(name: str, known: Iterable[str]) -> str:
    instead = _INSTEAD.get(name)
    if instead is None:
        close = difflib.get_close_matches(name, known, n=1)
        instead = f"did you mean {close[0]}?" if close else "see help(fastws.connect) for those there are"
    return f"connect() has no argument {name!r}: {instead}"


_TLS = "use tls=, a fastws.TlsConfig: TlsConfig(ca=...) trusts an authority, TlsConfig(verify=False) anybody"
_HEADERS = "use additional_headers="
_PROXY = "use proxy=, a URL such as http://user:password@host:port, or True for the environment's"
_NO_CONNECTION = "a connection is a fastws.Connection; leave it out, and for callbacks give listener="
_NO_LOGGER = "a connection has no logger of its own; what happened is in exceptions and in Connection.stats()"
_NO_LOOP = "a connection belongs to the event loop that awaits it; leave it out"
_ONE_DEADLINE = "open_timeout= bounds DNS, TCP, TLS and upgrade together"
_ADDRESS = "connect a socket yourself and give sock="

# Those of websockets, with its older spellings; then those of aiohttp, websocket-client and picows.
_INSTEAD = {
    "ssl": _TLS,
    "extra_headers": _HEADERS,
    "extensions": "this version offers no wire extensions; leave it out",
    "process_exception": "connect() opens one connection and does not reconnect; leave it out",
    "create_connection": _NO_CONNECTION,
    "create_protocol": _NO_CONNECTION,
    "klass": _NO_CONNECTION,
    "logger": _NO_LOGGER,
    "loop": _NO_LOOP,
    "timeout": "use open_timeout=, close_timeout= or ping_timeout=",
    "read_limit": "use max_queue= or max_queue_bytes=",
    "proto": _ADDRESS,
    "flags": _ADDRESS,
    "all_errors": "DialError.attempts has the error of each address; leave it out",
    "ssl_handshake_timeout": _ONE_DEADLINE,
    "ssl_shutdown_timeout": "close_timeout= bounds the closing handshake",
    "headers": _HEADERS,
    "header": _HEADERS,
    "http_proxy_host": _PROXY,
    "http_proxy_port": _PROXY,
    "http_proxy_auth": _PROXY,
    "http_no_proxy": _PROXY,
    "proxy_type": _PROXY,
    "proxy_auth": _PROXY,
    "proxy_ssl": "use proxy_tls=, a fastws.TlsConfig",
    "redirect_limit": "use max_redirects=",
    "max_redirect": "use max_redirects=",
    "trust_env": "use proxy=True",
    "ssl_context": _TLS,
    "sslopt": _TLS,
    "verify_ssl": _TLS,
    "cookie": 'use additional_headers={"Cookie": ...}',
    "protocols": "use subprotocols=",
    "heartbeat": "use ping_interval= and ping_timeout=",
    "autoping": "pings are answered always; leave it out",
    "max_msg_size": "use max_size=",
    "compress": 'use compression="deflate", or a fastws.Deflate',
    "on_message": "use listener=, an object with on_message(ws, message)",
    "ws_listener_factory": "use listener=, a fastws.Listener",
}
