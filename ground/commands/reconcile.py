"""`tailtwin-ground reconcile`: a flight once more, and what came out."""

from __future__ import annotations

import argparse
import sys
import time
from typing import TYPE_CHECKING

from ground.commands import Commands, command
from ground.config import Paths, load_config

if TYPE_CHECKING:
    from ground.jobs.job import Job
    from ground.jobs.table import Jobs
    from ground.reconcile.result import Reconciliation

POLL_S = 0.2
WAIT_S = 600.0


def add(commands: Commands) -> None:
    parser = command(
        commands, "reconcile", "queue the reconciliation of a closed flight, and wait for it",
        """tailtwin-ground reconcile B737-28001-3f9a1c-F00001 --state var/ground
        tailtwin-ground reconcile B737-28001-3f9a1c-F00001 --state var/ground --wait
        tailtwin-ground reconcile B737-28001-3f9a1c-F00001 --state var/ground --wait 60 --json""",
    )  # fmt: skip
    parser.add_argument("flight", metavar="FLIGHT")
    parser.add_argument("--wait", type=float, nargs="?", const=WAIT_S, default=None, metavar="S",
                        help=f"for the result, at most so long (default {WAIT_S:.0f} s); a worker "
                        "has to run")  # fmt: skip
    parser.add_argument("--json", action="store_true", help="the job, with --wait the result")
    parser.set_defaults(act=run)


def run(args: argparse.Namespace) -> int:
    from ground.jobs.blobs import Blobs
    from ground.jobs.table import Jobs
    from ground.reconcile.request import request

    paths = Paths(args.state)
    load_config(paths)
    jobs = Jobs.open(paths)
    job = request(paths, jobs, args.flight)
    if args.wait is None:
        _print_job(job, as_json=args.json)
        return 0
    job = _wait(jobs, job, args.wait)
    body = Blobs(paths.blobs).get(job.result)
    if args.json:
        print(body.decode())
    else:
        from ground.reconcile.result import decode_result

        _print(decode_result(body, args.flight))
    return 0


def _wait(jobs: Jobs, job: Job, wait_s: float) -> Job:
    from shared.errors import Expired, Rejected, Unreachable

    deadline_s, said = time.monotonic() + wait_s, ""
    while not job.is_over:
        if time.monotonic() > deadline_s:
            raise Expired(f"job {job.id} is still {job.state} after {wait_s:g} s", job.key,
                          "is a worker running? see `tailtwin-ground jobs`")  # fmt: skip
        time.sleep(POLL_S)
        job = jobs.get(job.id) or job
        now = f"{job.state} {job.progress:.0%} {job.text}".strip()
        if now != said and sys.stderr.isatty():
            print(now, file=sys.stderr)
        said = now
    if job.state == "failed":
        raise Rejected(f"refused: {job.error}", job.key)
    if job.state == "dead":
        raise Unreachable(f"given up after {job.attempts} tries: {job.error}", job.key,
                          f"mend it, then `tailtwin-ground jobs --retry {job.id}`")  # fmt: skip
    return job


def _print_job(job: Job, *, as_json: bool) -> None:
    import json

    from ground.jobs.job import as_dict

    if as_json:
        print(json.dumps(as_dict(job), indent=1))
        return
    print(f"job {job.id} is {job.state}: {job.key}")


def _print(result: Reconciliation) -> None:
    print(f"{result.flight}, closure revision {result.closure_revision} ({result.closure_state})")
    for engine in result.engines:
        print(f"  {engine.verdict.text}")
        found = engine.verdict.kind != "healthy"
        print(f"    {'to do: ' if found else ''}{engine.verdict.advice}")
    shown = [one for one in result.models if one.phase == "all" and one.steady]
    if shown:
        print(f"  {'model error':36} {'of':8} {'ESN':10} {'rms':>9} {'mean':>9} {'steps':>6}")
    for one in shown:
        print(f"  {one.model[:36]:36} {one.output:8} {one.esn:10} {one.rms:9.2f} {one.mean:+9.2f} "
              f"{one.n:6d}  {one.unit}")  # fmt: skip
    for finding in result.findings:
        print(f"  {finding.code}: {finding.text}")
