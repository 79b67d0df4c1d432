"""Roles to inputs, reports and KPIs: small parts of the daemon, each alone."""

from __future__ import annotations

from unittest.mock import MagicMock

import numpy as np
import pytest

from edge.acquire.reading import Readings
from edge.acquire.table import SignalTable
from edge.models.alerts import AlertBook
from edge.models.snapshots import SnapshotKeeper
from edge.pipeline import Pipeline
from edge.reports import ReportCollector
from edge.situation import Situation
from shared.errors import Rejected
from shared.phases import Phase
from shared.quality import Quality
from shared.signals import SignalSet, parse_signal_set

SET = b"""
name = "small"
version = 1
airframe = "T"
[[group]]
name = "gear"
rate_hz = 10
[[group.signal]]
name = "WOW_L"
unit = "1"
encoding = "enum"
enum = { ground = 0, air = 1 }
true_is = "low"
[[group.signal]]
name = "N2"
unit = "%"
[[group.signal]]
name = "EEC"
unit = "1"
encoding = "enum"
enum = { off = 0, on = 1 }
true_is = "high"
[roles]
wow_left = "WOW_L"
n2_1 = "N2"
eec_power_1 = "EEC"
[[report]]
name = "takeoff"
phase = "takeoff"
signals = ["N2"]
min_s = 1.0
"""


def readings(signals: SignalSet, t_s: float, *rows: tuple[int, int, int]) -> Readings:
    n = len(rows)
    t_ns = round(t_s * 1e9) + np.arange(n, dtype=np.int64) * 100_000_000
    raw = np.array(rows, dtype=np.int64)
    return Readings(
        signals.groups[0], np.arange(n), t_ns, raw, np.zeros((n, 0)), np.zeros((n, 3), np.uint8)
    )


def test_utc_of_the_bus_is_read_where_a_signal_gives_it() -> None:
    text = SET.replace(
        b"[roles]",
        b"""[[group.signal]]
name = "UTC"
unit = "min"
[roles]
utc_s = "UTC"
""",
    )
    signals = parse_signal_set(text, "small.toml")
    table = SignalTable(signals)
    situation = Situation(signals, table)
    assert situation.utc_ns(0) is None
    raw = np.array([[0, 0, 0, 30_000_000]], np.int64)
    batch = Readings(
        signals.groups[0], np.arange(1), np.zeros(1, np.int64), raw, np.zeros((1, 0)),
        np.zeros((1, 4), np.uint8),
    )  # fmt: skip
    table.update(batch, raw.astype(float), np.zeros((1, 4), np.uint8), now_ns=0)
    assert situation.utc_ns(0) == 1_800_000_000 * 10**9
    assert situation.utc_ns(10 * 10**9) is None
    assert Situation(parse_signal_set(SET, "small.toml"), table).utc_ns(0) is None


def filled(quality: tuple[int, int, int], row: tuple[int, int, int]) -> Situation:
    signals = parse_signal_set(SET, "small.toml")
    table = SignalTable(signals)
    batch = readings(signals, 1.0, row)
    table.update(batch, batch.raw.astype(float), np.array([quality], np.uint8), now_ns=0)
    return Situation(signals, table)


def test_the_sense_of_a_discrete_is_applied_once() -> None:
    on_ground = filled((0, 0, 0), (0, 60, 1))
    assert on_ground.phase_inputs(0).wow_left is True
    assert on_ground.gate_inputs(0).wow_left.value == 1.0
    airborne = filled((0, 0, 0), (1, 60, 1))
    assert airborne.phase_inputs(0).wow_left is False
    assert airborne.gate_inputs(0).wow_left.value == 0.0


def test_what_is_stale_or_not_bound_is_none() -> None:
    situation = filled((0, 0, 0), (0, 60, 1))
    later = situation.phase_inputs(10_000_000_000)
    assert later.wow_left is None and later.n2_1 is None
    assert situation.phase_inputs(0).wow_right is None
    assert situation.gate_inputs(0).parking_brake.value is None


def test_silence_of_an_engine_counts_only_with_its_eec_seen_without_power() -> None:
    no_data = int(Quality.NO_DATA)
    assert filled((0, no_data, 0), (0, 0, 0)).phase_inputs(0).unpowered == (1,)
    assert filled((0, no_data, 0), (0, 0, 1)).phase_inputs(0).unpowered == ()
    assert filled((0, no_data, no_data), (0, 0, 0)).phase_inputs(0).unpowered == ()
    assert filled((0, int(Quality.BAD), 0), (0, 0, 0)).phase_inputs(0).unpowered == ()


def test_a_report_holds_the_extremes_of_good_samples_of_its_phase_only() -> None:
    signals = parse_signal_set(SET, "small.toml")
    reports = ReportCollector(signals)

    def give(t_s: float, values: list[int], quality: int = 0) -> None:
        batch = readings(signals, t_s, *[(0, v, 1) for v in values])
        codes = np.zeros((len(values), 3), np.uint8)
        codes[:, 1] = quality
        reports.add(batch, batch.raw.astype(float), codes)

    give(0.0, [99])  # taxi: not of this report
    assert reports.step("takeoff", 1_000_000_000) == []
    give(1.0, [90, 95])
    give(2.0, [300], quality=int(Quality.BAD))
    give(3.0, [91])
    (report,) = reports.step("climb", 3_500_000_000)
    assert report.values == {"N2": (90.0, 92.0, 95.0, 3)}
    assert reports.step("takeoff", 9_000_000_000) == []
    give(9.0, [1])
    assert reports.step("climb", 9_500_000_000) == []  # shorter than min_s


def test_a_discrete_that_is_neither_0_nor_1_is_unknown() -> None:
    odd = filled((0, 0, 0), (3, 60, 2))
    assert odd.phase_inputs(0).wow_left is None
    assert odd.gate_inputs(0).wow_left.value is None
    assert odd.gate_inputs(0).eec_power_1.value is None
    assert odd.gate_inputs(0).eec_power_1.quality & 3 == Quality.BAD


def number(role: str, unit: str, value: float) -> float | None:
    text = (
        f'name = "u"\nversion = 1\nairframe = "T"\n[roles]\n{role} = "X"\n'
        f'[[group]]\nname = "g"\nrate_hz = 10\nsignal = [{{ name = "X", unit = "{unit}", '
        f'encoding = "f64" }}]\n'
    )
    signals = parse_signal_set(text.encode(), "u.toml")
    table = SignalTable(signals)
    situation = Situation(signals, table)
    zero = np.zeros((1, 1), np.uint8)
    batch = Readings(
        signals.groups[0], np.zeros(1, np.int64), np.ones(1, np.int64), np.zeros((1, 0), np.int64),
        np.array([[value]]), zero,
    )  # fmt: skip
    table.update(batch, batch.f64, zero, 0)
    seen: float | None = getattr(situation.phase_inputs(0), role)
    return seen


@pytest.mark.parametrize(
    ("role", "unit", "value", "expected"),
    [
        ("altitude_ft", "[ft_i]", 1000.0, 1000.0), ("altitude_ft", "m", 10_972.8, 36_000.0),
        ("ground_speed_kt", "m/s", 100.0, 194.384), ("airspeed_kt", "km/h", 250.0, 134.989),
        ("vertical_speed_fpm", "m/s", -5.08, -1000.0), ("n2_1", "%", 60.0, 60.0),
    ],
)  # fmt: skip
def test_a_role_is_read_in_its_own_unit_whatever_the_signal_has(
    role: str, unit: str, value: float, expected: float
) -> None:
    # factors: NIST SP 811, appendix B.8
    assert number(role, unit, value) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("unit", ["Cel", "kg", "furlong"])
def test_a_role_of_another_kind_of_unit_is_refused_at_the_start(unit: str) -> None:
    with pytest.raises(Rejected, match=r"altitude_ft|furlong|'kg'|'Cel'"):
        number("altitude_ft", unit, 1.0)


def test_a_late_bus_is_stale_for_the_gate_while_jitter_is_not() -> None:
    signals = parse_signal_set(SET, "small.toml")
    table = SignalTable(signals)
    situation = Situation(signals, table)

    def bring(t_s: float, now_s: float) -> int:
        batch = readings(signals, t_s, (0, 60, 1))
        now_ns = round(now_s * 1e9)
        table.update(batch, batch.raw.astype(float), np.zeros((1, 3), np.uint8), now_ns)
        return situation.gate_inputs(now_ns).wow_left.age_ns

    assert bring(10.0, 1.0) == 0
    assert bring(10.2, 2.0) == 0  # 0.8 s of jitter
    assert 8_000_000_000 <= bring(10.4, 11.0) <= 9_000_000_000
    assert situation.phase_inputs(11_000_000_000).wow_left is True


def test_a_phase_that_is_lost_inhibits_no_alert() -> None:
    rule = b"""
[[exceedance]]
name = "n2_low"
fault_code = "72-00-001"
signal = "N2"
onset = 50
clear = 55
direction = "low"
persistence_s = 0.0
phases = ["cruise"]
"""
    signals = parse_signal_set(SET + rule, "small.toml")
    table = SignalTable(signals)
    book = AlertBook()
    pipeline = Pipeline(
        signals, table, MagicMock(), book, lambda act, *a: None,
        SnapshotKeeper(signals, 1.0, 1.0, period=lambda: "p"),
    )  # fmt: skip

    def take(t_s: float, n2: int, phase: Phase) -> list[str]:
        batch = readings(signals, t_s, (0, n2, 1))
        return [a.change for a in pipeline.take([batch], round(t_s * 1e9), phase)]

    assert take(1.0, 10, Phase.UNKNOWN) == []  # at power-up nothing is known
    assert take(2.0, 90, Phase.CRUISE) == []
    assert take(3.0, 10, Phase.UNKNOWN) == ["onset"]
