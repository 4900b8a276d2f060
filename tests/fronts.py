"""Real programs in front of a server: nginx, HAProxy, stunnel, each in a process of its own, on free ports."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import fastws
from daemons import binary, free_ports, running
from peers import authority_pem, server_pem

FRONTS = ("nginx", "haproxy", "stunnel")


@dataclass
class Front:
    """One that runs. stunnel listens for TLS only."""

    name: str
    ports: dict[bool, int]  # by whether there is TLS
    process: subprocess.Popen[bytes]

    def url(self, path: str = "/", *, tls: bool = False) -> str:
        return f"{'wss' if tls else 'ws'}://127.0.0.1:{self.ports[tls]}{path}"

    def connect(
        self, path: str = "/", *, tls: bool = False, backend: str = "system", by: Any = fastws.connect, **options: Any
    ) -> Any:
        """A connection made by `fastws.connect` or `fastws.sync.connect`."""
        if tls:
            options["tls"] = fastws.TlsConfig(backend=backend, ca=authority_pem())
        return by(self.url(path, tls=tls), **options)


@contextlib.contextmanager
def front(name: str, folder: Path, behind: int, *, idle: float | None = 30, **options: Any) -> Iterator[Front]:
    """A program of this name in front of the port `behind`; after `idle` seconds without data it cuts
    (stunnel counts whole ones; None: nginx as it comes)."""
    folder = folder / name
    folder.mkdir(exist_ok=True)
    with {"nginx": nginx, "haproxy": haproxy, "stunnel": stunnel}[name](folder, behind, idle=idle, **options) as it:
        yield it


def _pem(folder: Path) -> Path:
    pem = folder / "front.pem"
    pem.write_bytes(server_pem())
    return pem


UPGRADE = "proxy_http_version 1.1; proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection upgrade;"
"""What nginx has to be told, or it makes another request of an upgrade."""


@contextlib.contextmanager
def nginx(
    folder: Path,
    behind: int,
    *,
    idle: float | None,
    rules: str = "",
    upgrade: str = UPGRADE,
    alpn: str = "",
    limits: str = "",
) -> Iterator[Front]:
    """`rules` go into the server, `limits` beside it."""
    program, (plain, tls), pem = binary("nginx"), free_ports(2), _pem(folder)
    config = folder / "nginx.conf"
    timeouts = "" if idle is None else f"proxy_read_timeout {round(idle * 1000)}ms;"
    temporary = " ".join(f"{kind}_temp_path {folder}/{kind};" for kind in ("client_body", "proxy", *_GATEWAYS))
    config.write_text(f"""
        daemon off; master_process off; pid {folder}/nginx.pid; error_log stderr notice;
        events {{}}
        http {{
            access_log off; {temporary} {limits}
            server {{
                listen 127.0.0.1:{plain};
                listen 127.0.0.1:{tls} ssl {alpn};
                ssl_certificate {pem}; ssl_certificate_key {pem};
                {rules}
                location / {{
                    proxy_pass http://127.0.0.1:{behind};
                    {upgrade}
                    proxy_set_header Host $http_host;
                    proxy_set_header X-Forwarded-Proto $scheme;
                    proxy_set_header X-Forwarded-For $remote_addr;
                    {timeouts}
                }}
            }}
        }}
    """)
    command = [program, "-e", "stderr", "-p", str(folder), "-c", str(config)]
    with running(plain, tls, command=command, log=folder / "nginx.log") as process:
        yield Front("nginx", {False: plain, True: tls}, process)


_GATEWAYS = ("fastcgi", "uwsgi", "scgi")


@contextlib.contextmanager
def haproxy(folder: Path, behind: int, *, idle: float, rules: str = "", alpn: str = "") -> Iterator[Front]:
    """`rules` go into the frontend."""
    program, (plain, tls), pem = binary("haproxy"), free_ports(2), _pem(folder)
    config = folder / "haproxy.cfg"
    config.write_text(f"""
defaults
    mode http
    timeout connect 5s
    timeout client 30s
    timeout server {round(idle * 1000)}ms
    timeout tunnel {round(idle * 1000)}ms
    option http-server-close
    option forwardfor
    retries 0
frontend clients
    bind 127.0.0.1:{plain}
    bind 127.0.0.1:{tls} ssl crt {pem} {alpn}
    http-request set-header X-Forwarded-Proto https if {{ ssl_fc }}
    http-request set-header X-Forwarded-Proto http if !{{ ssl_fc }}
    {rules}
    default_backend servers
backend servers
    server one 127.0.0.1:{behind}
""")
    with running(plain, tls, command=[program, "-db", "-f", str(config)], log=folder / "haproxy.log") as process:
        yield Front("haproxy", {False: plain, True: tls}, process)


@contextlib.contextmanager
def stunnel(folder: Path, behind: int, *, idle: float) -> Iterator[Front]:
    program, [tls], pem = binary("stunnel"), free_ports(1), _pem(folder)
    config = folder / "stunnel.conf"
    config.write_text(
        f"foreground = yes\npid =\nsyslog = no\n[server]\naccept = 127.0.0.1:{tls}\nconnect = 127.0.0.1:{behind}\n"
        f"cert = {pem}\nTIMEOUTidle = {round(idle)}\nTIMEOUTclose = 1\n"
    )
    with running(tls, command=[program, str(config)], log=folder / "stunnel.log") as process:
        yield Front("stunnel", {True: tls}, process)
