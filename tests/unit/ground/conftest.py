from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.ground.stores import Store
from tests.unit.ground.synthetic import Tail


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    one = Store(tmp_path / "ground")
    yield one
    one.close()


@pytest.fixture
def tail() -> Tail:
    return Tail()
