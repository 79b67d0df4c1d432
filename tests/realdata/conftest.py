"""Where recorded data is; without it these tests skip and say so."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def data() -> Path:
    default = Path(__file__).parents[2].parent / "shared" / "data"
    folder = Path(os.environ.get("TAILTWIN_DATA", default))
    if not folder.is_dir():
        pytest.skip(f"no recorded data at {folder}; name it in TAILTWIN_DATA")
    return folder
