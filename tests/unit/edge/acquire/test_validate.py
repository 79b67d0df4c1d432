"""Every finding of validation, and that batching changes none of them."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.acquire.reading import Readings
from edge.acquire.redundant import Redundancy
from edge.acquire.table import SignalTable
from edge.acquire.validate import GroupValidator
from shared.errors import ConfigError
from shared.quality import describe
from shared.signals import (
    STATUS_ABSENT,
    STATUS_FAILURE,
    STATUS_NO_DATA,
    STATUS_PARITY,
    STATUS_TEST,
    SignalSet,
    parse_signal_set,
)

SET = """
name = "judged"
version = 1
airframe = "T"
[[group]]
name = "g"
rate_hz = 10
signal = [
  { name = "ALT", unit = "[ft_i]", range = [-1000, 45000], rate_max = 500 },
  { name = "ACC", unit = "[g]", scale = 0.001, stuck_s = 2.0 },
  { name = "EGT", unit = "Cel", scale = 0.5, spike_min = 10.0 },
]
[[group]]
name = "left"
rate_hz = 10
signal = [{ name = "TAT_L", unit = "Cel", source_priority = 1, disagree_max = 3.0 }]
[[group]]
name = "right"
rate_hz = 10
signal = [{ name = "TAT_R", unit = "Cel", source_priority = 2, redundant_of = "TAT_L" }]
"""
THIRD = """
[[group]]
name = "third"
rate_hz = 10
signal = [{ name = "TAT_S", unit = "Cel", source_priority = 3, redundant_of = "TAT_L" }]
"""
RULE = """{ name = "hot", fault_code = "1", signal = "EGT", onset = 9.0, clear = 8.0,
phases = ["take_off", "climb"] }""".replace("\n", " ")
Raw = npt.NDArray[np.int64]


@pytest.fixture
def signals() -> SignalSet:
    return parse_signal_set(SET.encode(), "judged.toml")


def batch(
    signals: SignalSet, group: str, raw: object, t_s: float = 0.0, status: object = None
) -> Readings:
    g = signals.group(group)
    rows = np.array(raw, np.int64).reshape(-1, len(g.signal))
    n = len(rows)
    said = np.zeros(rows.shape, np.uint8) if status is None else np.array(status, np.uint8)
    t_ns = np.array([round((t_s + i * 0.1) * 1e9) for i in range(n)])
    return Readings(g, np.arange(n), t_ns, rows, np.zeros((n, 0)), said)


def judged(signals: SignalSet, readings: Readings, seen_ns: int = 0) -> list[list[str]]:
    validator = GroupValidator(readings.group)
    quality = validator.judge(readings, validator.values(readings), seen_ns)
    return [[describe(int(q)) for q in row] for row in quality]


def healthy(n: int) -> Raw:
    """ALT climbs, ACC never rests, EGT is steady."""
    i = np.arange(n)
    return np.stack((1000 + 2 * i, 1000 + i % 2, np.full(n, 1200)), axis=1)


def column(signals: SignalSet, raw: Raw, at: int) -> list[str]:
    return [row[at] for row in judged(signals, batch(signals, "g", raw))]


def test_a_healthy_batch_is_good(signals: SignalSet) -> None:
    assert {q for row in judged(signals, batch(signals, "g", healthy(50))) for q in row} == {"good"}


def test_a_value_that_stands_longer_than_stuck_s_is_suspect_until_it_moves(
    signals: SignalSet,
) -> None:
    raw = healthy(60)
    raw[10:44, 1] = raw[9, 1]
    assert column(signals, raw, 1) == ["good"] * 30 + ["suspect(stuck)"] * 14 + ["good"] * 16


def test_a_spike_is_suspect_and_a_step_only_until_the_median_follows(signals: SignalSet) -> None:
    raw = healthy(40)
    raw[:, 2] += np.arange(40) % 3  # noise of one LSB
    raw[12, 2] += 60  # a spike of 30 Cel
    raw[25:, 2] += 60  # a real step
    found = column(signals, raw, 2)
    assert [i for i, q in enumerate(found) if q == "suspect(spike)"] == [12, 25, 26, 27]


def test_a_jump_smaller_than_spike_min_is_none(signals: SignalSet) -> None:
    raw = healthy(20)
    raw[10, 2] += 18  # 9 Cel
    assert set(column(signals, raw, 2)) == {"good"}


@pytest.mark.parametrize(
    ("status", "quality"),
    [
        (STATUS_NO_DATA, "no_data"), (STATUS_FAILURE, "bad(failure)"),
        (STATUS_TEST, "suspect(test)"), (STATUS_PARITY, "bad(parity)"),
        (STATUS_ABSENT, "bad(stale)"), (77, "bad(failure)"),
    ],
)  # fmt: skip
def test_what_the_bus_says_of_a_sample_decides_whatever_its_value(
    signals: SignalSet, status: int, quality: str
) -> None:
    raw = healthy(3)
    raw[1, 0] = 99_999  # out of range as well
    said = np.zeros((3, 3))
    said[1, 0] = status
    rows = judged(signals, batch(signals, "g", raw, status=said))
    assert [row[0] for row in rows] == ["good", quality, "good"]


def test_a_rate_is_not_judged_across_a_sample_that_the_source_disowned(signals: SignalSet) -> None:
    raw = healthy(4)
    raw[1, 0] = 0
    said = np.zeros((4, 3))
    said[1, 0] = STATUS_FAILURE
    rows = judged(signals, batch(signals, "g", raw, status=said))
    assert [row[0] for row in rows] == ["good", "bad(failure)", "good", "good"]


def test_a_reading_that_came_later_than_its_age_max_is_suspect(signals: SignalSet) -> None:
    rows = judged(signals, batch(signals, "g", healthy(10)), seen_ns=1_000_000_000)
    # readings at 0.0 … 0.9 s; 0.4 s is the age_max of a 10 Hz signal
    assert [row[0] for row in rows] == ["suspect(stale)"] * 6 + ["good"] * 4


@given(
    raw=st.lists(
        st.tuples(st.integers(0, 1200), st.integers(0, 2), st.integers(1100, 1300)),
        min_size=1, max_size=60,
    ),
    cuts=st.sets(st.integers(1, 59), max_size=5),
    bad=st.sets(st.integers(0, 59), max_size=5),
)  # fmt: skip
def test_batching_changes_no_verdict(
    raw: list[tuple[int, int, int]], cuts: set[int], bad: set[int]
) -> None:
    signals = parse_signal_set(SET.encode(), "judged.toml")
    status = np.zeros((len(raw), 3), np.uint8)
    status[[i for i in bad if i < len(raw)], 1] = STATUS_FAILURE
    whole = batch(signals, "g", raw, status=status)
    one, several = GroupValidator(whole.group), GroupValidator(whole.group)
    edges = [0, *sorted(c for c in cuts if c < len(raw)), len(raw)]
    parts = [whole.rows(a, b) for a, b in pairwise(edges)]
    found = np.concatenate([several.judge(part, several.values(part)) for part in parts])
    assert found.tolist() == one.judge(whole, one.values(whole)).tolist()


# -- redundant sources


class Aircraft:
    """The acquisition of a set, batch by batch."""

    def __init__(self, text: str) -> None:
        self.signals = parse_signal_set(text.encode(), "judged.toml")
        self.table = SignalTable(self.signals)
        self.redundancy = Redundancy(self.signals, self.table)
        self.validators = {g.name: GroupValidator(g) for g in self.signals.groups}

    def take(self, group: str, raw: list[int], t_s: float, status: object = None) -> list[str]:
        readings = batch(self.signals, group, raw, t_s, status)
        validator, now_ns = self.validators[group], round(t_s * 1e9)
        values = validator.values(readings)
        quality = validator.judge(readings, values)
        quality = self.redundancy.judge(readings, values, quality, now_ns)
        self.table.update(readings, values, quality, now_ns)
        return [describe(int(q)) for q in quality[:, 0]]

    def value(self, name: str, t_s: float) -> float | None:
        return self.table.observe(name, round(t_s * 1e9)).value


def test_of_two_that_disagree_both_are_suspect_and_nobody_is_believed() -> None:
    aircraft = Aircraft(SET)
    aircraft.take("left", [20], 0.0)
    assert aircraft.take("right", [22], 0.1) == ["good"]
    assert aircraft.take("left", [26], 0.2) == ["suspect(disagree)"]
    assert aircraft.take("right", [22], 0.3) == ["suspect(disagree)"]
    assert aircraft.value("TAT_L", 0.3) is None
    aircraft.take("left", [23], 0.4)
    assert aircraft.take("right", [22], 0.5) == ["good"]
    assert aircraft.value("TAT_L", 0.5) == 23


def test_of_three_the_odd_one_is_suspect_and_the_others_are_believed() -> None:
    aircraft = Aircraft(SET + THIRD)
    for _ in range(2):
        left = aircraft.take("left", [40], 0.0)
        right, third = aircraft.take("right", [20], 0.0), aircraft.take("third", [21], 0.0)
    assert (left, right, third) == (["suspect(disagree)"], ["good"], ["good"])


def test_a_role_is_read_from_the_next_source_when_the_first_fails_or_falls_silent() -> None:
    aircraft = Aircraft(SET)
    aircraft.take("left", [20], 0.0)
    aircraft.take("right", [21], 0.0)
    assert aircraft.value("TAT_L", 0.1) == 20
    aircraft.take("left", [20], 0.2, [[STATUS_FAILURE]])
    assert aircraft.value("TAT_L", 0.2) == 21
    aircraft.take("left", [20], 0.3)
    aircraft.take("right", [21], 1.0)
    assert aircraft.value("TAT_L", 1.0) == 21  # TAT_L is stale by now
    assert aircraft.value("TAT_L", 2.0) is None


def test_a_role_is_read_from_the_first_by_priority_whichever_is_bound() -> None:
    aircraft = Aircraft(SET)
    aircraft.take("left", [20], 0.0)
    aircraft.take("right", [21], 0.0)
    assert aircraft.value("TAT_L", 0.1) == aircraft.value("TAT_R", 0.1) == 20


def test_a_stale_source_disagrees_with_nobody() -> None:
    aircraft = Aircraft(SET)
    aircraft.take("left", [20], 0.0)
    assert aircraft.take("right", [40], 1.0) == ["good"]


def test_an_absent_word_leaves_the_last_value_to_age(signals: SignalSet) -> None:
    table, validator = SignalTable(signals), GroupValidator(signals.group("g"))
    for t_s, status in ((0.0, 0), (0.3, STATUS_ABSENT)):
        said = np.zeros((1, 3))
        said[0, 2] = status
        readings = batch(signals, "g", [[1000, 1000, 1200]], t_s, said)
        values = validator.values(readings)
        table.update(readings, values, validator.judge(readings, values), round(t_s * 1e9))
    assert table.observe("ALT", 400_000_000).age_ns == 100_000_000
    assert table.observe("EGT", 400_000_000).age_ns == 400_000_000
    assert table.observe("EGT", 400_000_000).value == 600
    assert table.observe("EGT", 500_000_000).value is None


@pytest.mark.parametrize(
    ("old", "new", "what"),
    [
        ('redundant_of = "TAT_L"', 'redundant_of = "TAT_X"', "no signal 'TAT_X'"),
        ('redundant_of = "TAT_L"', 'redundant_of = "TAT_R"', "is redundant itself"),
        ('"TAT_R", unit = "Cel"', '"TAT_R", unit = "K"', "'K' against 'Cel'"),
        ("stuck_s = 2.0", "stuck_s = -1", "stuck_s must be above 0"),
        ('airframe = "T"', 'airframe = "T"\nroles = { wow_left = "ALT", wow_right = "ALT" }',
         "wow_left already"),
        ('airframe = "T"', 'airframe = "T"\nroles = { n2_1 = "TAT_L", n2_2 = "TAT_R" }',
         "n2_1 already"),
        ('airframe = "T"', f'airframe = "T"\nexceedance = [{RULE}]', "no phase take_off"),
    ],
)  # fmt: skip
def test_a_set_that_cannot_be_judged_is_refused_by_name(old: str, new: str, what: str) -> None:
    with pytest.raises(ConfigError, match=what):
        parse_signal_set(SET.replace(old, new).encode(), "judged.toml")


def test_a_bus_that_holds_its_readings_back_is_late_and_one_that_jumps_is_not() -> None:
    aircraft = Aircraft(SET)

    def bring(t_s: float, now_s: float) -> float:
        readings = batch(aircraft.signals, "left", [20], t_s)
        values = aircraft.validators["left"].values(readings)
        quality = np.zeros((1, 1), np.uint8)
        aircraft.table.update(readings, values, quality, round(now_s * 1e9))
        return aircraft.table.late_ns / 1e9

    assert [round(bring(100 + 0.2 * i, 5 + 0.2 * i), 3) for i in range(50)] == [0.0] * 50
    assert round(bring(110.2, 75.0), 1) == 59.8  # for a minute nothing came, then what was held
    assert round(bring(110.4, 75.2), 1) == 59.8
    assert round(bring(170.0, 75.4), 1) == 0.4  # it has caught up
    for i in range(6):  # the aircraft's clock was set: believed once several agree
        late_s = bring(9000 + 0.2 * i, 76 + 0.2 * i)
    assert round(late_s, 3) == 0.0


@pytest.mark.parametrize(
    ("rule", "what"),
    [
        ('[[exceedance]]\nname = "x"\nfault_code = "1"\nsignal = "ALT"\nonset = 50000\nclear = 9\n',
         "onset outside the signal's range"),
        ('[roles]\noil_pressure_1 = "ACC"\n', "rests at the stand"),
    ],
)  # fmt: skip
def test_a_rule_that_would_be_blind_is_refused(rule: str, what: str) -> None:
    is_role = rule.startswith("[roles]")
    text = SET.replace("[[group]]", rule + "[[group]]", 1) if is_role else SET + rule
    with pytest.raises(ConfigError, match=what):
        parse_signal_set(text.encode(), "judged.toml")
