"""An unrelated distribution is called ``fastws``, as this package is: where both are installed they share its folder."""

import os
import sys
import warnings

__all__ = ["check"]

_FOLDER = os.path.dirname(__file__)
_THEIRS = os.path.join(_FOLDER, "application.py")


def check() -> None:
    """Called before anything else of ours runs.

    What was installed last has its ``__init__.py`` there. Where that is theirs, ``import fastws`` gives theirs and
    only our modules, and the programs that use them, can say so.

    Raises:
        ImportError: It is theirs.
    """
    if hasattr(sys.modules["fastws"], "FastWS"):
        raise ImportError(
            f"the unrelated distribution 'fastws' is installed over fastws-client in {_FOLDER}, and `import fastws` is "
            "theirs now: uninstall both (pip uninstall fastws fastws-client) and install fastws-client again. "
            "To have both takes two environments."
        )
    if os.path.exists(_THEIRS):
        warnings.warn(
            f"the unrelated distribution 'fastws' shares the folder {_FOLDER} with fastws-client, which works, but ends "
            "when either is installed again or uninstalled: uninstall both (pip uninstall fastws fastws-client) and "
            "install the one that you want. To have both takes two environments.",
            RuntimeWarning,
            stacklevel=3,
        )
