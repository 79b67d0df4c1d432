"""A recalibrated release never silences a standing alert: not by its swap, nor by a restart."""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.models.alerts import AlertBook
from edge.models.deviations import Deviations
from edge.models.step import ModelStep
from shared.bundle import Bundle, parse_bundle
from shared.messages import Alert
from shared.phases import Phase

S = 1_000_000_000
TYPE = parse_bundle(Path("firmware_profiles/models/egt_rom_v1.json").read_bytes(), "v1")
MONITOR = TYPE.monitors[0]
KEY = f"{MONITOR.name}-894102"


def recalibrated(release: int, onset: float = 5.0) -> Bundle:
    """As `ground.calibrate` makes one: the same names, limits that are not wider."""
    tight = msgspec.structs.replace(MONITOR, onset=onset, clear=onset / 2)
    return msgspec.structs.replace(
        TYPE, release=release, version=f"{release}.0.0", monitors=(tight,)
    )


class Aircraft:
    """Monitors of the live release on an engine 2 with a deviation."""

    def __init__(self) -> None:
        self.book, self.t_s, self.alerts = AlertBook(), 0, list[Alert]()
        self.load(TYPE)

    def load(self, bundle: Bundle) -> None:
        self.bundle = bundle
        self.monitors = Deviations(self.book)

    def restart(self) -> None:
        """What the outbox kept is all there is."""
        kept, self.book = self.book.snapshot(), AlertBook()
        self.book.restore(kept)
        self.load(self.bundle)

    def fly(self, seconds: int, deviation: float, phase: Phase = Phase.CRUISE) -> list[Alert]:
        predicted = np.full((2, 2), 600.0)
        measured = predicted + np.array([[0.0, 0.0], [deviation, 0.0]])
        inputs = np.tile([85.0, 0.7, 24000.0, -10.0, 1.0, 0.0], (2, 1))
        found = []
        for _ in range(seconds):
            self.t_s += 1
            step = ModelStep(self.bundle, f"egt_rom-{self.bundle.version}", self.t_s * S, inputs,
                             measured, predicted, ("", ""), None)  # fmt: skip
            found += self.monitors.judge(step, phase)
        self.alerts += found
        return found


def test_alert_of_the_type_stands_through_a_swap_and_a_restart_until_the_deviation_is_gone() -> (
    None
):
    aircraft = Aircraft()
    (onset,) = aircraft.fly(120, 26.0)
    assert (onset.change, onset.esn, onset.bundle) == ("onset", "894102", "egt_rom-1.0.0")
    aircraft.load(recalibrated(3))
    # the new table is right for this engine as it was approved: most of the deviation is wear
    assert aircraft.fly(900, 21.0) == []
    aircraft.restart()
    assert aircraft.fly(900, 21.0) == []
    assert aircraft.book.standing() == [KEY]
    # what release 1 would have called clear (below 10) is not clear under a tighter limit
    assert aircraft.fly(900, 6.0) == []
    (clear,) = aircraft.fly(400, 1.0)
    assert (clear.change, clear.id, clear.bundle) == ("clear", onset.id, "egt_rom-3.0.0")


EVENT = st.one_of(
    st.tuples(st.just("swap"), st.integers(2, 9)),
    st.tuples(st.just("restart"), st.just(0)),
    st.tuples(st.just("silent"), st.integers(1, 200)),
    st.tuples(st.just("parked"), st.integers(1, 200)),
    st.tuples(st.just("cruise"), st.integers(1, 200)),
)


@settings(max_examples=40, deadline=None)
@given(st.lists(EVENT, max_size=12), st.floats(10.5, 60.0))
def test_no_order_of_swaps_restarts_and_silences_clears_a_deviation_that_stays(
    events: list[tuple[str, int]], deviation: float
) -> None:
    aircraft = Aircraft()
    aircraft.fly(120, 30.0)
    assert aircraft.book.standing() == [KEY]
    for what, value in events:
        if what == "swap":
            aircraft.load(recalibrated(value))
        elif what == "restart":
            aircraft.restart()
        elif what == "silent":
            aircraft.fly(value, float("nan"))
        else:
            aircraft.fly(value, deviation, Phase.CRUISE if what == "cruise" else Phase.PARKED)
    assert aircraft.book.standing() == [KEY]
    assert [x.change for x in aircraft.alerts] == ["onset"]


def test_release_that_lost_the_monitor_leaves_the_alert_standing() -> None:
    aircraft = Aircraft()
    aircraft.fly(120, 30.0)
    aircraft.load(msgspec.structs.replace(TYPE, release=4, monitors=()))
    assert aircraft.fly(600, 0.0) == [] and aircraft.book.standing() == [KEY]
