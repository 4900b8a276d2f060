"""Dialling the server, by a proxy if there is one."""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Any

from fastws import dial as _dial
from fastws.errors import DialError, ProxyError, SocketOptionError
from fastws.proxy import Proxy
from fastws.sync._io import _BlockingIo, _Late, finish
from fastws.tunnel import Tunnel

from . import _socks
from ._exceptions import WebSocketAddressException, WebSocketProxyException
from ._line import made
from ._socket import DEFAULT_SOCKET_OPTION
from ._url import get_proxy_info

__all__ = ["dial"]


def dial(host: str, port: int, is_secure: bool, options: Any, proxy: Any) -> socket.socket:
    """A socket that is connected to the server, by a proxy if there is one. What it raises is what ``connect`` does."""
    chosen, timeout = _proxy(host, is_secure, proxy), options.timeout
    is_socks = chosen is not None and chosen.scheme != "http"
    if is_socks:
        timeout = _socks.PATIENCE if proxy.proxy_timeout is None else proxy.proxy_timeout
    set_on_it = [
        _dial.SocketOption(f"sockopt {option!r}", *option) for option in (*DEFAULT_SOCKET_OPTION, *options.sockopt)
    ]
    dialling = _dial.Dialling(options=set_on_it)
    under_way: list[str] = []
    try:
        return finish(_dialled(_BlockingIo(timeout or None, made), host, port, chosen, dialling, under_way.append))
    except _Late:
        if is_socks:
            raise _socks.late(timeout, is_connected="had not answered" in under_way) from None
        raise TimeoutError("timed out") from None
    except ProxyError as error:
        raise _proxy_failed(error, is_socks=is_socks) from error
    except (DialError, SocketOptionError) as error:
        raise _not_dialled(error) from error


async def _dialled(
    io: _BlockingIo,
    host: str,
    port: int,
    chosen: Proxy | None,
    dialling: _dial.Dialling,
    tell: Callable[[str], None],
) -> socket.socket:
    shown = f"{host}:{port}"
    if chosen is not None:
        sock, _ = await Tunnel(io, chosen, dialling, [], shown, tell).open(host, port)
        return sock
    addresses = await _dial.resolve(io, host, port, shown, dialling)
    return await _dial.connect(io, addresses, dialling, shown, local={}, tried={})


def _proxy(host: str, is_secure: bool, proxy: Any) -> Proxy | None:
    if proxy.proxy_host and proxy.proxy_protocol != "http":
        name, port, auth = proxy.proxy_host, proxy.proxy_port, proxy.auth
        if not port:
            raise WebSocketProxyException("Cannot use port 0 when proxy_host specified")
    else:
        name, port, auth = get_proxy_info(
            host, is_secure, proxy.proxy_host, proxy.proxy_port, proxy.auth, proxy.no_proxy
        )
    if not name:
        return None
    user, password = auth or (None, None)
    return Proxy(proxy.proxy_protocol, name, int(port or 80), user or None, password or None)


def _proxy_failed(error: ProxyError, *, is_socks: bool) -> Exception:
    cause = error.__cause__
    if isinstance(cause, DialError) and isinstance(cause.__cause__, OSError):
        if is_socks:
            return _socks.unreachable(str(error), cause.__cause__, is_found=cause.phase != "dns")
        return _not_dialled(cause)
    if cause is not None and not isinstance(cause, OSError):
        return _socks.refused(str(error), cause)
    return WebSocketProxyException(str(error))


def _not_dialled(error: DialError | SocketOptionError) -> Exception:
    """What the system said of the last address, which is its ``remote_ip``."""
    cause: Any = error.__cause__
    if isinstance(error, DialError) and error.phase == "dns":
        return WebSocketAddressException(cause if cause is not None else str(error))
    if not isinstance(cause, OSError):
        return error
    if isinstance(error, DialError) and error.attempts:
        told: Any = cause
        told.remote_ip = error.attempts[-1][0].rpartition(":")[0].strip("[]")
    return cause
