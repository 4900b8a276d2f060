"""The table of backends in docs/howto/tls.md, row by row: what it says works does, and what it denies does not."""

import asyncio
import re
import warnings
from pathlib import Path

import pytest

import fastws
from certificates import CLIENT, pin, self_signed
from fastws import TlsConfig
from fastws.testing import Server as Embedded
from fastws.tls import context_for
from tls_peers import GOOD, OTHER, ROOT, Answering, asking, opened

PAGE = (Path(__file__).parents[2] / "docs/howto/tls.md").read_text(encoding="utf-8")
HEAD, _, *ROWS = (
    [cell.strip() for cell in line.strip("| ").split("|")]
    for line in re.search(r"^\| feature .*?\n\n", PAGE, re.MULTILINE | re.DOTALL)[0].strip().splitlines()
)
BACKENDS = [name.strip('`"') for name in HEAD[1:]]
MINE = ROOT.issue("client.example", use=CLIENT)


def reached(context, tls):
    """What a server with this context saw, or why the connection was refused."""
    with Answering(context) as server:
        try:
            opened(server, tls)
        except fastws.InvalidStatus:
            return server.seen
        except fastws.TlsError as error:
            return str(error)


def works(context, tls):
    return not isinstance(reached(context, tls), str)


def by_environment(backend, tmp_path, monkeypatch):
    tmp_path.joinpath("root.pem").write_bytes(ROOT.pem)
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "root.pem"))
    return works(GOOD.server_context(), TlsConfig(backend=backend))


def another_name(backend, **_):
    context = ROOT.issue("elsewhere").server_context()
    given = {"backend": backend, "ca": ROOT.pem}
    return works(context, TlsConfig(**given, server_hostname="elsewhere")) and not works(context, TlsConfig(**given))


def versions(backend, **_):
    seen = {
        version: reached(
            GOOD.server_context(),
            TlsConfig(backend=backend, ca=ROOT.pem, minimum_version=version, maximum_version=version),
        ).version
        for version in ("TLSv1.2", "TLSv1.3")
    }
    return all(asked == spoken for asked, spoken in seen.items())


def protocols(backend, **_):
    context = GOOD.server_context()
    context.set_alpn_protocols(["feed"])
    return reached(context, TlsConfig(backend=backend, ca=ROOT.pem, alpn=["feed"])).protocol == "feed"


def key_log(backend, tmp_path, **_):
    path = tmp_path / "keys"
    reached(GOOD.server_context(), TlsConfig(backend=backend, ca=ROOT.pem, keylog=path))
    return "CLIENT_HANDSHAKE_TRAFFIC_SECRET" in path.read_text()


def resumption(backend, **_):
    async def main(server):
        for _ in range(2):
            async with fastws.connect(server.url(), tls=TlsConfig(backend=backend, ca=server.ca_pem)) as ws:
                await ws.send("x")
                await ws.recv()

    with Embedded(tls=True) as server:
        asyncio.run(main(server))
        return server.stats().resumed == 1


def no_verification(backend, **_):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return works(self_signed("elsewhere").server_context(), TlsConfig(backend=backend, verify=False))


def detailed_errors(backend, **_):
    said = reached(ROOT.issue("a.example", "b.example").server_context(), TlsConfig(backend=backend, ca=ROOT.pem))
    return "a.example, b.example" in said


def errors_with_our_name(backend, **_):
    mine = OTHER.issue("client.example", use=CLIENT)
    said = reached(asking(), TlsConfig(backend=backend, ca=ROOT.pem, certificate=mine.pem, key=mine.key_pem()))
    return "client.example" in said and "Other Root" in said


def with_identity(backend, **given):
    return bool(reached(asking(), TlsConfig(backend=backend, ca=ROOT.pem, **given)).client)


def only(backend, **given):
    """It is accepted with the second value, and not with the first."""
    name, (wrong, right) = given.popitem()
    refused, taken = ({"ca": ROOT.pem, **given, name: value} for value in (wrong, right))
    context = GOOD.server_context()
    return works(context, TlsConfig(backend=backend, **taken)) and not works(
        context, TlsConfig(backend=backend, **refused)
    )


def roots_are_trusted(backend, tmp_path, monkeypatch, **given):
    """Whether the backend's roots are, besides a ``ca``."""
    given |= {"backend": backend, "ca": OTHER.pem}
    if backend != "webpki":
        tmp_path.joinpath("root.pem").write_bytes(ROOT.pem)
        with monkeypatch.context() as patch:
            patch.setenv("SSL_CERT_FILE", str(tmp_path / "root.pem"))
            return works(GOOD.server_context(), TlsConfig(**given))
    # Nobody here has a key of one of these.
    alone, together = (asyncio.run(context_for(config)) for config in (TlsConfig(backend=backend), TlsConfig(**given)))
    assert alone.anchors > 100
    assert together.anchors in {1, alone.anchors + 1}
    return together.anchors > 1


def besides_the_roots(backend, **given):
    return only(backend, ca=(OTHER.pem, ROOT.pem)) and roots_are_trusted(backend, **given)


def instead_of_the_roots(backend, **given):
    taken = only(backend, ca_only=True, ca=(OTHER.pem, ROOT.pem))
    return taken and not roots_are_trusted(backend, ca_only=True, **given)


CHECKS = {
    "authorities besides the roots": besides_the_roots,
    "authorities instead of the roots": instead_of_the_roots,
    "roots by": by_environment,
    "another name": another_name,
    "client certificate, PEM": lambda backend, **_: with_identity(backend, certificate=MINE.pem, key=MINE.key_pem()),
    "encrypted key": lambda backend, **_: with_identity(
        backend, certificate=MINE.pem, key=MINE.key_pem(b"sesame"), password="sesame"
    ),
    "PKCS#12": lambda backend, **_: with_identity(backend, certificate=MINE.pkcs12(b"sesame"), password="sesame"),
    "versions": versions,
    "protocols": protocols,
    "pinned keys": lambda backend, **_: only(backend, pins=([pin(OTHER)], [pin(GOOD)])),
    "revocation lists": lambda backend, **_: only(
        backend, crls=([ROOT.revocation_list(GOOD)], [ROOT.revocation_list()])
    ),
    "key log": key_log,
    "session resumption": resumption,
    "no verification": no_verification,
    "errors with the certificate's": detailed_errors,
    "errors with the client certificate's": errors_with_our_name,
}


def check_of(feature):
    return next((check for name, check in CHECKS.items() if feature.startswith(name)), None)


def test_the_table_has_a_row_for_each_check_and_a_column_for_each_backend():
    assert BACKENDS == ["system", "webpki", "openssl"]
    assert len(ROWS) == len(CHECKS)
    assert {check_of(row[0]) for row in ROWS} == set(CHECKS.values())


def test_every_setting_is_on_the_page():
    for name in TlsConfig.__dataclass_fields__:
        assert re.search(rf"\b{name}\b", PAGE), name


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0])
def test_what_the_table_says_is_so(row, backend, tmp_path, monkeypatch):
    found = check_of(row[0])(backend, tmp_path=tmp_path, monkeypatch=monkeypatch)
    assert row[1 + BACKENDS.index(backend)] == ("yes" if found else "no")
