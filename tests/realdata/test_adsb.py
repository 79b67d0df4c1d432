"""Real ADS-B recordings through the replay command: an A320, and a parabolic flight.

Neither has an on-ground flag, so what is known of them is their altitude: the truth below is
computed from it alone, by another rule than the phase machine's.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge.__main__ import main

pytestmark = pytest.mark.realdata

SET = """
name = "adsb"
version = 1
airframe = "ADSB"
[[group]]
name = "state"
rate_hz = 1.0
block_s = 60.0
signal = [
  { name = "ALT", unit = "[ft_i]", scale = 1.0, range = [-1500.0, 45000.0] },
  { name = "GS", unit = "[kn_i]", scale = 1.0, range = [0.0, 700.0] },
  { name = "CAS", unit = "[kn_i]", scale = 0.125, range = [0.0, 450.0] },
  { name = "VS", unit = "[ft_i]/min", scale = 64.0, range = [-30000.0, 30000.0] },
  { name = "FLAG", unit = "1", encoding = "enum", enum = { air = 0, ground = 1 } },
]
[roles]
altitude_ft = "ALT"
ground_speed_kt = "GS"
"""
Row = dict[str, float]


def a320(data: Path) -> list[Row]:
    columns = json.loads(gzip.decompress((data / "adsb/fuelflow_a320.json.gz").read_bytes()))
    names = {"timestamp": "t", "altitude": "ALT", "groundspeed": "GS", "CAS": "CAS",
             "fuelflow": "FUEL"}  # fmt: skip
    return [{name: columns[key][i] for key, name in names.items()} for i in columns["timestamp"]]


def parabolic(data: Path) -> list[Row]:
    rows = json.loads(gzip.decompress((data / "adsb/zero_gravity.json.gz").read_bytes()))
    names = {"timestamp": "t", "altitude": "ALT", "groundspeed": "GS", "IAS": "CAS",
             "vertical_rate": "VS"}  # fmt: skip
    return [{name: row[key] for key, name in names.items()} for row in rows]


def replayed(rows: list[Row], folder: Path, roles: str = "") -> dict[str, Any]:
    """The report of these rows; times in it as s since the first row."""
    names = list(rows[0])
    lines = [",".join(names), *(",".join(str(row[name]) for name in names) for row in rows)]
    (folder / "r.csv").write_text("\n".join(lines))
    (folder / "set.toml").write_text(SET + roles)
    arguments = ["replay", str(folder / "r.csv"), "--signals", str(folder / "set.toml"),
                 "--time-unit", "ms", "--absolute", "--report", str(folder / "out.json")]  # fmt: skip
    assert main(arguments) == 0
    report: dict[str, Any] = json.loads((folder / "out.json").read_text())
    for span in report["phases"]:
        span["at"] = (span["start_ns"] - report["start_ns"]) / 1e9
        span["s"] = (span["end_ns"] - span["start_ns"]) / 1e9
    return report


def names(report: dict[str, Any]) -> list[str]:
    return [span["phase"] for span in report["phases"]]


def flagged(rows: list[Row], flag: Callable[[int], bool]) -> list[Row]:
    return [{**row, "FLAG": float(flag(i))} for i, row in enumerate(rows)]


def unknown_share(report: dict[str, Any]) -> float:
    lost = sum(span["s"] for span in report["phases"] if span["phase"] == "unknown")
    return float(lost / report["recorded_s"])


FLAG = 'on_ground = "FLAG"\n'


@pytest.mark.parametrize("roles", ["", 'airspeed_kt = "CAS"\n'])
def test_an_a320_climbs_cruises_and_descends_when_it_did(
    data: Path, tmp_path: Path, roles: str
) -> None:
    rows = a320(data)
    report = replayed(rows, tmp_path, roles)
    assert names(report) == ["unknown", "climb", "cruise", "descent", "approach"]
    at = {span["phase"]: span["at"] for span in report["phases"]}
    altitude = np.array([row["ALT"] for row in rows])
    level = np.flatnonzero(altitude > 35_900)
    assert at["climb"] < 45
    assert abs(at["cruise"] - level[0]) < 60
    assert abs(at["descent"] - level[-1]) < 30
    # and by the engines: idle at the top of descent, from about 2,400 to under 1,000 kg/h
    fuel = np.array([row["FUEL"] for row in rows])
    idle = int(at["descent"]) + np.flatnonzero(fuel[int(at["descent"]) - 60 :] < 1000)[0] - 60
    assert abs(at["descent"] - idle) < 90
    (flight,) = [p for p in report["periods"] if p["kind"] == "flight"]
    assert flight["off_ns"] is None and flight["on_ns"] is None  # it starts and ends in the air
    assert report["gate_open"] == [] and report["samples"] == 5 * len(rows)


def test_flags_that_say_ground_at_36_000_ft_are_named_and_not_believed(
    data: Path, tmp_path: Path
) -> None:
    rows = a320(data)
    report = replayed(flagged(rows, lambda i: 4000 <= i < 5000 or i % 600 == 0), tmp_path, FLAG)
    assert names(report) == ["unknown", "climb", "cruise", "descent", "approach"]
    assert any(name.startswith("ground: weight_on_wheels") for name in report["contradictions"])


def test_flags_that_flap_on_the_approach_make_no_landing_of_it(data: Path, tmp_path: Path) -> None:
    rows = a320(data)
    random = np.random.default_rng(1).random(len(rows)) < 0.3
    last = len(rows) - 400
    report = replayed(flagged(rows, lambda i: i > last and bool(random[i])), tmp_path, FLAG)
    assert not {"landing", "taxi_in", "taxi_out", "parked"} & set(names(report))
    assert report["gate_open"] == []


@pytest.mark.parametrize("column", ["ALT", "GS", "CAS"])
@pytest.mark.parametrize("at", [400, 5000, 10800])
def test_a_frozen_input_never_brings_it_to_the_ground(
    data: Path, tmp_path: Path, column: str, at: int
) -> None:
    rows = a320(data)[at - 300 : at + 1000]
    frozen = [{**row, column: rows[300][column]} if i > 300 else row for i, row in enumerate(rows)]
    report = replayed(frozen, tmp_path, 'airspeed_kt = "CAS"\n')
    assert not {"landing", "taxi_in", "taxi_out", "parked", "takeoff"} & set(names(report))
    assert report["gate_open"] == []


def test_a_parabolic_flight_stays_in_the_air_and_mostly_known(data: Path, tmp_path: Path) -> None:
    rows = parabolic(data)
    roles = 'airspeed_kt = "CAS"\nvertical_speed_fpm = "VS"\n'
    report = replayed(rows, tmp_path, roles)
    assert set(names(report)) == {"unknown", "climb", "cruise", "descent", "approach"}
    assert unknown_share(report) < 0.03
    # the recorder repeated old values now and then: a real frozen altitude, found by name
    assert {"altitude_frozen", "vertical_disagrees"} <= set(report["contradictions"])
    assert names(report)[-1] == "approach"
    assert len([p for p in report["periods"] if p["kind"] == "flight"]) == 1


def test_values_repeated_to_the_end_of_the_file_are_no_landing(data: Path, tmp_path: Path) -> None:
    """The last 40 s of the parabolic flight repeat 225 ft and 132 kt."""
    rows = parabolic(data)
    assert len({(row["ALT"], row["GS"]) for row in rows[-40:]}) == 1
    more = [{**rows[-1], "t": rows[-1]["t"] + 1000 * i} for i in range(1, 300)]
    report = replayed(rows[-900:] + more, tmp_path, 'airspeed_kt = "CAS"\n')
    assert not {"landing", "taxi_in", "parked"} & set(names(report))


def test_two_recordings_in_one_file_are_two_flights_with_time_that_goes_back(
    data: Path, tmp_path: Path
) -> None:
    later, earlier = parabolic(data)[:1500], a320(data)[:1500]
    rows: Iterable[Row] = [
        {k: row[k] for k in ("t", "ALT", "GS", "CAS")} for row in later + earlier
    ]
    report = replayed(list(rows), tmp_path, 'airspeed_kt = "CAS"\n')
    (jump,) = report["time_jumps"]
    assert jump["end_ns"] < jump["start_ns"]
    assert names(report)[-2:] == ["unknown", "climb"]
