"""How a drop-in gets at the original that may be installed beside us, also while the hook answers for its name."""

import dis
import sys
from types import ModuleType

from . import _hook

__all__ = ["AbsentError", "NotInstalledError", "find", "required", "unavailable"]


class NotInstalledError(ImportError):
    """The original is not installed, or has no such module."""


class AbsentError(AttributeError):
    """The same of a name that a module of ours passes on. Python lets no class be an ImportError as well."""

    def __init__(self, reason: NotInstalledError, name: str) -> None:
        super().__init__(str(reason), name=name)
        self.reason = reason


def unavailable(error: NotInstalledError | AbsentError, name: str) -> Exception:
    """What a module's ``__getattr__`` raises: an ImportError for ``from … import``, for all else an AttributeError.

    So ``hasattr`` says False, and both have the same text. It is to be called by ``__getattr__`` itself.
    """
    reason = error if isinstance(error, NotInstalledError) else error.reason
    asking = sys._getframe(1).f_back  # noqa: SLF001 - who asks for an attribute is not said otherwise
    if asking is not None and asking.f_code.co_code[asking.f_lasti] == dis.opmap["IMPORT_FROM"]:
        return reason
    return AbsentError(reason, name)


def find(name: str) -> ModuleType | None:
    """The original's module, such as ``"websockets.exceptions"``; None where it is not installed or has no such module.

    Never a module of ours. It is imported by this call.
    """
    return _hook.original(name)


def required(name: str, wanted: str) -> ModuleType:
    """The original's module, for what only the original has.

    Args:
        name: The module, such as ``"websockets.asyncio.server"``.
        wanted: What it is wanted for, to be said in the error: ``"websockets.serve"``.

    Raises:
        NotInstalledError: The original is not installed, or has no such module.
    """
    module = find(name)
    if module is None:
        package = name.partition(".")[0]
        raise NotInstalledError(
            f"{wanted} is the original's: fastws is a client, so install {package} to use it beside fastws", name=name
        )
    return module
