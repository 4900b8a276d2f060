"""What a ``TlsConfig`` refers to, read: authorities, certificates and keys from files, and the environment."""

from __future__ import annotations

import base64
import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from .tls import TlsConfig

__all__ = ["Material", "gather", "native_options", "needs_files"]


Identity = tuple[str | None, tuple[int, ...]]
"""A path, and what tells one content of it from another."""


class Material(NamedTuple):
    """All that a context is made of. Equal material makes contexts that can stand for each other."""

    backend: str
    verify: bool
    ca: bytes | None
    ca_only: bool
    certificate: bytes | None
    key: bytes | None
    password: str | bytes | None
    minimum_version: str
    maximum_version: str
    alpn: Sequence[str]
    pins: Sequence[str]
    crls: tuple[bytes, ...]
    keylog: str | None
    resumption: bool
    roots: tuple[Identity, ...]
    """What the environment says that the system's roots are in, as it is now."""

    def __repr__(self) -> str:
        return "Material(...)"  # a key is part of it


def needs_files(config: TlsConfig) -> bool:
    """Whether a file is read for it."""
    return any(isinstance(data, str) for data in (config.ca, config.certificate, config.key, *config.crls))


def gather(config: TlsConfig) -> Material:
    """Reads what ``config`` refers to.

    Raises:
        ValueError: A file cannot be read; the text names the setting.
    """
    return Material(
        backend=config.backend,
        verify=config.verify,
        ca=_authorities(config.ca),
        ca_only=config.ca_only,
        certificate=_content("certificate", config.certificate),
        key=_content("key", config.key),
        password=config.password,
        minimum_version=config.minimum_version,
        maximum_version=config.maximum_version,
        alpn=config.alpn,
        pins=config.pins,
        crls=tuple(_content("crls", crl) or b"" for crl in config.crls),
        keylog=os.fspath(config.keylog) if config.keylog is not None else _environment("SSLKEYLOGFILE"),
        resumption=config.resumption,
        roots=() if config.backend == "webpki" else _roots(),
    )


def native_options(material: Material) -> dict[str, Any]:
    """``material`` as the native context takes it.

    Raises:
        ValueError: The client's certificate or key cannot be read; the text names the setting.
    """
    return {
        "backend": material.backend,
        "verify": material.verify,
        "ca": material.ca,
        "ca_only": material.ca_only,
        "identity": identity(material),
        "minimum_version": material.minimum_version,
        "maximum_version": material.maximum_version,
        "alpn": [protocol.encode() for protocol in material.alpn],
        "pins": [base64.b64decode(pin) for pin in material.pins],
        "crls": b"\n".join(material.crls) if material.crls else None,
        "keylog": material.keylog,
        "resumption": material.resumption,
    }


def identity(material: Material) -> tuple[bytes, bytes] | None:
    """The client's chain and its key, both PEM and in the clear."""
    if material.certificate is None:
        return None
    if b"-----BEGIN " not in material.certificate:
        return _from_pkcs12(material.certificate, material.password)
    key = material.key if material.key is not None else material.certificate
    if b"ENCRYPTED" in key:
        key = _decrypted(key, material.password)
    elif material.password is not None:
        raise ValueError("TlsConfig.password is given, and the key is not encrypted: leave it out")
    return material.certificate, key


def _authorities(ca: Any) -> bytes | None:
    if not isinstance(ca, str) or not Path(ca).is_dir():
        return _content("ca", ca)
    # A directory as `openssl rehash` makes it has each certificate twice, by its name and by its hash.
    try:
        files = sorted({path.resolve() for path in Path(ca).iterdir() if path.is_file()})
    except OSError as error:
        raise ValueError(f"TlsConfig.ca: the directory {ca!r} cannot be read: {error.strerror}") from error
    found = [_content("ca", str(path)) or b"" for path in files]
    return b"\n".join(data for data in found if b"-----BEGIN CERTIFICATE-----" in data)


def _content(name: str, given: Any) -> bytes | None:
    if given is None or isinstance(given, bytes):
        return given
    try:
        return Path(given).read_bytes()
    except OSError as error:
        raise ValueError(f"TlsConfig.{name}: the file {given!r} cannot be read: {error.strerror}") from error


def _roots() -> tuple[Identity, ...]:
    folders = os.environ.get("SSL_CERT_DIR")
    paths = folders.split(os.pathsep) if folders is not None else []
    return tuple(_identity_of(path) for path in (os.environ.get("SSL_CERT_FILE"), *paths))


def _identity_of(path: str | None) -> Identity:
    """Of a file that is renewed it is another one; of a directory, whenever a file comes or goes in it."""
    if path is None:
        return None, ()
    try:
        now = Path(path).stat()
    except (OSError, ValueError):
        return path, ()
    return path, (now.st_dev, now.st_ino, now.st_size, now.st_mtime_ns)


def _environment(name: str) -> str | None:
    return None if sys.flags.ignore_environment else os.environ.get(name) or None


def _secret(password: str | bytes | None) -> bytes | None:
    return password.encode() if isinstance(password, str) else password


def _from_pkcs12(data: bytes, password: str | bytes | None) -> tuple[bytes, bytes]:
    serialization, pkcs12 = _cryptography("a certificate in PKCS#12")
    try:
        key, own, others = pkcs12.load_key_and_certificates(data, _secret(password))
    except (ValueError, TypeError) as error:
        raise ValueError(
            f"TlsConfig.certificate is neither PEM nor PKCS#12 that TlsConfig.password opens: {error}"
        ) from None
    if key is None or own is None:
        raise ValueError("TlsConfig.certificate: the PKCS#12 lacks a " + ("key" if key is None else "certificate"))
    pem = serialization.Encoding.PEM
    return b"".join(one.public_bytes(pem) for one in (own, *others)), _plain(key, serialization)


def _decrypted(key: bytes, password: str | bytes | None) -> bytes:
    if password is None:
        raise ValueError("TlsConfig.key is encrypted: give TlsConfig.password")
    serialization, _ = _cryptography("an encrypted key")
    found = _ENCRYPTED_KEY.search(key)
    try:
        return _plain(serialization.load_pem_private_key(found[0] if found else key, _secret(password)), serialization)
    except (ValueError, TypeError) as error:
        raise ValueError(f"TlsConfig.key cannot be decrypted with TlsConfig.password: {error}") from None


def _plain(key: Any, serialization: Any) -> bytes:
    plain: bytes = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return plain


def _cryptography(what: str) -> tuple[Any, Any]:
    try:
        from cryptography.hazmat.primitives import serialization
        from cryptography.hazmat.primitives.serialization import pkcs12
    except ImportError:
        raise ValueError(
            f"TlsConfig: {what} needs the package cryptography: pip install cryptography, or give the key as "
            "unencrypted PEM"
        ) from None
    return serialization, pkcs12


_ENCRYPTED_KEY = re.compile(rb"-----BEGIN ([A-Z ]*PRIVATE KEY)-----.*?-----END \1-----", re.DOTALL)
