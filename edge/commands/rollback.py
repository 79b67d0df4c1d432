"""`tailtwin-edge rollback`: leave the live set for the last known good one, at the open gate."""

from __future__ import annotations

import argparse

from edge.commands import Commands, add_state, command


def add(commands: Commands) -> None:
    parser = command(
        commands, "rollback", "go back to the last known good set of models, once the gate is open",
        "tailtwin-edge rollback --state /var/lib/tailtwin --by J-17 --reason 'EGT margin jumps'",
    )  # fmt: skip
    add_state(parser)
    parser.add_argument("--by", required=True, metavar="NAME", help="who wants it; recorded")
    parser.add_argument("--reason", required=True, metavar="TEXT", help="why; recorded")
    parser.set_defaults(act=_run)


def _run(args: argparse.Namespace) -> int:
    from edge.update.requests import Rollback, leave
    from edge.update.slots import Slots
    from shared.errors import Rejected

    slots = Slots(args.state)
    back, view = slots.fallback(), slots.view()
    if back is None:
        raise Rejected("there is no set to go back to", str(args.state), "wait for an update")
    leave(args.state, Rollback(set_id=view.live, by=args.by, reason=args.reason))
    print(f"set {view.live} is left for {back.id} once the gate is open, and not taken again")
    return 0
