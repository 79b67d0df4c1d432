"""Train the RUL model on NASA's C-MAPSS FD001; writes its declaration (.json) and graph (.onnx).

Reads train_FD001.txt and nothing else: the test set is opened by
`python -m ground.prognostics.evaluate_rul` only. Some two minutes on one core.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from ground.prognostics.cmapss import WHERE, read_training
from ground.prognostics.rul_bundle import declare
from ground.prognostics.rul_fit import Settings, fit
from shared.bundlefile import pretty
from shared.errors import Rejected, TailTwinError


def train_rul(data: Path, out: Path, settings: Settings | None = None) -> dict[str, float]:
    """Validation figures; writes `out` and, beside it, .onnx."""
    if out.suffix != ".json":
        raise Rejected("is not a .json", str(out), "the graph goes beside it as .onnx")
    fleet, settings = read_training(data), settings or Settings()
    fitted = fit(fleet, settings, say=print)
    bundle, graph = declare(fitted, fleet, settings)
    out.write_bytes(pretty(bundle))
    out.with_suffix(".onnx").write_bytes(graph)
    return fitted.figures


def main(arguments: list[str]) -> int:
    """Exit code 0, or that of the error that was printed."""
    parser = argparse.ArgumentParser(
        prog="python -m ground.prognostics.train_rul", description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.add_argument("--data", type=Path, help="folder with train_FD001.txt or .txt.gz")
    parser.add_argument("--out", type=Path, required=True, help="the declaration, .json")
    options = parser.parse_args(arguments)
    try:
        if options.data is None:
            raise Rejected("no data is shipped", "--data", f"name the folder; {WHERE}")
        figures = train_rul(options.data, options.out)
    except TailTwinError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    for name, value in figures.items():
        print(f"{name} {value:g}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
