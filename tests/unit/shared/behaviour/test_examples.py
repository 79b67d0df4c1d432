"""The declarations that are shipped: each kind has one, and all but the one with faults are sound."""

from __future__ import annotations

from pathlib import Path

import pytest

from shared.behaviour.declaration import load_declaration
from shared.behaviour.examine import examine
from shared.behaviour.model import KINDS
from tests.fakes.graphs import play

MODELS = Path(__file__).parents[4] / "firmware_profiles/models"
RECIPES = ("egt_rom_v1", "egt_rom_v2")  # of the fit: the declarations are the .json beside them
EXAMPLES = sorted(p.stem for p in MODELS.glob("*.toml") if "behaviour" in p.read_text())
FAULTY = ("lipo_3s_as_written",)


def test_every_kind_has_an_example() -> None:
    models = [load_declaration(MODELS / f"{x}.toml").model for x in EXAMPLES if x not in FAULTY]
    found = {x.behaviour.__struct_config__.tag for x in models}
    assert found | {"lookup-table"} == set(KINDS)
    assert not set(RECIPES) & set(EXAMPLES)


@pytest.mark.parametrize("name", [x for x in EXAMPLES if x not in FAULTY])
def test_example_is_sound(name: str) -> None:
    found = examine(load_declaration(MODELS / f"{name}.toml").model)
    assert found.faults == ()
    assert found.figures is not None


def test_engine_start_that_hangs_is_told_from_one_that_lights() -> None:
    model = load_declaration(MODELS / "engine_start.toml").model
    motoring, lit, idle = (20.0, 15.0), (40.0, 500.0), (60.0, 450.0)
    good = [motoring] * 40 + [lit] * 40 + [idle] * 20 + [(0.0, 300.0)] * 30
    hung = [motoring] * 40 + [lit] * 260
    got, _ = play(model, [[x] for x in good])
    stages = [int(x) for i, x in enumerate(got[:, 0, 0]) if i == 0 or x != got[i - 1, 0, 0]]
    assert stages == [0, 1, 2, 3, 0]
    assert play(model, [[x] for x in hung])[0][-1, 0, 0] == 4.0
