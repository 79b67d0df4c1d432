"""Which link when, and how long to wait."""

from __future__ import annotations

import os

from edge.link.policy import BACKOFF_MAX_S, Backoff, limits, order
from shared.phases import Phase
from shared.sync.sender import WINDOW_BYTES_MIN


def test_the_stand_link_is_tried_first_when_parked_and_never_else() -> None:
    for phase in Phase:
        names = order(phase, ("air", "stand"))
        assert names == (("stand", "air") if phase is Phase.PARKED else ("air",))
    assert order(Phase.PARKED, ("air",)) == ("air",)


def test_back_off_grows_to_its_bound_with_jitter_and_starts_again() -> None:
    least, most = Backoff(lambda n: bytes(n)), Backoff(lambda n: b"\xff" * n)
    assert [round(least.next_s(), 2) for _ in range(8)] == [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5, 5]
    assert [round(most.next_s(), 2) for _ in range(8)] == [0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 10, 10]
    least.reset()
    assert least.next_s() == 0.1
    random = Backoff(os.urandom)
    assert all(0 < random.next_s() <= BACKOFF_MAX_S for _ in range(100))


def test_the_window_is_two_seconds_of_the_cap_and_at_least_16_kb() -> None:
    assert limits("air", 1000, 60).window_bytes == WINDOW_BYTES_MIN
    assert limits("air", 50_000, 60).window_bytes == 100_000
    assert limits("stand", 0, 60).cap_bytes_s > 0
