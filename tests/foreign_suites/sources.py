"""Where the test files of others come from; see README.md."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path
from typing import Any

APT_HELPER = Path("/usr/lib/apt/apt-helper")
PIP = (sys.executable, "-m", "pip", "--disable-pip-version-check")
WAIT = 120
"""Seconds for one attempt to fetch something."""


class NotFetchedError(Exception):
    """Nowhere that was asked has the files; the text says why."""


def fetch(package: str, version: str, elsewhere: dict[str, Any], build: Path) -> Path:
    """The folder of a release's files, fetched into ``build`` unless it is there.

    ``elsewhere`` is the package's part of ``sources.toml``, empty if its source distribution has the tests. Otherwise
    these are asked in turn: a clone in the folder that ``FASTWS_COMPAT_CLONES`` names, Debian, the repository.

    Raises ``NotFetchedError``.
    """
    if not elsewhere:
        return _once(build / "sources" / f"{package}-{version}", lambda part: _from_pypi(package, version, build, part))
    tag = elsewhere.get("tags", {}).get(version, version)
    folder = build / "sources" / f"{package}-at-{tag}"
    if folder in _NOWHERE:
        raise NotFetchedError(_NOWHERE[folder])
    ways = [lambda part: _clone(_near(elsewhere["repository"]), tag, part)]
    if entry := elsewhere.get("debian", {}).get(tag):
        ways.append(lambda part: _from_debian(entry, build, part))
    ways.append(lambda part: _clone(elsewhere["repository"], tag, part))
    refused = []
    for way in ways:
        try:
            return _once(folder, way)
        except NotFetchedError as error:
            refused.append(str(error))
    _NOWHERE[folder] = "; ".join(text for text in refused if text)
    raise NotFetchedError(_NOWHERE[folder])


_NOWHERE: dict[Path, str] = {}
"""What was said of files that nobody has: another suite that wants them need not wait again."""


def _once(folder: Path, way: Any) -> Path:
    """Lets ``way`` make the folder under another name, so that it is there whole or not at all."""
    if not folder.exists():
        part = folder.with_name(folder.name + ".part")
        shutil.rmtree(part, ignore_errors=True)
        part.parent.mkdir(parents=True, exist_ok=True)
        way(part)
        part.rename(folder)
    return folder


def _call(what: str, command: list[str]) -> str:
    """What a program printed; ``NotFetchedError`` with what it called an error if it failed."""
    environment = os.environ | {"GIT_TERMINAL_PROMPT": "0"}
    try:
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=WAIT, check=False)
    except OSError as error:
        raise NotFetchedError(f"{what}: {error}") from None
    except subprocess.TimeoutExpired:
        raise NotFetchedError(f"{what}: nothing in {WAIT} s") from None
    if done.returncode:
        said = [line.strip() for line in done.stderr.splitlines()] or [f"exit status {done.returncode}"]
        errors = [line for line in said if line.startswith(("E:", "ERROR:", "fatal:"))]
        raise NotFetchedError(f"{what}: {(errors or said)[0][:300]}")
    return done.stdout


def _from_pypi(package: str, version: str, build: Path, part: Path) -> None:
    archives = build / "archives" / f"{package}-{version}"
    wanted = ["--no-deps", "--no-binary", package, f"{package}=={version}"]
    _call("PyPI", [*PIP, "download", "--quiet", "--dest", str(archives), *wanted])
    [archive] = archives.iterdir()
    _unpack(archive, part)


def _from_debian(entry: dict[str, str], build: Path, part: Path) -> None:
    """The upstream source of a Debian package, from the mirror that apt is set up with here."""
    what = "Debian"
    if not APT_HELPER.exists():
        raise NotFetchedError(f"{what}: no apt here")
    listed = ["apt-get", "indextargets", "--format", "$(REPO_URI)", "Created-By: Packages", "Origin: Debian"]
    mirrors = dict.fromkeys(_call(what, listed).split())
    if not mirrors:
        raise NotFetchedError(f"{what}: apt knows of no mirror; apt-get update")
    archive = build / "archives" / entry["file"].rpartition("/")[2]
    archive.parent.mkdir(parents=True, exist_ok=True)
    refused = ""
    for mirror in mirrors:
        try:
            # It checks the digest.
            called = [
                str(APT_HELPER),
                "download-file",
                mirror + entry["file"],
                str(archive),
                f"SHA256:{entry['sha256']}",
            ]
            _call(what, called)
        except NotFetchedError as error:
            refused = refused or str(error)
        else:
            break
    else:
        raise NotFetchedError(refused)
    _unpack(archive, part)


def _near(repository: str) -> str:
    """The clone of a repository that is at hand; an empty string if none is."""
    name = repository.rstrip("/").rpartition("/")[2].removesuffix(".git")
    clone = Path(os.environ.get("FASTWS_COMPAT_CLONES", "")) / f"{name}.git"
    return clone.as_uri() if clone.is_absolute() and clone.exists() else ""


def _clone(repository: str, tag: str, part: Path) -> None:
    if not repository:
        raise NotFetchedError
    clone = ["git", "-c", "advice.detachedHead=false", "clone", "--quiet", "--depth", "1", "--branch", tag]
    _call("the repository", [*clone, repository, str(part)])


def _unpack(archive: Path, part: Path) -> None:
    """Unpacks what has all its files in one folder."""
    whole = part.with_name(part.name + ".whole")
    shutil.rmtree(whole, ignore_errors=True)
    if archive.suffix == ".zip":
        zipfile.ZipFile(archive).extractall(whole)
    else:
        with tarfile.open(archive) as tar:
            tar.extractall(whole, filter="data")
    [inner] = whole.iterdir()
    inner.rename(part)
    whole.rmdir()


def elsewhere(file: Path) -> dict[str, dict[str, Any]]:
    """``sources.toml``: by package, where its files are if not in its source distribution."""
    return tomllib.loads(file.read_text(encoding="utf-8"))
