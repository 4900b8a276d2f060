"""Where the server of robyn's tests finds them: a folder of their own, as beside them is robyn without its library."""

import os
import tempfile
from pathlib import Path

_folder = tempfile.TemporaryDirectory()
Path(_folder.name, "integration_tests").symlink_to(Path("integration_tests").resolve())
os.environ["PYTHONPATH"] = os.pathsep.join([_folder.name, os.environ["PYTHONPATH"]])
