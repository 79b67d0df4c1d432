"""`tailtwin-ground calibrate`: a release made for a tail's engines, as a signing request."""

from __future__ import annotations

import argparse
import getpass
from pathlib import Path
from typing import TYPE_CHECKING

from ground.commands import Commands, command
from ground.config import Paths

if TYPE_CHECKING:
    from shared.profile import ModelBounds

EXAMPLES = """
tailtwin-ground calibrate --state var/ground --tail B737-28001 --tuf-repo var/tuf --out request
tailtwin-ground calibrate --state var/ground --tail B737-28001 \\
    --before egt_rom_v1.json --flights F1,F2 --out request
tailtwin-sign attest --keys ~/keys --key attestor-1 --builder https://ground.example/calibrate --source . \\
    --request request
tailtwin-sign publish --repo var/tuf --keys ~/desk --role calibration --request request
"""


def add(commands: Commands) -> None:
    parser = command(
        commands, "calibrate", "fit a tail's ROM to full fidelity; writes a signing request",
        EXAMPLES,
    )  # fmt: skip
    parser.add_argument("--tail", required=True)
    parser.add_argument("--model", default="egt_rom", metavar="NAME", help="(egt_rom)")
    parser.add_argument("--flights", default="", metavar="FLIGHT,…",
                        help="whose envelope counts (default: the newest 20 closed ones)")  # fmt: skip
    before = parser.add_mutually_exclusive_group(required=True)
    before.add_argument("--tuf-repo", type=Path, metavar="DIR",
                        help="go on from the newest release published here")  # fmt: skip
    before.add_argument("--before", type=Path, metavar="FILE",
                        help="go on from this declaration or bundle")  # fmt: skip
    parser.add_argument("--release", type=int, default=0, metavar="N",
                        help="number of the new release (default: the next one)")  # fmt: skip
    parser.add_argument("--profile", type=Path, metavar="TOML",
                        help="of the flight computer whose bounds hold (default: the defaults)")  # fmt: skip
    parser.add_argument("--by", default="", metavar="WHO", help="who asks (default: this account)")
    parser.add_argument("--reason", default="", metavar="WHY")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="a new folder")
    parser.set_defaults(act=run)


def run(args: argparse.Namespace) -> int:
    from ground.calibrate.job import Order, declared, make_request, published
    from shared.clock import SystemClock
    from shared.request import load_request, summary

    if args.before:
        before, parent = declared(args.before)
        release = before.release + 1
    else:
        found = published(args.tuf_repo, args.model, args.tail)
        before, parent, release = found.newest, found.parent, found.release
    order = Order(
        tail=args.tail, before=before, parent=parent, release=args.release or release,
        by=args.by or getpass.getuser(), reason=args.reason,
        flights=tuple(x for x in args.flights.split(",") if x), bounds=_bounds(args.profile),
    )  # fmt: skip
    make_request(Paths(args.state), order, args.out, SystemClock().wall_ns(),
                 lambda _share, text: print(text, flush=True))  # fmt: skip
    request, files = load_request(args.out)
    print(summary(request, files.bundle))
    print(f"in {args.out}: `tailtwin-sign attest --request {args.out}`, then `publish` likewise")
    return 0


def _bounds(profile: Path | None) -> ModelBounds:
    """Of the `[compute]` section of an edge profile."""
    import tomllib

    from shared.errors import ConfigError
    from shared.profile import ModelBounds, compute_profile

    if profile is None:
        return ModelBounds()
    try:
        section = tomllib.loads(profile.read_text()).get("compute", {})
    except (OSError, ValueError) as error:
        raise ConfigError(f"cannot read: {error}", str(profile), "check the path") from None
    return compute_profile(section, f"{profile}: compute").models
