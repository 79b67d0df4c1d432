"""`tailtwin-ground cases`: what reconciliation found, and what people do about it."""

from __future__ import annotations

import argparse
import json
from typing import TYPE_CHECKING

from ground.commands import Commands, command, second
from ground.config import Paths, load_config

if TYPE_CHECKING:
    from ground.reconcile.casefile import Case, CaseFile, State
    from ground.reconcile.cases import Cases

CHAIN_BROKEN = 74  # EX_IOERR of sysexits.h, as for anything stored that is damaged


def add(commands: Commands) -> None:
    parser = command(
        commands, "cases", "list cases, show one, or move it on",
        """tailtwin-ground cases --state var/ground
        tailtwin-ground cases C000001 --state var/ground
        tailtwin-ground cases C000001 --state var/ground --take 'line maintenance'
        tailtwin-ground cases C000001 --state var/ground --work
        tailtwin-ground cases C000001 --state var/ground --close 'core wash, EGT back by 18 K'
        tailtwin-ground cases C000001 --state var/ground --reject 'gauge was swapped on the bench'""",
    )  # fmt: skip
    parser.add_argument("case", nargs="?", default="", metavar="ID", help="as C000001")
    parser.add_argument("--all", action="store_true", help="closed and rejected ones too")
    moves = parser.add_mutually_exclusive_group()
    moves.add_argument("--take", metavar="NAME", help="own it; open becomes acknowledged")
    moves.add_argument("--work", action="store_true", help="it is in work")
    moves.add_argument("--close", metavar="RESOLUTION", help="what was done")
    moves.add_argument("--reject", metavar="WHY", help="why it is no case")
    parser.add_argument("--by", default="", metavar="NAME",
                        help="who says so; without it the account's name")  # fmt: skip
    parser.add_argument("--verify", action="store_true", help="check the chain of all changes")
    parser.add_argument("--json", action="store_true")
    parser.set_defaults(act=run)


def run(args: argparse.Namespace) -> int:
    from ground.database import open_reader, open_writer
    from ground.reconcile.casefile import ACTIVE
    from ground.reconcile.cases import Cases

    paths = Paths(args.state)
    load_config(paths)
    cases = Cases(open_writer(paths.control), open_reader(paths.control))
    if args.verify:
        return _verify(cases.faults())
    if not args.case:
        _need_none(args)
        _print_list(cases.listed(() if args.all else ACTIVE), args)
        return 0
    _move(cases, args)
    file = cases.file(args.case)
    if file is None:
        from shared.errors import Rejected

        raise Rejected("no such case", args.case, "see `tailtwin-ground cases --all`")
    _print_file(file, as_json=args.json)
    return 0


def _need_none(args: argparse.Namespace) -> None:
    from shared.errors import Rejected

    if args.work or any(x is not None for x in (args.take, args.close, args.reject)):
        raise Rejected("which case?", "cases", "name it: `tailtwin-ground cases C000001 --take …`")


def _move(cases: Cases, args: argparse.Namespace) -> None:
    import os
    import pwd

    from shared.clock import SystemClock
    from shared.errors import Rejected

    to: State | None = None
    owner, why = None, ""
    if args.take is not None:
        if not args.take.strip():
            raise Rejected("nobody is named", "--take", "name who owns it")
        file = cases.file(args.case)
        to = "acknowledged" if file is not None and file.case.state == "open" else None
        owner = args.take
    elif args.work:
        to = "in_work"
    elif args.close is not None:
        to, why = "closed", args.close
    elif args.reject is not None:
        to, why = "rejected", args.reject
    else:
        return
    by = args.by or args.take or pwd.getpwuid(os.getuid()).pw_name
    cases.move(args.case, by, SystemClock().wall_ns(), to=to, owner=owner, why=why)


def _verify(faults: list[str]) -> int:
    for fault in faults:
        print(fault)
    print("the chain of changes is " + ("broken" if faults else "whole"))
    return CHAIN_BROKEN if faults else 0


def _print_list(found: list[Case], args: argparse.Namespace) -> None:
    import msgspec

    if args.json:
        print(json.dumps(msgspec.to_builtins(found), indent=1))
        return
    print(f"{'case':9} {'kind':11} {'state':12} {'owner':16} {'changed':20} what")
    for one in found:
        print(f"{one.id:9} {one.kind:11} {one.state:12} {one.owner or '-':16.16} "
              f"{second(one.changed_ns)} {one.title}")  # fmt: skip
    if not found:
        print(
            "no case is here" if args.all else "none is open; --all lists closed and rejected ones"
        )


def _print_file(file: CaseFile, *, as_json: bool) -> None:
    import msgspec

    if as_json:
        print(json.dumps(msgspec.to_builtins(file), indent=1))
        return
    one = file.case
    print(f"{one.id} ({one.kind}) is {one.state}, owner {one.owner or 'none'}: {one.title}")
    if one.follows:
        print(f"  it comes again after {one.follows}")
    print(f"  to do: {one.advice}" if not one.resolution else f"  resolution: {one.resolution}")
    print("evidence")
    for each in file.evidence:
        print(f"  {each.flight} revision {each.closure_revision}, result {each.result[:12]}")
        print(f"    {each.text}")
    print("changes")
    for change in file.changes:
        moved = f"{change.from_state or '-'} to {change.to_state}"
        print(f"  {second(change.t_ns)} {change.who:16.16} {change.what:12} {moved:24} "
              f"{change.why}")  # fmt: skip
