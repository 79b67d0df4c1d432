"""Power cuts at every write of the outbox: what is lost, aboard and in two arms that sync less.

`python -m bench.powercut [--images 10000] [--seed 1] [--arm-images 1500]` lives seeded lives of
real outbox calls over a recording VFS, builds from every prefix of the operations the files that a
reboot may find (tests/sim/disk.py says which), opens each with the outbox of this tree and checks
what had been acknowledged. Prints a table, writes var/bench/powercut.json; exit code 1 when the
shipped arm fails an image, or an arm that must fail does not.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
from collections.abc import Sequence
from pathlib import Path

from tests.sim.powercut import Score, run
from tests.sim.workload import Synchronous

CALLS = 10
GENERATIONS = 3
ARMS: tuple[Synchronous, ...] = ("full", "normal", "off")


def arm(synchronous: Synchronous, images: int, seed: int) -> Score:
    """Lives until so many images were opened; every second one with the outbox at its size."""
    score = Score()
    generations = GENERATIONS if synchronous == "full" else 1  # what lost records starts no other
    while score.opened < images:
        run(seed, calls=CALLS, generations=generations, synchronous=synchronous, score=score,
            full=seed % 2 == 1)  # fmt: skip
        seed += 1
    return score


def main(argv: Sequence[str] | None = None) -> int:
    """Print the table; whether the arms did what they must."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=10_000, help="of the shipped arm, at least")
    parser.add_argument("--arm-images", type=int, default=1_500, help="of each other arm, at least")
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args(argv)
    print(f"power cuts, seeds from {args.seed}; {os.cpu_count()} cores {platform.machine()}")
    print(f"{'synchronous':12}{'prefixes':>9}{'images':>8}{'failed':>8}{'lost':>7}{'corrupt':>8}"
          f"{'other':>7}{'s/1000':>8}")  # fmt: skip
    table, scores = {}, {}
    for synchronous in ARMS:
        images = args.images if synchronous == "full" else args.arm_images
        scores[synchronous] = score = arm(synchronous, images, args.seed)
        lost, corrupt = score.by_kind["lost"], score.by_kind["corrupt"]
        other = sum(score.by_kind.values()) - lost - corrupt
        per_1000_s = score.seconds / score.opened * 1000
        print(f"{synchronous:12}{score.prefixes:9,}{score.opened:8,}{score.failed:8,}{lost:7,}"
              f"{corrupt:8,}{other:7,}{per_1000_s:8.1f}")  # fmt: skip
        table[synchronous] = {
            "prefixes": score.prefixes, "images": score.opened, "failed": score.failed,
            "complaints": dict(score.by_kind), "images_by_mode": dict(score.by_mode),
            "calls": dict(score.calls), "seconds_per_1000_images": round(per_1000_s, 2),
        }  # fmt: skip
    for line in scores["full"].examples:
        print(line)
    out = Path("var/bench/powercut.json")
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(table, indent=2) + "\n")
    fails_as_it_must = scores["normal"].by_kind["lost"] and scores["off"].by_kind["corrupt"]
    return int(bool(scores["full"].failed or not fails_as_it_must))


if __name__ == "__main__":
    raise SystemExit(main())
