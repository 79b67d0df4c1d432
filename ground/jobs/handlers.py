"""The kinds of jobs: what runs them, what concludes them, and their bounds.

A handler is `function(context, payload, progress) -> dict or frozen message`, named as
`module:function` because only the child process of a job imports it. It may call
`progress(0.4, "cruise")` as often as it likes. It raises Rejected when its input will never do;
whatever else it raises is tried again.

A conclusion is `function(db, job, result, sha256, now_ns)`: it runs in the worker, inside the
transaction that makes the job `done`, so that what a result leads to happens once. Rejected: the
result is none.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

from ground.config import GroundConfig, Paths

Progress: TypeAlias = Callable[[float, str], None]


@dataclass(frozen=True, slots=True)
class Context:
    """What a handler may use: the folders and settings of this ground, and its job's id."""

    paths: Paths
    config: GroundConfig
    job: str


@dataclass(frozen=True, slots=True)
class Kind:
    """time_limit_s: of one try, wall time; then its process is killed. waiting_max: queued jobs of
    this kind; more are refused. ahead_max: how many of them are put into the queue at a time: so
    many a job of another kind may have to wait behind; 0 is no bound. kept_days: after their end
    they are removed, with their results; 0 keeps them. kept_max: the oldest beyond so many are
    removed before that."""

    name: str
    handler: str
    time_limit_s: float
    waiting_max: int
    conclusion: str = ""
    ahead_max: int = 0
    kept_days: int = 0
    kept_max: int = 0


KINDS: dict[str, Kind] = {
    kind.name: kind
    for kind in (
        # The aim is 60 s for a 10 h flight; ten times that is a hang (assumption).
        Kind("reconcile", "ground.reconcile.job:reconcile_flight", 600.0, 1_000_000,
             "ground.reconcile.job:conclude"),
        Kind("calibrate", "ground.calibrate.job:calibrate", 1800.0, 100, ahead_max=1),
        Kind("what_if", "ground.whatif.job:what_if", 120.0, 100, ahead_max=4, kept_days=30,
             kept_max=1000),
    )
}  # fmt: skip
