"""The rig's folder: fresh for each run, and never taken from under a run that uses it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

import pytest

from hil.decided import Published
from hil.rig import Rig
from hil.scenario import load_scenario
from hil.signers import HOLDERS, Signers
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


@pytest.mark.parametrize(
    ("event", "wanted"),
    [
        ('action = "offer"', "a notice needs a bundle"),
        ('action = "assign"\nset = ["egt_rom_v2"]', "a notice needs a bundle"),
        ('action = "assign"\nbundle = "egt_rom_v2"', "names a set with its bundle"),
        ('action = "offer"\nbundle = "egt_rom_v2"\nset = ["egt_rom_v2"]', "and nothing else"),
        ('action = "assign"\nbundle = "egt_rom_v2"\nset = ["egt_rom_v2", "calibrated"]',
         "nothing is calibrated"),
        ('action = "cut"', "a cut needs its length"),
    ],
)  # fmt: skip
def test_an_event_that_cannot_be_done_is_refused_before_anything_starts(
    tmp_path: Path, event: str, wanted: str
) -> None:
    path = tmp_path / "bad.toml"
    path.write_text(f'{HOP.read_text()}\n[[event]]\nphase = "climb"\n{event}\n')
    with pytest.raises(ConfigError, match=wanted):
        load_scenario(path)


def test_every_bundle_that_a_scenario_names_is_built_once(tmp_path: Path) -> None:
    rig = Rig(tmp_path, load_scenario(HOP.with_name("demo.toml")))
    assert rig.bundle_names() == [
        "egt_rom_v1", "engine_anomaly_v1", "oil_temperature_v1", "egt_rom_v2"
    ]  # fmt: skip
    assert rig.first_set() == ["egt_rom_v1", "engine_anomaly_v1"]


def test_an_offer_takes_the_place_of_its_namesake_in_the_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rig = Rig(tmp_path, load_scenario(HOP))
    rig.published = {
        "egt_rom_v1": Published("egt_rom/1.tar.zst", "egt_rom", 1),
        "egt_rom_v2": Published("egt_rom/2.tar.zst", "egt_rom", 2),
        "oil": Published("oil/1.tar.zst", "oil", 1),
    }
    told: list[tuple[str, ...]] = []

    async def assigned(_: Signers, tail: str, targets: Sequence[str]) -> None:
        told.append((tail, *targets))

    async def notified(_: Rig, name: str) -> None:
        told.append((name,))

    monkeypatch.setattr(Signers, "assign", assigned)
    monkeypatch.setattr(Rig, "notify", notified)
    asyncio.run(rig.assign(["egt_rom_v1", "oil"]))
    asyncio.run(rig.offer("egt_rom_v2"))
    assert told == [
        ("B737-28001", "egt_rom/1.tar.zst", "oil/1.tar.zst"),
        ("B737-28001", "oil/1.tar.zst", "egt_rom/2.tar.zst"),
        ("egt_rom_v2",),
    ]


def test_each_key_is_held_once_and_no_online_folder_has_an_offline_one(tmp_path: Path) -> None:
    """The commands themselves make the keys, so this breaks when they make others."""
    signers = Signers(tmp_path, tmp_path / "log")
    asyncio.run(signers.init())
    held = {
        holder: {p.name.partition(".")[0] for p in (tmp_path / "keys" / holder).iterdir()}
        for holder in HOLDERS
    }
    assert held == {holder: set(names) for holder, names in HOLDERS.items()}
    assert not any("root" in name or "targets" in name for name in held["online"])
    assert signers.image_root.exists() and signers.director_root.exists()
