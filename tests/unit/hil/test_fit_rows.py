"""Healthy flights as rows of means, and the file of them that the ground fits."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from hil.fit.__main__ import main
from hil.fit.rows import SIGNALS as COLUMNS
from hil.fit.rows import pass_off_rows
from hil.fit.samples import Samples, resample
from hil.plant.flight import Flight, Readings
from shared.bundle import Steady
from shared.signals import SignalSet, load_signal_set

SIGNALS = load_signal_set(Path("firmware_profiles/signals/b737_bench.toml"))
SECONDS = 1500


def toy_flight(name: str, loss_k: float = 0.0) -> Flight:
    """A climb and a cruise; EGT is linear in corrected N1, 1.2 % more with bleed."""
    rng = np.random.default_rng(int(name.partition(":")[2]))
    t = np.arange(SECONDS, dtype=float)
    high = np.minimum(t / 1000, 1.0)
    truth = {
        "AIR_ALT": 24000 * high, "AIR_MACH": 0.3 + 0.4 * high,
        "AIR_TAT": 20 - 30 * high + rng.uniform(-5, 5),
    }  # fmt: skip
    theta = (truth["AIR_TAT"] + 273.15) / 288.15
    for position in ("1", "2"):
        n1 = 92 - 12 * np.floor(4 * t / SECONDS) / 4 + rng.uniform(-1, 1)
        bleed = (t // 200 % 2 == int(position) - 1).astype(float)
        egt = (500 + 5 * n1 / np.sqrt(theta)) * theta * (1 + 0.012 * bleed) - 273.15
        egt += loss_k * (position == "2") * (t > 1200)
        truth |= {
            f"ENG{position}_N1": n1, f"ENG{position}_BLEED": bleed, f"ENG{position}_EGT": egt,
            f"ENG{position}_FF": 20 * n1, f"ENG{position}_AI": np.zeros(SECONDS),
        }  # fmt: skip
    phases = [[0, "climb"], [1000 * 10**9, "cruise"]]
    groups = {g.name: _readings(SIGNALS, g.name, truth, rng) for g in SIGNALS.groups}
    return Flight(SIGNALS.sha256.hex(), groups, {"start_ns": 0, "phases": phases})


def _readings(
    signals: SignalSet, name: str, truth: dict[str, npt.NDArray[np.float64]],
    rng: np.random.Generator,
) -> Readings:  # fmt: skip
    group = signals.group(name)
    count = round(SECONDS * group.rate_hz)
    t_ns = np.arange(count, dtype=np.int64) * group.period_ns
    integers, status = [], np.zeros((count, len(group.signal)), np.uint8)
    for i, signal in enumerate(group.signal):
        if signal.encoding == "f64":
            continue
        value = np.zeros(count)
        if signal.name in truth:
            value = truth[signal.name][t_ns // 10**9]
            value = value + rng.normal(0, 0.3, count) * signal.scale * (signal.encoding == "int")
        integers.append(np.round((value - signal.offset) / signal.scale).astype(np.int64))
        if signal.name == "AIR_MACH":
            status[t_ns < 30 * 10**9, i] = 1
    floats = np.zeros((count, int(group.is_f64.sum())))
    raw = np.column_stack(integers) if integers else np.zeros((count, 0), np.int64)
    return Readings(t_ns, raw, floats, status)


def test_file_of_rows_holds_every_second_of_every_flight_in_order() -> None:
    flights = {name: toy_flight(name) for name in ("toy:1", "toy:2")}
    data = pass_off_rows(flights, SIGNALS, 2, "894102", "CFM56-7B26")
    with np.load(io.BytesIO(data), allow_pickle=False) as file:
        meta = json.loads(file["meta"].tobytes())
        assert (meta["esn"], meta["part_number"]) == ("894102", "CFM56-7B26")
        assert meta["flights"] == ["toy:1", "toy:2"]
        count = len(file["t_ns"])
        assert np.bincount(file["flight"]).tolist() == [count // 2, count // 2]
        assert all(len(file[name]) == count for name in COLUMNS)
        alone = resample(flights["toy:2"], SIGNALS, ["ENG2_EGT"], 1.0)
        np.testing.assert_array_equal(file["egt"][count // 2 :], alone.columns["ENG2_EGT"])


def test_row_without_a_good_sample_is_none() -> None:
    samples = resample(toy_flight("toy:1"), SIGNALS, ["AIR_MACH", "AIR_ALT"], 1.0)
    assert np.isnan(samples.columns["AIR_MACH"][:30]).all()
    assert np.isfinite(samples.columns["AIR_MACH"][30:]).all()
    assert samples.phase[0] == "climb" and samples.phase[-1] == "cruise"


def test_steady_is_what_the_monitors_call_steady() -> None:
    n1 = np.array([80.0] * 5 + [82.0] + [80.0] * 5 + [np.nan] + [80.0] * 5)
    samples = Samples(np.arange(17), np.array(["x"] * 17), {"N1": n1})
    steady = samples.is_steady("N1", Steady(input="n1", rate_max_per_s=0.5, hold_s=3.0), 1.0)
    assert np.flatnonzero(steady).tolist() == [3, 4, 9, 10, 15, 16]


def test_missing_declaration_is_told_without_a_trace(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["bundle", str(tmp_path / "none.json"), "--out", str(tmp_path)]) == 65
    assert "none.json" in capsys.readouterr().err
