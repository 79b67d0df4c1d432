"""`tailtwin-ground offer`: tell a tail of a bundle, and say what it decided."""

from __future__ import annotations

import argparse
import asyncio

from ground.commands import Commands, command
from ground.config import Paths


def add(commands: Commands) -> None:
    parser = command(
        commands, "offer", "tell a tail that there may be a bundle for it",
        "tailtwin-ground offer --state var/ground --tail B737-28001 --target egt_rom/egt_rom-2.0.0",
    )  # fmt: skip
    parser.add_argument("--tail", required=True)
    parser.add_argument("--target", required=True, help="name of the TUF target")
    parser.add_argument(
        "--wait-s", type=float, default=30.0,
        help="how long to repeat it and wait for the tail's decision (default 30)",
    )  # fmt: skip
    parser.set_defaults(act=run)


def run(args: argparse.Namespace) -> int:
    from ground.offers import offer
    from shared.clock import SystemClock

    tail, target = args.tail, args.target
    decided = asyncio.run(offer(Paths(args.state), tail, target, args.wait_s, SystemClock()))
    if decided is None:
        print(f"offered {target} to {tail}; not waiting for its answer")
        return 0
    print(f"{tail} in {decided.phase}: {decided.decision} {target}")
    for reason in decided.reasons:
        print(f"  {reason}")
    if decided.detail.get("pending") == "true":
        print("it waits aboard, and is tried again when the gate opens")
    return 0
