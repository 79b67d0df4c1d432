"""`make bench`: the edge beside its budget, at 1 x, each figure with a ratio in the same run.

`python -m bench.edge [--seconds 60] [--rates 1000 10000] [--out var/bench]`. Out: a table, and
edge.json. At each rate: a real broker, the plant's flight resampled, the airframe's models and
twenty ROMs live; CPU, memory and storage at rest, then a storm of alerts for their latency, then bare
receivers and bare SQLite on the same messages; a profile of what remains; bytes a sample beside other
formats. Exit code 1 when a *must* of DESIGN.md's budgets does not hold; aims are only said.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
from pathlib import Path
from typing import Any, Final

from bench.load import bare, table
from bench.load.packets import Stream
from bench.load.rig import LoadRig
from bench.load.round import measure
from bench.load.signals import PLANS, load_set
from bench.load.sizes import sizes
from bench.machine import machine, say
from hil.plant.flight import Flight
from hil.plant.fly import fly
from shared.signals import SignalSet, load_signal_set

MISSION: Final = "full"
SEED: Final = 4  # the demo's flight, but for what the demo breaks
WARM_S: Final = 8.0
STORM_S: Final = 55.0  # 41 alerts a second: over 2,000
PROFILE_S: Final = 25.0
BARE_S: Final = 12.0
CACHE: Final = Path("var/cache")


async def run(folder: Path, rates: list[int], seconds: float, storm_s: float) -> dict[str, Any]:
    """Everything, one after the other: two cores carry one load at a time."""
    rig = LoadRig.in_folder(folder / "rig")
    rig.make_folder()
    airframe = load_signal_set(rig.plain_signal_set)
    flight = fly(MISSION, SEED, airframe, cache_dir=CACHE, say=say)
    say("ground, bus, signed models and twenty ROMs")
    report: dict[str, Any] = {"machine": machine(), "rates": {}}
    try:
        await rig.prepare()
        for rate in rates:
            report["rates"][str(rate)] = await one_rate(
                rig, flight, airframe, load_set(airframe, rate), seconds, storm_s
            )
    finally:
        await rig.stop()
    say("bytes a sample, beside other formats")
    report["bytes_per_sample"] = sizes(flight, airframe)
    report["budgets"] = table.budgets(report)
    report["load_average_after"] = os.getloadavg()[0]
    return report


async def one_rate(
    rig: LoadRig, flight: Flight, airframe: SignalSet, load: SignalSet,
    seconds: float, storm_s: float,
) -> dict[str, Any]:  # fmt: skip
    rate = sum(group.rate_hz for group in load.groups)
    say(f"{rate:,.0f} messages a second: {seconds:.0f} s at rest, {storm_s:.0f} s of alerts")
    found = await measure(rig, flight, airframe, load, WARM_S, seconds, storm_s)
    stream = Stream.load(rig.folder / f"{load.name}.npz")
    say(f"{rate:,.0f} messages a second: bare receivers, bare SQLite, profile")
    found["receive_alone"] = await bare.receive_alone(rig, load, BARE_S)
    found["append_alone"] = await asyncio.to_thread(bare.append_alone, rig.folder, stream)
    profile = rig.folder / "profile.json"
    wrapper = (sys.executable, "-m", "bench.load.profiled", str(profile))
    await measure(rig, flight, airframe, load, WARM_S, PROFILE_S, 0.0, wrapper)
    found["profile"] = table.costs(json.loads(profile.read_text()))
    return found


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.edge", description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0, help="at rest, for CPU and storage")
    parser.add_argument("--storm", type=float, default=STORM_S, help="seconds of alerts")
    parser.add_argument("--rates", type=int, nargs="+", default=sorted(PLANS), choices=PLANS)
    parser.add_argument("--out", type=Path, default=Path("var/bench"))
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    report = asyncio.run(run(args.out / "edge", args.rates, args.seconds, args.storm))
    (args.out / "edge.json").write_text(json.dumps(report, indent=2) + "\n")
    table.show(report)
    return 0 if all(one["must_holds"] for one in report["budgets"]) else 1


if __name__ == "__main__":
    raise SystemExit(main())
