"""`tailtwin-ground what-if`: a flight or a steady point under other conditions."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from ground.commands import Commands, command, write_out
from ground.config import Paths

if TYPE_CHECKING:
    from ground.whatif.answer import Answer, EngineAnswer, Scenario

EXAMPLES = """
tailtwin-ground what-if --state var/ground --flight F --set isa_dev=+15 --set hpc_eff=-2%
tailtwin-ground what-if --state var/ground --point n1=90,mach=0.78,altitude=35000,isa_dev=15
tailtwin-ground what-if --state var/ground --model tank --hours 10 --set heat_leak=+20%
"""


def add(commands: Commands) -> None:
    parser = command(commands, "what-if", "answer a flight or a point under other conditions",
                     EXAMPLES)  # fmt: skip
    parser.add_argument("--flight", default="", metavar="FLIGHT", help="a closed flight")
    parser.add_argument("--point", default="", metavar="NAME=VALUE,…",
                        help="n1, mach, altitude, and isa_dev, ambient or tat; bleed, anti_ice")  # fmt: skip
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", dest="changes",
                        help="one change, such as isa_dev=+15 or 'ambient=50 Cel'; repeat it")  # fmt: skip
    parser.add_argument("--model", choices=("engine", "tank"), default="engine")
    parser.add_argument("--esn", default="", help="this engine only; of a point: its baseline")
    parser.add_argument("--nominal", action="store_true", help="the type's engine, not the ESN's")
    parser.add_argument("--hold", choices=("n1", "thrust"), default="n1",
                        help="what stays as it was (default n1)")  # fmt: skip
    parser.add_argument("--egt-limit", default="930 Cel", metavar="VALUE",
                        help="for the margin, such as '950 Cel' (default 930 Cel)")  # fmt: skip
    parser.add_argument("--hours", type=float, default=10.0, help="of a tank (default 10)")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--plot", type=Path, metavar="FILE.html",
                        help="the answer as a page with its curves")  # fmt: skip
    parser.set_defaults(act=run)


def run(args: argparse.Namespace) -> int:
    from ground.whatif.answer import encode_answer
    from ground.whatif.request import Asked, check
    from ground.whatif.run import run as answer_it
    from ground.whatif.sources import sources_of

    request = check(Asked(
        model=args.model, flight=args.flight, point=_pairs(args.point.split(","), "--point"),
        set=_pairs(args.changes, "--set"), esn=args.esn, hold=args.hold, hours=args.hours,
        baseline="nominal" if args.nominal else "esn", egt_limit=args.egt_limit,
    ))  # fmt: skip
    answer = answer_it(request, sources_of(Paths(args.state)))
    if args.plot:
        from ground.paper.page import page
        from ground.whatif.paper import document

        write_out(args.plot, page(document(answer)).encode())
    if args.json:
        print(encode_answer(answer).decode())
    else:
        _print(answer)
    return 0


def _pairs(texts: list[str], where: str) -> dict[str, float | int | str | bool]:
    from shared.errors import Rejected

    found: dict[str, float | int | str | bool] = {}
    for text in filter(None, texts):
        name, equals, value = text.partition("=")
        name = name.strip()
        if not equals or not name or name in found:
            raise Rejected(f"{text[:60]!r} is not NAME=VALUE, or its name stands twice", where,
                           "such as isa_dev=+15")  # fmt: skip
        found[name] = value.strip()
    return found


def _print(answer: Answer) -> None:
    from ground.whatif.paper import changes_text

    print(f"{answer.flight or 'steady'}: {changes_text(answer)}")
    for engine in answer.engines:
        _print_engine(engine, is_changed=bool(answer.request["set"]))
    if answer.scenario is not None:
        _print_scenario(answer.scenario)
    for note in answer.notes:
        print(f"  note: {note}")
    print(f"  request {answer.request_sha256[:12]}, {answer.seconds:.1f} s")


def _print_engine(engine: EngineAnswer, *, is_changed: bool) -> None:
    name = f"engine {engine.position}" if engine.position else "engine"
    esn = f"ESN {engine.esn}" if engine.esn else "type nominal"
    print(f"\n{name} ({esn}), {engine.points} point{'' if engine.points == 1 else 's'}")
    head = f" {'changed':>11} {'mean change':>12} {'largest':>10}" if is_changed else ""
    print(f"  {'':8} {'phase':10} {'points':>7} {'baseline':>11}{head}  unit")
    for one in engine.changes:
        change = (f" {one.changed:11.1f} {_change(one.mean_change):>12} "
                  f"{_change(one.largest_change):>10}" if is_changed else "")  # fmt: skip
        print(f"  {one.output:8} {one.phase:10} {one.points:7d} {one.baseline:11.1f}{change}  "
              f"{one.unit}")  # fmt: skip
    shown = ("baseline", "changed") if is_changed else ("baseline",)
    for margin in (one for one in engine.margins if one.case in shown):
        print(f"  EGT margin, {margin.case:9} {margin.margin_k:+8.1f} K to {margin.limit_cel:g} Cel"
              + (f", {margin.points_above} points above" if margin.points_above else ""))  # fmt: skip
    counts: dict[tuple[str, str], int] = {}
    for refused in (one for one in engine.refused if one.case in shown):
        key = (refused.case, refused.reason)
        counts[key] = counts.get(key, 0) + refused.points
    for (case, reason), points in counts.items():
        print(f"  no answer, {case:9} {points:7d} points: {reason.replace('_', ' ')}")


def _print_scenario(scenario: Scenario) -> None:
    print(f"\n{scenario.model} over {scenario.hours[-1]:g} h")
    print(f"  {'at the end':24} {'baseline':>12} {'changed':>12}  unit")
    for curve in scenario.curves:
        ends = [_value(values[-1]) for values in (curve.baseline, curve.changed)]
        print(f"  {curve.name:24} {ends[0]:>12} {ends[1]:>12}  {curve.unit}")
    for text in scenario.events:
        print(f"  {text}")


def _change(value: float) -> str:
    return f"{round(value, 2) + 0.0:+.2f}"  # no -0.00


def _value(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
