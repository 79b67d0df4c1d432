"""`python -m shared.behaviour FILE.toml`: is this model sound, and what does it cost?

Prints the figures of a sound model, or every fault by name; `--out` writes the ONNX graph.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from shared.behaviour.declaration import Declaration, load_declaration
from shared.behaviour.examine import Examination, Figures, examine
from shared.errors import Rejected, TailTwinError
from shared.files import write_durably


def parser() -> argparse.ArgumentParser:
    arguments = argparse.ArgumentParser(
        prog="python -m shared.behaviour",
        description="Check a behavioural model (TOML) and compile it to ONNX.",
        epilog="example: python -m shared.behaviour firmware_profiles/models/lipo_3s.toml "
        "--out lipo_3s.onnx",
    )
    arguments.add_argument("file", type=Path, help="the declaration, .toml")
    arguments.add_argument("--out", type=Path, help="where the graph goes, .onnx")
    return arguments


def main(arguments: list[str]) -> int:
    """0 for a sound model, 65 (data) for one with faults, else the error's code."""
    options = parser().parse_args(arguments)
    try:
        declared = load_declaration(options.file)
        found = examine(declared.model)
        print("\n".join(_lines(declared, found)))
        if found.faults:
            return Rejected.exit_code
        if options.out is not None and found.compiled is not None:
            _write(options.out, found.compiled.onnx)
            print(f"written: {options.out}, {len(found.compiled.onnx)} bytes")
    except TailTwinError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    return 0


def _write(path: Path, data: bytes) -> None:
    try:
        write_durably(path, data)
    except OSError as error:
        raise Rejected(f"cannot write: {error.strerror}", str(path), "check the path") from None


def _lines(declared: Declaration, found: Examination) -> list[str]:
    name = f"{declared.name} {declared.version}"
    if found.figures is None:
        count = len(found.faults)
        heading = f"refused: {name}, {count} fault{'s' if count > 1 else ''}"
        return [heading, *(f"  {fault}" for fault in found.faults)]
    return [
        f"accepted: {name}, {found.figures.kind}",
        *_ports(declared),
        *_figures(declared, found.figures),
    ]


def _ports(declared: Declaration) -> list[str]:
    return [
        f"  {kind} {x.name} [{x.unit}] valid {x.valid[0]:g} to {x.valid[1]:g}"
        for kind, ports in (("input", declared.inputs), ("output", declared.outputs))
        for x in ports
    ]


def _figures(declared: Declaration, figures: Figures) -> list[str]:
    lines = [f"  state tensor {k} [{declared.instances}, {w}]" for k, w in figures.states.items()]
    step = figures.stability
    text = f"  step {figures.step_s:g} s, {step.method}"
    if step.method == "rk4":
        many = "s" if step.substeps > 1 else ""
        text += f" in {step.substeps} substep{many}, each step off by at most"
        text += f" {step.error_per_step:.2g} of a state's range"
        text += f"; fastest eigenvalue {step.fastest_per_s:.4g} 1/s"
    if step.spectral_radius is not None:
        text += f", spectral radius {step.spectral_radius:.9g}"
    lines.append(text)
    units = {x.name: x.unit for x in declared.outputs}
    lines += [
        f"  float32 rounds {k} by at most {v:.2g} {units[k]}" for k, v in figures.rounding.items()
    ]
    lines.append(f"  graph of {figures.nodes} nodes, largest tensor {figures.tensor_elements}")
    lines.append(f"  calibration: {declared.calibration}")
    return lines


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
