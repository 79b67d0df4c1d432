"""A database that is damaged is said to be, by the process that meets it."""

from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy import text

from ground.database import open_writer, transaction
from shared.errors import Corrupt


def test_a_file_that_is_no_database_any_more_is_corrupt_and_says_what_to_do(tmp_path: Path) -> None:
    path = tmp_path / "control.db"
    engine = open_writer(path)
    with transaction(engine, "control.db") as db:
        db.execute(text("create table t (x)"))
    engine.dispose()
    path.write_bytes(b"not a database" * 1000)
    for leftover in tmp_path.glob("control.db-*"):
        leftover.unlink()
    with pytest.raises(Corrupt) as caught, transaction(open_writer(path), "control.db") as db:
        db.execute(text("select * from t"))
    assert "not a database" in caught.value.what and "copy" in caught.value.remedy
