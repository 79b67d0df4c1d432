"""Which codec seals blocks: bytes a sample and speed on a flight of the plant.

`python -m bench.codec [--mission full] [--seed 7]` prints a table; each figure is the median of
five rounds in one run, and each ratio is against the named baseline, float32 columns in zstd.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import time
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import zstandard

from hil.plant.flight import Flight
from hil.plant.fly import fly
from shared.block import Block, Codec, decode_block, encode_block
from shared.signals import SignalSet, load_signal_set

SIGNALS = Path(__file__).resolve().parent.parent / "firmware_profiles/signals/b737_bench.toml"
ROUNDS = 5


def cut(flight: Flight, signals: SignalSet) -> list[Block]:
    """The flight as blocks of each group's own length, quality all good."""
    blocks = []
    for group in signals.groups:
        readings = flight.groups[group.name]
        step = max(1, round(group.block_s * group.rate_hz))
        for at in range(0, readings.count, step):
            part = slice(at, at + step)
            n = len(readings.t_ns[part])
            blocks.append(
                Block(
                    group.name, signals.sha256, "T-1-F00001", 1, 0, 1, readings.t_ns[part],
                    np.arange(at, at + n), readings.raw[part], readings.f64[part],
                    readings.status[part], np.zeros((n, len(group.signal)), np.uint8),
                )
            )  # fmt: skip
    return blocks


def float32_zstd(block: Block) -> bytes:
    """The baseline: float32 columns, zstd-3, no delta."""
    columns = np.concatenate(
        [block.raw.astype("<f4").T.reshape(-1), block.f64.astype("<f4").T.reshape(-1)]
    )
    return zstandard.ZstdCompressor(level=3).compress(columns.tobytes())


def deflate(block: Block) -> bytes:
    """What is always there: zlib over the raw integers."""
    return zlib.compress(block.raw.astype("<i4").T.tobytes())


def median_s(act: Callable[[], object]) -> float:
    times = []
    for _ in range(ROUNDS):
        start = time.perf_counter()
        act()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def main() -> int:
    """Print the table and write var/bench/codec.json."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mission", default="full")
    parser.add_argument("--seed", type=int, default=7)
    args = parser.parse_args()
    signals = load_signal_set(SIGNALS)
    flight = fly(args.mission, args.seed, signals, cache_dir=Path("var/cache"), say=print)
    blocks = cut(flight, signals)
    samples = sum(block.quality.size for block in blocks)
    codecs: tuple[Codec, ...] = ("pco", "zstd")
    packers: dict[str, Callable[[Block], bytes]] = {"float32 columns, zstd-3": float32_zstd}
    packers["int32 columns, zlib"] = deflate
    for codec in codecs:
        packers[f"block/1, {codec}"] = lambda block, codec=codec: encode_block(block, codec)  # type: ignore[misc]
    print(
        f"{args.mission}, seed {args.seed}: {samples:,} samples in {len(blocks)} blocks; {platform.machine()}"
    )
    print(f"{'':26}{'B/sample':>9}{'of base':>9}{'in MS/s':>9}{'out MS/s':>9}")
    table, base = {}, 0.0
    for name, pack in packers.items():
        sealed = [pack(block) for block in blocks]
        size = sum(len(data) for data in sealed) / samples
        base = base or size
        in_s = median_s(lambda pack=pack: [pack(block) for block in blocks])  # type: ignore[misc]
        out_s = None
        if name.startswith("block/1"):
            out_s = median_s(lambda sealed=sealed: [decode_block(data) for data in sealed])  # type: ignore[misc]
        speed_out = f"{samples / out_s / 1e6:9.1f}" if out_s else f"{'-':>9}"
        print(f"{name:26}{size:9.3f}{size / base:9.2f}{samples / in_s / 1e6:9.1f}{speed_out}")
        table[name] = {
            "bytes_per_sample": size,
            "ratio": size / base,
            "samples_per_s_in": samples / in_s,
        }
    out = Path("var/bench/codec.json")
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(table, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
