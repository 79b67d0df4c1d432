"""`tailtwin-edge updates`: what is live, what waits and for what, and why."""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from edge.commands import Commands, add_state, command, printable

if TYPE_CHECKING:
    from edge.update.overview import Bundle, Overview, Told

LAST = 20
LAST_MAX = 10_000
WIDTH = 16


def add(commands: Commands) -> None:
    parser = command(
        commands, "updates", "show what is live, what waits for what, and every decision on models",
        """tailtwin-edge updates --state /var/lib/tailtwin
        tailtwin-edge updates --state /var/lib/tailtwin --last 5 --json
        tailtwin-edge updates --state /var/lib/tailtwin --look --by J-17""",
    )  # fmt: skip
    add_state(parser)
    parser.add_argument("--json", action="store_true", help="for programs")
    parser.add_argument("--last", type=int, default=LAST, metavar="N",
                        help=f"decisions to show (default {LAST})")  # fmt: skip
    parser.add_argument("--recovery-key", type=Path, metavar="FILE",
                        help="open with the offline key, not with that of the state folder")  # fmt: skip
    parser.add_argument("--scratch", type=Path, metavar="DIR",
                        help="folder with room for a copy of the outbox, which is what is read")  # fmt: skip
    parser.add_argument("--look", action="store_true",
                        help="ask the edge to look at what is directed, at the open gate")  # fmt: skip
    parser.add_argument("--by", default="", metavar="NAME", help="who asks, with --look; recorded")
    parser.set_defaults(act=_run)


def _run(args: argparse.Namespace) -> int:
    from edge.commands.verify import keyring, scratch_folder
    from edge.outbox.copy import StoreCopy, take
    from edge.update.overview import look
    from edge.update.requests import Look, leave
    from shared.errors import ConfigError, Rejected

    if not 0 < args.last <= LAST_MAX:
        raise ConfigError(f"--last {args.last}", "updates", f"1 to {LAST_MAX}")
    if args.look and not args.by:
        raise ConfigError("--look without --by", "updates", "say who asks: it is recorded")
    if args.look:
        leave(args.state, Look(by=args.by))
        print(f"asked for by {args.by}; the edge looks once the gate is open")
        return 0
    if args.state.is_dir() and not (args.state / "outbox.db").exists():
        raise Rejected("the edge has not run here yet: nothing was decided", str(args.state),
                       "start it: tailtwin-edge run")  # fmt: skip
    with scratch_folder(args.scratch) as scratch:
        copied = take(args.state / "outbox.db", Path(scratch))
        with StoreCopy(copied, keyring(args.state, args.recovery_key)) as copy:
            overview = look(args.state, copy, args.last, time.time_ns(), Path(scratch))
    if args.json:
        import msgspec

        print(msgspec.json.format(msgspec.json.encode(overview), indent=2).decode())
    else:
        print("\n".join(map(printable, lines(overview))))
    return 0


def lines(overview: Overview) -> Iterator[str]:
    """The table, for people."""
    for title, texts in _rows(overview):
        first, *more = texts or ["none"]
        yield f"{title:{WIDTH}}{first}"
        yield from (f"{'':{WIDTH}}{text}" for text in more)
    yield ""
    yield f"{'time':21}{'phase':10}{'gate':6}{'step':12}{'decision':13}{'from':23}{'set':18}what"
    for told in overview.decisions:
        yield from _decision(told)


def _rows(o: Overview) -> Iterator[tuple[str, list[str]]]:
    if o.fault:
        yield "LIVE SET DAMAGED", [o.fault]
    elif not o.set_id:
        yield "live", ["nothing is installed"]
    else:
        yield "live", [f"set {o.set_id}, slot {o.slot}", *map(_bundle, o.bundles)]
    if o.probation is not None:
        since = f" since {_at(o.probation.since_ns)}" if o.probation.since_ns else ""
        flights = f", {o.probation.flights} flights were not enough" * bool(o.probation.flights)
        yield "on probation", [f"waits for {o.probation_waits_for}{since}{flights}"]
    is_live = ", the live one" * (o.last_good == o.set_id)
    yield "last known good", [f"set {o.last_good}{is_live}" if o.last_good else "none"]
    yield "goes back to", [f"set {o.goes_back_to}" if o.goes_back_to else "nothing"]
    if o.left:
        yield "left for good", o.left
    yield "waits", _waits(o)
    roles = [f"{r.repository} {r.role} {r.version}, until {r.expires}" for r in o.roles]
    yield "metadata", roles
    if o.needed:
        yield "NEEDED", o.needed


def _waits(o: Overview) -> list[str]:
    waits = [
        f"{x.target or 'what is directed'} (from {x.origin}{_by(x.by)})" for x in o.waits.offers
    ]
    if o.waits.awaited is not None:
        which, bundles = o.waits.awaited.set_id, ", ".join(o.waits.awaited.bundles)
        by = o.waits.accepted.get(which)
        ask = f"for a technician: tailtwin-edge accept {which}"
        waits.append(
            f"set {which} ({bundles}) {ask if by is None else f'for the open gate, accepted by {by}'}"
        )
    if o.waits.back is not None:
        back = o.waits.back
        waits.append(
            f"to go back from set {back.set_id}, at the open gate ({back.code}: {back.why})"
        )
    return waits or ["nothing"]


def _bundle(bundle: Bundle) -> str:
    return f"{bundle.name} {bundle.release}" + f"   MUTED: {bundle.muted}" * bool(bundle.muted)


def _decision(told: Told) -> Iterator[str]:
    detail = told.detail
    who = detail.get("origin", told.kind) + _by(detail.get("by", ""))
    what = detail.get("bundles") or told.subject or detail.get("name", "")
    what = f"back to set {detail['to']}" if "to" in detail else what
    yield (
        f"{_at(told.t_ns):21}{told.phase:10}{detail.get('gate', ''):6}{detail.get('step', ''):12}"
        f"{told.decision:13}{who:22} {detail.get('set', ''):18}{what}"
    )
    yield from (f"{'':21}- {reason}" for reason in told.reasons)


def _by(who: str) -> str:
    return f" {who}" if who else ""


def _at(t_ns: int) -> str:
    return datetime.fromtimestamp(t_ns / 1e9, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
