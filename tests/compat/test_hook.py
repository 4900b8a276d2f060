"""The import hook, in interpreters of its own: on a package and a drop-in that are written for it."""

import subprocess
import sys
import textwrap

import pytest

FILES = {
    # The original: `sample`, whose client and server share a module of exceptions.
    "sample/__init__.py": """
        def __getattr__(name):
            if name == "connect":
                from .client import connect
                return connect
            raise AttributeError(name)
    """,
    "sample/client.py": """
        from .exceptions import Closed
        from sample.common import shared
        def connect():
            return "original connect"
        class Client: ...
    """,
    "sample/server.py": "from .exceptions import Closed\ndef serve():\n    return 'original serve'",
    "sample/exceptions.py": "class Closed(Exception): ...",
    "sample/common.py": "shared = object()",
    "sample/extra/__init__.py": "import sample.common",
    "sample/extra/deep.py": "from ..common import shared\nvalue = 'original deep'",
    # Ours.
    "ours/__init__.py": """
        def __getattr__(name):
            if name == "connect":
                from .client import connect
                return connect
            raise AttributeError(name)
    """,
    "ours/client.py": """
        from .exceptions import Closed
        def connect():
            return "our connect"
        class Client: ...
    """,
    "ours/exceptions.py": """
        from fastws.compat import _installed
        original = _installed.find("sample.exceptions")
        Base = Exception if original is None else original.Closed
        class Closed(Base): ...
    """,
    "setting.py": """
        from fastws.compat import _hook
        def drop_in(*only):
            _hook._DROP_INS["sample"] = _hook.DropIn("sample", "ours", "what it is", only=frozenset(only) or None)
    """,
}
CLIENT_ONLY = "import fastws.compat, setting\nsetting.drop_in('sample.client')\n"
WHOLE = "import fastws.compat, setting\nsetting.drop_in()\n"
INSTALL = "fastws.compat.install('sample')\n"


@pytest.fixture
def run(tmp_path):
    """Runs code where `sample` and `ours` can be imported; returns what it printed."""
    for name, text in FILES.items():
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(textwrap.dedent(text))

    def run(code, *, present=True, arguments=("program.py",), fails=False):
        if not present:
            (tmp_path / "sample").rename(tmp_path / "elsewhere")
        (tmp_path / "program.py").write_text(textwrap.dedent(code))
        done = subprocess.run(
            [sys.executable, "-X", "faulthandler", *arguments], cwd=tmp_path, capture_output=True, text=True, timeout=60
        )
        assert (done.returncode != 0) == fails, done.stdout + done.stderr
        return done.stderr if fails else done.stdout.strip()

    return run


@pytest.mark.parametrize("setting", [CLIENT_ONLY, WHOLE])
def test_a_clients_module_is_ours_by_each_way_of_importing_it(run, setting):
    code = """
        import sample.client
        from sample.client import connect
        from sample import connect as top
        import sample
        import ours.client
        import importlib
        assert connect() == top() == sample.connect() == "our connect"
        assert sample.client is ours.client is importlib.import_module("sample.client")
        assert ours.client.__name__ == ours.client.__spec__.name == "ours.client"
        print("done")
    """
    assert run(setting + INSTALL + textwrap.dedent(code)) == "done"


def test_what_a_client_does_not_use_stays_the_originals(run):
    code = """
        import sample.server, sample.exceptions, sample.client
        assert sample.__file__.endswith("sample/__init__.py")
        assert sample.server.serve() == "original serve"
        assert sample.exceptions.Closed.__module__ == "sample.exceptions"
        assert issubclass(sample.client.Closed, sample.exceptions.Closed)
        assert sample.client.Closed is not sample.exceptions.Closed
        print("done")
    """
    assert run(CLIENT_ONLY + INSTALL + textwrap.dedent(code)) == "done"


def test_a_package_that_is_ours_as_a_whole_still_finds_the_original(run):
    code = """
        import sample, sample.exceptions, ours
        from fastws.compat import _installed
        assert sample is ours
        original = _installed.find("sample")
        assert original.__file__.endswith("sample/__init__.py")
        assert _installed.find("sample.exceptions").Closed is sample.exceptions.Closed.__base__
        assert _installed.find("sample.client").connect() == "original connect"
        assert _installed.find("sample.client") is _installed.find("sample.client")
        assert _installed.find("sample.nowhere") is None
        print("done")
    """
    assert run(WHOLE + INSTALL + textwrap.dedent(code)) == "done"


def test_modules_that_only_the_original_has_are_found_behind_ours(run):
    code = """
        from sample.server import serve
        import sample.extra.deep
        from fastws.compat import _installed
        assert serve() == "original serve"
        assert sample.extra.deep.value == "original deep"
        assert _installed.find("sample.server").serve is serve
        assert _installed.required("sample.server", "sample.serve").serve is serve
        try:
            import sample.nowhere
        except ModuleNotFoundError as error:
            assert error.name == "sample.nowhere"
            print("done")
    """
    assert run(WHOLE + INSTALL + textwrap.dedent(code)) == "done"


@pytest.mark.parametrize("setting", [CLIENT_ONLY, WHOLE])
def test_without_the_original_the_whole_name_is_ours(run, setting):
    code = """
        import sample, sample.client, sample.exceptions, ours
        from fastws.compat import _installed
        assert sample is ours and sample.exceptions is ours.exceptions
        assert sample.exceptions.Closed.__base__ is Exception
        assert _installed.find("sample") is _installed.find("sample.client") is None
        try:
            _installed.required("sample.server", "sample.serve")
        except ImportError as error:
            print(error)
    """
    said = run(setting + INSTALL + textwrap.dedent(code), present=False)
    assert said == "sample.serve is the original's: fastws is a client, so install sample to use it beside fastws"


def test_without_the_original_a_module_that_ours_has_not_is_not_found(run):
    assert "ModuleNotFoundError: No module named 'sample.server'" in run(
        WHOLE + INSTALL + "import sample.server", present=False, fails=True
    )


def test_without_the_hook_the_original_is_what_is_found(run):
    code = """
        from fastws.compat import _installed
        import sample.client
        assert _installed.find("sample.client") is sample.client
        assert _installed.find("sample.nowhere.deeper") is None
        assert _installed.find("nowhere") is None
        assert fastws.compat.installed() == ()
        print("done")
    """
    assert run(CLIENT_ONLY + textwrap.dedent(code)) == "done"


def test_an_error_inside_of_the_original_is_not_taken_for_its_absence(run, tmp_path):
    (tmp_path / "sample" / "broken.py").write_text("import nowhere_at_all")
    code = "from fastws.compat import _installed\n_installed.find('sample.broken')"
    assert "No module named 'nowhere_at_all'" in run(CLIENT_ONLY + code, fails=True)


@pytest.mark.parametrize("setting", [CLIENT_ONLY, WHOLE])
def test_what_was_imported_before_is_replaced_and_what_was_taken_is_named(run, tmp_path, setting):
    (tmp_path / "holder.py").write_text(
        "import sample.client\nfrom sample.client import connect as dial, Client\nfrom sample import client as module\n"
    )
    code = """
        import holder, warnings
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            fastws.compat.install("sample")
        [warning] = caught
        assert warning.category is RuntimeWarning
        assert warning.filename.endswith("program.py"), warning.filename
        for name in ("holder.Client", "holder.dial", "holder.module"):
            assert name in str(warning.message), warning.message
        import sample
        assert sample.connect() == sample.client.connect() == "our connect"
        assert holder.dial() == "original connect"
        print("done")
    """
    assert run(setting + textwrap.dedent(code)) == "done"


def test_an_original_that_nobody_holds_is_replaced_without_a_word(run):
    code = """
        import sys, sample.client
        del sample
        fastws.compat.install("sample")
        import sample
        print(sample.client.connect())
    """
    assert run(CLIENT_ONLY + textwrap.dedent(code)) == "our connect"


@pytest.mark.parametrize("present", [True, False])
@pytest.mark.parametrize("setting", [CLIENT_ONLY, WHOLE])
def test_uninstalling_gives_the_originals_back(run, setting, present):
    code = """
        import sys
        finders = list(sys.meta_path)
        def there_and_back():
            fastws.compat.install("sample")
            fastws.compat.install("sample")
            assert fastws.compat.installed() == ("sample",)
            import sample.client
            assert sample.client.connect() == "our connect"
            fastws.compat.uninstall("sample")
            assert fastws.compat.installed() == () and sys.meta_path == finders
            try:
                import sample.client, sample
                print(sample.client.connect(), sample.client.__name__, sample.__name__)
            except ModuleNotFoundError as error:
                print("not found:", error.name)
        there_and_back()
        there_and_back()
    """
    expected = "original connect sample.client sample" if present else "not found: sample"
    assert run(setting + textwrap.dedent(code), present=present).splitlines() == [expected] * 2


def test_reloading_reloads_ours(run):
    code = """
        import importlib, sample.client, ours.client
        before = sample.client.connect
        assert importlib.reload(sample.client) is sample.client is ours.client
        assert sample.client.connect is not before and sample.client.connect() == "our connect"
        print("done")
    """
    assert run(CLIENT_ONLY + INSTALL + textwrap.dedent(code)) == "done"


def test_exceptions_are_pickled_by_a_name_that_needs_no_hook(run):
    code = """
        import pickle, subprocess, sys
        from sample.client import Closed
        restored = pickle.loads(pickle.dumps(Closed("gone")))
        assert type(restored) is Closed and restored.args == ("gone",)
        there = "import pickle, sys; print(repr(pickle.load(sys.stdin.buffer)))"
        done = subprocess.run([sys.executable, "-c", there], input=pickle.dumps(restored), stdout=-1, check=True)
        print(done.stdout.decode())
    """
    assert run(CLIENT_ONLY + INSTALL + textwrap.dedent(code)) == "Closed('gone')"


@pytest.mark.parametrize("setting", [CLIENT_ONLY, WHOLE])
def test_threads_that_import_at_once_get_one_module(run, setting):
    code = """
        import importlib, threading
        start, found = threading.Barrier(16), []
        names = ["sample.client", "ours.client", "sample.server", "sample.exceptions", "ours.exceptions", "sample"]
        def look(index):
            start.wait()
            for name in names[index % 6 :] + names[: index % 6]:
                found.append((name, id(importlib.import_module(name))))
        threads = [threading.Thread(target=look, args=(index,)) for index in range(16)]
        for thread in threads: thread.start()
        for thread in threads: thread.join()
        assert len(found) == 16 * len(names) and len(set(found)) == len(names), set(found)
        modules = dict(found)
        assert modules["sample.client"] == modules["ours.client"]
        print("done")
    """
    assert run(setting + INSTALL + textwrap.dedent(code)) == "done"


def test_originals_are_imported_aside_by_one_thread_at_a_time(run):
    code = """
        import threading
        from fastws.compat import _hook
        inside, left, found = threading.Event(), threading.Event(), []
        def other():
            with _hook.put_aside("sample"):
                inside.set()
                left.wait(30)
                import sample.client
                found.append(sample.client.connect())
        thread = threading.Thread(target=other)
        with _hook.put_aside("sample"):
            thread.start()
            was_inside = inside.wait(0.2)
        left.set()
        thread.join()
        import sample.client
        print(was_inside, found, sample.client.connect(), fastws.compat.installed())
    """
    printed = run(WHOLE + INSTALL + textwrap.dedent(code))
    assert printed == "False ['original connect'] our connect ('sample',)"


def test_a_folder_of_the_same_name_is_not_the_original(run, tmp_path):
    code = WHOLE + INSTALL + "import sample, ours; print(sample is ours)"
    (tmp_path / "sample").rename(tmp_path / "elsewhere")
    (tmp_path / "sample").mkdir()
    assert run(code) == "True"


def test_names_that_have_no_drop_in_are_refused(run):
    assert "there is a drop-in for each of websockets, picows, websocket, aiohttp, not for 'requests'" in run(
        "import fastws.compat\nfastws.compat.install('requests')", fails=True
    )


def test_nothing_is_imported_by_installing(run):
    code = """
        import sys, fastws.compat
        fastws.compat.install("websockets", "aiohttp")
        print([name for name in sys.modules if name.startswith(("websockets", "aiohttp.", "fastws.compat.w"))])
    """
    assert run(code) == "[]"


# ---- python -m fastws.compat -----------------------------------------------------------------------------------------

ENTRY = """\
import setting
from fastws.compat import _hook, __main__
setting.drop_in("sample.client")
_hook.NAMES = ("sample",)
"""


def test_a_script_runs_as_by_python_itself(run, tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "beside.py").write_text("near = 'beside'")
    (tmp_path / "folder" / "script.py").write_text(
        "import sys, sample, beside\n"
        "if __name__ == '__main__':\n    print(sample.connect(), beside.near, sys.argv, __file__)\n"
    )
    code = ENTRY + "__main__.main(['run', '--only', 'sample', 'folder/script.py', '--flag', '-m', 'word'])"
    printed = run(code + "\n", arguments=("-c", "import sys; sys.path.insert(1, '.'); exec(open('program.py').read())"))
    assert printed == "our connect beside ['folder/script.py', '--flag', '-m', 'word'] folder/script.py"


@pytest.mark.parametrize("behind", [("script.py",), ("-m", "script")])
def test_two_dashes_end_the_options(tmp_path, behind):
    (tmp_path / "script.py").write_text("import sys\nprint(sys.argv[1:])\n")
    *options, program = behind
    for given in ([*options, "--", program], ["--only", "websockets", *options, "--", program]):
        done = python("-m", "fastws.compat", "run", *given, "--", "-x", "--", folder=tmp_path)
        assert (done.returncode, done.stdout, done.stderr) == (0, "['--', '-x', '--']\n", "")
    done = python("-m", "fastws.compat", "run", "--", folder=tmp_path)
    assert done.returncode == 2
    assert "run what? A script, or -m and a module" in done.stderr


def test_pytest_runs_as_a_module_with_the_hook_in_place(run, tmp_path):
    (tmp_path / "test_it.py").write_text(
        "import sample.client\n\ndef test_ours():\n    assert sample.client.connect() == 'our connect'\n"
    )
    code = ENTRY + "__main__.main(['run', '-m', 'pytest', '-q', '-p', 'no:cacheprovider', 'test_it.py'])"
    assert "1 passed" in run(code)


def test_what_is_missing_is_told_with_the_way_out(run, tmp_path):
    (tmp_path / "script.py").write_text("import sample")
    said = run(ENTRY + "__main__.main(['run', 'script.py'])", present=False, fails=True)
    assert "sample is not installed; `run --only sample …` lets fastws stand for all of it" in said


def test_an_exit_status_is_the_programs(tmp_path):
    (tmp_path / "script.py").write_text("raise SystemExit(7)")
    done = subprocess.run([sys.executable, "-m", "fastws.compat", "run", "script.py"], cwd=tmp_path, timeout=60)
    assert done.returncode == 7


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["run"], "run what? A script, or -m and a module"),
        (["run", "--only", "requests", "x.py"], "'requests' is none of websockets, picows, websocket, aiohttp"),
        ([], "the following arguments are required: run | status"),
    ],
)
def test_arguments_are_checked(tmp_path, arguments, said):
    done = subprocess.run(
        [sys.executable, "-m", "fastws.compat", *arguments], cwd=tmp_path, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 2
    assert said in done.stderr


def test_status_tells_what_is_installed_and_what_would_stand_in(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "fastws.compat", "status"], cwd=tmp_path, capture_output=True, text=True, timeout=60
    )
    lines = [line.split(maxsplit=2) for line in done.stdout.splitlines()]
    assert [line[0] for line in lines] == ["websockets", "picows", "websocket", "aiohttp"]
    assert lines[0][1:] == ["installed", "fastws.compat.websockets, for the modules that a client uses"]


def python(*arguments, folder):
    return subprocess.run([sys.executable, *arguments], cwd=folder, capture_output=True, text=True, timeout=60)


@pytest.mark.parametrize("program", [("nofile.py",), ("-m", "nomodule"), ("-m", "nomodule.inner"), ("folder",)])
def test_a_program_that_is_not_there_is_said_as_by_python(tmp_path, program):
    (tmp_path / "folder").mkdir()
    own = python(*program, folder=tmp_path)
    done = python("-m", "fastws.compat", "run", *program, folder=tmp_path)
    assert (done.returncode, done.stderr) == (own.returncode, own.stderr)
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize("program", [("script.py",), ("-m", "script")])
@pytest.mark.parametrize(
    "code",
    [
        "def inner():\n    raise ValueError('mine')\n\ninner()\n",
        "print('fine'\n",
        "import broken\n",
        "try:\n    1 / 0\nexcept ZeroDivisionError as error:\n    raise KeyError('of it') from error\n",
        "import sys\nsys.exit('said')\n",
        "raise KeyboardInterrupt\n",
    ],
)
def test_tracebacks_begin_where_pythons_do(tmp_path, program, code):
    (tmp_path / "script.py").write_text(code)
    (tmp_path / "broken.py").write_text("nothing here\n")
    own = python(*program, folder=tmp_path)
    done = python("-m", "fastws.compat", "run", *program, folder=tmp_path)
    lines = own.stderr.replace(f"{tmp_path}/", "").splitlines()
    if program[0] == "-m":
        # Python's own shows how it found the module, also where there is nothing else to show.
        lines = [line for line in lines if "<frozen " not in line]
        lines = lines[1:] if lines[0].startswith("Traceback") and ", in " not in lines[1] else lines
    assert (done.returncode, done.stderr.replace(f"{tmp_path}/", "").splitlines()) == (own.returncode, lines)


def test_an_excepthook_of_the_programs_own_is_called(tmp_path):
    (tmp_path / "script.py").write_text(
        "import sys\nsys.excepthook = lambda kind, error, traceback: print('told', error)\nraise ValueError('mine')\n"
    )
    done = python("-m", "fastws.compat", "run", "script.py", folder=tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (1, "told mine\n", "")


@pytest.mark.parametrize("name", ["websocket-client", "websocket_client"])
def test_a_package_may_be_called_as_it_is_installed(run, name):
    code = f"""
        import fastws.compat
        fastws.compat.install({name!r})
        assert fastws.compat.installed() == ("websocket",)
        import websocket, fastws.compat.websocket_client as ours
        assert websocket is ours
        fastws.compat.uninstall({name!r})
        print(fastws.compat.installed())
    """
    assert run(code) == "()"
    code = "from fastws.compat import installed\nprint(installed())"
    assert run(code, arguments=("-m", "fastws.compat", "run", "--only", name, "program.py")) == "('websocket',)"


def test_pytest_does_not_warn_of_fastws(run, tmp_path):
    (tmp_path / "test_it.py").write_text("def test_it(): ...\n")
    (tmp_path / "fastws-1.dist-info").mkdir()
    (tmp_path / "fastws-1.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: it\nVersion: 1\n")
    (tmp_path / "fastws-1.dist-info" / "entry_points.txt").write_text("[pytest11]\nit = setting\n")
    (tmp_path / "fastws-1.dist-info" / "RECORD").write_text("fastws/__init__.py,,\n")
    arguments = ("-m", "fastws.compat", "run", "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_it.py")
    printed = run("", arguments=arguments)
    assert "1 passed" in printed
    assert "PytestAssertRewriteWarning" not in printed
