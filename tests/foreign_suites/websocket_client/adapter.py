"""The echo server that websocket-client's own tests want."""

import atexit
import os
from urllib.parse import urlsplit

import websocket  # noqa: F401 - so that pytest does not import the one that the tests lie in

from fastws.testing import Server

_server = Server()
_server.__enter__()
atexit.register(_server.__exit__, None, None, None)

os.environ["LOCAL_WS_SERVER_PORT"] = str(urlsplit(_server.url("/")).port)
