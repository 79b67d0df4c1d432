"""Extraction of the component maps and gas data from pyCycle into this package's data files.

In: the root of an unpacked om-pycycle wheel or source tree. Out: `data/maps_hbtf.json` and
`data/gas_nasa9.json`, each with its source, version and licence. Always holds: numbers are copied,
never changed; only the slice that pyCycle's example uses is taken (alphaMap at its default).

    python -m ground.models.turbofan.extract /path/to/unpacked/om_pycycle-4.4.0

The maps need numpy alone: OpenMDAO is not imported.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import json
import sys
from pathlib import Path
from typing import Any, Final

DATA: Final = Path(__file__).parent / "data"
LICENCE: Final = "Apache-2.0 (pyCycle open source licence, (c) United States Government, NASA)"
MAPS: Final = {
    "fan": ("pycycle.maps.Fan_map", "FanMap"),
    "lpc": ("pycycle.maps.LPC_map", "LPCMap"),
    "hpc": ("pycycle.maps.HPC_map", "HPCMap"),
    "hpt": ("pycycle.maps.HPT_map", "HPTMap"),
    "lpt": ("pycycle.maps.LPT_map", "LPTMap"),
}
SPECIES: Final = ("N2", "O2", "Ar", "CO2", "H2O", "NO")


def _map(module: str, name: str) -> dict[str, Any]:
    """One map at its default alpha: axes, tables [speed][line] and design defaults."""
    data = getattr(importlib.import_module(module), name)
    axes = {p["name"]: [float(v) for v in p["values"]] for p in data.param_data}
    alphas = axes.pop("alphaMap")
    at = alphas.index(float(data.defaults["alphaMap"]))
    tables = {o["name"]: o["values"][at].tolist() for o in data.output_data}
    defaults = {k: float(v) for k, v in data.defaults.items() if k != "alphaMap"}
    return {"axes": axes, "tables": tables, "defaults": defaults}


def _write(name: str, document: dict[str, Any]) -> None:
    (DATA / name).write_text(json.dumps(document, separators=(",", ":")) + "\n")


def main() -> int:
    """Write both data files."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("root", type=Path, help="folder that holds the package pycycle")
    parser.add_argument("--version", default="4.4.0", help="version of om-pycycle in it")
    args = parser.parse_args()
    sys.path.insert(0, str(args.root))
    janaf = importlib.import_module("pycycle.thermo.cea.thermo_data.janaf")
    constants = importlib.util.find_spec("pycycle.constants")
    assert constants is not None
    source = f"om-pycycle {args.version}"
    maps = {name: _map(*where) for name, where in MAPS.items()}
    _write(
        "maps_hbtf.json",
        {
            "source": f"{source}, pycycle.maps (from NPSS HBTF example maps)",
            "licence": LICENCE,
            "maps": maps,
        },
    )
    _write(
        "gas_nasa9.json",
        {
            "source": f"{source}, pycycle.thermo.cea.thermo_data.janaf: NASA nine-coefficient fits "
            "(McBride, Zehe and Gordon, NASA/TP-2002-211556), 200-1000 K and 1000-6000 K",
            "licence": LICENCE,
            "element_g_mol": {k: float(v) for k, v in janaf.element_wts.items()},
            "fuel_atoms": {k: float(v) for k, v in janaf.reactants["Jet-A(g)"].items()},
            "air_atoms": _air(Path(str(constants.origin))),
            "species": {s: [list(r) for r in janaf.products[s]["coeffs"][:2]] for s in SPECIES},
        },
    )
    return 0


def _air(constants: Path) -> dict[str, float]:
    """CEA_AIR_COMPOSITION, read from the text: importing it would load a 12 MB table."""
    for line in constants.read_text().splitlines():
        if line.startswith("CEA_AIR_COMPOSITION"):
            found = line.split("=", 1)[1].replace("'", '"')
            return {k: float(v) for k, v in json.loads(found).items()}
    raise SystemExit(f"no CEA_AIR_COMPOSITION in {constants}")


if __name__ == "__main__":
    raise SystemExit(main())
