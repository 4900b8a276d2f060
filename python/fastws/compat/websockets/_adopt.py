"""How a module of the shim stands to the installed ``websockets``, if there is one."""

from __future__ import annotations

import importlib
import sys
import warnings
from collections.abc import Callable, Iterable
from types import ModuleType
from typing import Any, TypeVar

from fastws.compat._installed import AbsentError, NotInstalledError, find, unavailable

__all__ = ["adopted", "lazily", "original", "passes_through", "without_sockets"]

T = TypeVar("T")

PACKAGE = __package__


def original(name: str) -> ModuleType | None:
    """The installed module that the module ``name`` of the shim stands for; None if there is none."""
    return find("websockets" + name.removeprefix(PACKAGE))


def adopted(own: T) -> T:
    """The class or function of the same module and name of the installed ``websockets``; else ``own``.

    What other code checks by identity (exceptions, ``State``, ``Headers``…) is one thing so, whoever made it.
    """
    module, name = original(own.__module__), own.__name__  # type: ignore[attr-defined]
    return own if module is None else vars(module).get(name, own)


def passes_through(namespace: dict[str, Any]) -> None:
    """Makes a module of what the installed ``websockets`` has under its name.

    Raises:
        NotInstalledError: ``websockets`` is not installed.
    """
    name = namespace["__name__"]
    module = original(name)
    if module is None:
        raise NotInstalledError(
            f"{name} is not of fastws, which is a client: it passes through to the websockets package, "
            "which is not installed (or has no such module): pip install websockets",
            name=name,
        )
    taken = {key: value for key, value in vars(module).items() if not (key.startswith("__") and key.endswith("__"))}
    namespace.update(taken)
    namespace["__all__"] = list(getattr(module, "__all__", [key for key in taken if not key.startswith("_")]))
    namespace["__doc__"] = module.__doc__
    namespace["__getattr__"] = lambda attribute: getattr(module, attribute)


def without_sockets(module: str, name: str) -> NotInstalledError:
    """What is said of a protocol without sockets where ``websockets``, whose it is, is not installed."""
    return NotInstalledError(
        f"{module}.{name} is websockets' own, without sockets: it passes through to the websockets package, "
        "which is not installed: pip install websockets",
        name=module,
    )


def lazily(
    namespace: dict[str, Any], aliases: dict[str, str], deprecated: dict[str, str]
) -> tuple[Callable[[str], Any], Callable[[], Iterable[str]]]:
    """``__getattr__`` and ``__dir__`` of a module whose names are imported at their first use (PEP 562).

    Args:
        namespace: The module's ``globals()``.
        aliases: From which module, relative to the package, each name comes.
        deprecated: The same for names whose use is a DeprecationWarning.
    """
    module = sys.modules[namespace["__name__"]]
    package = namespace["__package__"]

    def getattr_(name: str) -> Any:
        try:
            if name in aliases:
                value = getattr(importlib.import_module(aliases[name], package), name)
                setattr(module, name, value)
                return value
            if name in deprecated:
                warnings.warn(f"{module.__name__}.{name} is deprecated", DeprecationWarning, stacklevel=2)
                return getattr(importlib.import_module(deprecated[name], package), name)
        except (NotInstalledError, AbsentError) as error:
            raise unavailable(error, name) from None
        raise AttributeError(f"module {module.__name__!r} has no attribute {name!r}")

    def dir_() -> Iterable[str]:
        return sorted({*namespace, *aliases, *deprecated})

    return getattr_, dir_
