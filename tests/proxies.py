"""Proxies: a scripted one in a thread, and real ones in processes of their own, on free ports."""

from __future__ import annotations

import contextlib
import select
import socket
import ssl
import struct
from collections.abc import Iterable, Iterator
from pathlib import Path

from daemons import binary, free_port, running
from peers import PATIENCE, Peer, Script, Wire, ignoring_the_end

# In the same process.


def relay(one: socket.socket, two: socket.socket) -> None:
    """Carries bytes both ways until either side ends, as a proxy does."""
    one.settimeout(PATIENCE)
    two.settimeout(PATIENCE)
    ends = {one: two, two: one}
    with contextlib.suppress(OSError):
        while True:
            ready, _, _ = select.select(list(ends), [], [], PATIENCE)
            if not ready:
                return
            for sock in ready:
                while data := sock.recv(1 << 16):
                    ends[sock].sendall(data)
                    if not (isinstance(sock, ssl.SSLSocket) and sock.pending()):
                        break
                else:
                    return


def http_proxy(
    *, head: bytes = b"HTTP/1.1 200 Connection established\r\n\r\n", to: tuple[str, int] | None = None
) -> Script:
    """An HTTP proxy that answers CONNECT with `head`, and connects to `to`, or to where it is asked to."""

    @ignoring_the_end
    def script(wire: Wire) -> None:
        wire.read_request()
        host, _, port = wire.request.split(b" ")[1].decode().rpartition(":")
        with socket.create_connection(to or (host.strip("[]"), int(port))) as server:
            wire.send(head)
            relay(wire.sock, server)

    return script


def socks_proxy(
    *,
    credentials: tuple[bytes, bytes] | None = None,
    to: tuple[str, int] | None = None,
    replies: Iterable[int] = (),
) -> Script:
    """A SOCKS proxy of version 4, 4a or 5; the place that it is asked for is what the script returns.

    `replies` are its reply codes of one connection after the other; nothing is connected to but for 0.
    """
    codes = iter(replies)

    @ignoring_the_end
    def script(wire: Wire) -> tuple[str, int]:
        version, second = wire._take(2)
        if version == 4:
            port, address = struct.unpack("!H4s", wire._take(6))
            host = socket.inet_ntoa(address)
            until_null(wire)
            if host.startswith("0.0.0.") and host != "0.0.0.0":
                host = until_null(wire).decode()
            code = next(codes, 0)
            wire.send(bytes((0, 90 + code)) + bytes(6))
        else:
            methods = wire._take(second)
            wanted = 2 if credentials else 0
            wire.send(bytes((5, wanted if wanted in methods else 255)))
            if credentials:
                user = wire._take(wire._take(2)[1])
                password = wire._take(wire._take(1)[0])
                wire.send(bytes((1, (user, password) != credentials)))
            kind = wire._take(4)[3]
            if kind == 3:
                host = wire._take(wire._take(1)[0]).decode()
            else:
                host = socket.inet_ntop(
                    *((socket.AF_INET, wire._take(4)) if kind == 1 else (socket.AF_INET6, wire._take(16)))
                )
            [port] = struct.unpack("!H", wire._take(2))
            code = next(codes, 0)
            wire.send(bytes((5, code, 0, 1)) + bytes(6))
        if code == 0:
            with socket.create_connection(to or (host, port)) as server:
                relay(wire.sock, server)
        else:
            wire.end()
        return host, port

    return script


def until_null(wire: Wire) -> bytes:
    taken = b""
    while (byte := wire._take(1)) != b"\0":
        taken += byte
    return taken


def proxy(*scripts: Script, tls: bool = False) -> Peer:
    """A listening proxy, that speaks TLS itself if it is to."""
    return Peer(*scripts, upgrade=False, tls=tls)


# Processes.


@contextlib.contextmanager
def tinyproxy(folder: Path, *, credentials: str | None = None, ports: tuple[int, ...] = ()) -> Iterator[int]:
    """tinyproxy, which lets through to these ports only, or to all."""
    program, port = binary("tinyproxy"), free_port()
    lines = [f"Port {port}", "Listen 127.0.0.1", "Timeout 30", "Allow 127.0.0.1", "MaxClients 20"]
    if credentials is not None:
        lines.append(f"BasicAuth {credentials}")
    lines += [f"ConnectPort {number}" for number in ports]
    config = folder / "tinyproxy.conf"
    config.write_text("\n".join(lines) + "\n")
    with running(port, command=[program, "-d", "-c", str(config)], log=folder / "tinyproxy.log"):
        yield port


@contextlib.contextmanager
def microsocks(folder: Path, *, credentials: tuple[str, str] | None = None) -> Iterator[int]:
    """microsocks, which speaks SOCKS5."""
    program, port = binary("microsocks"), free_port()
    options = ["-i", "127.0.0.1", "-p", str(port)]
    if credentials is not None:
        options += ["-u", credentials[0], "-P", credentials[1]]
    with running(port, command=[program, *options], log=folder / "microsocks.log"):
        yield port


@contextlib.contextmanager
def danted(folder: Path, *, blocked: int | None = None) -> Iterator[int]:
    """Dante, which speaks SOCKS4 and SOCKS5; its rules block one port."""
    program, port = binary("danted"), free_port()
    block = "" if blocked is None else f"socks block {{ from: 127.0.0.0/8 to: 0.0.0.0/0 port = {blocked} }}\n"
    config = folder / "danted.conf"
    config.write_text(
        f"logoutput: stderr\ninternal: 127.0.0.1 port = {port}\nexternal: 127.0.0.1\n"
        "socksmethod: none\nclientmethod: none\nuser.privileged: nobody\nuser.unprivileged: nobody\n"
        "client pass { from: 127.0.0.0/8 to: 0.0.0.0/0 }\n"
        f"{block}"
        "socks pass { from: 127.0.0.0/8 to: 0.0.0.0/0 }\n"
    )
    with running(
        port, command=[program, "-f", str(config), "-p", str(folder / "danted.pid")], log=folder / "danted.log"
    ):
        yield port


@contextlib.contextmanager
def haproxy(folder: Path, behind: int, *, pem: bytes) -> Iterator[int]:
    """HAProxy, which speaks TLS in front of a proxy at the port `behind`."""
    program, port = binary("haproxy"), free_port()
    certificate, config = folder / "proxy.pem", folder / "haproxy.cfg"
    certificate.write_bytes(pem)
    config.write_text(
        "defaults\n mode tcp\n timeout connect 5s\n timeout client 30s\n timeout server 30s\n"
        f"frontend secured\n bind 127.0.0.1:{port} ssl crt {certificate}\n default_backend proxies\n"
        f"backend proxies\n server one 127.0.0.1:{behind}\n"
    )
    with running(port, command=[program, "-db", "-f", str(config)], log=folder / "haproxy.log"):
        yield port
