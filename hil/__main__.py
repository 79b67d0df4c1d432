"""tailtwin-hil: the bench."""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import time
from pathlib import Path

import msgspec

from shared.errors import TailTwinError

EXAMPLES = """examples:
  tailtwin-hil run hil/scenarios/demo.toml
  tailtwin-hil run hil/scenarios/healthy.toml --seed 32 --out var/healthy-32
  tailtwin-hil fly full --seed 7 --out flight.npz
  tailtwin-hil replay recording.csv --signals my_set.toml --port 1883 --rate 10

exit codes: 0 every check holds, 1 one does not, others as in sysexits.h
"""


def main(argv: list[str] | None = None) -> int:
    """Run one command; its exit code."""
    args = _parser().parse_args(argv)
    try:
        code: int = args.act(args)
    except TailTwinError as error:
        print(f"tailtwin-hil: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        return 130
    return code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="tailtwin-hil", description="Fly a bench aircraft through the real programs, disturb "
        "it, and compare every sample with what reached the lake.",
        epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    run = commands.add_parser("run", help="run a scenario and judge it")
    run.add_argument("scenario", type=Path, help="a file of hil/scenarios")
    run.add_argument("--seed", type=int, help="another flight than the scenario's own")
    run.add_argument("--rate", type=float, help="flight seconds per wall second")
    run.add_argument("--out", type=Path, help="folder of the run (default var/NAME)")
    run.add_argument("--json", action="store_true", help="print report.json at the end")
    run.set_defaults(act=_run)

    fly = commands.add_parser("fly", help="fly a mission into a flight file")
    fly.add_argument("mission", help="full or hop")
    fly.add_argument("--seed", type=int, default=1)
    fly.add_argument("--signals", type=Path, help="signal set (default: the bench 737)")
    fly.add_argument("--out", type=Path, required=True)
    fly.set_defaults(act=_fly)

    replay = commands.add_parser("replay", help="play any CSV with a time column onto an MQTT bus")
    replay.add_argument("csv", type=Path)
    replay.add_argument("--signals", type=Path, required=True, help="signal set, TOML")
    replay.add_argument("--time-column", default="t", help="name of the time column (default t)")
    replay.add_argument("--time-unit", choices=("s", "ms", "us", "ns", "iso"), default="s")
    replay.add_argument("--port", type=int, required=True, help="MQTT port on loopback")
    replay.add_argument("--rate", type=float, default=1.0)
    replay.set_defaults(act=_replay)
    return parser


def _run(args: argparse.Namespace) -> int:
    from hil.bench import Bench
    from hil.scenario import load_scenario
    from hil.summary import print_summary
    from hil.view import View

    scenario = load_scenario(args.scenario)
    if args.seed is not None:
        scenario = msgspec.structs.replace(scenario, seed=args.seed)
    if args.rate is not None:
        scenario = msgspec.structs.replace(scenario, rate=args.rate)
    folder = args.out or Path("var") / scenario.name
    started_s = time.monotonic()
    with View(f"{scenario.name}, {scenario.rate:g} x real time") as view:
        report = asyncio.run(Bench(scenario, folder, view).run())
    if args.json:
        print(json.dumps(report, indent=2))
    else:
        print_summary(report, folder, time.monotonic() - started_s)
    return 0 if all(check["ok"] for check in report["checks"]) else 1


def _fly(args: argparse.Namespace) -> int:
    from hil.plant import flight as flights
    from hil.plant.fly import fly
    from hil.rig import PROFILES
    from shared.signals import load_signal_set

    signals = load_signal_set(args.signals or PROFILES / "signals" / "b737_bench.toml")
    flown = fly(args.mission, args.seed, signals, say=lambda text: print(text, file=sys.stderr))
    flights.save(flown, args.out)
    print(json.dumps({"file": str(args.out), "duration_s": flown.duration_s, **flown.meta}))
    return 0


def _replay(args: argparse.Namespace) -> int:
    import tempfile

    from hil.bus import publish
    from hil.plant import flight as flights
    from hil.plant.replay import TimeColumn
    from hil.plant.replay import replay as read_csv
    from shared.signals import load_signal_set

    signals = load_signal_set(args.signals)
    flown = read_csv(args.csv, signals, TimeColumn(args.time_column, args.time_unit))
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "flight.npz"
        flights.save(flown, file)
        return publish.main(
            ["--flight", str(file), "--signals", str(args.signals), "--port", str(args.port),
             "--rate", str(args.rate), "--uncontrolled"]
        )  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
