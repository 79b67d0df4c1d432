"""`tailtwin-ground jobs`: what workers do, did, and gave up."""

from __future__ import annotations

import argparse
import json
from typing import TYPE_CHECKING

from ground.commands import Commands, command, second
from ground.config import Paths, load_config

if TYPE_CHECKING:
    from ground.jobs.job import Job


def add(commands: Commands) -> None:
    parser = command(
        commands, "jobs", "list jobs, or queue one again that is failed or dead",
        """tailtwin-ground jobs --state var/ground
        tailtwin-ground jobs --state var/ground --only dead --json
        tailtwin-ground jobs --state var/ground --retry 1f0e2d3c4b5a6978""",
    )  # fmt: skip
    parser.add_argument("--only", default="", metavar="STATE",
                        choices=("queued", "running", "done", "failed", "dead"))  # fmt: skip
    parser.add_argument("--retry", default="", metavar="ID",
                        help="with all its tries, once what it failed of is mended")  # fmt: skip
    parser.add_argument("--json", action="store_true")
    parser.set_defaults(act=run)


def run(args: argparse.Namespace) -> int:
    from ground.jobs.job import as_dict
    from ground.jobs.table import Jobs
    from shared.clock import SystemClock

    paths = Paths(args.state)
    load_config(paths)
    jobs = Jobs.open(paths)
    found = jobs.listed(args.only)
    if args.retry:
        found = [jobs.retry(args.retry, SystemClock().wall_ns())]
    if args.json:
        print(json.dumps([as_dict(job) for job in found], indent=1))
        return 0
    print(f"{'job':16} {'kind':9} {'state':7} {'try':>3} {'done':>5}  {'due':20} about")
    for job in found:
        print(line(job))
    return 0


def line(job: Job) -> str:
    """One job, and why it failed where it did."""
    text = (f"{job.id:16} {job.kind:9} {job.state:7} {job.attempts:3d} {job.progress:5.0%}  "
            f"{second(job.due_ns)} {_about(job)}")  # fmt: skip
    said = job.error or (job.text if job.state == "running" else "")
    return text + (f"\n{'':17}{said.splitlines()[0]}" if said else "")


def _about(job: Job) -> str:
    """Its key; of a what-if, whose key is a hash alone, what was asked."""
    if job.kind != "what_if":
        return job.key
    asked = "point" if job.payload.get("point") else str(job.payload.get("model", "engine"))
    return f"{job.payload.get('flight') or asked}, request {job.key[:12]}"
