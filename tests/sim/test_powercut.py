"""No power cut loses or damages what the outbox acknowledged; a store that syncs less does."""

from __future__ import annotations

import random
from collections import Counter
from pathlib import Path

import apsw
import pytest

from edge.outbox import store
from edge.outbox.books import Books
from tests.sim import workload
from tests.sim.disk import SECTOR_BYTES, Disk, Op
from tests.sim.powercut import Score, cuts, memory_folder, run
from tests.sim.workload import record


@pytest.mark.parametrize(("seed", "full"), [(101, False), (102, True), (104, False), (107, True)])
def test_a_power_cut_after_any_write_loses_nothing_acknowledged(seed: int, full: bool) -> None:
    score = run(seed, calls=4, generations=1 if full else 2, full=full)
    assert not score.failed, "\n".join(score.examples)
    assert score.opened > 100
    assert set(score.by_mode) == {"nothing", "all", "some", "torn", "reordered"}


@pytest.mark.parametrize("seed", [113, 119])
def test_a_power_cut_while_drop_records_are_folded_loses_none_of_what_they_name(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    fold, step, folded, stepping = Books.fold, workload._Life.step, list[bool](), list[bool]()

    def counted(books: Books, bytes_max: int) -> bool:
        did = fold(books, bytes_max)
        if stepping:
            folded.append(did)
        return did

    def stepped(life: workload._Life) -> None:
        stepping.append(True)
        step(life)

    monkeypatch.setattr(workload, "FILL_DROPS", 12)
    monkeypatch.setattr(workload._Life, "_append", workload._Life._burst)  # mostly
    for share in ("DROP_SHARE", "DROP_SHARE_MAX"):
        monkeypatch.setattr(store, share, 0.002)
    monkeypatch.setattr(Books, "fold", counted)
    monkeypatch.setattr(workload._Life, "step", stepped)
    score = run(seed, calls=4, full=True, modes=("nothing", "some", "torn"))
    assert not score.failed, "\n".join(score.examples)
    assert stepping and any(folded), "none was folded in the life that is cut"
    assert score.opened > 100


def as_made_by_version_1(files: dict[str, bytes]) -> dict[str, bytes]:
    """The same store as the program before sealing at rest would have it."""
    with memory_folder() as folder:
        path = folder / "outbox.db"
        path.write_bytes(files["outbox.db"])
        db = apsw.Connection(str(path))
        db.execute("PRAGMA journal_mode = delete")
        for table in ("kv", "record", "journal"):
            db.execute(f"ALTER TABLE {table} DROP COLUMN data_key")
        db.execute("DROP TABLE data_key; PRAGMA user_version = 1; PRAGMA journal_mode = wal")
        db.close()
        return {"outbox.db": path.read_bytes()}


@pytest.mark.parametrize("sealed_then", [False, True], ids=["plain", "sealed"])
def test_a_power_cut_while_an_older_store_is_taken_over_loses_nothing(sealed_then: bool) -> None:
    score = run(108, calls=0, change=as_made_by_version_1, sealed_then=sealed_then)
    assert not score.failed, "\n".join(score.examples)
    assert score.opened > 20


def test_a_store_that_syncs_only_at_checkpoints_loses_acknowledged_records() -> None:
    score = run(103, calls=12, synchronous="normal", modes=("nothing", "some"))
    assert score.by_kind["lost"] > score.opened // 10, score
    assert not score.by_kind["corrupt"]


def test_a_store_that_never_syncs_is_found_corrupt_and_loses_records() -> None:
    score = run(104, calls=16, synchronous="off", modes=("some", "reordered"))
    assert score.by_kind["lost"] > score.opened // 10, score
    assert score.by_kind["corrupt"] > score.opened // 20, score


def test_what_is_recorded_has_every_kind_of_change() -> None:
    """Checkpoints write the file, orderly stops delete the WAL, a full store evicts."""
    with memory_folder() as folder:
        trace = record(105, folder, calls=200, fill=True)
    kinds = Counter((op.kind, op.name) for op in trace.ops)
    assert kinds["write", "outbox.db"] > 100
    assert kinds["write", "outbox.db-wal"] > 1000
    assert kinds["sync", "outbox.db"] and kinds["sync", "outbox.db-wal"] > 100
    assert kinds["truncate", "outbox.db-wal"] and kinds["delete", "outbox.db-wal"]
    assert kinds["sync_folder", ""]
    assert len(trace.history.epochs) > 1
    assert any(stream == "drop" for (_, stream, _), _ in trace.history.records)


def test_a_seed_makes_the_same_power_cuts_again(tmp_path: Path) -> None:
    images = []
    for name in ("one", "two"):
        folder = tmp_path / name
        folder.mkdir()
        trace = record(106, folder, calls=4)
        images.append([cut.image for cut in cuts(trace, random.Random(1))])
    assert images[0] == images[1]


class TestDisk:
    def test_what_was_synced_is_in_every_image(self) -> None:
        disk = Disk()
        for op in (Op("create", "a"), Op("write", "a", 0, b"x" * 600), Op("sync", "a"),
                   Op("sync_folder"), Op("write", "a", 600, b"y" * 600)):  # fmt: skip
            disk.do(op)
        for seed in range(50):
            image = disk.image("reordered", random.Random(seed))["a"]
            assert image[:600] == b"x" * 600

    def test_a_write_is_torn_at_sectors(self) -> None:
        disk = Disk({"a": b""})
        disk.do(Op("write", "a", 100, b"y" * 1400))
        lengths = {len(disk.image("torn", random.Random(seed))["a"]) for seed in range(40)}
        assert lengths == {0, SECTOR_BYTES, 2 * SECTOR_BYTES}

    def test_a_later_write_may_be_there_without_an_earlier_one(self) -> None:
        disk = Disk({"a": b"--"})
        disk.do(Op("write", "a", 0, b"1"))
        disk.do(Op("write", "a", 1, b"2"))
        seen = {disk.image("some", random.Random(seed))["a"] for seed in range(60)}
        assert seen == {b"--", b"1-", b"-2", b"12"}

    def test_a_name_is_certain_only_after_its_folder_was_synced(self) -> None:
        disk = Disk()
        disk.do(Op("create", "a"))
        disk.do(Op("write", "a", 0, b"x"))
        disk.do(Op("sync", "a"))
        assert disk.image("nothing", random.Random(0)) == {}
        disk.do(Op("sync_folder"))
        disk.do(Op("delete", "a"))
        assert disk.image("nothing", random.Random(0)) == {"a": b"x"}
        assert disk.image("all", random.Random(0)) == {}
        assert not disk.is_certain


def test_a_score_counts_an_image_once_for_each_kind_of_complaint() -> None:
    with memory_folder() as folder:
        trace = record(107, folder, calls=1)
    score, cut = Score(), next(iter(cuts(trace, random.Random(1))))
    score.add(cut, ["lost: a", "lost: b", "gap: c"], "here")
    assert score.by_kind == {"lost": 1, "gap": 1} and score.failed == 1
