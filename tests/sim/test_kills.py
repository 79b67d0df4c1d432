"""A process killed at any instant has lost nothing that it had acknowledged."""

from __future__ import annotations

from pathlib import Path

from tests.sim.kills import Kills, kill_often


def test_no_kill_loses_what_was_acknowledged(tmp_path: Path) -> None:
    told = kill_often(tmp_path / "outbox.db", kills=25, seed=1)
    assert not told.complaints, told.complaints[:5]
    assert told.kills == 25 and told.at_start
    assert len(told.records) > 50 and told.journalled > 20  # a busy machine makes fewer between two
    assert max(told.restart_ms) < 5000


def test_a_journal_that_lost_an_acknowledged_entry_is_noticed() -> None:
    told = Kills()
    for line in (["open", 1, False, []], ["journal", 7], ["journal", 8], ["will", "journal", 9]):
        told.hear(line, 0)
    told.hear(["open", 2, False, [7, 8]], 0)
    assert not told.complaints
    told.hear(["open", 3, False, [7]], 0)
    assert told.complaints == ["boot 3: journal [7] is none of [[7, 8]]"]
