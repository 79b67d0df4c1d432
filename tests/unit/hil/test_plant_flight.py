"""A flown hop: credible, repeatable, and what the buses of an aircraft would carry."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from hil.plant.airframe import Airframe
from hil.plant.flight import Flight, load, save, write_truth
from hil.plant.fly import fly
from hil.plant.mission import HOP, Degradation, draw_conditions
from shared.errors import ConfigError, Corrupt, Rejected, Unreachable
from shared.signals import STATUS_NO_DATA, SignalSet, load_signal_set, parse_signal_set
from tests.unit.hil.conftest import SIGNALS

F64 = npt.NDArray[np.float64]


def column(flight: Flight, signal_set: SignalSet, name: str) -> tuple[F64, npt.NDArray[np.uint8]]:
    """(engineering values, status) of one signal."""
    group, k = signal_set.position[name]
    r, signal = flight.groups[group.name], group.signal[k]
    n_f64 = int(group.is_f64[:k].sum())
    if group.is_f64[k]:
        return r.f64[:, n_f64], r.status[:, k]
    return r.raw[:, k - n_f64] * signal.scale + signal.offset, r.status[:, k]


def test_the_signal_set_is_as_the_design_asks(signal_set: SignalSet) -> None:
    assert 60 <= signal_set.signal_count <= 90
    assert sum(g.rate_hz for g in signal_set.groups) <= 125
    assert sum(g.rate_hz * len(g.signal) for g in signal_set.groups) <= 1300
    gates = [(g, s) for g in signal_set.groups for s in g.signal if s.criticality == "gate"]
    assert gates and all(g.rate_hz >= 5 for g, _ in gates)


def test_the_hop_goes_gate_to_gate_and_lands_softly(hop: Flight) -> None:
    oooi = hop.meta["oooi_ns"]
    assert oooi["out"] < oooi["off"] < oooi["on"] < oooi["in"]
    assert 300 <= (oooi["in"] - hop.start_ns) / 1e9 <= 380
    assert 0 < hop.meta["touchdown_fps"] < 8
    names = [name for _, name in hop.meta["phases"]]
    assert names == ["parked", "taxi_out", "takeoff", "climb", "cruise", "descent", "approach",
                     "landing", "taxi_in", "parked"]  # fmt: skip


def test_every_group_comes_at_its_rate_on_an_exact_grid(hop: Flight, signal_set: SignalSet) -> None:
    for group in signal_set.groups:
        steps = np.diff(hop.groups[group.name].t_ns)
        assert (steps == group.period_ns).all()
    firsts = [r.t_ns[0] % 10_000_000 for r in hop.groups.values()]
    assert len(set(firsts)) > 5, "groups sampled in step with each other"


def test_a_healthy_flight_stays_inside_ranges_and_rates(hop: Flight, signal_set: SignalSet) -> None:
    for group in signal_set.groups:
        for signal in group.signal:
            value, status = column(hop, signal_set, signal.name)
            good = status == 0
            assert np.isfinite(value).all()
            if signal.range:
                assert value[good].min() >= signal.range[0], signal.name
                assert value[good].max() <= signal.range[1], signal.name
            if signal.rate_max:
                both = good[1:] & good[:-1]
                rate = np.abs(np.diff(value))[both] * group.rate_hz
                assert rate.max() <= signal.rate_max, signal.name


def test_a_healthy_flight_raises_no_exceedance(hop: Flight, signal_set: SignalSet) -> None:
    phases = [*hop.meta["phases"], [hop.end_ns + 1, ""]]
    for rule in signal_set.exceedances:
        group, _ = signal_set.position[rule.signal]
        value, status = column(hop, signal_set, rule.signal)
        t_ns = hop.groups[group.name].t_ns
        inside = np.zeros(len(t_ns), bool)
        for (begin, name), (end, _) in itertools.pairwise(phases):
            if name in rule.phases or not rule.phases:
                inside |= (t_ns >= begin) & (t_ns < end)
        beyond = value > rule.onset if rule.direction == "high" else value < rule.onset
        assert not (beyond & inside & (status == 0)).any(), rule.name


def test_an_unpowered_eec_says_nothing_and_the_cockpit_says_so(
    hop: Flight, signal_set: SignalSet
) -> None:
    power, _ = column(hop, signal_set, "ENG2_EEC_PWR")
    n2, status = column(hop, signal_set, "ENG2_N2")
    assert ((status == STATUS_NO_DATA) == (power == 0)).all()
    assert (n2[status == STATUS_NO_DATA] == 0).all()
    assert power[0] == 0 and power[-1] == 0 and power.max() == 1
    oil, oil_status = column(hop, signal_set, "ENG2_OILP")
    assert (oil_status == 0).all() and oil[-1] < 5


def test_the_end_of_the_flight_satisfies_a_gate(hop: Flight, signal_set: SignalSet) -> None:
    last = {name: column(hop, signal_set, s)[0][-200:] for name, s in signal_set.roles.items()
            if signal_set.position[s][0].rate_hz <= 10}  # fmt: skip
    for name in ("wow_left", "wow_right", "parking_brake", "external_power"):
        assert (last[name] == 1).all(), name
    for name in ("fuel_cutoff_1", "fuel_cutoff_2"):
        assert (last[name] == 1).all()
    for name in ("eec_power_1", "eec_power_2", "battery_only", "airspeed_kt"):
        assert (last[name] == 0).all(), name
    assert last["ground_speed_kt"].max() < 1


def test_power_never_comes_from_nowhere(hop: Flight, signal_set: SignalSet) -> None:
    external, _ = column(hop, signal_set, "EXT_PWR")
    battery, _ = column(hop, signal_set, "BATT_ONLY")
    assert not ((external == 1) & (battery == 1)).any()
    assert external[0] == 1 and external.min() == 0


def test_same_seed_same_flight_in_another_process(hop: Flight) -> None:
    code = (
        "from pathlib import Path; from hil.plant.fly import fly;"
        "from shared.signals import load_signal_set;"
        f"print(fly('hop', 1, load_signal_set(Path({str(SIGNALS)!r}))).digest())"
    )
    root = SIGNALS.parents[2]
    env = {**os.environ, "PYTHONPATH": str(root), "PYTHONHASHSEED": "7"}
    out = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=env, cwd=root
    )
    assert out.stdout == hop.digest() + "\n"  # also: JSBSim's banner stays off stdout


def test_the_airframe_opens_no_socket_and_stands_still() -> None:
    airframe = Airframe(HOP.runway, draw_conditions(3))
    for _ in range(240):
        airframe.step()
    targets = []
    for fd in Path("/proc/self/fd").iterdir():
        try:
            targets.append(fd.readlink().name)
        except OSError:
            continue  # the descriptor of this very listing
    inodes = {t.removeprefix("socket:[").rstrip("]") for t in targets if t.startswith("socket:")}
    for table in ("tcp", "tcp6", "udp", "udp6"):
        rows = Path("/proc/net", table).read_text().splitlines()[1:]
        ours = [r.split() for r in rows if r.split()[9] in inodes]
        assert not [r for r in ours if int(r[1].split(":")[1], 16) in (5137, 5139)]
    assert airframe["velocities/vg-fps"] < 0.05


def test_a_failing_compressor_shows_on_its_own_engine_only_and_only_after_onset(
    hop: Flight, signal_set: SignalSet
) -> None:
    failing = Degradation(engine=2, percent=3, ramp_s=20, phase="climb", after_s=5)
    flight = fly("hop", 1, signal_set, degradation=failing)
    onset = flight.meta["onset_ns"]
    t_ns = flight.groups["eng2"].t_ns
    later = (t_ns > onset + 30_000_000_000) & (t_ns < flight.meta["oooi_ns"]["on"])
    healthy, failed = (column(f, signal_set, "ENG2_EGT")[0] for f in (hop, flight))
    assert (failed[t_ns < onset] == healthy[t_ns < onset]).all()
    assert 20 < np.median(failed[later] - healthy[later]) < 36
    healthy, failed = (column(f, signal_set, "ENG1_EGT")[0] for f in (hop, flight))
    assert abs(np.median(failed[later] - healthy[later])) < 1


def test_a_loss_can_stand_before_the_flight_and_the_truth_names_it(
    hop: Flight, signal_set: SignalSet
) -> None:
    lost = Degradation(
        engine=1, parameter="hpt_eff", percent=2, phase="parked", after_s=0, ramp_s=0.001
    )
    flight = fly("hop", 1, signal_set, degradation=lost)
    assert flight.meta["onset_ns"] == flight.start_ns
    assert flight.meta["degradation"]["parameter"] == "hpt_eff"
    assert flight.meta["degradation"]["percent"] == 2
    assert set(flight.meta["character"]) == {"894101", "894102"}
    assert all(len(c) == 11 for c in flight.meta["character"].values())
    t_ns, oooi = flight.groups["eng1"].t_ns, flight.meta["oooi_ns"]
    first = (t_ns > oooi["off"]) & (t_ns < oooi["off"] + 10_000_000_000)
    sound, worn = (column(f, signal_set, "ENG1_EGT")[0] for f in (hop, flight))
    assert np.median(worn[first] - sound[first]) > 10
    sound, worn = (column(f, signal_set, "ENG2_EGT")[0] for f in (hop, flight))
    assert abs(np.median(worn[first] - sound[first])) < 1


def test_a_flight_survives_its_file(hop: Flight, tmp_path: Path) -> None:
    save(hop, tmp_path / "a.npz")
    again = load(tmp_path / "a.npz")
    assert again.digest() == hop.digest() and again.meta == hop.meta
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.npz"]


def test_a_missing_or_torn_flight_file_says_so(hop: Flight, tmp_path: Path) -> None:
    with pytest.raises(Unreachable):
        load(tmp_path / "none.npz")
    save(hop, tmp_path / "a.npz")
    whole = (tmp_path / "a.npz").read_bytes()
    for cut in (0, 10, len(whole) // 2):
        (tmp_path / "a.npz").write_bytes(whole[:cut])
        with pytest.raises(Corrupt):
            load(tmp_path / "a.npz")


def test_the_cache_answers_only_for_the_same_inputs(signal_set: SignalSet, tmp_path: Path) -> None:
    said: list[str] = []
    first = fly("hop", 2, signal_set, cache_dir=tmp_path, say=said.append)
    again = fly("hop", 2, signal_set, cache_dir=tmp_path, say=said.append)
    assert first.digest() == again.digest() and len(said) == 1
    other = fly("hop", 2, signal_set, esns=("1", "2"), cache_dir=tmp_path, say=said.append)
    assert other.digest() != first.digest() and len(said) == 2


def test_truth_holds_exactly_what_was_published(
    hop: Flight, signal_set: SignalSet, tmp_path: Path
) -> None:
    samples = write_truth(tmp_path / "truth.npz", signal_set, [(hop, {"air": 20, "fuel": (5, 8)})])
    with np.load(tmp_path / "truth.npz", allow_pickle=False) as t:
        assert samples == len(t["t_ns"]) == 20 * 9 + 3 * 4
        names = t["names"][t["signal"]]
        altitude, _ = column(hop, signal_set, "AIR_ALT")
        assert (t["raw"][names == "AIR_ALT"] == altitude[:20]).all()
        weight, _ = column(hop, signal_set, "GROSS_WT")
        assert (t["raw"][names == "GROSS_WT"].view("<f8") == weight[5:8]).all()


def test_a_flight_is_refused_by_another_signal_set(hop: Flight, signal_set: SignalSet) -> None:
    other = parse_signal_set(signal_set.text.replace(b"version = 1", b"version = 2", 1), "a test")
    with pytest.raises(Rejected, match="another signal set"):
        hop.bench_readings(other, "air")


def test_a_signal_that_the_plant_does_not_know_is_named() -> None:
    text = load_signal_set(SIGNALS).text.replace(b'"AIR_AOA"', b'"AIR_BETA"')
    with pytest.raises(ConfigError, match="AIR_BETA"):
        fly("hop", 1, parse_signal_set(text, "a test"))
