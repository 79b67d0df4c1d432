"""What rests in firmware_profiles is of the engine type and the recipes as they are."""

from __future__ import annotations

from pathlib import Path

import pytest

from ground.calibrate.recipe import load_recipe
from ground.calibrate.type_rom import main
from ground.models.baseline import check_type, parse_baseline
from ground.models.turbofan.engine import load_engine_type
from shared.behaviour.kinds import LookupTable
from shared.bundle import parse_bundle
from shared.bundlefile import pack_declared
from shared.errors import ConfigError
from shared.signals import load_signal_set

PROFILES = Path("firmware_profiles")
MODELS = PROFILES / "models"
ENGINE = load_engine_type()


@pytest.mark.parametrize("version", ["v1", "v2"])
def test_declaration_of_the_type_is_of_its_recipe_and_of_the_engine_type(version: str) -> None:
    recipe = load_recipe(MODELS / f"egt_rom_{version}.toml")
    path = MODELS / f"egt_rom_{version}.json"
    bundle = parse_bundle(path.read_bytes(), str(path))
    said = (bundle.name, bundle.version, bundle.release)
    assert said == (recipe.name, recipe.version, recipe.release)
    assert bundle.instances == recipe.instances and bundle.monitors == recipe.limits
    assert bundle.full_fidelity == f"{ENGINE.name} sha256:{ENGINE.sha256}"
    table = bundle.behaviour
    assert isinstance(table, LookupTable) and table.axes == recipe.axes
    assert table.values[0] == table.values[1]  # a type knows no engine
    assert (
        bundle.model_card.figures["parent_spoken_share"] > 0.999
    )  # it speaks where its parent does
    signals = load_signal_set(MODELS / recipe.signal_set)
    assert bundle.calibration.signal_set_sha256 == signals.sha256.hex()
    assert pack_declared(bundle)[0].startswith(f"egt_rom-{recipe.version}-")


@pytest.mark.parametrize("esn", ["894101", "894102"])
def test_proposal_of_an_engine_of_the_bench_is_of_the_engine_type(esn: str) -> None:
    path = PROFILES / "engines" / f"{esn}.json"
    baseline = parse_baseline(path.read_bytes(), str(path))
    assert baseline.esn == esn and baseline.event == ""  # a proposal: nobody approved it
    check_type(ENGINE, baseline)
    assert baseline.sigma["egt"] < 1.5 and baseline.smoothed_worst["egt"] < 3


def test_recipe_with_an_unknown_key_is_refused_by_name(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "r.toml"
    path.write_text('colour = "red"\n' + (MODELS / "egt_rom_v1.toml").read_text())
    with pytest.raises(ConfigError, match="colour"):
        load_recipe(path)
    assert main([str(path), "--out", str(tmp_path / "x.json")]) == 78
    assert "colour" in capsys.readouterr().err
