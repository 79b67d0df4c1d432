"""`python -m hil.fit`: fit a baseline, or build the bundle of a declaration."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import msgspec

from hil.fit.baseline import fit_baseline
from hil.fit.recipe import load_recipe
from hil.plant.flight import Flight
from hil.plant.fly import fly
from shared.bundlefile import build_bundle, pretty
from shared.errors import Rejected, TailTwinError
from shared.signals import load_signal_set


def main(arguments: list[str]) -> int:
    """Exit code 0, or that of the error that was printed."""
    parser = argparse.ArgumentParser(prog="python -m hil.fit", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    fitting = commands.add_parser("fit", help="fly, fit and judge; writes a declaration")
    fitting.add_argument("recipe", type=Path)
    fitting.add_argument("--out", type=Path, required=True, help="the declaration, .json")
    fitting.add_argument("--seeds", help="fit these seeds of mission full instead: 11,12,13")
    fitting.add_argument("--cache", type=Path, help="folder where flights are kept")
    bundling = commands.add_parser("bundle", help="compile and pack; writes the bundle file")
    bundling.add_argument("declaration", type=Path)
    bundling.add_argument("--out", type=Path, required=True, help="folder")
    options = parser.parse_args(arguments)
    try:
        run = _fit if options.command == "fit" else _bundle
        run(options)
    except TailTwinError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    return 0


def _fit(options: argparse.Namespace) -> None:
    recipe = load_recipe(options.recipe)
    if options.seeds:
        flights = tuple(f"full:{int(x)}" for x in options.seeds.split(","))
        recipe = msgspec.structs.replace(recipe, flights=flights)
    signals = load_signal_set(options.recipe.parent / recipe.signal_set)
    esns = (recipe.engines["1"], recipe.engines["2"])

    def flight_of(name: str) -> Flight:
        mission, _, seed = name.partition(":")
        if not seed.isdigit():
            raise Rejected(f"{name!r} is not mission:seed", str(options.recipe), "as in full:101")
        return fly(mission, int(seed), signals, esns=esns, cache_dir=options.cache, say=print)

    bundle = fit_baseline(recipe, signals, flight_of)
    options.out.write_bytes(pretty(bundle))
    for name, value in bundle.model_card.figures.items():
        print(f"{name} {value:g}")
    for monitor in bundle.monitors:
        print(f"{monitor.name}: onset {monitor.onset:g}, clear {monitor.clear:g}")


def _bundle(options: argparse.Namespace) -> None:
    name, data = build_bundle(options.declaration)
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / name).write_bytes(data)
    print(options.out / name)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
