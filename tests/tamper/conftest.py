"""One honest fleet for all attacks, and folders that cost no disk: an attack makes hundreds."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.tamper.fleet import Fleet
from tests.tamper.scene import Scene

MEMORY = Path("/dev/shm")


@pytest.fixture(scope="session")
def memory() -> Iterator[Path]:
    """A folder in memory where there is one; sessions here are told that staging may be there."""
    place = MEMORY if MEMORY.is_dir() else None
    with tempfile.TemporaryDirectory(prefix="tailtwin-tamper-", dir=place) as folder:
        yield Path(folder)


@pytest.fixture(scope="session")
def fleet(memory: Path) -> Fleet:
    (memory / "fleet").mkdir()
    return Fleet(memory / "fleet")


@pytest.fixture(scope="session")
def template(fleet: Fleet, memory: Path) -> Path:
    """The state of an aircraft whose first set is live."""
    (memory / "first").mkdir()
    return Scene(fleet, memory / "first").saved(memory / "template")


@pytest.fixture
def scene(fleet: Fleet, template: Path, memory: Path) -> Iterator[Scene]:
    with tempfile.TemporaryDirectory(dir=memory) as folder:
        yield Scene(fleet, Path(folder), template)
