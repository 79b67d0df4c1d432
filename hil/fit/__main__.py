"""`python -m hil.fit`: pass-off rows of healthy engines, or the bundle of a declaration."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from hil.fit.rows import flights_named, pass_off_rows
from hil.plant.flight import Flight
from hil.plant.fly import ESNS, fly
from shared.bundlefile import build_bundle
from shared.errors import Rejected, TailTwinError
from shared.signals import load_signal_set

SIGNAL_SET = Path("firmware_profiles/signals/b737_bench.toml")
PART_NUMBER = "CFM56-7B26"  # as the scenarios say


def main(arguments: list[str]) -> int:
    """Exit code 0, or that of the error that was printed."""
    parser = argparse.ArgumentParser(prog="python -m hil.fit", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    rows = commands.add_parser("rows", help="fly healthy flights; writes ESN.npz for each engine")
    rows.add_argument("flights", nargs="+", metavar="MISSION:SEED", help="as full:102")
    rows.add_argument("--out", type=Path, required=True, help="folder")
    rows.add_argument("--signals", type=Path, default=SIGNAL_SET, metavar="TOML")
    rows.add_argument("--part-number", default=PART_NUMBER)
    rows.add_argument("--cache", type=Path, help="folder where flights are kept")
    bundling = commands.add_parser("bundle", help="compile and pack; writes the bundle file")
    bundling.add_argument("declaration", type=Path)
    bundling.add_argument("--out", type=Path, required=True, help="folder")
    options = parser.parse_args(arguments)
    try:
        run = _rows if options.command == "rows" else _bundle
        run(options)
    except TailTwinError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    return 0


def _rows(options: argparse.Namespace) -> None:
    signals = load_signal_set(options.signals)

    def flight_of(name: str) -> Flight:
        mission, _, seed = name.partition(":")
        if not seed.isdigit():
            raise Rejected(f"{name!r} is not mission:seed", "flights", "as in full:101")
        return fly(mission, int(seed), signals, cache_dir=options.cache, say=print)

    flights = flights_named(options.flights, flight_of)
    options.out.mkdir(parents=True, exist_ok=True)
    for position, esn in enumerate(ESNS, start=1):
        path = options.out / f"{esn}.npz"
        path.write_bytes(pass_off_rows(flights, signals, position, esn, options.part_number))
        print(path)


def _bundle(options: argparse.Namespace) -> None:
    name, data = build_bundle(options.declaration)
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / name).write_bytes(data)
    print(options.out / name)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
