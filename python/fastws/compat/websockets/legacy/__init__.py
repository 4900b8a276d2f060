"""The API that ``websockets`` had before release 14, on the connections of the drop-in's ``asyncio.client``."""

import warnings

from fastws.compat._installed import find

with warnings.catch_warnings():
    # The installed one's says the same.
    warnings.simplefilter("ignore", DeprecationWarning)
    find("websockets.legacy")

_version = find("websockets.version")

if _version is None or int(_version.tag.partition(".")[0]) >= 14:  # as of when the installed one says so
    warnings.warn(
        "websockets.legacy is deprecated; see https://websockets.readthedocs.io/en/stable/howto/upgrade.html for "
        "upgrade instructions",
        DeprecationWarning,
        stacklevel=2,
    )
