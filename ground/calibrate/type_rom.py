"""`python -m ground.calibrate.type_rom`: the ROM of an engine type, before any flight.

In: a recipe. Out: the declaration of a bundle: the turbofan at nominal health, reduced to a table
over the type's envelope, the same numbers for every engine. Always holds: no flight and no sensor
takes part; the same recipe gives the same declaration.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import msgspec

from ground.calibrate.envelope import box_envelope
from ground.calibrate.parent import code_version, turbofan_parent
from ground.calibrate.recipe import Recipe, load_recipe
from ground.calibrate.rom import calibratable_of, ports_of, requirements_of
from ground.calibrate.table import reduce_to_table
from ground.models.baseline import nominal
from shared.bundle import Bundle, Calibration, ModelCard, Output, Requirements
from shared.bundlefile import pretty
from shared.errors import TailTwinError
from shared.signals import SignalSet, load_signal_set

ELEMENTS_MAX = 20_000  # of both engines; bundle.json stays under 300 kB


def reduce_type(recipe: Recipe, signals: SignalSet) -> Bundle:
    """The declaration; Rejected when the model does not speak over the envelope."""
    from ground.models.turbofan.engine import load_engine_type

    engine = load_engine_type(recipe.engine_type)
    envelope = box_envelope(recipe.envelope)
    parent, count = turbofan_parent(engine, nominal(engine)), len(recipe.engines)
    table, figures = reduce_to_table(
        [parent], envelope, recipe.shape, recipe.draws, recipe.smoothness, ELEMENTS_MAX // count
    )
    table = msgspec.structs.replace(
        table,
        values=table.values * count,
        effects=tuple(
            msgspec.structs.replace(x, coefficients=x.coefficients * count) for x in table.effects
        ),
    )
    card = recipe.card
    bundle = Bundle(
        name=recipe.name, version=recipe.version, release=recipe.release, rate_hz=recipe.rate_hz,
        instances=recipe.instances, inputs=ports_of(recipe, envelope),
        outputs=tuple(
            Output(name=n, unit=x.unit, lsb=x.lsb, valid=x.valid)
            for n, x in recipe.outputs.items()
        ),
        monitors=recipe.limits, applicability=recipe.applicability, ata=recipe.ata,
        requirements=Requirements(nodes=1, tensor_elements=1),
        model_card=ModelCard(
            purpose=card.purpose, method=card.method, limits=card.limits, figures=figures
        ),
        calibration=Calibration(
            source=f"{engine.name} at nominal health over the type's envelope; no flight",
            seeds=(recipe.draws.seed,), fitted_by=code_version("ground.calibrate.type_rom"),
            signal_set_sha256=signals.sha256.hex(),
        ),
        full_fidelity=f"{engine.name} sha256:{engine.sha256}", behaviour=table,
    )  # fmt: skip
    shares = recipe.calibratable
    return msgspec.structs.replace(
        bundle, requirements=requirements_of(bundle),
        calibratable=calibratable_of(bundle, shares.values, shares.effects),
    )  # fmt: skip


def main(arguments: list[str]) -> int:
    """Exit code 0, or that of the error that was printed."""
    parser = argparse.ArgumentParser(prog="python -m ground.calibrate.type_rom")
    parser.add_argument("recipe", type=Path)
    parser.add_argument("--out", type=Path, required=True, help="the declaration, .json")
    options = parser.parse_args(arguments)
    try:
        recipe = load_recipe(options.recipe)
        signals = load_signal_set(options.recipe.parent / recipe.signal_set)
        bundle = reduce_type(recipe, signals)
    except TailTwinError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    options.out.write_bytes(pretty(bundle))
    for name, value in bundle.model_card.figures.items():
        print(f"{name} {value:g}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
