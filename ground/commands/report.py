"""`tailtwin-ground report`: the printable report of one flight, as PDF or HTML."""

from __future__ import annotations

import argparse
from pathlib import Path

from ground.commands import Commands, command, write_out
from ground.config import Paths

SUFFIXES = (".pdf", ".html")


def add(commands: Commands) -> None:
    parser = command(
        commands, "report", "write the printable report of a flight",
        "tailtwin-ground report B737-28001-3f9a1c-F00001 --state var/ground --out report.pdf",
    )  # fmt: skip
    parser.add_argument("flight", metavar="FLIGHT")
    parser.add_argument("--out", type=Path, required=True, metavar="FILE", help=".pdf or .html")
    parser.set_defaults(act=run)


def run(args: argparse.Namespace) -> int:
    from ground.flightreport.contents import contents
    from ground.flightreport.gather import gather
    from ground.flightreport.stores import stores_of
    from shared.errors import Rejected
    from shared.topics import check_identifier

    check_identifier(args.flight, "FLIGHT")
    if args.out.suffix not in SUFFIXES:
        raise Rejected(f"{args.out.suffix!r} is no form of a report", "--out", ".pdf or .html")
    sources = gather(stores_of(Paths(args.state)), args.flight)
    document = contents(sources)
    if args.out.suffix == ".pdf":
        from ground.paper.pdf import pdf

        body = pdf(document, sources.made_ns)
    else:
        from ground.paper.page import page

        body = page(document).encode()
    write_out(args.out, body)
    print(f"{args.out}: {sources.flight}, {len(body):,} bytes")
    return 0
