"""NASA's C-MAPSS run-to-failure data, sub-set FD001, as it was published.

In: a folder with `train_FD001.txt`, or for an evaluation `test_FD001.txt` and `RUL_FD001.txt`,
plain or gzipped. Out: engines, a row a cycle, with the digest of the bytes that were read.
Always holds: training and test come from different functions, and nothing reads both; every
engine's cycles count from 1 without a gap and every number is finite, or the file is refused.

Source: A. Saxena, K. Goebel, D. Simon, N. Eklund, "Damage Propagation Modeling for Aircraft
Engine Run-to-Failure Simulation", PHM 2008; columns as in NASA's readme beside the data.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from shared.errors import Rejected

Float64 = npt.NDArray[np.float64]

COLUMNS_IN_FILE = 26  # unit, cycle, three settings, 21 sensors
FILE_BYTES_MAX = 64 << 20
"""Decompressed; FD001 has 3.5 MB."""
SENSORS: dict[str, tuple[int, str]] = {
    "t24": (2, "[degR]"), "t30": (3, "[degR]"), "t50": (4, "[degR]"), "p30": (7, "[psi]"),
    "nf": (8, "/min"), "nc": (9, "/min"), "ps30": (11, "[psi]"), "phi": (12, "1"),
    "nrf": (13, "/min"), "nrc": (14, "/min"), "bpr": (15, "1"), "bleed_enthalpy": (17, "1"),
    "w31": (20, "[lb_av]/s"), "w32": (21, "[lb_av]/s"),
}  # fmt: skip
"""Name: sensor number of the readme and unit, both by table 2 of the paper. The seven others do
not move in the training set (P15's last digit apart) and are left out; `phi` is fuel flow over
Ps30 in pps/psi, its unit left as the data's own."""
WHERE = "see docs/prognostics.md for where the files come from"


@dataclass(frozen=True, eq=False)
class Engine:
    """One engine: rows [cycles, sensors] in the order of SENSORS, from cycle `first` on."""

    unit: int
    rows: Float64
    first: int = 1

    def __len__(self) -> int:
        return len(self.rows)

    def since(self, row: int) -> Engine:
        """As if nothing before `row` had been seen."""
        return Engine(self.unit, self.rows[row:], self.first + row)


@dataclass(frozen=True, eq=False)
class Fleet:
    """Engines of one file. sha256: of the text as decompressed, hex."""

    engines: tuple[Engine, ...]
    source: str
    sha256: str


@dataclass(frozen=True, eq=False)
class TestSet:
    """Engines cut off some time before failure; rul: true cycles left after the last row."""

    fleet: Fleet
    rul: Float64
    rul_sha256: str


def read_training(folder: Path) -> Fleet:
    """Engines that run until they fail. Rejected when a file is missing or not as published."""
    return _fleet(folder, "train_FD001.txt")


def read_test(folder: Path) -> TestSet:
    """The test set with its true remaining lives. Only an evaluation may call this."""
    fleet = _fleet(folder, "test_FD001.txt")
    text = _text(folder, "RUL_FD001.txt")
    rul = _numbers(text, "RUL_FD001.txt", 1)[:, 0]
    if len(rul) != len(fleet.engines):
        raise Rejected(f"{len(rul)} lives for {len(fleet.engines)} engines", "RUL_FD001.txt", WHERE)
    return TestSet(fleet, rul, hashlib.sha256(text).hexdigest())


def _fleet(folder: Path, name: str) -> Fleet:
    text = _text(folder, name)
    numbers = _numbers(text, name, COLUMNS_IN_FILE)
    picked = [4 + number for number, _ in SENSORS.values()]  # sensor 1 is column 5, from 0
    engines = []
    for unit in np.unique(numbers[:, 0]):
        mine = numbers[numbers[:, 0] == unit]
        if not np.array_equal(mine[:, 1], np.arange(1, len(mine) + 1)):
            raise Rejected(f"cycles of unit {unit:g} do not count from 1", name, WHERE)
        engines.append(Engine(int(unit), mine[:, picked]))
    return Fleet(tuple(engines), name, hashlib.sha256(text).hexdigest())


def _text(folder: Path, name: str) -> bytes:
    """The file's bytes, decompressed; bounded."""
    for path in (folder / name, folder / f"{name}.gz"):
        try:
            with path.open("rb") as file:
                opened = gzip.GzipFile(fileobj=file) if path.suffix == ".gz" else file
                data = opened.read(FILE_BYTES_MAX + 1)
        except FileNotFoundError:
            continue
        except (OSError, EOFError, zlib.error) as error:
            raise Rejected(f"cannot read: {error}", str(path), WHERE) from None
        if len(data) > FILE_BYTES_MAX:
            raise Rejected(f"over {FILE_BYTES_MAX} bytes", str(path), WHERE)
        return bytes(data)
    raise Rejected(f"no {name} or {name}.gz there", str(folder), WHERE)


def _numbers(text: bytes, name: str, columns: int) -> Float64:
    try:
        numbers = np.loadtxt(io.StringIO(text.decode("ascii")), ndmin=2)
    except ValueError as error:  # UnicodeDecodeError is one
        raise Rejected(f"not rows of numbers: {str(error)[:100]}", name, WHERE) from None
    if numbers.shape[1] != columns or not len(numbers) or not np.isfinite(numbers).all():
        raise Rejected(f"rows are not {columns} finite numbers", name, WHERE)
    return np.asarray(numbers, np.float64)
