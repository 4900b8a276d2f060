"""Where tests/foreign_suites gets its files: who is asked, in which order, and what is said if nobody has them."""

import email.utils
import hashlib
import importlib.util
import io
import subprocess
import tarfile
from pathlib import Path

import pytest

FILE = Path(__file__).parents[1] / "foreign_suites" / "sources.py"
NOWHERE = "file:///nonexistent/sample"


@pytest.fixture(scope="module")
def sources():
    spec = importlib.util.spec_from_file_location("foreign_suites_sources", FILE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def clones(tmp_path, monkeypatch):
    """A folder of clones with that of the repository ``sample``, which has the tags 1.0 and newest."""
    work = tmp_path / "work"
    work.mkdir()
    (work / "test_a.py").write_text("from the repository")

    def git(*arguments, cwd=work):
        name = ["-c", "user.name=a", "-c", "user.email=a@example.com", "-c", "init.defaultBranch=main"]
        subprocess.run(["git", *name, *arguments], cwd=cwd, check=True, capture_output=True)

    git("init", "-q")
    git("add", ".")
    git("commit", "-q", "-m", "a")
    git("tag", "1.0")
    git("tag", "newest")
    git("clone", "-q", "--bare", str(work), str(tmp_path / "clones" / "sample.git"), cwd=tmp_path)
    monkeypatch.setenv("FASTWS_COMPAT_CLONES", str(tmp_path / "clones"))
    return tmp_path / "clones"


@pytest.fixture
def mirror(tmp_path, monkeypatch, sources):
    """A mirror that apt is set up with, with a source archive of ``sample`` 1.0; what ``sources.toml`` says of it."""
    if not sources.APT_HELPER.exists():
        pytest.skip("only where there is apt")
    root = tmp_path / "mirror"
    (root / "pool").mkdir(parents=True)
    text = b"from Debian"
    with tarfile.open(root / "pool" / "sample_1.0.orig.tar.gz", "w:gz") as tar:
        member = tarfile.TarInfo("sample-1.0/test_a.py")
        member.size = len(text)
        tar.addfile(member, io.BytesIO(text))
    packages = b"Package: sample\nVersion: 1.0\nArchitecture: all\nMaintainer: a\nFilename: a.deb\nSize: 0\nSHA256: 0\n"
    (root / "Packages").write_bytes(packages)
    digest = hashlib.sha256(packages).hexdigest()
    (root / "Release").write_text(
        f"Origin: Debian\nDate: {email.utils.formatdate(usegmt=True)}\nSHA256:\n {digest} {len(packages)} Packages\n"
    )
    apt = tmp_path / "apt"
    for folder in ("lists/partial", "cache/archives/partial"):
        (apt / folder).mkdir(parents=True)
    (apt / "sources.list").write_text(f"deb [trusted=yes] file:{root}/ ./\n")
    (apt / "apt.conf").write_text(
        f'Dir::Etc::sourcelist "{apt}/sources.list";\nDir::Etc::sourceparts "/dev/null";\n'
        f'Dir::State::lists "{apt}/lists";\nDir::Cache "{apt}/cache";\nAPT::Sandbox::User "";\n'
    )
    monkeypatch.setenv("APT_CONFIG", str(apt / "apt.conf"))
    subprocess.run(["apt-get", "-qq", "update"], check=True, capture_output=True)
    digest = hashlib.sha256((root / "pool" / "sample_1.0.orig.tar.gz").read_bytes()).hexdigest()
    return {"1.0": {"file": "pool/sample_1.0.orig.tar.gz", "sha256": digest}}


def test_a_clone_at_hand_is_asked_first(sources, clones, mirror, tmp_path):
    elsewhere = {"repository": NOWHERE, "debian": mirror}
    folder = sources.fetch("sample", "1.0", elsewhere, tmp_path / "build")
    assert (folder / "test_a.py").read_text() == "from the repository"


def test_a_tag_may_have_another_name(sources, clones, tmp_path):
    elsewhere = {"repository": NOWHERE, "tags": {"2.0": "newest"}}
    folder = sources.fetch("sample", "2.0", elsewhere, tmp_path / "build")
    assert folder.name == "sample-at-newest"
    assert (folder / "test_a.py").read_text() == "from the repository"


def test_without_a_clone_debian_has_it(sources, mirror, tmp_path, monkeypatch):
    monkeypatch.delenv("FASTWS_COMPAT_CLONES", raising=False)
    folder = sources.fetch("sample", "1.0", {"repository": NOWHERE, "debian": mirror}, tmp_path / "build")
    assert (folder / "test_a.py").read_text() == "from Debian"


def test_another_archive_than_that_of_the_digest_is_refused(sources, mirror, tmp_path, monkeypatch):
    monkeypatch.delenv("FASTWS_COMPAT_CLONES", raising=False)
    mirror["1.0"]["sha256"] = "0" * 64
    with pytest.raises(sources.NotFetchedError, match=r"Debian: .*Hash Sum mismatch"):
        sources.fetch("sample", "1.0", {"repository": NOWHERE, "debian": mirror}, tmp_path / "build")
    assert not (tmp_path / "build" / "sources" / "sample-at-1.0").exists()


def test_the_repository_is_the_last_resort(sources, clones, tmp_path, monkeypatch):
    monkeypatch.delenv("FASTWS_COMPAT_CLONES")
    elsewhere = {"repository": (clones / "sample.git").as_uri()}
    folder = sources.fetch("sample", "1.0", elsewhere, tmp_path / "build")
    assert (folder / "test_a.py").read_text() == "from the repository"


def test_what_nobody_has_is_said_by_each(sources, mirror, tmp_path, monkeypatch):
    monkeypatch.delenv("FASTWS_COMPAT_CLONES", raising=False)
    mirror["1.0"]["file"] = "pool/sample_0.9.orig.tar.gz"
    with pytest.raises(sources.NotFetchedError, match=r"Debian: .*sample_0[.]9.*; the repository: .+"):
        sources.fetch("sample", "1.0", {"repository": NOWHERE, "debian": mirror}, tmp_path / "build")


def test_where_the_suites_files_are_can_be_read(sources):
    for package, entry in sources.elsewhere(FILE.parent / "sources.toml").items():
        assert entry["repository"].endswith(f"/{package}")
        for said in entry["debian"].values():
            assert len(bytes.fromhex(said["sha256"])) == 32
            assert said["file"].startswith("pool/")
