"""An unrelated distribution is called ``fastws``, as this package is: installed both, they share its folder."""

import sys
import warnings
from pathlib import Path

__all__ = ["check"]

_FOLDER = Path(__file__).parent


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
    if (_FOLDER / "application.py").exists():
        warnings.warn(
            f"the unrelated distribution 'fastws' shares the folder {_FOLDER} with fastws-client, which works, but "
            "ends when either is installed again or uninstalled: uninstall both (pip uninstall fastws fastws-client) "
            "and install the one that you want. To have both takes two environments.",
            RuntimeWarning,
            stacklevel=3,
        )
