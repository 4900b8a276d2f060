"""Keywords that something does not have: what to use instead, above all for who comes from another client."""

from __future__ import annotations

import difflib
import functools
import inspect
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

__all__ = ["closest", "connect_has_not", "explains_unknown_keywords", "sync_connect_has_not"]

F = TypeVar("F", bound=Callable[..., Any])


def explains_unknown_keywords(explain: Callable[[str, Iterable[str]], str]) -> Callable[[F], F]:
    """Lets the TypeError for a keyword that an ``__init__`` or a function does not have say what to use instead.

    ``explain`` gets the keyword, and those that there are.
    """

    def decorate(function: F) -> F:
        known = [name for name in inspect.signature(function).parameters if not name.startswith("_") and name != "self"]

        @functools.wraps(function)
        def explaining(*args: Any, **kwargs: Any) -> Any:
            try:
                return function(*args, **kwargs)
            except TypeError:
                unknown = [name for name in kwargs if not name.startswith("_") and name not in known]
                if not unknown:
                    raise
                raise TypeError("; ".join(explain(name, known) for name in unknown)) from None

        return explaining  # type: ignore[return-value]

    return decorate


def closest(name: str, known: Iterable[str], otherwise: str) -> str:
    """What may have been meant."""
    close = difflib.get_close_matches(name, list(known), n=1)
    return f"did you mean {close[0]}=?" if close else otherwise


def connect_has_not(name: str, known: Iterable[str]) -> str:
    """A keyword that ``connect()`` does not have."""
    instead = _INSTEAD.get(name) or closest(name, known, "see help(fastws.connect) for those there are")
    return f"connect() has no argument {name!r}: {instead}"


def sync_connect_has_not(name: str, known: Iterable[str]) -> str:
    """A keyword that ``fastws.sync.connect()`` does not have."""
    if name in _OF_LOOPS:
        return f"fastws.sync.connect() has no argument {name!r}: {_OF_LOOPS[name]}"
    return connect_has_not(name, known)


_OF_LOOPS = {
    "listener": "there are no callbacks without an event loop; receive by recv() or `for message in ws`",
    "driver": "it is about event loops; leave it out",
    "busy_poll_max": "it is about event loops; busy_poll= is all there is",
}

_CONTEXT = "use tls=, which takes an ssl.SSLContext, a fastws.TlsConfig or the name of a backend"
_TLS = "use tls=, a fastws.TlsConfig: TlsConfig(ca=...) trusts an authority, TlsConfig(verify=False) anybody"
_HEADERS = "use additional_headers="
_PROXY = "use proxy=, a URL such as http://user:password@host:port, or True for the environment's"
_NO_CONNECTION = "a connection is a fastws.Connection; leave it out, and for callbacks give listener="
_NO_LOGGER = "a connection has no logger of its own; what happened is in exceptions and in Connection.stats()"
_NO_LOOP = "a connection belongs to the event loop that awaits it; leave it out"
_ONE_DEADLINE = "open_timeout= bounds DNS, TCP, TLS and upgrade together"
_STAYS = "connect() opens one connection; one that stays is a fastws.WebSocketClient"
_ADDRESS = "connect a socket yourself and give sock="

# Those of websockets, with its older spellings; then those of aiohttp, websocket-client and picows.
_INSTEAD = {
    "ssl": _CONTEXT,
    "extra_headers": _HEADERS,
    "extensions": 'permessage-deflate is compression="deflate", or a fastws.Deflate; others are not spoken',
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
    "proxy_ssl": "use proxy_tls=, an ssl.SSLContext or a fastws.TlsConfig",
    "redirect_limit": "use max_redirects=",
    "max_redirect": "use max_redirects=",
    "trust_env": "use proxy=True",
    "ssl_context": _CONTEXT,
    "sslopt": _TLS,
    "verify_ssl": _TLS,
    "fingerprint": "use tls=, a fastws.TlsConfig with pins",
    "cookie": 'use additional_headers={"Cookie": ...}',
    "protocols": "use subprotocols=",
    "heartbeat": "use ping_interval= and ping_timeout=",
    "autoping": "pings are answered always; leave it out",
    "max_msg_size": "use max_size=",
    "max_message_size": "use max_size=",
    "retry": _STAYS,
    "reconnect": _STAYS,
    "receive_timeout": f"{_STAYS}, which has it in its ClientConfig; here ping_timeout= finds a silent peer",
    "compress": 'use compression="deflate", or a fastws.Deflate',
    "on_message": "use listener=, an object with on_message(ws, message)",
    "ws_listener_factory": "use listener=, a fastws.Listener",
}
