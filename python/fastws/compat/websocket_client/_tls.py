"""What ``sslopt`` says of TLS."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Any

from fastws.tls import TlsConfig

from ._exceptions import WebSocketException
from ._ssl_compat import ssl

__all__ = ["chosen", "complete", "context_of", "name_of"]

Sslopt = Mapping[str, Any]


def complete(sslopt: Sslopt) -> dict[str, Any]:
    """The options with what goes without saying: certificates are checked, by those of WEBSOCKET_CLIENT_CA_BUNDLE."""
    options: dict[str, Any] = {"cert_reqs": ssl.CERT_REQUIRED, **sslopt}
    bundle = os.environ.get("WEBSOCKET_CLIENT_CA_BUNDLE")
    if bundle and os.path.isfile(bundle):  # noqa: PTH113 - what tests of users replace
        name = "ca_certs"
    elif bundle and os.path.isdir(bundle):  # noqa: PTH112
        name = "ca_cert_path"
    else:
        return options
    if options.get(name) is None:
        options[name] = bundle
    return options


def name_of(sslopt: Sslopt, host: str) -> str:
    """The name that the server's certificate must have."""
    return sslopt.get("server_hostname") or host


def chosen(sslopt: Sslopt) -> TlsConfig | ssl.SSLContext:
    """Who does TLS: rustls where the options say nothing of how, else Python's ``ssl``.

    Args:
        sslopt: The options, complete.

    Raises:
        WebSocketException: They cannot be used.
    """
    if any(sslopt.get(name) != usual for name, usual in _USUAL.items()) or sslopt.keys() - _USUAL.keys() - _NO_MATTER:
        return context_of(sslopt)
    return TlsConfig()


def context_of(sslopt: Sslopt) -> ssl.SSLContext:
    """The ``ssl.SSLContext`` of the options: the one that they have, or a new one.

    Raises:
        WebSocketException: A file cannot be used, or an option.
        ValueError: ``cert_chain`` is not three values.
    """
    given: ssl.SSLContext | None = sslopt.get("context")
    if given:
        return given
    context = ssl.SSLContext(sslopt.get("ssl_version", ssl.PROTOCOL_TLS_CLIENT))
    if (keylog := os.environ.get("SSLKEYLOGFILE")) is not None:
        context.keylog_filename = keylog
    _trust(context, sslopt)
    if sslopt.get("certfile"):
        identity = (sslopt["certfile"], sslopt.get("keyfile"), sslopt.get("password"))
        _use(lambda: context.load_cert_chain(*identity), "client certificate loading")
    if "ciphers" in sslopt:
        _use(lambda: context.set_ciphers(sslopt["ciphers"]), "cipher configuration")
    if "cert_chain" in sslopt:
        chain = sslopt["cert_chain"]
        if not isinstance(chain, tuple | list) or len(chain) != 3:
            raise ValueError("cert_chain must be a tuple/list of (certfile, keyfile, password)")
        _use(lambda: context.load_cert_chain(*chain), "client certificate configuration")
    if "ecdh_curve" in sslopt:
        _use(lambda: context.set_ecdh_curve(sslopt["ecdh_curve"]), "ECDH curve configuration")
    return context


def _trust(context: ssl.SSLContext, sslopt: Sslopt) -> None:
    """Which certificates are accepted."""
    requires = sslopt.get("cert_reqs", ssl.CERT_NONE)
    checks_name = sslopt.get("check_hostname", requires != ssl.CERT_NONE)
    if requires == ssl.CERT_NONE:
        if checks_name:
            raise WebSocketException(
                "SSL certificate verification configuration failed: check_hostname cannot be enabled when cert_reqs is "
                "CERT_NONE"
            )
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        return
    file, folder = sslopt.get("ca_certs"), sslopt.get("ca_cert_path")
    if file or folder:
        _use(lambda: context.load_verify_locations(cafile=file, capath=folder), "CA certificate loading")
    else:
        _use(lambda: context.load_default_certs(ssl.Purpose.SERVER_AUTH), "default certificate loading")
    context.check_hostname = checks_name
    context.verify_mode = requires


def _use(act: Callable[[], object], what: str) -> None:
    try:
        act()
    except (OSError, ValueError) as error:  # an SSLError is an OSError
        raise WebSocketException(f"SSL {what} failed: {error}") from error


_USUAL = {"cert_reqs": ssl.CERT_REQUIRED, "ca_certs": None, "ca_cert_path": None, "certfile": None, "context": None}
"""What an option is where it says nothing."""

_NO_MATTER = frozenset({"server_hostname", "do_handshake_on_connect", "suppress_ragged_eofs", "keyfile", "password"})
"""Options that are no matter of who does it."""
