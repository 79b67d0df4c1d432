"""Handlers that a test needs, and a worker that knows them: `python -m tests.contract.job_handlers`.

What a handler was asked is a line of `calls` in the state folder, so that a test counts them.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from ground.config import Paths
from ground.jobs.handlers import KINDS, Context, Kind, Progress
from ground.reconcile.result import Reconciliation
from shared.errors import Rejected

ME = "tests.contract.job_handlers"


def note(context: Context, word: str) -> None:
    with (context.paths.state / "calls").open("a") as file:
        file.write(f"{context.job} {word}\n")


def calls(state: Path) -> list[str]:
    path = state / "calls"
    return path.read_text().splitlines() if path.exists() else []


def reconcile(context: Context, payload: dict[str, Any], progress: Progress) -> Reconciliation:
    note(context, "reconcile")
    progress(0.5, "half")
    return Reconciliation(
        tail=payload["tail"], flight=payload["flight"], closure_revision=payload["revision"],
        closure_state="complete", start_ns=None, end_ns=None, inputs=(), engine_type="test",
    )  # fmt: skip


def act(context: Context, payload: dict[str, Any], progress: Progress) -> Any:
    """Whatever the payload says."""
    note(context, payload["do"])
    match payload["do"]:
        case "answer":
            for k in range(5):
                progress(k / 5, f"step {k}")
            print("a model that prints")
            return {"answer": 42, "nan": float("nan")}
        case "raise":
            raise ZeroDivisionError("a model divided by zero")
        case "refuse":
            raise Rejected("no such thing", "payload", "name another")
        case "hang":
            child = subprocess.Popen(["sleep", "600"])
            (context.paths.state / "hung").write_text(str(child.pid))
            progress(0.25, "about to hang")
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            time.sleep(600)
        case "slow":
            time.sleep(payload["seconds"])
            return {"slow": True}
        case "wait":  # until the test says so
            while not (context.paths.state / "go").exists():
                time.sleep(0.02)
            return {"waited": True}
        case "garbage":
            return {1, 2, 3}
        case "keys":
            return {(1, 2): object()}
        case "huge":
            return {"x": "y" * (9 << 20)}
        case "die":
            os.kill(os.getpid(), signal.SIGKILL)
        case "poison":
            os.kill(os.getppid(), signal.SIGKILL)
            time.sleep(600)
        case "memory":
            return {"n": len(bytearray(1 << 40))}
    return None


TEST_KINDS = {
    **KINDS,
    "reconcile": Kind("reconcile", f"{ME}:reconcile", 30.0, 1000, KINDS["reconcile"].conclusion),
    "calibrate": Kind("calibrate", f"{ME}:act", 1.0, 3),
    "what_if": Kind("what_if", f"{ME}:act", 30.0, 1000),
}  # fmt: skip


if __name__ == "__main__":
    from ground.app import run_worker

    run_worker(Paths(Path(sys.argv[1])), TEST_KINDS)
