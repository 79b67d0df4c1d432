"""JSBSim's 737 as a rigid body that our engines push.

In: surface, gear and brake commands, thrust of both engines, fuel in the tanks. Out: the state
of motion, by property name. Always holds: no socket is opened (the stock aircraft listens on
two ports, so a copy without its `<input>` blocks is flown); JSBSim's own engines stay off and
burn nothing, thrust enters as an external force where each engine hangs; the same calls give
the same state, bit for bit.
"""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import jsbsim

from hil.plant.mission import Conditions, Place

RATE_HZ: Final = 120
FT_M: Final = 0.3048
_AIRCRAFT: Final = "737"
STANDING_FT: Final = 3.69  # `ic/h-agl-ft` at which the stock 737 stands still
_PITCH_DEG: Final = 0.45
_ENGINE_Y_IN: Final = (-193.0, 193.0)  # thruster locations of 737.xml
_MILSPEC: Final = 3  # atmosphere/turb-type


def _external_thrust() -> str:
    forces = "".join(
        f'<force name="thrust-{i + 1}" frame="BODY">'
        f'<location unit="IN"><x>540</x><y>{y}</y><z>-40</z></location>'
        "<direction><x>1</x><y>0</y><z>0</z></direction></force>"
        for i, y in enumerate(_ENGINE_Y_IN)
    )
    return f"<external_reactions>{forces}</external_reactions>"


def _payload(pounds: float) -> str:
    """A point mass at the stock centre of gravity."""
    return (
        f'<pointmass name="payload"><weight unit="LBS">{pounds}</weight>'
        '<location unit="IN"><x>639</x><y>0</y><z>-40</z></location></pointmass>'
    )


def _copy_aircraft(root: Path, into: Path, payload_lb: float) -> None:
    """Write the packaged aircraft without sockets, with our thrust and load."""
    text = (root / "aircraft" / _AIRCRAFT / f"{_AIRCRAFT}.xml").read_text()
    text = re.sub(r"<!--.*?-->", "", text, flags=re.S)
    text = re.sub(r"<input\b[^>]*\bport=[^>]*/>", "", text)
    text = re.sub(r"<input\b[^>]*\bport=[^>]*>.*?</input>", "", text, flags=re.S)
    assert "port=" not in text, "the packaged 737 has a socket that was not removed"
    text = text.replace("</fdm_config>", _external_thrust() + "</fdm_config>")
    text = text.replace("</mass_balance>", _payload(payload_lb) + "</mass_balance>")
    folder = into / _AIRCRAFT
    folder.mkdir()
    (folder / f"{_AIRCRAFT}.xml").write_text(text)


@contextmanager
def _silent_stdout() -> Iterator[None]:
    """JSBSim's banner goes to the C stdout, below Python's."""
    saved, null = os.dup(1), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(null, 1)
        yield
    finally:
        os.dup2(saved, 1)
        os.close(saved)
        os.close(null)


class Airframe:
    """One aircraft, standing still with its brakes on until somebody steps it."""

    def __init__(self, place: Place, conditions: Conditions) -> None:
        root = Path(jsbsim.get_default_root_dir())
        with tempfile.TemporaryDirectory(prefix="tailtwin-fdm-") as folder, _silent_stdout():
            _copy_aircraft(root, Path(folder), conditions.payload_lb)
            self._fdm = jsbsim.FGFDMExec(str(root))
            self._fdm.set_debug_level(0)
            self._fdm.set_aircraft_path(folder)
            self._fdm.set_engine_path(str(root / "engine"))
            self._fdm.set_systems_path(str(root / "systems"))
            assert self._fdm.load_model(_AIRCRAFT, True), "JSBSim did not load its own 737"
            self._start(place, conditions)

    def _start(self, place: Place, conditions: Conditions) -> None:
        fdm = self._fdm
        fdm.set_dt(1.0 / RATE_HZ)
        fdm["ic/lat-geod-deg"], fdm["ic/long-gc-deg"] = place.lat_deg, place.lon_deg
        fdm["ic/terrain-elevation-ft"] = 0.0
        fdm["ic/h-agl-ft"] = STANDING_FT
        fdm["ic/psi-true-deg"] = place.heading_deg
        fdm["ic/theta-deg"] = _PITCH_DEG
        fdm["ic/vg-fps"] = 0.0
        fdm["fcs/left-brake-cmd-norm"] = fdm["fcs/right-brake-cmd-norm"] = 1.0
        fdm["gear/gear-cmd-norm"] = 1.0
        fdm["atmosphere/delta-T"] = conditions.isa_dev_k * 1.8
        assert fdm.run_ic(), "JSBSim refused the initial conditions"
        for tank in range(3):
            fdm[f"propulsion/tank[{tank}]/contents-lbs"] = conditions.fuel_lb / 3
        fdm["atmosphere/randomseed"] = conditions.seed
        fdm["atmosphere/turb-type"] = _MILSPEC
        fdm["atmosphere/turbulence/milspec/windspeed_at_20ft_AGL-fps"] = conditions.gust_fps
        fdm["atmosphere/turbulence/milspec/severity"] = conditions.turbulence_severity

    def step(self) -> None:
        """Advance by 1/RATE_HZ s."""
        self._fdm.run()

    def reader(self, names: Iterable[str]) -> Callable[[], list[float]]:
        """Reads several properties at once, in order."""
        getters = [self._node(n).get_double_value for n in names]
        return lambda: [get() for get in getters]

    def __getitem__(self, name: str) -> float:
        return float(self._fdm[name])

    def __setitem__(self, name: str, value: float) -> None:
        self._fdm[name] = value

    def _node(self, name: str) -> Any:
        node = self._fdm.get_property_manager().get_node(name)
        assert node is not None, f"JSBSim has no property {name}"
        return node
