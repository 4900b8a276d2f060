"""Drop-ins for other WebSocket libraries, and the import hook that puts them in place.

One line, before the library is imported, and a program runs on fastws::

    import fastws.compat

    fastws.compat.install("websockets")

or none at all: ``python -m fastws.compat run script.py``.

| ``install`` takes | the drop-in                      | what is replaced beside the installed original          |
| ----------------- | -------------------------------- | ------------------------------------------------------- |
| ``"websockets"``  | ``fastws.compat.websockets``     | the client's modules; servers and the rest stay its own |
| ``"picows"``      | ``fastws.compat.picows``         | the package                                             |
| ``"websocket"``   | ``fastws.compat.websocket_client`` | the package of websocket-client                       |
| ``"aiohttp"``     | ``fastws.compat.aiohttp``        | ``ClientSession.ws_connect``                            |

A drop-in can as well be imported by its own name, with no hook.
"""

from fastws import _core  # noqa: F401 - the native half knows whether this is our package

from ._hook import install, installed, uninstall

__all__ = ["install", "installed", "uninstall"]
