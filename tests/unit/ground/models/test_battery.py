"""The equivalent-circuit cell: against scipy, by hand, its ageing, and what it refuses."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy.integrate import solve_ivp

from ground.models.battery import fit as battery_fit
from ground.models.battery.cell import Cell, load_cell, parse_cell, stack
from ground.models.battery.pack import PackModel, lipo_pack
from ground.models.battery.simulate import (
    KELVIN,
    aged_capacity_ah,
    cycles_of,
    open_circuit_v,
    simulate,
)
from ground.models.fit import judge
from ground.models.model import FullFidelity
from shared.behaviour.declaration import load_declaration
from shared.errors import Rejected

CELL = load_cell()
ROM = Path(__file__).parents[4] / "firmware_profiles/models/battery_pack.toml"


def by_scipy(cell: Cell, current: np.ndarray, step_s: float, ambient: float) -> np.ndarray:
    """[n, 5]: voltage, charge, fast, slow, temperature, by an independent writing of the circuit."""

    def parts(x: np.ndarray, i: float) -> tuple[float, float, float]:
        f = np.exp(
            cell.activation_k * (1 / (x[3] + KELVIN) - 1 / (cell.reference_cel + KELVIN))  # type: ignore[operator]
        )
        r0 = (cell.r0_ohm + cell.r0_empty_ohm * np.exp(-cell.r0_empty_rate * x[0])) * f
        return r0, cell.r1_ohm * f, cell.r2_ohm * f

    def rates(_t: float, x: np.ndarray, i: float) -> list[float]:
        r0, r1, r2 = parts(x, i)
        c1, c2 = cell.tau1_s / cell.r1_ohm, cell.tau2_s / cell.r2_ohm  # type: ignore[operator]
        loss = i * i * r0 + x[1] ** 2 / r1 + x[2] ** 2 / r2
        loss -= i * (x[3] + KELVIN) * cell.entropy_v_per_k
        cooled = (x[3] - ambient) / cell.heat_resistance_k_per_w
        return [
            -i / (3600 * cell.capacity_ah),  # type: ignore[operator]
            i / c1 - x[1] / (r1 * c1),
            i / c2 - x[2] / (r2 * c2),
            (loss - cooled) / cell.heat_capacity_j_per_k,
        ]

    x, rows = np.array([1.0, 0.0, 0.0, ambient]), []
    for i in current:
        r0 = parts(x, i)[0]
        rows.append([float(open_circuit_v(cell, x[0])) - i * r0 - x[1] - x[2], *x])
        x = solve_ivp(rates, (0, step_s), x, args=(i,), rtol=1e-9, atol=1e-10).y[:, -1]
    return np.array(rows)


@pytest.mark.parametrize(
    ("step_s", "volts", "kelvins"), [(1.0, 2e-4, 0.01), (10.0, 2e-3, 0.1), (60.0, 2e-3, 0.1)]
)
def test_simulation_follows_scipy_within_what_a_step_may_leave(
    step_s: float, volts: float, kelvins: float
) -> None:
    rng = np.random.default_rng(1)
    current = np.repeat(rng.uniform(-0.4, 1.7, 8), 3)[: max(6, int(24 / max(1, step_s / 10)))]
    want = by_scipy(CELL, current, step_s, 5.0)
    got = simulate(CELL, current, step_s, 5.0)
    assert np.abs(got.soc - np.clip(want[:, 1], 0, 1)).max() < 1e-9
    assert np.abs(got.voltage - want[:, 0]).max() < volts
    assert np.abs(got.temperature - want[:, 4]).max() < kelvins


def test_voltage_at_rest_is_the_open_circuit_curve_of_the_paper() -> None:
    """Chen and Rincon-Mora 2006, equation 2, by hand at half charge."""
    by_hand = -1.031 * np.exp(-17.5) + 3.685 + 0.1078 - 0.02945 + 0.0400125
    at_rest = simulate(CELL, np.zeros(2), 1.0, 25.0, soc=0.5).voltage
    assert np.allclose(at_rest, by_hand, atol=1e-12)


def test_stack_of_cells_is_each_cell_alone() -> None:
    cells = [CELL.replaced(r0_ohm=0.07 + 0.01 * i, capacity_ah=0.8 + 0.05 * i) for i in range(3)]
    current = np.full(30, 0.8)
    together = simulate(stack(cells), current, 20.0, 10.0, soc=0.9, cycles=np.array([0.0, 90, 400]))
    for i, (cell, cycles) in enumerate(zip(cells, (0.0, 90.0, 400.0), strict=True)):
        alone = simulate(cell, current, 20.0, 10.0, soc=0.9, cycles=cycles)
        for name in ("voltage", "soc", "temperature"):
            assert np.array_equal(getattr(together, name)[:, i], getattr(alone, name)), name


def test_charge_moved_is_the_charge_lost_and_ages_the_cell() -> None:
    run = simulate(CELL, np.full(60, 0.4), np.full(60, 30.0), 25.0)
    lost_ah = (run.soc[0] - run.soc[-1]) * 0.85 * 60 / 59
    assert run.throughput_ah == pytest.approx(lost_ah, rel=1e-12)
    cycles = cycles_of(CELL, 2 * 0.85 * 1000)
    assert float(cycles) == pytest.approx(1000)
    # what the cell's file says of its own assumption: a fifth less after a thousand cycles
    assert aged_capacity_ah(CELL, cycles) / 0.85 == pytest.approx(0.8, abs=0.01)


def test_aged_and_cold_cells_sag_more_and_empty_sooner() -> None:
    current = np.full(40, 0.85)
    new, old, cold = (
        simulate(CELL, current, 60.0, air, cycles=n)
        for n, air in ((0, 25.0), (800, 25.0), (0, -10.0))
    )
    assert (old.voltage[1:] < new.voltage[1:]).all() and (cold.voltage[1:] < new.voltage[1:]).all()
    assert old.soc[-1] < new.soc[-1] and cold.soc[-1] == new.soc[-1]


@pytest.mark.parametrize(
    ("change", "names"),
    [
        ({"current_a": np.full(3, np.nan)}, "current"),
        ({"current_a": np.full(3, 99.0)}, "current"),
        ({"current_a": np.zeros((2, 2, 2))}, "shape"),
        ({"dt_s": np.array([1.0, -1.0, 1.0])}, "dt_s"),
        ({"dt_s": np.ones(2)}, "unequal"),
        ({"temperature_c": 400.0}, "temperature"),
        ({"cycles": -1.0}, "cycles"),
    ],
)
def test_bad_arguments_are_refused_by_name(change: dict[str, object], names: str) -> None:
    arguments = {"current_a": np.ones(3) * 0.1, "dt_s": 1.0, "temperature_c": 20.0} | change
    with pytest.raises(Rejected, match=names):
        simulate(CELL, **arguments)  # type: ignore[arg-type]


def test_cell_file_with_odd_keys_or_numbers_is_refused_by_name(tmp_path: Path) -> None:
    text = (Path(__file__).parents[4] / "ground/models/battery/chen_850mah.toml").read_text()
    for old, new, names in (
        ("growth =", "groth =", "'groth'.*'growth'"),
        ("capacity_ah = 0.85", "capacity_ah = -1", "capacity_ah"),
        ("capacity_ah = 0.85", "capacity_ah = nan", "capacity_ah"),
        ("tau1_s = 32.85", 'tau1_s = "x"', "tau1_s"),
        ("name = ", "name : ", "not TOML"),
    ):
        with pytest.raises(Rejected, match=names):
            parse_cell(text.replace(old, new).encode(), "x.toml")
    with pytest.raises(Rejected, match="no cell 'none'"):
        load_cell("none")


def pack_rows(count: int, amperes: float = 5.0) -> dict[str, np.ndarray]:
    return {"I": np.full(count, amperes), "T_ambient": np.full(count, 20.0)}


def test_pack_is_its_cells_in_series_and_stops_with_the_weakest() -> None:
    pack = lipo_pack(CELL, step_s=10.0)
    stands: FullFidelity = pack
    found = stands.evaluate(pack_rows(500))
    cells = pack.run(pack_rows(500))
    last = int(np.argmin(np.isfinite(found["voltage"])))
    assert 300 < last < 370  # 5 A from 5 Ah: an hour, less 1 % of the smallest cell and the cut-off
    assert np.allclose(found["voltage"][:last], cells.voltage[:last].sum(axis=1))
    assert (cells.voltage[:last] >= 3.0).all() and (cells.voltage[last] < 3.0).any()
    assert np.isnan(found["charge"][last:]).all() and np.isnan(found["T_pack"][last:]).all()
    holes = pack_rows(20)
    holes["I"][5] = np.nan
    assert np.isfinite(stands.evaluate(holes)["voltage"]).tolist() == [True] * 5 + [False] * 15


def test_packs_that_cannot_be_are_refused() -> None:
    for call, names in (
        (lambda: PackModel([]), "0 cells"),
        (lambda: lipo_pack(CELL, soc=1.2), "charge at the start"),
        (lambda: lipo_pack(CELL).evaluate({"I": np.zeros(2)}), "'T_ambient' is missing"),
    ):
        with pytest.raises(Rejected, match=names):
            call()


def test_pack_rom_is_within_its_stated_error_on_runs_it_was_not_fitted_to() -> None:
    """docs/models.md states these figures from more runs."""
    declared = load_declaration(ROM)
    found = judge(declared, battery_fit.drawn(declared, 4, seed=77, hours=0.5))
    limits = {"voltage": 0.3, "charge": 0.05, "T_pack": 1.5}
    assert {k: v.worst < limits[k] for k, v in found.items()} == dict.fromkeys(limits, True), found
