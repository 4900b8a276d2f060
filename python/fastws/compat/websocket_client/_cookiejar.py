"""Cookies that servers set, for the next handshake with the same domain."""

from __future__ import annotations

from http.cookies import SimpleCookie

__all__ = ["SimpleCookieJar"]


class SimpleCookieJar:
    """Cookies by domain. One without a domain is not kept."""

    def __init__(self) -> None:
        self.jar: dict[str, SimpleCookie] = {}

    def add(self, set_cookie: str | None) -> None:
        """Keeps the cookies of a ``Set-Cookie`` field besides those of their domain."""
        for domain, cookies in _by_domain(set_cookie):
            self.jar.setdefault(domain, SimpleCookie()).update(cookies)

    def set(self, set_cookie: str | None) -> None:
        """Keeps the cookies of a ``Set-Cookie`` field instead of those of their domain."""
        for domain, cookies in _by_domain(set_cookie):
            self.jar[domain] = cookies

    def get(self, host: str | None) -> str:
        """What a ``Cookie`` field to ``host`` has, sorted; empty if there is none."""
        name = (host or "").lower()
        found = [
            f"{key}={morsel.value}"
            for domain, cookies in self.jar.items()
            if name and (name.endswith(domain) or name == domain[1:])
            for key, morsel in cookies.items()
        ]
        return "; ".join(sorted(found))


def _by_domain(set_cookie: str | None) -> list[tuple[str, SimpleCookie]]:
    """The domains that are named, each with all the cookies."""
    cookies: SimpleCookie = SimpleCookie(set_cookie or "")
    domains = [morsel["domain"].lower() for morsel in cookies.values() if morsel["domain"]]
    return [(domain if domain.startswith(".") else f".{domain}", cookies) for domain in domains]
