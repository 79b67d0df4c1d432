"""`tailtwin-ground baseline`: fit, approve and show the baselines of engines."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from ground.commands import Commands, command, second, write_out
from ground.config import Paths

EXAMPLES = """
tailtwin-ground baseline fit --rows 894101.npz --out 894101.json
tailtwin-ground baseline approve --state var/ground --esn 894101 --event wash \\
    --file 894101.json --by INITIALS --reason 'work order 4711'
tailtwin-ground baseline show --state var/ground --esn 894101
"""
ENGINE_TYPE = "hbtf_cfm56"
CHAIN_BROKEN = 74  # EX_IOERR, as of other damaged stores
NOTED_SIGMAS = 2.0  # of the scatter of new engines, from which on a person is told
EVENTS = ("installation", "engine_change", "wash", "shop_visit")


def add(commands: Commands) -> None:
    text = "fit, approve and show what an engine shows when it is healthy"
    parser = commands.add_parser(
        "baseline", help=text, description=text[:1].upper() + text[1:] + ".",
        epilog="examples:\n" + "".join(f"  {x}\n" for x in EXAMPLES.strip().splitlines()),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    fit = actions.add_parser("fit", help="fit pass-off rows; writes a proposal, changes nothing")
    fit.add_argument("--rows", type=Path, required=True, metavar="FILE", help=".npz or .csv, 1 Hz")
    fit.add_argument("--out", type=Path, required=True, metavar="FILE.json")
    fit.add_argument("--esn", default="", help="of rows that do not say it")
    fit.add_argument("--part-number", default="", help="of rows that do not say it")
    fit.set_defaults(act=_fit)
    approve = command(actions, "approve", "let a proposal hold from a maintenance event on")
    approve.add_argument("--esn", required=True)
    approve.add_argument("--event", required=True, choices=EVENTS)
    approve.add_argument("--file", type=Path, required=True, metavar="FILE.json")
    approve.add_argument("--by", required=True, metavar="WHO")
    approve.add_argument("--reason", required=True, metavar="WHY")
    approve.add_argument("--since", default="", metavar="TIME",
                         help="of the event, RFC 3339 (default: now; of a first one: always)")  # fmt: skip
    approve.set_defaults(act=_approve)
    show = command(actions, "show", "list what was approved")
    show.add_argument("--esn", default="")
    show.add_argument("--json", action="store_true")
    show.set_defaults(act=_show)


def _fit(args: argparse.Namespace) -> int:
    import msgspec

    from ground.calibrate.baseline_fit import fit_baseline
    from ground.calibrate.passoff import load_pass_off
    from ground.models.baseline import UNITS
    from ground.models.turbofan.engine import load_engine_type

    rows = load_pass_off(args.rows, args.esn, args.part_number)
    found = fit_baseline(load_engine_type(ENGINE_TYPE), rows)
    text = msgspec.json.format(msgspec.json.encode(found, order="deterministic"), indent=2)
    write_out(args.out, text + b"\n")
    print(f"ESN {found.esn}: {found.rows} steady rows of {found.source}")
    for name, sigma in found.health_sigma.items():
        print(f"  {name:9} {100 * found.health[name]:+6.2f} % ± {100 * sigma:.2f}")
    for name, sigma in found.sigma.items():
        unit = UNITS[name]
        print(f"  {name:4} held-out rows: {sigma:.3g} {unit} rms a second, smoothed "
              f"{found.smoothed_rms[name]:.3g} {unit} rms, {found.smoothed_worst[name]:.3g} {unit} "
              "worst")  # fmt: skip
    print(f"  a proposal in {args.out}; `baseline approve` lets it hold")
    return 0


def _approve(args: argparse.Namespace) -> int:
    from ground.calibrate.baselines import Baselines
    from ground.models.baseline import BYTES_MAX, parse_baseline
    from ground.models.turbofan.engine import load_engine_type
    from ground.twins.control import Control
    from shared.clock import SystemClock
    from shared.errors import Rejected

    try:
        with args.file.open("rb") as file:
            proposal = parse_baseline(file.read(BYTES_MAX + 1), str(args.file))
    except OSError as error:
        raise Rejected(f"cannot read: {error.strerror}", str(args.file), "check the path") from None
    if proposal.esn != args.esn:
        raise Rejected(f"is of ESN {proposal.esn}, not {args.esn}", str(args.file), "check --esn")
    paths = Paths(args.state)
    engine = load_engine_type(ENGINE_TYPE)
    control = Control.open(paths.control)
    since_ns = _time_ns(args.since) if args.since else None
    _need_no_open_case(paths, args.esn)
    before = Baselines.open(paths.control).of_esn(args.esn)
    row = Baselines.open(paths.control, write=True).approve(
        proposal, args.event, args.by, args.reason, engine_sha256=engine.sha256, control=control,
        now_ns=SystemClock().wall_ns(), since_ns=since_ns,
    )  # fmt: skip
    print(f"baseline {row.serial} of ESN {args.esn} holds from {_since(row.since_ns)}: "
          f"{args.event}, by {row.baseline.approved_by}, {row.baseline.sha256[:16]}")  # fmt: skip
    for line in _moves(row.baseline.health, before.health if before else None):
        print(line)
    return 0


def _need_no_open_case(paths: Paths, esn: str) -> None:
    """Rejected while somebody still has to look into this engine: a finding is no new normal."""
    from ground.database import open_reader, open_writer
    from ground.reconcile.casefile import ACTIVE
    from ground.reconcile.cases import LISTED_MAX, Cases
    from shared.errors import Rejected

    cases = Cases(open_writer(paths.control), open_reader(paths.control))
    found = [x for x in cases.listed(ACTIVE, limit=LISTED_MAX) if f":{esn}:" in x.subject]
    if found:
        raise Rejected(
            f"case {found[0].id} is {found[0].state}: {found[0].title}", f"ESN {esn}",
            f"close it with what was done (`tailtwin-ground cases {found[0].id} --close …`) first",
        )  # fmt: skip


def _moves(health: dict[str, float], before: dict[str, float] | None) -> list[str]:
    """What a person who approves must see: health that is not that of a new engine, or moved."""
    from ground.calibrate.baseline_fit import PRIOR

    was = before or {}
    return [
        f"  note: {name} is {100 * value:+.2f} % of the type"
        + (f", was {100 * was.get(name, 0.0):+.2f} %" if before is not None else "")
        + f"; new engines scatter by {100 * PRIOR:g} %: was it healthy?"
        for name, value in sorted(health.items(), key=lambda x: x[1])
        if abs(value - was.get(name, 0.0)) > NOTED_SIGMAS * PRIOR
    ]


def _show(args: argparse.Namespace) -> int:
    import msgspec

    from ground.calibrate.baselines import Baselines

    store = Baselines.open(Paths(args.state).control)
    rows, faults = store.history(args.esn), store.faults()
    for fault in faults:
        print(fault, file=sys.stderr)
    code = CHAIN_BROKEN if faults else 0
    if args.json:
        print(json.dumps([msgspec.to_builtins(row) for row in rows], indent=1))
        return code
    print(f"{'ESN':10} {'event':13} {'holds from':20} {'approved':20} {'by':16} "
          f"{'sha-256 begins':16}  reason")  # fmt: skip
    for row in rows:
        b = row.baseline
        print(f"{b.esn:10} {b.event:13} {_since(row.since_ns):20} "
              f"{second(b.approved_ns):20} {b.approved_by:16.16} {b.sha256[:16]}  {b.reason}")  # fmt: skip
    if not rows:
        print(f"no baseline of ESN {args.esn} is approved" if args.esn else "none is approved")
    return code


def _since(since_ns: int) -> str:
    return second(since_ns) if since_ns else "always"


def _time_ns(text: str) -> int:
    from ground.api.times import parse_time

    return parse_time(text, "--since")
