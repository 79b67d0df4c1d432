"""The rig's folder: fresh for each run, and never taken from under a run that uses it."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from hil.rig import Rig
from hil.scenario import load_scenario
from shared.errors import ConfigError

HOP = Path(__file__).resolve().parents[3] / "hil" / "scenarios" / "hop.toml"


def test_a_second_run_in_the_same_folder_is_refused_until_the_first_is_over(tmp_path: Path) -> None:
    first, second = (Rig(tmp_path / "run", load_scenario(HOP)) for _ in range(2))
    first.make_folder()
    (first.folder / "kept").write_text("x")
    with pytest.raises(ConfigError, match="another run"):
        second.make_folder()
    assert (first.folder / "kept").exists()
    asyncio.run(first.stop())
    second.make_folder()
    assert not (first.folder / "kept").exists()
    asyncio.run(second.stop())


def test_every_scenario_of_the_repository_loads() -> None:
    for path in HOP.parent.glob("*.toml"):
        assert load_scenario(path).name == path.stem


def test_a_scenario_with_an_unknown_key_is_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "bad.toml"
    path.write_text(HOP.read_text().replace('mission = "hop"', 'mission = "hop"\nspeed = 3'))
    with pytest.raises(ConfigError, match="speed"):
        load_scenario(path)
