"""How long an aircraft can go without a link: hours of flight in the outbox's bytes, and what
thinning and sealing cost.

`python -m bench.retention [--mission full] [--megabytes 16]` records the plant's flight again and
again into a store that nobody empties, with maintenance every 2 s of flight as the daemon does,
and notes when the first block is thinned and when the first one goes as a whole. Hours scale with
bytes; the figure for the default size (512 MiB) is extrapolated and says so. Baselines in the same
run: the store before thinning begins, and the same appends without a keyring.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import statistics
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

from bench.codec import SIGNALS, cut
from edge.config import Recording
from edge.outbox import thinning
from edge.outbox.keyring import Keyring, make_recovery_key
from edge.outbox.store import Outbox
from hil.plant.fly import fly
from shared.block import Block, decode_block, encode_block
from shared.clock import SystemClock
from shared.signals import load_signal_set

MAINTAIN_S = 2  # edge/daemon.py
LSB_BITS = (1, 2, 3)  # low bits cleared: within 1, 3 and 7 LSB
ROUNDS = 5


def open_outbox(folder: Path, size: int, keyring: Keyring | None) -> Outbox:
    return Outbox.open(
        folder / "outbox.db", operator="OPX", tail="T-1", clock=SystemClock(), random=os.urandom,
        bytes_max=size, keyring=keyring,
    )  # fmt: skip


def flights(blocks: list[Block]) -> Iterator[Block]:
    """The same flight again and again, each after the other in time and count."""
    start = min(int(b.t_ns[0]) for b in blocks)
    span = max(int(b.t_ns[-1]) for b in blocks) - start + 1_000_000_000
    counts = {b.group: int(b.counter[-1]) + 1 for b in blocks}
    number = 0
    while True:
        for b in sorted(blocks, key=lambda b: int(b.t_ns[0])):
            yield replace(b, t_ns=b.t_ns + number * span,
                          counter=b.counter + number * counts[b.group])  # fmt: skip
        number += 1


def put(outbox: Outbox, block: Block, data: bytes) -> None:
    outbox.append(
        "block", data, stream=f"block-{block.group}", schema="block/1", flight="T-1-F1",
        t_event_ns=int(block.t_ns[0]), t_quality=1,
    )  # fmt: skip


def hold(blocks: list[Block], size: int) -> dict[str, float]:
    """Hours in the store when thinning begins, and when the first whole block goes."""
    found: dict[str, float] = {}
    maintain_ms: list[float] = []
    with tempfile.TemporaryDirectory() as folder:
        outbox = open_outbox(Path(folder), size, Keyring(os.urandom(32)))
        first_ns = maintained_ns = int(blocks[0].t_ns[0])
        for block in flights(blocks):
            t_ns = int(block.t_ns[0])
            while t_ns - maintained_ns >= MAINTAIN_S * 1e9:
                maintained_ns += int(MAINTAIN_S * 1e9)
                began = time.perf_counter()
                outbox.maintain()
                maintain_ms.append((time.perf_counter() - began) * 1e3)
            put(outbox, block, encode_block(block))
            stats, hours = outbox.stats(), (t_ns - first_ns) / 3.6e12
            if stats.thinned:
                found.setdefault("hours_before_thinning", hours)
            if stats.evicted_unsafe:
                found["hours_before_a_block_goes"] = hours
                found["blocks_thinned"] = stats.thinned
                found["drop_records"] = stats.depth["drop"]
                break
        kept = [decode_block(data) for data in _payloads(outbox)]
        outbox.close()
    thinned = sorted(maintain_ms)[-max(1, len(maintain_ms) // 2) :]
    found["maintain_ms_p50_of_busier_half"] = statistics.median(thinned)
    found["maintain_ms_max"] = max(maintain_ms)
    found["readings_kept_of_1"] = sum(b.n for b in kept) / sum(b.n * b.keep_every for b in kept)
    return found


def _payloads(outbox: Outbox) -> Iterator[bytes]:
    from shared.envelope import open_envelope

    for held in outbox.records():
        data = outbox.sealed(held) if held.cls == "block" else None
        if data is not None:
            yield open_envelope(data).payload


def shares(blocks: list[Block]) -> dict[str, float]:
    """Bytes of the flight against the flight as recorded: each step of thinning, each LSB bound."""
    whole = sum(len(encode_block(b)) for b in blocks)
    found: dict[str, float] = {}
    step = blocks
    for every in (2, 4, 8):
        step = [thinning.thin(b, ("e", f"block-{b.group}", 1)) for b in step]
        found[f"keep 1 of {every}"] = sum(len(encode_block(b)) for b in step) / whole
    for bits in LSB_BITS:
        coarse = [replace(b, raw=(b.raw >> bits) << bits) for b in blocks]
        found[f"within {2**bits - 1} LSB"] = sum(len(encode_block(b)) for b in coarse) / whole
    fast = [b for b in blocks if thinning.rate_hz(b) >= 2 * thinning.RATE_MIN_HZ]
    found["of it in groups above 1 Hz"] = sum(len(encode_block(b)) for b in fast) / whole
    return found


def costs(blocks: list[Block]) -> dict[str, float]:
    """Appends with a keyring and without, and what a boot pays for its keys."""
    sealed = [(b, encode_block(b)) for b in blocks[:400]]
    us: dict[bool, list[float]] = {True: [], False: []}
    sizes: dict[bool, float] = {}
    _, public = make_recovery_key()
    from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PublicKey

    recovery = X25519PublicKey.from_public_bytes(bytes.fromhex(public.decode()))
    ring = Keyring(os.urandom(32), recovery)
    wraps_ms = []
    for _ in range(ROUNDS):
        began = time.perf_counter()
        ring.wrap(1, b"OPX/T-1", os.urandom(32))
        wraps_ms.append((time.perf_counter() - began) * 1e3)
        for with_keys in (True, False):
            with tempfile.TemporaryDirectory() as folder:
                outbox = open_outbox(Path(folder), 64 << 20, ring if with_keys else None)
                began_ns = time.process_time_ns()
                for block, data in sealed:
                    put(outbox, block, data)
                us[with_keys].append((time.process_time_ns() - began_ns) / len(sealed) / 1e3)
                outbox.close()
                sizes[with_keys] = (Path(folder) / "outbox.db").stat().st_size
    median = {key: statistics.median(times) for key, times in us.items()}
    return {
        "append_cpu_us_sealed": median[True], "append_cpu_us_plain": median[False],
        "append_ratio": median[True] / median[False], "file_ratio": sizes[True] / sizes[False],
        "wrap_ms_a_boot": statistics.median(wraps_ms),
    }  # fmt: skip


def thin_cost_us(blocks: list[Block]) -> float:
    """CPU of one block: decode, thin, encode."""
    datas = [encode_block(b) for b in blocks[:300]]
    times = []
    for _ in range(ROUNDS):
        began_ns = time.process_time_ns()
        for data in datas:
            encode_block(thinning.thin(decode_block(data), ("e", "block-x", 1)))
        times.append((time.process_time_ns() - began_ns) / len(datas) / 1e3)
    return statistics.median(times)


def main() -> int:
    """Print the figures and write var/bench/retention.json."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mission", default="full")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--megabytes", type=int, default=16)
    args = parser.parse_args()
    signals = load_signal_set(SIGNALS)
    flight = fly(args.mission, args.seed, signals, cache_dir=Path("var/cache"), say=print)
    blocks = cut(flight, signals)
    size = args.megabytes << 20
    hours = (max(int(b.t_ns[-1]) for b in blocks) - min(int(b.t_ns[0]) for b in blocks)) / 3.6e12
    held = hold(blocks, size)
    scale = Recording().outbox_bytes_max / size
    report = {
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}",
        "flight_hours": hours,
        "readings_a_second": sum(b.n for b in blocks) / hours / 3600,
        "samples_a_second": sum(b.quality.size for b in blocks) / hours / 3600,
        "megabytes": args.megabytes,
        "held": held,
        "extrapolated_hours_in_512_MiB": {
            key: value * scale for key, value in held.items() if key.startswith("hours")
        },
        "shares_of_bytes": shares(blocks),
        "thin_one_block_cpu_us": thin_cost_us(blocks),
        "sealing": costs(blocks),
        "peak_rss_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "blocks": len(blocks),
        "block_bytes_mean": float(np.mean([len(encode_block(b)) for b in blocks])),
    }
    out = Path("var/bench/retention.json")
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(report, indent=1))
    print(json.dumps(report, indent=1))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
