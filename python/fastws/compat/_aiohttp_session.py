"""``aiohttp.ClientSession.ws_connect`` by fastws, with what a session brings: headers, cookies, TLS, proxy, time.

A session that would be told of what we do not do keeps aiohttp's own WebSocket: one with middlewares, traces, a
connector, resolver or response class of its own, and one whose arguments we have not, such as a fingerprint.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Mapping
from http.cookies import CookieError, SimpleCookie
from typing import TYPE_CHECKING, Any

from fastws.errors import ConfigError
from fastws.proxy import Proxy

from ._aiohttp_places import can_have_places, placed

if TYPE_CHECKING:
    from yarl import URL

    from .aiohttp import ClientWebSocketResponse

__all__ = ["patch", "unpatch"]

_KEPT = "_fastws_original_ws_connect"


def patch(module: Any) -> None:
    """Puts ours into the session's class of the module ``aiohttp.client``."""
    session_class = module.ClientSession
    if hasattr(session_class, _KEPT):
        return
    original, unset = session_class._ws_connect, module.sentinel

    async def _ws_connect(self: Any, url: Any, **arguments: Any) -> Any:
        if self.closed or not _is_ours(self, module, arguments):
            return await original(self, url, **arguments)
        return await _open(self, url, {name: value for name, value in arguments.items() if value is not unset})

    setattr(session_class, _KEPT, original)
    session_class._ws_connect = _ws_connect


def unpatch(module: Any) -> None:
    """Puts aiohttp's back."""
    session_class = module.ClientSession
    original: Callable[..., Any] | None = getattr(session_class, _KEPT, None)
    if original is not None:
        session_class._ws_connect = original
        delattr(session_class, _KEPT)


def _is_ours(session: Any, module: Any, arguments: Mapping[str, Any]) -> bool:
    connector = session.connector
    usual = (
        type(connector) is module.TCPConnector
        and can_have_places(connector)
        and type(connector._resolver).__module__ == "aiohttp.resolver"
        and not getattr(connector, "_local_addr_infos", None)
        and getattr(connector, "_socket_factory", None) is None
        and session._ws_response_class is module.ClientWebSocketResponse
        and not session._trace_configs
        and not getattr(session, "_middlewares", None)
    )
    tls = [arguments.get("ssl", True), connector._ssl] if usual else []
    return (
        usual
        and arguments.get("fingerprint") is None
        and arguments.get("method", "GET").upper() == "GET"
        and not any(isinstance(ssl, module.Fingerprint) for ssl in tls)
    )


async def _open(session: Any, url: Any, arguments: dict[str, Any]) -> ClientWebSocketResponse:
    # Not before aiohttp itself is whole.
    from ._aiohttp_errors import key_of
    from ._aiohttp_limits import Limits
    from .aiohttp import ClientConnectionError, InvalidUrlClientError, ws_connect

    connector = session.connector
    try:
        url = session._build_url(url)
    except ValueError as error:
        raise InvalidUrlClientError(url) from error
    headers = session._prepare_headers(arguments.pop("headers", None))
    cookies = session.cookie_jar.filter_cookies(url)
    if cookies:
        given = SimpleCookie(headers.pop("Cookie", ""))
        given.update(cookies)
        headers["Cookie"] = given.output(header="", sep=";").strip()
    if arguments.get("auth") is None and "Authorization" not in headers:
        arguments["auth"] = session.auth
    if arguments.get("proxy") is None:
        arguments["proxy"] = session._default_proxy
    if arguments.get("proxy_auth") is None:
        arguments["proxy_auth"] = session._default_proxy_auth
    if arguments["proxy"] is None and session.trust_env:
        arguments |= {"proxy": _environment(url), "proxy_auth": None, "proxy_headers": None}
    if arguments.get("ssl", True) in (True, None):
        arguments["ssl"] = connector._ssl
    loop, timeout = asyncio.get_running_loop(), session.timeout
    since = loop.time()
    limits = [limit for limit in (timeout.total, timeout.connect) if limit]
    place = await placed(connector, key_of(str(url)), url, min(limits, default=None))
    try:
        ws = await ws_connect(
            url,
            headers=headers,
            open_timeout=max(timeout.total - (loop.time() - since), 0.001) if timeout.total else None,
            _limits=Limits(timeout, url, since),
            options={"family": connector.family},
            _skip_auto_headers=session._skip_auto_headers,
            **arguments,
        )
        place.take(ws)
    except BaseException:
        place.leave()
        raise
    if connector.closed:
        place.close()
        raise ClientConnectionError("Connector is closed.")
    _keep_cookies(session, url, ws)
    return ws


def _environment(asked: URL) -> Callable[[str], Awaitable[str | None]]:
    """Which proxy the environment has for a URI, as aiohttp reads it: by the scheme that was asked."""
    from aiohttp.helpers import get_env_proxy_for_url
    from yarl import URL

    from ._aiohttp_errors import no_proxy  # not before aiohttp itself is whole

    async def proxy(uri: str) -> str | None:
        place = URL(uri)
        is_asked = (place.host, place.port) == (asked.host, asked.port)
        # What a redirect names is http or https to aiohttp.
        place = place.with_scheme(asked.scheme if is_asked else place.scheme.replace("ws", "http"))
        try:
            found, credentials = await asyncio.to_thread(get_env_proxy_for_url, place)
        except LookupError:
            return None
        if credentials is not None:
            found = found.with_user(credentials.login).with_password(credentials.password)
        try:
            Proxy.parse(str(found), "the proxy of the environment")
        except ConfigError as error:
            raise no_proxy(error, found) from error
        return str(found)

    return proxy


def _keep_cookies(session: Any, url: Any, ws: ClientWebSocketResponse) -> None:
    """What the answer to the upgrade sets."""
    answer = ws.connection.response
    if answer is None:
        return
    for field in answer.headers.get_all("Set-Cookie"):
        with contextlib.suppress(CookieError):
            session.cookie_jar.update_cookies(SimpleCookie(field), url)
