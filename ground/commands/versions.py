"""`tailtwin-ground versions`: what the fleet runs, one line a tail, or one tail in whole."""

from __future__ import annotations

import argparse
import json
from typing import TYPE_CHECKING

from ground.commands import Commands, command, second
from ground.config import Paths

if TYPE_CHECKING:
    from ground.twins.control import Twin
    from ground.twins.versions import Known, Refused, Versions
    from shared.messages import VersionReport


def add(commands: Commands) -> None:
    parser = command(
        commands, "versions", "say what the fleet runs, by the signed reports of its aircraft",
        """
        tailtwin-ground versions --state var/ground
        tailtwin-ground versions --state var/ground --tail B737-28001 --json
        """,
    )  # fmt: skip
    parser.add_argument("--tail", default="", help="one tail, in whole")
    parser.add_argument("--json", action="store_true")
    parser.set_defaults(act=run)


def run(args: argparse.Namespace) -> int:
    from ground.database import open_reader
    from ground.twins.control import Control
    from ground.twins.versions import Versions
    from shared.errors import Rejected
    from shared.topics import check_identifier

    paths = Paths(args.state)
    if args.tail:
        check_identifier(args.tail, "--tail")
    twins = [t for t in Control.open(paths.control).twins() if args.tail in ("", t.tail)]
    if args.tail and not twins:
        raise Rejected("not enrolled", f"--tail {args.tail}", "enrol it first")
    versions = Versions(open_reader(paths.ledger))
    known = versions.fleet(twins)
    if args.json:
        print(json.dumps([_as_json(t, known.get(t.tail), versions) for t in twins], indent=1))
    elif args.tail:
        _print_one(twins[0], known.get(args.tail), versions.refused(args.tail))
    else:
        _print_fleet(twins, known)
    return 0


def _as_json(twin: Twin, known: Known | None, versions: Versions) -> dict[str, object]:
    import msgspec

    return {
        "tail": twin.tail, "t_ground_ns": known and known.t_ground_ns,
        "report": known and msgspec.to_builtins(known.report),
        "refused": [msgspec.to_builtins(one) for one in versions.refused(twin.tail)],
    }  # fmt: skip


def _print_fleet(twins: list[Twin], known: dict[str, Known]) -> None:
    print(f"{'tail':32} {'set':16} {'probation':9} {'said':20} bundles")
    for twin in twins:
        one = known.get(twin.tail)
        if one is None:
            print(f"{twin.tail:32} {'-':16} {'-':9} {'-':20} nothing was said yet")
            continue
        report = one.report
        bundles = ", ".join(f"{b.name} {b.release}{' (muted)' if b.muted else ''}"
                            for b in report.bundles)  # fmt: skip
        print(f"{twin.tail:32} {report.set_id or '-':16} {'yes' if report.probation else 'no':9} "
              f"{_event_time(report):20} {bundles or 'no set'}")  # fmt: skip


def _event_time(report: VersionReport) -> str:
    from shared.envelope import TIME_NONE

    return "-" if report.t_quality == TIME_NONE else second(report.t_event_ns)


def _print_one(twin: Twin, known: Known | None, refused: list[Refused]) -> None:
    if known is None:
        print(f"{twin.tail}: its enrolled device has not said what it runs")
    else:
        _print_report(twin, known)
    for one in refused:
        print(f"does not count, came {second(one.t_ground_ns)}: {one.reason}: {one.detail}")


def _print_report(twin: Twin, known: Known) -> None:
    report = known.report
    state = "on probation" if report.probation else "passed"
    print(f"{twin.tail}  report {report.counter} of device {known.key_id}, {report.why}, "
          f"{_event_time(report)}")  # fmt: skip
    print(f"set {report.set_id or 'none'} in slot {report.slot or '-'}, {state}; "
          f"last known good {report.last_good or 'none'}")  # fmt: skip
    for bundle in report.bundles:
        muted = f"  muted: {bundle.muted}" if bundle.muted else ""
        print(f"  {bundle.name} {bundle.release}  {bundle.sha256[:12]}{muted}")
    for name, roles in report.tuf.items():
        print(f"{name} metadata: " + ", ".join(f"{k} {v}" for k, v in roles.items()))
    print("engines: " + (", ".join(f"{e.position} {e.esn}" for e in report.engines) or "none"))
    if report.left:
        print("left behind: " + ", ".join(report.left))
    for refusal in report.refusals:
        what = refusal.bundle or f"set {refusal.set_id}"
        print(f"  {second(refusal.t_ns)}  {refusal.decision} at {refusal.step}: {what} "
              f"({', '.join(dict.fromkeys(refusal.codes))})")  # fmt: skip
