"""Reconciliations made by hand, and a control.db that they are concluded into."""

from __future__ import annotations

from pathlib import Path

from ground.database import open_reader, open_writer
from ground.jobs.blobs import Blobs
from ground.jobs.job import Job
from ground.jobs.table import Jobs
from ground.reconcile.cases import Cases
from ground.reconcile.job import conclude
from ground.reconcile.result import (
    EngineResult,
    Input,
    Kind,
    ModelError,
    Onset,
    Reconciliation,
    Verdict,
    encode_result,
)
from ground.reconcile.store import Reconciliations, Stored

TAIL = "T1"


def engine(kind: Kind = "healthy", cause: str = "", *, position: int = 2, esn: str = "E2",
           other: tuple[str, ...] = (), estimate: float | None = None) -> EngineResult:  # fmt: skip
    onset = Onset(shape="step", t_ns=5, t_95_ns=(4, 6), ramp_s=0.0)
    return EngineResult(
        position=position, esn=esn, baseline="ba", baseline_event="installation", rows=100,
        good={}, running=100, steady=90, windows=9,
        verdict=Verdict(
            kind=kind, text=f"engine {position}: {kind} {cause}", advice="look at it", cause=cause,
            not_separable=other, estimate=estimate, estimate_95=0.4, unit="%", score=12.0,
            threshold=6.0, probability=0.97, onset=onset,
        ),
    )  # fmt: skip


def error(rms: float, *, model: str = "egt_rom-1.0.0-aa", n: int = 100, phase: str = "all",
          output: str = "egt", esn: str = "E1", steady: bool = True) -> ModelError:  # fmt: skip
    return ModelError(
        model=model, output=output, unit="Cel", esn=esn, position=1, phase=phase, steady=steady,
        n=n, mean=rms / 2, rms=rms, max_abs=2 * rms, sigma=rms / 2, mean_95=1.0,
    )  # fmt: skip


def result(
    flight: str = "F1",
    revision: int = 1,
    *engines: EngineResult,
    models: tuple[ModelError, ...] = (),
) -> Reconciliation:
    return Reconciliation(
        tail=TAIL, flight=flight, closure_revision=revision, closure_state="complete", start_ns=1,
        end_ns=9, inputs=(Input("closure", f"revision {revision}", "cc"),), engine_type="test",
        engines=engines, models=models,
    )  # fmt: skip


class Office:
    """What a worker writes at the end of a job, and what people do then."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "control.db"
        self.writer = open_writer(self.path)
        with self.writer.begin():
            pass
        self.reader = open_reader(self.path)
        self.jobs = Jobs(self.writer, self.reader)
        self.cases = Cases(self.writer, self.reader)
        self.blobs = Blobs(folder / "blobs")
        self.results = Reconciliations(self.reader, self.blobs)
        self.now_ns = 1_000

    def close(self) -> None:
        self.writer.dispose()
        self.reader.dispose()

    def conclude(self, made: Reconciliation) -> Stored:
        """As a worker does: a job, its claim, its end."""
        self.now_ns += 1_000
        asked = {"tail": made.tail, "flight": made.flight, "revision": made.closure_revision}
        key = f"{made.tail}/{made.flight}/{made.closure_revision}"
        body = encode_result(made)
        sha256 = self.blobs.put(body)
        job = self.jobs.claim(
            self.jobs.add("reconcile", key, asked, self.now_ns).id, "w", self.now_ns
        )
        assert isinstance(job, Job)
        assert self.jobs.finish(job, sha256, self.now_ns,
                                lambda db, j: conclude(db, j, body, sha256, self.now_ns))  # fmt: skip
        stored = self.results.newest(made.tail, made.flight, made.closure_revision)
        assert stored is not None
        return stored
