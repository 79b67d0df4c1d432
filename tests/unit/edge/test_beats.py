"""What is due when, on a grid."""

from __future__ import annotations

from edge.beats import Beat

S = 1_000_000_000


def test_a_beat_is_due_once_a_period_on_the_grid() -> None:
    beat = Beat(0.2)
    due = [ms for ms in range(0, 1000, 10) if beat.is_due(ms * S // 1000)]
    assert due == [0, 200, 400, 600, 800]


def test_late_ticks_do_not_move_the_grid_and_missed_ones_do_not_pile_up() -> None:
    beat = Beat(1.0)
    assert beat.is_due(0)
    assert beat.is_due(3_700_000_000)
    assert not beat.is_due(3_900_000_000)
    assert beat.is_due(4_000_000_000)


def test_a_clock_that_went_back_begins_a_period() -> None:
    beat = Beat(1.0)
    assert beat.is_due(10 * S) and beat.is_due(2 * S) and not beat.is_due(2 * S + 1)


def test_a_forced_beat_is_due() -> None:
    beat = Beat(1.0)
    assert beat.is_due(5 * S) and not beat.is_due(5 * S + 1)
    beat.force()
    assert beat.is_due(5 * S + 2)
