"""The parent of a ROM: the full-fidelity turbofan with one engine's baseline.

In: an engine type and a baseline. Out: a function from inputs to outputs, and the name of the code
that is behind it. Always holds: it is asked with inputs only; what a sensor of the engine showed
has no way in.
"""

from __future__ import annotations

import hashlib
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ground.calibrate.envelope import Columns
from ground.calibrate.table import Parent
from ground.models.baseline import INPUTS, Baseline, predict

if TYPE_CHECKING:
    from ground.models.turbofan.engine import EngineType

PACKAGES = ("calibrate", "models")
"""Of ground/: what a reduction depends on."""


def turbofan_parent(engine: EngineType, baseline: Baseline) -> Parent:
    """Predictions of the engine type with this baseline."""
    from ground.models.turbofan.solve import Points

    def ask(inputs: Columns) -> Columns:
        found = predict(engine, baseline, Points(**{name: inputs[name] for name in INPUTS}))
        return {name: np.asarray(found[name]) for name in ("egt", "ff")}

    return ask


def code_version(module: str) -> str:
    """Module, release of TailTwin and a hash over the sources that a reduction depends on."""
    digest = hashlib.sha256()
    ground = Path(__file__).parents[1]
    for package in PACKAGES:
        for path in sorted((ground / package).rglob("*.py")):
            digest.update(path.relative_to(ground).as_posix().encode() + b"\0")
            digest.update(path.read_bytes())
    return f"{module} {version('tailtwin')} sources sha256:{digest.hexdigest()[:16]}"
