"""The rig of `make bench`: the bench's own, with the airframe's bundles and twenty ROMs live.

In: a folder. Out: ground and bus running, a state folder of an edge that has everything installed,
and for each load a profile and a fresh copy of that folder.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Final

import msgspec

from hil.processes import Child, program, run_once
from hil.rig import Rig, find_declaration, profile_text
from hil.scenario import load_scenario
from shared.behaviour.kinds import LookupTable
from shared.bundle import Bundle, parse_bundle
from shared.bundlefile import build_bundle, pack_declared
from shared.signals import SignalSet

ROMS: Final = 20
BUNDLES: Final = ("egt_rom_v1", "engine_anomaly_v1")
SCENARIO: Final = Path(__file__).parents[2] / "hil/scenarios/bench.toml"
LINK_BYTES_PER_S: Final = 20_000_000
"""Of the air link: up to 2 s of it may be in flight before an alert, which is not measured here."""


class LoadRig(Rig):
    """`prepare` once, then an edge for each load."""

    state: Path = Path()

    @classmethod
    def in_folder(cls, folder: Path) -> LoadRig:
        scenario = load_scenario(SCENARIO)
        scenario = msgspec.structs.replace(scenario, air_bytes_per_s=LINK_BYTES_PER_S)
        return cls(folder, scenario)

    def bundle_names(self) -> list[str]:
        return list(BUNDLES)

    def first_targets(self) -> list[str]:
        return list(self.targets.values())

    def edge_of(self, signals: SignalSet, wrapper: tuple[str, ...] = ()) -> Child:
        """An edge with this signal set, in a fresh state folder; not started."""
        name = signals.name
        self.state = self.folder / f"edge-{name}"
        if self.state.exists():
            shutil.rmtree(self.state)
        shutil.copytree(self.edge_state, self.state)
        set_file = self.folder / f"{name}.toml"
        set_file.write_bytes(signals.text)
        profile = self.folder / f"profile-{name}.toml"
        plain = str(self.signal_set.resolve())
        profile.write_text(profile_text(self).replace(plain, str(set_file.resolve())))
        log = self.folder / "logs" / f"{name}.log"
        log.unlink(missing_ok=True)
        command = [*(wrapper or (program("tailtwin-edge"),)), "run", "--profile", str(profile),
                   "--state", str(self.state)]  # fmt: skip
        return Child("edge", command, log)

    async def _publish_bundles(self) -> None:
        """The airframe's models and ROMS copies of its ROM, each with its own table."""
        keys, bundles = self.folder / "keys", self.folder / "bundles"
        bundles.mkdir()
        built = [build_bundle(find_declaration(name)) for name in self.bundle_names()]
        parent = parse_bundle(find_declaration(BUNDLES[0]).read_bytes(), BUNDLES[0])
        built += [pack_declared(rom(parent, number)) for number in range(1, ROMS + 1)]
        files = []
        for name, data in built:
            files.append(str(bundles / name))
            (bundles / name).write_bytes(data)
        where = ("--repo", str(self.repository), "--keys", str(keys))
        await run_once(program("tailtwin-sign"), "init", *where, log=self.log)
        said = await run_once(
            program("tailtwin-sign"), "publish", *where, "--json", *files, log=self.log
        )
        for bundle in json.loads(said)["bundles"]:
            self.targets[bundle["target"]] = bundle["target"]


def rom(parent: Bundle, number: int) -> Bundle:
    """One of the twenty: the parent's table times 1 + number / 1000, no monitors."""
    scale = 1 + number / 1000
    table = parent.behaviour
    assert isinstance(table, LookupTable)
    values = tuple(
        tuple(tuple(v * scale for v in column) for column in columns) for columns in table.values
    )
    return msgspec.structs.replace(
        parent, name=f"rom_{number:02}", monitors=(),
        behaviour=msgspec.structs.replace(table, values=values),
    )  # fmt: skip
