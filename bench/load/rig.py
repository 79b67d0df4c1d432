"""The rig of `make bench`: the bench's own, with the airframe's bundles and twenty ROMs live.

In: a folder. Out: ground and bus running, a state folder of an edge that has everything installed,
and for each load a profile and a fresh copy of that folder.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Final

import msgspec

from hil.processes import Child, program
from hil.rig import Rig, find_declaration, profile_text
from hil.scenario import load_scenario
from shared.behaviour.kinds import LookupTable
from shared.bundle import Bundle, parse_bundle
from shared.bundlefile import pack_declared
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

    def first_set(self) -> list[str]:
        return list(self.published)

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

    def build(self) -> dict[str, Path]:
        """The airframe's models and ROMS copies of its ROM, each with its own table."""
        found = super().build()
        parent = parse_bundle(find_declaration(BUNDLES[0]).read_bytes(), BUNDLES[0])
        for number in range(1, ROMS + 1):
            name, data = pack_declared(rom(parent, number))
            found[f"rom_{number:02}"] = self.folder / "bundles" / name
            found[f"rom_{number:02}"].write_bytes(data)
        return found


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
