"""Reports: each window rule, on a small engine."""

from __future__ import annotations

from itertools import count

import numpy as np
import pytest

from edge.acquire.reading import Readings
from edge.reports import ReportCollector
from shared.errors import ConfigError
from shared.messages import Alert, Report
from shared.signals import parse_signal_set

SET = """
name = "engine"
version = 1
airframe = "T"
[[group]]
name = "eng"
rate_hz = 5
signal = [
  { name = "N2", unit = "%" }, { name = "EGT", unit = "Cel" }, { name = "FF", unit = "kg/h" },
]
[[group]]
name = "air"
rate_hz = 5
signal = [
  { name = "TAT", unit = "Cel" }, { name = "ALT", unit = "[ft_i]" },
  { name = "MACH", unit = "1", scale = 0.001 },
]
[[report]]
name = "start"
window = "crossing"
start = { signal = "N2", above = 5.0 }
end = { signal = "N2", above = 55.0 }
max_s = 60.0
signals = ["N2", "EGT"]
limits = { EGT = 725.0 }
[[report]]
name = "takeoff"
phase = "takeoff"
signals = ["N2", "EGT", "FF"]
limits = { EGT = 930.0 }
corrected = { N2 = "speed", EGT = "temperature", FF = "flow" }
air = { tat = "TAT", altitude = "ALT", mach = "MACH" }
[[report]]
name = "cruise"
window = "stable"
phase = "cruise"
stable = { EGT = 10.0, ALT = 100.0 }
hold_s = 10.0
every_s = 100.0
signals = ["EGT"]
[[report]]
name = "hot"
window = "exceedance"
exceedances = ["egt_high"]
signals = ["EGT"]
max_s = 100.0
[[exceedance]]
name = "egt_high"
fault_code = "77-00-001"
signal = "EGT"
onset = 930.0
clear = 900.0
"""


class Engine:
    """Gives readings at 5 Hz and collects what is reported."""

    def __init__(self) -> None:
        self.signals = parse_signal_set(SET.encode(), "engine.toml")
        self.collector = ReportCollector(self.signals)
        self.reports: list[Report] = []
        self.t_ns, self.counter = 0, count()

    def run(
        self, phase: str, seconds: float, *, n2: float = 60, egt: float = 600, ff: float = 1000,
        tat: float = 15, alt: float = 0, mach: float = 0, quality: int = 0,
    ) -> None:  # fmt: skip
        """From the last values nothing is interpolated: they are these, for so long."""
        for _ in range(round(seconds * 5)):
            self.t_ns += 200_000_000
            for name, raw in (("eng", [n2, egt, ff]), ("air", [tat, alt, mach * 1000])):
                group = self.signals.group(name)
                readings = Readings(
                    group, np.array([next(self.counter)]), np.array([self.t_ns]),
                    np.array([raw], np.int64), np.zeros((1, 0)), np.zeros((1, 3), np.uint8),
                )  # fmt: skip
                values = readings.raw * np.array([s.scale for s in group.signal])
                self.collector.add(readings, values, np.full((1, 3), quality, np.uint8))
            self.reports += self.collector.step(phase, self.t_ns)

    def ramp(self, phase: str, n2: list[float], egt: list[float]) -> None:
        for speed, temperature in zip(n2, egt, strict=True):
            self.run(phase, 0.2, n2=speed, egt=temperature)

    def named(self, name: str) -> list[Report]:
        return [report for report in self.reports if report.name == name]


@pytest.fixture
def engine() -> Engine:
    return Engine()


def test_a_start_is_reported_with_its_peak_egt_margin_and_duration(engine: Engine) -> None:
    engine.run("parked", 2, n2=0, egt=20)
    speeds = np.linspace(1, 60, 60)
    engine.ramp("parked", list(speeds), list(np.where(speeds < 20, 20, 650 - 3 * (speeds - 40))))
    (start,) = engine.named("start")
    assert start.outcome == "complete"
    assert 9.8 <= (start.end_ns - start.start_ns) / 1e9 <= 10.4
    assert start.values["EGT"][2] == pytest.approx(710, abs=3)
    assert start.margins["EGT"] == 725.0 - start.values["EGT"][2]


def test_a_start_that_falls_back_is_aborted_and_one_that_hangs_times_out(engine: Engine) -> None:
    engine.run("parked", 1, n2=0)
    engine.run("parked", 10, n2=20)
    engine.run("parked", 1, n2=0)
    engine.run("parked", 70, n2=30)
    assert [report.outcome for report in engine.named("start")] == ["aborted", "timed_out"]


def test_a_daemon_that_starts_beside_a_running_engine_reports_no_start(engine: Engine) -> None:
    engine.run("taxi_out", 5, n2=30)
    engine.run("taxi_out", 5, n2=60)
    assert engine.named("start") == []


def test_takeoff_says_peak_margin_and_values_at_the_standard_day(engine: Engine) -> None:
    engine.run("taxi_out", 2)
    engine.run("takeoff", 15, n2=96, egt=850, ff=3500, tat=35, alt=0, mach=0.2)
    engine.run("takeoff", 1, n2=97, egt=880, ff=3500, tat=35, alt=0, mach=0.2)
    engine.run("climb", 1, n2=97, egt=850, ff=3500, tat=35, mach=0.2)
    (report,) = engine.named("takeoff")
    assert report.margins == {"EGT": 50.0}
    # by hand: theta = (35 + 273.15) / 288.15, delta = (1 + 0.2 * 0.2^2)^3.5
    theta, delta = 308.15 / 288.15, 1.008**3.5
    assert report.corrected["FF"] == pytest.approx(report.values["FF"][1] / delta / theta**0.5)
    assert report.corrected["N2"] == pytest.approx(report.values["N2"][1] / theta**0.5)
    assert report.corrected["EGT"] == pytest.approx((report.values["EGT"][1] + 273.15) / theta)


def test_cruise_reports_the_steadiest_window_of_each_hundred_seconds(engine: Engine) -> None:
    for i in range(30):
        engine.run("cruise", 1, egt=600 + 3 * (i % 2))
    engine.run("cruise", 15, egt=640)
    engine.run("cruise", 60, egt=600)
    first = engine.named("cruise")
    assert [report.values["EGT"][:3] for report in first] == [(640.0, 640.0, 640.0)]
    engine.run("cruise", 20, egt=610)
    engine.run("descent", 1)
    assert len(engine.named("cruise")) == 2  # the phase's end gives what it has


@pytest.mark.parametrize("unsteady", ["egt", "hole", "bad"])
def test_nothing_is_stable_while_a_signal_moves_or_is_missing(
    engine: Engine, unsteady: str
) -> None:
    for i in range(30):
        if unsteady == "egt":
            engine.run("cruise", 1, egt=600 + 8 * i)
        elif unsteady == "bad":
            engine.run("cruise", 1, quality=2 if i % 4 < 2 else 0)
        else:
            engine.run("cruise", 1)
            engine.t_ns += 5_000_000_000 if i % 8 == 7 else 0
    engine.run("descent", 1)
    assert engine.named("cruise") == []


def alert(change: str, onset_ns: int, at_ns: int | None = None) -> Alert:
    return Alert(
        id=f"egt_high-{onset_ns}", name="egt_high", fault_code="77", severity="warning",
        change=change, onset_ns=onset_ns, clear_ns=at_ns, value=940, threshold=930,  # type: ignore[arg-type]
    )  # fmt: skip


def test_an_exceedance_is_reported_with_its_peak_and_duration(engine: Engine) -> None:
    engine.run("climb", 2, egt=940)
    onset_ns = engine.t_ns
    assert engine.collector.note(alert("onset", onset_ns)) == []
    engine.run("climb", 5, egt=955)
    (report,) = engine.collector.note(alert("clear", onset_ns, engine.t_ns))
    assert report.subject == f"egt_high-{onset_ns}"
    assert report.values["EGT"][2] == 955
    assert report.end_ns - report.start_ns == 5_000_000_000
    assert engine.named("hot") == []


def test_an_exceedance_that_never_ends_is_reported_as_timed_out(engine: Engine) -> None:
    engine.run("climb", 1, egt=940)
    engine.collector.note(alert("onset", engine.t_ns))
    engine.run("climb", 102, egt=940)
    assert [report.outcome for report in engine.named("hot")] == ["timed_out"]


@pytest.mark.parametrize(
    ("old", "new", "what"),
    [
        ('phase = "takeoff"', 'phase = "lift"', "no phase 'lift'"),
        ('above = 55.0', 'above = 55.0, below = 3.0', "needs a signal, and above or below"),
        ("stable = { EGT = 10.0, ALT = 100.0 }", "", "nothing says what is stable"),
        ('exceedances = ["egt_high"]', 'exceedances = ["oil"]', "no exceedance 'oil'"),
        ('air = { tat = "TAT", altitude = "ALT", mach = "MACH" }', "", "correcting needs air data"),
        ("limits = { EGT = 725.0 }", "limits = { FF = 1.0 }", "'FF' is not reported"),
        ('tat = "TAT"', 'tat = "T2"', "no signal 'T2'"),
    ],
)  # fmt: skip
def test_a_rule_that_cannot_work_is_refused_by_name(old: str, new: str, what: str) -> None:
    assert old in SET
    with pytest.raises(ConfigError, match=what):
        parse_signal_set(SET.replace(old, new, 1).encode(), "engine.toml")
