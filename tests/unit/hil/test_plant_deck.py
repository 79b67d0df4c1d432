"""The plant's engine deck against the solver that made it, and against sense."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hil.plant.deck import FOLDER, HEALTH, OUTPUTS, load_deck

GOLDEN = Path(__file__).parents[2] / "golden" / "pycycle_points.json"
DECK = load_deck()
CRUISE: dict[str, Any] = {"mach": 0.6, "static_pa": 46_560.0, "t2_k": 266.4, "bleed": 0.03}


def golden() -> list[dict[str, Any]]:
    points = json.loads(GOLDEN.read_text(encoding="utf-8"))["points"]
    return [p for p in points if p["out"] and p["altitude_ft"] <= 28_000]


def read(point: dict[str, Any]) -> dict[str, float]:
    """The deck at a point of pyCycle, as pyCycle answers it."""
    out = point["out"]
    theta, delta = out["t2_k"] / 288.15, out["p2_pa"] / 101_325
    bleed = DECK.bleed_on * point["bleed"] + DECK.anti_ice * point["anti_ice"]
    n2, egt, fuel, thrust = DECK.at(
        point["n1c"], point["mach"], out["static_pa"], out["t2_k"], bleed, point["health"]
    )
    root = math.sqrt(theta)
    return {
        "n2": n2 * root, "egt_k": egt * theta, "ff_kg_h": fuel * delta * root,
        "thrust_n": thrust * delta,
    }  # fmt: skip


def test_the_deck_gives_back_what_pycycle_answers_at_points_it_was_not_made_of() -> None:
    off: dict[str, list[float]] = {name: [] for name in OUTPUTS}
    for point in golden():
        ours = read(point)
        for name in OUTPUTS:
            scale = 20_000 if name == "thrust_n" else point["out"][name]
            off[name].append((ours[name] - point["out"][name]) / scale)
    assert len(off["n2"]) > 80
    rms = {name: float(np.sqrt(np.mean(np.square(v)))) for name, v in off.items()}
    worst = {name: float(np.abs(v).max()) for name, v in off.items()}
    assert rms["n2"] < 0.001 and rms["egt_k"] < 0.002, rms
    assert rms["ff_kg_h"] < 0.005 and rms["thrust_n"] < 0.005, rms
    assert worst["n2"] < 0.004 and worst["egt_k"] < 0.008 and worst["ff_kg_h"] < 0.02, worst


@pytest.mark.parametrize("name", HEALTH)
def test_a_health_parameter_moves_the_engine_both_ways(name: str) -> None:
    nominal = np.array(DECK.at(90.0, health={}, **CRUISE))
    less = np.array(DECK.at(90.0, health={name: -0.01}, **CRUISE)) - nominal
    more = np.array(DECK.at(90.0, health={name: 0.01}, **CRUISE)) - nominal
    assert (np.abs(less) > 0).all() and (less * more < 0).all()
    assert abs(less[1] / nominal[1]) < 0.03


def test_lost_compressor_efficiency_costs_egt_and_fuel_and_more_the_more_is_lost() -> None:
    egt = [DECK.at(88.0, health={"hpc_eff": -x / 100}, **CRUISE)[1] for x in range(9)]
    steps = np.diff(egt)
    assert (steps > 4).all() and (np.diff(steps) > -0.5).all()


def test_the_deck_has_no_step_anywhere() -> None:
    for at in np.linspace(40, 105, 400):
        a = np.array(DECK.at(at, health={}, **CRUISE))
        b = np.array(DECK.at(at + 0.01, health={}, **CRUISE))
        assert (np.abs(b - a) < 0.002 * np.abs(a) + [0, 0, 0, 20]).all(), at


def test_outside_its_table_the_edge_counts() -> None:
    here = dict(CRUISE)
    assert DECK.at(120.0, health={}, **here) == DECK.at(105.0, health={}, **here)
    assert np.isfinite(DECK.at(90.0, 3.0, 1.0, 400.0, 0.1, {"hpc_eff": -0.5})).all()


def test_the_deck_says_where_it_comes_from() -> None:
    document = json.loads((FOLDER / "hbtf_cfm56.json").read_text(encoding="utf-8"))
    assert document["versions"]["om-pycycle"] and "pyCycle" in document["solver"]
    assert document["engine"] == json.loads(GOLDEN.read_text(encoding="utf-8"))["engine"]
