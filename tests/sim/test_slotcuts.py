"""Slots under a knife: whatever call is the last one, a boot finds the old set or the new one."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.sim.slotcuts import ACTS, cut, missing

EVERY = int(os.environ.get("TAILTWIN_SLOTCUTS", "17"))
"""Each so many calls one is cut; 1 is all of them, as `python -m bench.slotcuts` does."""


@pytest.fixture(scope="module", autouse=True)
def strace() -> None:
    why = missing()
    if why:
        pytest.skip(why)


@pytest.mark.parametrize("name", ACTS)
def test_a_cut_leaves_the_old_set_or_the_new_one_and_no_proven_set_is_lost(
    name: str, tmp_path: Path
) -> None:
    cuts = cut(name, tmp_path, EVERY)
    assert cuts.faults == []
    assert cuts.cut >= sum(cuts.calls.values()) // EVERY > 0
