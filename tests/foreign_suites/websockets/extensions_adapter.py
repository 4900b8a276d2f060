"""What ``tests/extensions`` of websockets needs to run against the drop-in's own classes: a pytest plugin.

Where websockets is installed, the drop-in has its classes, and there would be nothing to test. So it is imported as
if websockets were not, and its modules go by the names that the tests import. What is a server's stays the original's.
"""

import importlib
import sys

from fastws.compat.websockets import _adopt

_original = importlib.import_module("websockets.extensions.permessage_deflate")

_adopt.find = lambda _name: None

for _name in (
    "exceptions",
    "frames",
    "typing",
    "headers",
    "extensions",
    "extensions.base",
    "extensions.permessage_deflate",
):
    _ours = importlib.import_module(f"fastws.compat.websockets.{_name}")
    sys.modules[f"websockets.{_name}"] = _ours
    setattr(sys.modules[f"websockets.{_name}".rpartition(".")[0]], _name.rpartition(".")[2], _ours)

for _name in ("ServerPerMessageDeflateFactory", "enable_server_permessage_deflate"):
    setattr(_ours, _name, getattr(_original, _name))
_ours.__all__ = [*_original.__all__]

# Their names in releases before 17.
for _opcode in sys.modules["websockets.frames"].Opcode:
    setattr(sys.modules["websockets.frames"], f"OP_{_opcode.name}", _opcode)
