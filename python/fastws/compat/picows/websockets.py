"""``picows.websockets`` is picows' own, on its own connections; on fastws there is ``fastws.compat.websockets``."""

import importlib
import pkgutil
import sys

from fastws.compat import _hook, _installed

_NAME = "picows.websockets"

_installed.required("picows", _NAME)
with _hook.put_aside("picows"):
    try:
        _package = importlib.import_module(_NAME)
    except ModuleNotFoundError as error:
        raise ImportError(f"this release of picows has no {_NAME}", name=_NAME) from error
    # All of it now: its modules ask for picows by its name.
    for _module in pkgutil.walk_packages(_package.__path__, f"{_NAME}."):
        importlib.import_module(_module.name)
    _modules = {name: module for name, module in sys.modules.items() if name == _NAME or name.startswith(f"{_NAME}.")}

# Under the original's names where the hook answers for them, and as this module itself.
sys.modules.update(_modules)
sys.modules[__name__] = _package
