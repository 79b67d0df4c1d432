"""A flight profile and engines whose truth is known: the turbofan with health and trims of ours."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from ground.models.turbofan.engine import EngineType
from ground.models.turbofan.solve import Points, solve

Float64 = npt.NDArray[np.float64]
NOISE = {"n1": 0.02, "n2": 0.02, "egt": 0.4, "ff": 4.0}  # of a mean over 1 s, about the bench's


def profile(seed: int, minutes: int = 24) -> dict[str, Float64]:
    """Inputs a row a second: climb, levels with N1 steps, descent; N1 is held for a minute each."""
    rng = np.random.default_rng(seed)
    n = 60 * minutes
    t = np.arange(n)
    share = np.clip(np.minimum(t / (0.3 * n), (n - t) / (0.3 * n)), 0, 1)
    altitude = (18000 + 8000 * rng.uniform()) * share
    mach = 0.3 + 0.42 * share
    static = 288.15 + rng.uniform(-10, 15) - 0.0019812 * altitude
    level = np.where(share >= 1, rng.uniform(66, 90, n // 60 + 1)[t // 60],
                     np.where(t < n / 2, 90.0, rng.uniform(50, 65, n // 60 + 1)[t // 60]))  # fmt: skip
    return {
        "n1": level, "mach": mach, "altitude": altitude,
        "tat": static * (1 + 0.2 * mach**2) - 273.15,
        "bleed": (t // 240 % 2).astype(float), "anti_ice": (t // 420 % 3 == 1).astype(float),
    }  # fmt: skip


def shown(
    engine: EngineType, inputs: Mapping[str, Float64], health: Mapping[str, float], seed: int
) -> dict[str, Float64]:
    """Inputs and what sensors of an engine of this health show."""
    rng = np.random.default_rng(seed)
    found = solve(engine, Points(**inputs), health)
    columns = {**inputs, "n2": found.n2, "egt": found.egt, "ff": found.ff}
    return {
        name: column + rng.normal(0, NOISE.get(name, 0.0), len(column))
        if name in NOISE else column
        for name, column in columns.items()
    }  # fmt: skip


def rows_file(esn: str, flights: list[dict[str, Float64]]) -> bytes:
    """As `hil.fit rows` writes it."""
    counts = [len(x["n1"]) for x in flights]
    columns = {name: np.concatenate([x[name] for x in flights]) for name in flights[0]}
    phase = np.concatenate([np.where(np.arange(n) // (n // 4) == 1, "cruise", "climb")
                            for n in counts])  # fmt: skip
    meta = {"esn": esn, "part_number": "PN", "source": "test", "rate_hz": 1.0}
    out = io.BytesIO()
    arrays = {
        "meta": np.frombuffer(json.dumps(meta).encode(), np.uint8),
        "t_ns": np.concatenate([np.arange(n) * 10**9 for n in counts]),
        "flight": np.repeat(np.arange(len(counts)), counts), "phase": phase, **columns,
    }  # fmt: skip
    np.savez_compressed(out, **arrays)  # type: ignore[arg-type]  # stub wants allow_pickle
    return out.getvalue()
