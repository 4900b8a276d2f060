"""The names of ``ssl`` that are used. It is always there: fastws needs it."""

import ssl
from ssl import SSLEOFError, SSLError, SSLWantReadError, SSLWantWriteError

__all__ = ["HAVE_SSL", "SSLEOFError", "SSLError", "SSLWantReadError", "SSLWantWriteError", "ssl"]

HAVE_SSL = True
