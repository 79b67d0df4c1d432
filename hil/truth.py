"""The truth beside the lake: every sample that was published, against every sample kept.

In: `truth.npz` and the Parquet files of a tail. Out: a `Comparison`, signal by signal summed.
Always holds: bit-exact on (signal, t_ns, raw); float signals compare by their bits.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import duckdb
import numpy as np
import numpy.typing as npt

I64 = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Window:
    """A named outage of one group: open interval of event time, ns."""

    group: str
    start_ns: int
    end_ns: int


@dataclass(frozen=True, slots=True)
class Comparison:
    """Counts of samples. `lost` excludes those in a named outage."""

    published: int
    in_lake: int
    lost: int
    in_outage: int
    extra: int
    twice: int
    altered: int

    @property
    def is_exact(self) -> bool:
        return not (self.lost or self.extra or self.twice or self.altered)


@dataclass(frozen=True, slots=True)
class Truth:
    """truth.npz: `names`, and per sample its signal index, event time and raw value."""

    names: list[str]
    signal: npt.NDArray[np.integer]
    t_ns: I64
    raw: I64


def load_truth(path: Path) -> Truth:
    """Read truth.npz."""
    with np.load(path, allow_pickle=False) as data:
        return Truth([str(n) for n in data["names"]], data["signal"], data["t_ns"], data["raw"])


def load_lake(files: list[Path]) -> dict[str, tuple[I64, I64]]:
    """Per signal (t_ns, raw) over all flight files, sorted by time."""
    if not files:
        return {}
    with duckdb.connect() as db:
        columns = {
            row[0]
            for row in db.execute(
                "select name from parquet_schema(?)", [[str(f) for f in files]]
            ).fetchall()
        }
        value = "coalesce(raw, 0)" if "raw" in columns else "0"
        table = db.execute(
            f"select signal, t_ns, {value} as raw"  # noqa: S608 - a constant of ours
            " from read_parquet(?, union_by_name=true) order by signal, t_ns",
            [[str(f) for f in files]],
        ).fetchnumpy()
    names = np.asarray(table["signal"]).astype(str)
    t_ns, raw = np.asarray(table["t_ns"], np.int64), np.asarray(table["raw"], np.int64)
    if not len(names):
        return {}
    cuts = np.flatnonzero(names[1:] != names[:-1]) + 1
    starts = [0, *cuts.tolist()]
    parts = zip(np.split(t_ns, cuts), np.split(raw, cuts), strict=True)
    return {str(names[start]): part for start, part in zip(starts, parts, strict=True)}


def compare(
    truth: Truth,
    lake: dict[str, tuple[I64, I64]],
    outages: list[Window],
    group_of: dict[str, str],
) -> Comparison:
    """Every published sample against every sample in the lake."""
    order = np.argsort(truth.signal, kind="stable")
    cuts = np.searchsorted(truth.signal[order], np.arange(len(truth.names) + 1))
    lost = in_outage = extra = twice = altered = 0
    for index, name in enumerate(truth.names):
        rows = order[cuts[index] : cuts[index + 1]]
        by_time = rows[np.argsort(truth.t_ns[rows], kind="stable")]
        t_true, raw_true = truth.t_ns[by_time], truth.raw[by_time]
        t_lake, raw_lake = lake.get(name, (np.zeros(0, np.int64), np.zeros(0, np.int64)))
        fresh = np.concatenate(([True], np.diff(t_lake) != 0))[: len(t_lake)]
        twice += int((~fresh).sum())
        t_lake, raw_lake = t_lake[fresh], raw_lake[fresh]
        missing = ~np.isin(t_true, t_lake, assume_unique=True)
        covered = np.zeros(len(t_true), np.bool_)
        for window in outages:
            if window.group == group_of.get(name):
                covered |= (t_true > window.start_ns) & (t_true < window.end_ns)
        lost += int((missing & ~covered).sum())
        in_outage += int((missing & covered).sum())
        known = np.isin(t_lake, t_true, assume_unique=True)
        extra += int((~known).sum())
        altered += int((raw_true[~missing] != raw_lake[known]).sum())
    strangers = sum(len(t) for name, (t, _) in lake.items() if name not in set(truth.names))
    total = sum(len(t) for t, _ in lake.values())
    return Comparison(len(truth.t_ns), total, lost, in_outage, extra + strangers, twice, altered)
