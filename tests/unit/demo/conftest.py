from __future__ import annotations

import os
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[3]


@pytest.fixture(scope="session")
def feeds() -> Path:
    folder = Path(os.environ.get("FASTWS_FEEDS") or REPOSITORY / ".." / "shared" / "feeds")
    if not folder.is_dir():
        pytest.skip(f"no recorded feeds in {folder}; set FASTWS_FEEDS to the folder that has them")
    return folder
