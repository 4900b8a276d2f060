"""How a drop-in gets at the original that may be installed beside us, also while the hook answers for its name."""

from types import ModuleType

from . import _hook

__all__ = ["find", "required"]


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
        ImportError: The original is not installed, or has no such module.
    """
    module = find(name)
    if module is None:
        package = name.partition(".")[0]
        raise ImportError(
            f"{wanted} is the original's: fastws is a client, so install {package} to use it beside fastws", name=name
        )
    return module
