"""Which proxy a connection goes through: by argument, by a function, or as the environment says."""

from __future__ import annotations

import ipaddress
import re
import sys
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Self, cast, get_args
from urllib.parse import unquote, urlsplit

from .errors import ConfigError
from .redact import MASK
from .target import Target

if TYPE_CHECKING:
    from ._io import Io

__all__ = ["Proxy", "ProxyLike", "checked", "choose", "from_environment", "is_exempt"]

ProxyLike = str | Literal[True] | Callable[[str], str | Awaitable[str | None] | None] | None
"""What ``proxy=`` may be: a URL, True for the environment, a function that gets the URI, or None for no proxy."""

Scheme = Literal["http", "https", "socks4", "socks4a", "socks5", "socks5h"]

Choice = Any
"""A ``ProxyLike`` whose URL was read: ``Proxy | Literal[True] | Callable[[str], …] | None``."""


@dataclass(frozen=True, slots=True)
class Proxy:
    """A proxy, as its URL names it."""

    scheme: Scheme
    host: str
    port: int
    username: str | None = field(default=None, repr=False)
    password: str | None = field(default=None, repr=False)

    @classmethod
    def parse(cls, url: str, source: str = "proxy") -> Self:
        """Reads the URL of a proxy. Raises ConfigError, which never shows what may be a password.

        Args:
            url: ``http://user:password@host:port``, or the same with ``https``, ``socks4``, ``socks4a``, ``socks5`` or
                ``socks5h``. ``socks`` is ``socks5h``. The port is 80, 443 or 1080 unless it is given.
            source: What messages call it.
        """
        scheme, separator, _ = url.partition("://")
        scheme = _ALIASES.get(scheme.lower(), scheme.lower())
        if not separator:
            raise _wrong(source, f"is a URL with a scheme, such as http://proxy.example:3128, not {_place(url)!r}")
        if scheme not in get_args(Scheme):
            raise _wrong(source, f"has the scheme {scheme!r}; there are {', '.join(get_args(Scheme))}")
        try:
            parts = urlsplit(url)
            host, port = parts.hostname, parts.port
        except ValueError as error:
            wrong = "its port is no number from 1 to 65535" if "ort" in str(error) else "its host cannot be read"
            raise _wrong(source, f"cannot be used: {wrong}") from None
        if not host or any(character.isspace() or ord(character) < 32 for character in host):
            raise _wrong(source, "has no host that could be used; write http://proxy.example:3128")
        if port == 0 or parts.path not in ("", "/") or parts.query or parts.fragment:
            raise _wrong(source, "is scheme, host and port, and nothing behind the port; write http://host:3128")
        username, password = (None if part is None else unquote(part) for part in (parts.username, parts.password))
        _check_credentials(source, scheme, username or "", password or "")
        default = _PORTS.get(scheme, 1080)
        return cls(cast("Scheme", scheme), host, port or default, username or None, password or None)

    @property
    def shown(self) -> str:
        """The proxy for people, without user and password."""
        return f"{self.scheme}://{f'[{self.host}]' if ':' in self.host else self.host}:{self.port}"

    @property
    def finds_hosts(self) -> bool:
        """Whether it is told the server's name, and not its address, which we would have to find."""
        return self.scheme not in ("socks4", "socks5")

    def for_socks(self) -> tuple[Any, str, int, str | None, str | None]:
        """What python-socks calls it."""
        from python_socks import ProxyType

        kind = ProxyType.SOCKS4 if "4" in self.scheme else ProxyType.SOCKS5
        return kind, self.host, self.port, self.username, self.password


def _check_credentials(source: str, scheme: str, username: str, password: str) -> None:
    """RFC 1929 §2, RFC 7617 §2; SOCKS 4 has a user and no password."""
    if scheme in ("http", "https"):
        if ":" in username:
            raise _wrong(source, "has a user with a colon, which cannot be told from its password")
        return
    if not (username + password).isascii() or len(username) > 255 or len(password) > 255:
        raise _wrong(source, "has a user or a password that SOCKS cannot carry: 255 ASCII characters at most")
    if scheme in ("socks5", "socks5h") and bool(username) is not bool(password):
        raise _wrong(source, "has a user and no password, or the reverse; SOCKS5 wants both")
    if scheme in ("socks4", "socks4a") and (password or "\0" in username):
        raise _wrong(source, "has a password; SOCKS4 knows a user only")


def checked(proxy: ProxyLike, name: str = "proxy") -> Choice:
    """The argument ``proxy``, checked. Raises TypeError and ConfigError."""
    if proxy is None or proxy is True or (callable(proxy) and not isinstance(proxy, type)):
        return proxy
    if isinstance(proxy, str):
        return Proxy.parse(proxy, name)
    # Not the value: it may hold a password.
    raise TypeError(
        f"{name} is a URL such as http://proxy.example:3128, True for the environment's, a function, or None for none; "
        f"not {type(proxy).__name__}"
    )


def check_needed(choice: Choice, *, proxy_tls: object, proxy_headers: object) -> None:
    """That what is for a proxy has one that it is for; a proxy that is not known yet may be of any kind."""
    for name, given, schemes in (
        ("proxy_tls", proxy_tls, ("https",)),
        ("proxy_headers", proxy_headers, ("http", "https")),
    ):
        if not given:
            continue
        if choice is None:
            raise ValueError(f"{name} is for a proxy, and there is none: give proxy= too, or leave out {name}")
        if isinstance(choice, Proxy) and choice.scheme not in schemes:
            kinds = " or ".join(f"{scheme}://" for scheme in schemes)
            raise ValueError(f"{name} is for a proxy with {kinds}, and {choice.shown} is none; leave it out")


async def choose(choice: Choice, target: Target, io: Io) -> Proxy | None:
    """The proxy for ``target``; None to dial directly. Raises ConfigError, and what a function raises."""
    if choice is None or isinstance(choice, Proxy):
        return choice
    if choice is True:
        return from_environment(target)
    answer = await io.answer(choice(target.uri), "the function given as proxy=")
    if answer is None:
        return None
    if not isinstance(answer, str):
        raise ConfigError(f"the function given as proxy= returned {type(answer).__name__}, not str", field="proxy")
    return Proxy.parse(answer, "what the function given as proxy= returned")


def from_environment(target: Target) -> Proxy | None:
    """The proxy that the environment, or the system's settings, name for ``target``; None for none.

    For ``wss://`` that is the first of ``wss_proxy``, ``https_proxy``, ``socks_proxy`` and ``all_proxy``, for ``ws://``
    of ``ws_proxy``, ``http_proxy``, ``socks_proxy`` and ``all_proxy``, in small letters or in capitals, unless
    ``no_proxy`` has the host. A URL without a scheme is one of HTTP.
    """
    from urllib.request import getproxies

    proxies = getproxies()
    if _is_exempt(proxies, target):
        return None
    for kind in _BY_TLS[target.secure]:
        url = proxies.get(kind, "").strip()
        if url:
            if "://" not in url:
                url = f"http://{url}"
            elif kind == "socks" and url.lower().startswith("http://"):
                url = "socks5h" + url[4:]  # what macOS has in its settings, by way of urllib
            return Proxy.parse(url, f"proxy=True: {kind}_proxy of the environment")
    return None


def _is_exempt(proxies: Mapping[str, str], target: Target) -> bool:
    if "no" in proxies or sys.platform not in ("darwin", "win32"):
        return is_exempt(proxies.get("no", ""), target.host, target.port)
    from urllib.request import proxy_bypass

    return bool(proxy_bypass(f"{target.host}:{target.port}"))


def is_exempt(no_proxy: str, host: str, port: int) -> bool:
    """Whether ``no_proxy`` has ``host``.

    It is a list, by commas or blanks, of ``*`` (everything), names (``example.com``, with or without a dot or ``*.`` in
    front: the name and all below it), addresses (``10.0.0.1``, ``[::1]``) and networks (``10.0.0.0/8``, ``fd00::/8``).
    An entry may end in ``:port``. Names are not looked up to be compared with addresses.
    """
    host = host.rstrip(".").lower()
    address = _address(host)
    return any(_has(entry, host, address, port) for entry in no_proxy.lower().replace(",", " ").split())


def _has(entry: str, host: str, address: _Address | None, port: int) -> bool:
    if entry == "*":
        return True
    if (network := _network(entry)) is not None:
        return address is not None and address in network
    name, colon, number = entry.rpartition(":")
    if colon and number.isdecimal():
        entry = name
        if int(number) != port:
            return False
    entry = entry.removeprefix("[").removesuffix("]")
    if (network := _network(entry)) is not None:
        return address is not None and address in network
    name = entry.removeprefix("*").strip(".")
    return entry == "*" or (bool(name) and address is None and (host == name or host.endswith(f".{name}")))


_Address = ipaddress.IPv4Address | ipaddress.IPv6Address


def _address(host: str) -> _Address | None:
    try:
        found = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return None
    return (found.ipv4_mapped or found) if isinstance(found, ipaddress.IPv6Address) else found


def _network(entry: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network | None:
    try:
        return ipaddress.ip_network(entry, strict=False)
    except ValueError:
        return None


def _place(text: str) -> str:
    """What looks like host and port of ``text``; user and password are masked, and all behind is left out."""
    userinfo, at, place = text.rpartition("@")
    found = re.match(r"[^/?#:]*(:\d+(?![^/?#]))?", place)
    return (MASK if userinfo else "") + at + (found[0] if found else "")


def _wrong(source: str, what: str) -> ConfigError:
    return ConfigError(f"{source} {what}", field="proxy")


_ALIASES = {"socks": "socks5h"}

_PORTS = {"http": 80, "https": 443}

_BY_TLS = {True: ("wss", "https", "socks", "all"), False: ("ws", "http", "socks", "all")}
