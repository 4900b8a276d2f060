"""The API that ``websockets`` had before release 14, on the connections of the drop-in's ``asyncio.client``."""

import warnings

from fastws.compat._installed import find

with warnings.catch_warnings():
    # The installed one's says the same.
    warnings.simplefilter("ignore", DeprecationWarning)
    find("websockets.legacy")

warnings.warn(
    f"{__name__} is deprecated; see https://websockets.readthedocs.io/en/stable/howto/upgrade.html for upgrade "
    "instructions",
    DeprecationWarning,
    stacklevel=2,
)
