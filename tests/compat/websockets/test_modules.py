"""The modules of the drop-in: which names are whose, with ``websockets`` installed and without."""

import ast
import importlib
import inspect
import subprocess
import sys
import warnings
from pathlib import Path

import pytest
import websockets
import websockets.client
import websockets.exceptions
import websockets.headers
import websockets.uri

import fastws
import fastws.compat.websockets
import fastws.compat.websockets.client
from compat_peers import echo, websockets_server
from fastws.compat.websockets import exceptions

ABSENT = """
import sys

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "websockets":
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Absent())
"""


def run(code):
    """Runs code where `websockets` is not installed."""
    done = subprocess.run([sys.executable, "-c", ABSENT + code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout


def modules_of(package):
    root = Path(package.__file__).parent
    found = (file.relative_to(root).with_suffix("").parts for file in root.rglob("*.py"))
    names = {"".join(f".{part}" for part in parts if part != "__init__") for parts in found}
    return sorted(names - {"", ".__main__"})


def test_each_module_of_websockets_has_one_of_ours():
    assert set(modules_of(websockets)) - set(modules_of(fastws.compat.websockets)) == set()


@pytest.mark.parametrize("name", modules_of(websockets))
def test_each_public_name_is_there(name):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        theirs = importlib.import_module("websockets" + name)
        ours = importlib.import_module("fastws.compat.websockets" + name)
        missing = [public for public in getattr(theirs, "__all__", []) if not hasattr(ours, public)]
    assert missing == []


def test_names_of_the_top_are_those_of_websockets():
    assert set(fastws.compat.websockets.__all__) == set(websockets.__all__)
    for name in fastws.compat.websockets.__all__:
        assert hasattr(fastws.compat.websockets, name), name
    assert fastws.compat.websockets.connect is not websockets.connect
    assert fastws.compat.websockets.serve is websockets.serve
    assert fastws.compat.websockets.__version__ == websockets.__version__
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        _ = fastws.compat.websockets.nothing


@pytest.mark.parametrize("name", exceptions.__all__)
def test_exceptions_are_those_of_websockets(name):
    assert getattr(exceptions, name) is getattr(websockets.exceptions, name)


def test_older_names_are_deprecated():
    with pytest.warns(DeprecationWarning, match="InvalidStatusCode is deprecated"):
        assert issubclass(fastws.compat.websockets.InvalidStatusCode, exceptions.InvalidHandshake)


async def test_there_is_no_python_on_the_way_of_a_message():
    with websockets_server(echo) as uri:
        async with fastws.compat.websockets.connect(uri) as ws:
            for name in ("recv", "send", "send_nowait", "__aiter__", "batches"):
                assert getattr(type(ws), name) is getattr(fastws.Connection, name), name


def test_importing_fastws_imports_no_websockets():
    code = "import sys, fastws; assert not [name for name in sys.modules if name.partition('.')[0] == 'websockets']"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


URIS = [
    "ws://host",
    "wss://Host.Example:9001/path;p?q=1&r=%20",
    "ws://[::1]:80/",
    "ws://u%20s:p%3A@host/?q",
    "ws://bücher.example/ä?ö=ü&a=b",
    "ws://user@host/",
    "ws://host/#part",
    "ws:///path",
    "http://host/",
]


def read(parse_uri, refused, uri):
    """What a URI is, or why it is none."""
    try:
        parsed = parse_uri(uri)
    except refused as error:
        return str(error)
    return repr(parsed), parsed.resource_name, parsed.user_info


def test_uris_are_read_as_websockets_reads_them_also_without_it():
    said = run(f"""
from fastws.compat.websockets.exceptions import InvalidURI
from fastws.compat.websockets.uri import parse_uri
{inspect.getsource(read)}
print(ascii([read(parse_uri, InvalidURI, uri) for uri in {URIS!a}]))
""")
    assert ast.literal_eval(said) == [read(websockets.uri.parse_uri, exceptions.InvalidURI, uri) for uri in URIS]


def refused(status):
    return exceptions.InvalidStatus(websockets.Response(status, "", websockets.Headers()))


def caused(error, cause):
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    "failure",
    [
        ConnectionRefusedError(),
        TimeoutError(),
        ValueError(),
        caused(exceptions.InvalidMessage("no answer"), EOFError()),
        caused(exceptions.InvalidMessage("no answer"), ValueError()),
        *(refused(status) for status in (403, 500, 501, 502, 503, 504)),
    ],
    ids=repr,
)
def test_the_same_failures_are_passing_as_with_websockets(failure):
    ours, theirs = fastws.compat.websockets.client.process_exception, websockets.client.process_exception
    assert ours(failure) is theirs(failure)


def test_broadcast_is_there_without_websockets():
    said = run("""
import asyncio
import fastws.testing
from fastws.compat.websockets import broadcast, connect

async def main():
    with fastws.testing.Server() as server:
        async with connect(server.url("/echo")) as one, connect(server.url("/echo")) as other:
            broadcast([one, other], "to all")
            print(await one.recv(), await other.recv())

asyncio.run(main())
""")
    assert said == "to all to all\n"


def test_without_websockets_the_drop_in_stands_alone():
    said = run("""
import asyncio
import fastws.testing
from fastws.compat.websockets import ConnectionClosedOK, Headers, State, connect
from fastws.compat.websockets.exceptions import InvalidStatus

async def main():
    with fastws.testing.Server() as server:
        async with connect(server.url("/echo")) as ws:
            await ws.send(["a", "b"])
            assert await ws.recv() == "ab"
            assert ws.state is State.OPEN
            assert isinstance(ws.response.headers, Headers)
        try:
            await ws.recv()
        except ConnectionClosedOK as error:
            print(error)
        try:
            await connect(server.url("/status/404"))
        except InvalidStatus as error:
            print(error)

asyncio.run(main())
""")
    assert said.splitlines() == [
        "sent 1000 (OK); then received 1000 (OK)",
        "server rejected WebSocket connection: HTTP 404",
    ]


NOT_OURS = [
    ("", "serve"),
    ("", "ClientProtocol"),
    ("", "Protocol"),
    ("", "Router"),
    ("", "WebSocketServer"),
    (".client", "ClientProtocol"),
    (".protocol", "Protocol"),
    (".connection", "Connection"),
    (".extensions.permessage_deflate", "enable_server_permessage_deflate"),
]


def test_without_websockets_there_is_no_server():
    """``hasattr`` says so, and whoever imports it is told what to install."""
    said = run(f"""
import importlib, warnings
warnings.simplefilter("ignore", DeprecationWarning)
for within, name in {NOT_OURS!r}:
    module = importlib.import_module("fastws.compat.websockets" + within)
    assert not hasattr(module, name) and getattr(module, name, None) is None
    try:
        getattr(module, name)
    except AttributeError as error:
        assert error.name == name
        print(error)
    try:
        exec(f"from fastws.compat.websockets{{within}} import {{name}}")
    except ImportError as error:
        print(error)
    assert not hasattr(module, "nothing")
try:
    from fastws.compat.websockets import server
except ImportError as error:
    print(error)
""")
    told = said.splitlines()
    assert told[:-1:2] == told[1:-1:2]
    assert [line for line in told if "install websockets" not in line] == []
    assert len(told) == 2 * len(NOT_OURS) + 1


def test_without_websockets_the_texts_of_exceptions_are_the_same():
    made = """
from {} import exceptions as e, frames as f, http11 as h, datastructures as d
close = f.Close(1000, "bye")
print(*map(str, [
    e.ConnectionClosed(None, None), e.ConnectionClosed(close, None), e.ConnectionClosed(None, close),
    e.ConnectionClosed(close, f.Close(3001, ""), True), e.ConnectionClosed(close, f.Close(4001, ""), False),
    e.ConnectionClosed(f.Close(1016, ""), None), e.InvalidURI("|", "not at all"), e.InvalidProxy("|", "no"),
    e.InvalidStatus(h.Response(401, "Unauthorized", d.Headers())),
    e.InvalidProxyStatus(h.Response(407, "", d.Headers())),
    e.InvalidHeader("X"), e.InvalidHeader("X", ""), e.InvalidHeader("X", "v"),
    e.InvalidHeaderFormat("X", "bad", "v", 1),
    e.InvalidOrigin("http://a"), e.InvalidMethod("PUT"), e.InvalidProtocol("HTTP/1.0"), e.DuplicateParameter("a"),
    e.InvalidParameterName("a"), e.InvalidParameterValue("a", None), e.InvalidParameterValue("a", ""),
    e.InvalidParameterValue("a", "b"), e.PayloadTooBig(None, 4), e.PayloadTooBig(8, 4), e.PayloadTooBig(8, 4, 12),
    e.TooManyFragments(4),
]), sep="\\n")
"""
    theirs = subprocess.run(
        [sys.executable, "-c", made.format("websockets")], capture_output=True, text=True, check=True, timeout=60
    )
    assert run(made.format("fastws.compat.websockets")) == theirs.stdout


def test_without_websockets_headers_are_read_the_same():
    code = """
from {} import headers
for parse, values in [
    ("parse_connection", ["a", "a , b", ",a,,b,", "", "a b"]),
    ("parse_upgrade", ["websocket", "http/3.0, websocket", "a//b"]),
    ("parse_extension", ["x", 'x; a; b=1; c="d"', 'x; a="b c"', "x, y;a = 1", "x;", "; a"]),
    ("parse_subprotocol", ["a, b", "(a)"]),
    ("parse_authorization_basic", ["Basic YTpi", "Basic YQ==", "Digest a", "Basic =", "Basic  a", "Basic YTpi x"]),
]:
    for value in values:
        try:
            print(getattr(headers, parse)(value))
        except Exception as error:
            print(type(error).__name__, error)
print(headers.build_host("::1", 80, False), headers.build_host("a", 80, True))
print(headers.build_extension([("a", [("b", None), ("c", "1")])]), headers.build_subprotocol(["a", "b"]))
print(headers.build_authorization_basic("a", "b"), headers.build_www_authenticate_basic('a "b"'))
"""
    theirs = subprocess.run(
        [sys.executable, "-c", code.format("websockets")], capture_output=True, text=True, check=True, timeout=60
    )
    assert run(code.format("fastws.compat.websockets")) == theirs.stdout


def test_without_websockets_everything_that_is_there_may_be_imported_at_once():
    said = run("""
from fastws.compat.websockets import *
print("connect" in globals(), "serve" in globals(), Headers.__name__)
""")
    assert said == "True False Headers\n"


def test_without_websockets_so_may_all_of_each_module():
    said = run("""
import importlib, pkgutil, warnings
from fastws.compat import websockets
warnings.simplefilter("ignore", DeprecationWarning)
there = 0
for found in pkgutil.walk_packages(websockets.__path__, websockets.__name__ + "."):
    try:
        importlib.import_module(found.name)
    except ImportError:
        continue  # it is not a client's
    exec(f"from {found.name} import *", {})
    there += 1
print(there > 20)
""")
    assert said == "True\n"
