"""`tailtwin-edge admit`: may this model run on that computer, and what would it cost?"""

from __future__ import annotations

import argparse
import asyncio
from pathlib import Path
from typing import TYPE_CHECKING

from edge.commands import Commands, add_profile, command, printable

if TYPE_CHECKING:
    from edge.models.admission import AdmissionResult
    from shared.profile import ModelBounds


def add(commands: Commands) -> None:
    parser = command(
        commands, "admit", "judge a model by the admission rules of a profile; changes nothing",
        """
        tailtwin-edge admit egt_rom-1.0.0-0123456789ab.tar.zst --profile hil_bench.toml
        tailtwin-edge admit model.onnx --profile hil_bench.toml --json
        """,
    )  # fmt: skip
    parser.add_argument(
        "file", type=Path, metavar="FILE",
        help="a bundle (.tar.zst), or a bare .onnx: then only what stands against its graph",
    )  # fmt: skip
    add_profile(parser)
    parser.add_argument("--json", action="store_true", help="the decision as JSON")
    parser.set_defaults(act=_admit)


def _admit(args: argparse.Namespace) -> int:
    """0: it may run; 65: refused, every reason is printed."""
    import msgspec

    from edge.config import load_profile
    from shared.errors import Rejected

    profile, _ = load_profile(args.profile)
    result = asyncio.run(_judge(args.file, profile.compute.models))
    if args.json:
        print(msgspec.json.format(msgspec.json.encode(result)).decode())
    else:
        print("\n".join(map(printable, _told(args.file, result))))
    return 0 if result.ok else Rejected.exit_code


async def _judge(path: Path, bounds: ModelBounds) -> AdmissionResult:
    from edge.models.admission import AdmissionResult, admit, admit_graph

    if path.suffix != ".onnx":
        return await admit(path, bounds)
    try:
        with path.open("rb") as file:
            data = file.read(bounds.unpacked_bytes_max + 1)
    except OSError as error:
        return AdmissionResult(False, [f"cannot read {path.name}: {error.strerror}"])
    return await admit_graph(data, bounds)


def _told(path: Path, result: AdmissionResult) -> list[str]:
    if not result.ok:
        return [f"refused: {path.name}", *(f"  {reason}" for reason in result.reasons)]
    title = (
        f"{result.name} {result.version}, release {result.release}" if result.name else path.name
    )
    cost = result.cost
    lines = [f"accepted: {title}"]
    if not result.name:
        lines = [f"nothing against the graph of {title}; it needs a bundle to run"]
    for value, text in (
        (result.sha256 or None, "sha-256 {}"),
        (cost.nodes, "{} nodes"),
        (cost.constants, "{} constants"),
        (cost.elements_largest, "{} elements in the largest tensor"),
        (cost.operations, "{} operations a step"),
        (cost.step_us, "{:.0f} us of CPU a step of the self-test"),
        (cost.session_mb, "{:.1f} MB of memory for its session"),
    ):
        if value is not None:
            lines.append("  " + text.format(value))
    return lines
