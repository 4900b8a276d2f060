"""The import hook: which imports get a drop-in instead of the original.

A finder in front of all others answers for the names in ``_DROP_INS``. It answers with the drop-in's own module, so
that ``websockets.asyncio.client`` and ``fastws.compat.websockets.asyncio.client`` are one object: a class has one
identity, and pickle finds it by the name that needs no hook. A finder is called with the interpreter's import lock: it
imports nothing itself, nor waits for who does; a loader does.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.abc
import importlib.util
import sys
import threading
import warnings
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from importlib.machinery import ModuleSpec, PathFinder
from types import BuiltinFunctionType, FunctionType, ModuleType

__all__ = [
    "NAMES",
    "described",
    "import_name",
    "install",
    "installed",
    "is_present",
    "original",
    "put_aside",
    "uninstall",
]


@dataclass(frozen=True)
class DropIn:
    """What stands in for a package.

    Attributes:
        name: The import name of the original.
        package: The module of ours that has its names.
        what: What of it is replaced where the original is installed, in words.
        only: Modules of the original that are replaced where it is installed; None for all that we have.
        patched: A module of the original that stays, but is given to ``patch`` of ``patcher`` once it is imported.
        patcher: Our module that has ``patch`` and ``unpatch``. It imports nothing of the original.
    """

    name: str
    package: str
    what: str
    only: frozenset[str] | None = None
    patched: str | None = None
    patcher: str = ""

    def ours(self, name: str) -> str:
        """Our module for one of the original's."""
        return self.package + name.removeprefix(self.name)

    def replaces(self, name: str, *, present: bool) -> bool:
        """Whether the import of ``name`` is answered with ours."""
        if name != self.name and not name.startswith(self.name + "."):
            return False
        if self.patched is not None:
            return False
        return not present or self.only is None or name in self.only


_DROP_INS = {
    drop_in.name: drop_in
    for drop_in in (
        DropIn(
            "websockets",
            "fastws.compat.websockets",
            "the modules that a client uses",
            only=frozenset(
                {"websockets.asyncio.client", "websockets.sync.client", "websockets.client", "websockets.legacy.client"}
            ),
        ),
        DropIn("picows", "fastws.compat.picows", "the package"),
        DropIn("websocket", "fastws.compat.websocket_client", "the package"),
        DropIn(
            "aiohttp",
            "fastws.compat.aiohttp",
            "ClientSession.ws_connect",
            patched="aiohttp.client",
            patcher="fastws.compat._aiohttp_session",
        ),
    )
}

NAMES = tuple(_DROP_INS)
"""What ``install`` takes."""


def install(*names: str) -> None:
    """Lets imports of these packages get fastws' drop-ins.

    Where the original is installed, only what a client uses is replaced; where it is not, its whole name is ours. To be
    called before anything imports the package. If that was done already, what is imported is replaced, and a
    ``RuntimeWarning`` names what other modules took from it meanwhile and still hold. A name that is installed already
    is let be.

    Args:
        names: ``"websockets"``, ``"picows"``, ``"websocket"`` (or ``"websocket-client"``) and ``"aiohttp"``; without
            any, those whose original is installed.

    Raises:
        ValueError: A name is none of these.
        ImportError: ``"aiohttp"`` where aiohttp is not installed: there is no session to connect by.
    """
    wanted = [import_name(name) for name in names]
    for name, given in zip(wanted, names, strict=True):
        if name not in _DROP_INS:
            raise ValueError(f"there is a drop-in for each of {', '.join(NAMES)}, not for {given!r}")
    with _LOCK:
        for name in wanted or [name for name in NAMES if is_present(name)]:
            if name not in _FINDER.active:
                _activate(_DROP_INS[name])


def uninstall(*names: str) -> None:
    """Lets imports of these packages, or of all, get the originals again.

    What was imported meanwhile stays what it is where it is held.
    """
    with _LOCK:
        for name in names or tuple(_FINDER.active):
            active = _FINDER.active.pop(import_name(name), None)
            if active is not None:
                _put_back(active)
        if not _FINDER.active and _FINDER in sys.meta_path:
            sys.meta_path.remove(_FINDER)


def import_name(name: str) -> str:
    """What a package is imported by; websocket-client has another name where it is installed from."""
    return "websocket" if name in ("websocket-client", "websocket_client") else name


def installed() -> tuple[str, ...]:
    """The packages whose imports get drop-ins now."""
    return tuple(_FINDER.active)


def original(name: str) -> ModuleType | None:
    """The original's module of that name, never ours; None where it is not installed or has no such module."""
    active = _FINDER.active.get(name.partition(".")[0])
    if active is None or not active.answers(name):
        return _imported(name)
    if not active.present:
        return None
    if name not in active.originals:
        module = _loaded_aside(name)
        if module is None:
            return None
        active.originals.setdefault(name, module)
    return active.originals[name]


@contextlib.contextmanager
def put_aside(name: str) -> Iterator[None]:
    """Meanwhile, imports of a package get the original: for modules that refer to it by its name.

    What is imported of it is known to ``original`` afterwards.
    """
    with _LOCK:
        active = _FINDER.active.pop(name, None)
        if active is None or not active.present:
            yield
            return

        def taken() -> dict[str, ModuleType]:
            names = [each for each in tuple(sys.modules) if each == name or each.startswith(name + ".")]
            return {each: sys.modules.pop(each) for each in names}

        ours = taken()
        sys.modules.update(active.originals)
        try:
            yield
        finally:
            active.originals.update(taken())
            sys.modules.update(ours)
            _FINDER.active[name] = active


def is_present(name: str) -> bool:
    """Whether the original package of that name is installed, hook or no hook."""
    spec = _spec(name, None)
    return spec is not None and spec.origin is not None  # a mere folder of that name has none


def described(name: str) -> str:
    """What stands in for a package, and for what of it where it is installed."""
    drop_in = _DROP_INS[name]
    return f"{drop_in.package}, for {drop_in.what}"


class _Active:
    """A drop-in in place: whether the original is there, and those of its modules that ours stand in for."""

    __slots__ = ("drop_in", "originals", "present")

    def __init__(self, drop_in: DropIn, *, present: bool) -> None:
        self.drop_in = drop_in
        self.present = present
        self.originals: dict[str, ModuleType] = {}

    def answers(self, name: str) -> bool:
        """Whether the import of ``name`` gets a module of ours."""
        return self.drop_in.replaces(name, present=self.present) and _exists(self.drop_in.ours(name))


class _Finder(importlib.abc.MetaPathFinder):
    """Answers for the packages that are active, before any other finder does."""

    def __init__(self) -> None:
        self.active: dict[str, _Active] = {}

    def find_spec(
        self,
        fullname: str,
        path: Sequence[str] | None,
        target: ModuleType | None = None,  # noqa: ARG002 - what importlib.reload is about
    ) -> ModuleSpec | None:
        active = self.active.get(fullname.partition(".")[0])
        if active is None:
            return None
        if fullname == active.drop_in.patched:
            return _patched_spec(fullname, path, active.drop_in)
        if active.answers(fullname):
            return ModuleSpec(fullname, _Alias(active.drop_in.ours(fullname)))
        parent = active.originals.get(fullname.rpartition(".")[0])
        if parent is None:
            return None
        # A module that only the original has, of a package that is ours.
        return _spec(fullname, getattr(parent, "__path__", None))


class _Alias(importlib.abc.Loader):
    """Loads a module by giving out one of another name."""

    def __init__(self, ours: str) -> None:
        self._ours = ours
        self._spec: ModuleSpec | None = None

    def create_module(self, spec: ModuleSpec) -> ModuleType:  # noqa: ARG002
        # Given out at once, not put in place of an empty one later: other threads see what is in `sys.modules`.
        module = importlib.import_module(self._ours)
        self._spec = module.__spec__
        return module

    def exec_module(self, module: ModuleType) -> None:
        module.__spec__ = self._spec  # the import system has set the alias's


class _Patching(importlib.abc.Loader):
    """Loads a module as its own loader does, then lets the drop-in put its names in."""

    def __init__(self, loader: importlib.abc.Loader, drop_in: DropIn) -> None:
        self._loader = loader
        self._drop_in = drop_in

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self._loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        module.__loader__ = self._loader
        if module.__spec__ is not None:
            module.__spec__.loader = self._loader
        self._loader.exec_module(module)
        _patch(self._drop_in, module)


_FINDER = _Finder()
_LOCK = threading.RLock()


def _activate(drop_in: DropIn) -> None:
    present = is_present(drop_in.name)
    if drop_in.patched is not None and not present:
        raise ImportError(f"{drop_in.name} is not installed, so nothing of it can be replaced", name=drop_in.name)
    if present and drop_in.only is None and drop_in.patched is None:
        # Imported while it still is under its own name: its modules refer to each other by it.
        importlib.import_module(drop_in.name)
    active = _Active(drop_in, present=present)
    replaced = [name for name in tuple(sys.modules) if drop_in.replaces(name, present=present)]
    active.originals.update((name, sys.modules.pop(name)) for name in replaced)
    _FINDER.active[drop_in.name] = active
    if _FINDER not in sys.meta_path:
        sys.meta_path.insert(0, _FINDER)
    if drop_in.patched is not None and drop_in.patched in sys.modules:
        _patch(drop_in, sys.modules[drop_in.patched])
    if present and drop_in.only is not None:
        for name in replaced:
            importlib.import_module(name)
    _warn_of_taken(active)


def _put_back(active: _Active) -> None:
    drop_in = active.drop_in
    if drop_in.patched is not None:
        if drop_in.patched in sys.modules:
            importlib.import_module(drop_in.patcher).unpatch(sys.modules[drop_in.patched])
        return
    for name in [name for name in tuple(sys.modules) if drop_in.replaces(name, present=active.present)]:
        ours = sys.modules.pop(name)
        parent = sys.modules.get(name.rpartition(".")[0])
        child = name.rpartition(".")[2]
        if parent is not None and not parent.__name__.startswith(drop_in.package) and vars(parent).get(child) is ours:
            delattr(parent, child)
    for name, module in active.originals.items():
        sys.modules[name] = module
        parent = sys.modules.get(name.rpartition(".")[0])
        if parent is not None:
            setattr(parent, name.rpartition(".")[2], module)


def _warn_of_taken(active: _Active) -> None:
    """Warns of what other modules hold of the modules that were just replaced."""
    drop_in = active.drop_in
    within = drop_in.name + "."
    modules = {id(module) for module in active.originals.values()}
    taken = []
    for name, module in tuple(sys.modules.items()):
        if name == drop_in.name or name.startswith((within, drop_in.package)) or not isinstance(module, ModuleType):
            continue
        for attribute, value in tuple(vars(module).items()):
            if id(value) in modules or _home(value) in active.originals:
                taken.append(f"{name}.{attribute}")
    if taken:
        warnings.warn(
            f"{drop_in.name} was imported before fastws.compat.install({drop_in.name!r}); these still are the "
            f"original's: {', '.join(sorted(taken))}. Call install() before they are imported",
            RuntimeWarning,
            stacklevel=4,
        )


def _home(value: object) -> str | None:
    """The module that a class or function was defined in; nothing else is asked, as it may be a proxy."""
    if issubclass(type(value), type | FunctionType | BuiltinFunctionType):
        home = getattr(value, "__module__", None)
        return home if isinstance(home, str) else None
    return None


def _exists(name: str) -> bool:
    """Whether there is a module of that name. Nothing is imported."""
    path: list[str] | None = None
    parts = name.split(".")
    for length in range(1, len(parts) + 1):
        spec = PathFinder.find_spec(".".join(parts[:length]), path)
        if spec is None:
            return False
        path = list(spec.submodule_search_locations or ())
    return True


def _patch(drop_in: DropIn, module: ModuleType) -> None:
    importlib.import_module(drop_in.patcher).patch(module)


def _spec(name: str, path: Sequence[str] | None) -> ModuleSpec | None:
    """What the other finders say of a module; its parents are not imported."""
    for finder in tuple(sys.meta_path):
        if finder is not _FINDER:
            spec = finder.find_spec(name, path, None)
            if spec is not None:
                return spec
    return None


def _patched_spec(name: str, path: Sequence[str] | None, drop_in: DropIn) -> ModuleSpec | None:
    spec = _spec(name, path)
    if spec is not None and spec.loader is not None:
        spec.loader = _Patching(spec.loader, drop_in)
    return spec


def _imported(name: str) -> ModuleType | None:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is not None and (name == error.name or name.startswith(error.name + ".")):
            return None
        raise


def _loaded_aside(name: str) -> ModuleType | None:
    """The original's module, run without a place in ``sys.modules``, which ours has."""
    parent = original(name.rpartition(".")[0])
    path: Iterable[str] | None = getattr(parent, "__path__", None)
    spec = None if path is None else _spec(name, list(path))
    if spec is None or spec.loader is None:
        return None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
