"""The self-test: does a session reproduce the vectors that came with its bundles?

In: a session and the vectors of each bundle in it. Out: the reasons against it.
Always holds: every output of every step is finite and within its tolerance, no state is ever
other than finite, and the vectors can prove something; the session's states are initial
afterwards. Imports onnxruntime: child process only.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence

import numpy as np

from edge.models.resident import PeakMemory
from edge.models.session import FusedSession
from edge.models.vectors import Float32, against_vectors, vectors
from shared.bundle import Bundle, BundleFiles, SelfTest

TIMED_STEPS = 25


def judge_session(
    files: BundleFiles, selftest: SelfTest, memory: PeakMemory
) -> tuple[list[str], float | None, float | None]:
    """(reasons, CPU time of a step in us, what the session added to the peak of memory in MB)."""
    before = memory.read_bytes()
    try:
        session = FusedSession([files])
    except Exception as error:  # onnxruntime raises its own unrelated types
        return [f"no session: {str(error)[:200]}"], None, None
    reasons = reproduce(session, [selftest])
    if reasons:
        return reasons, None, None
    times = []
    for _ in range(TIMED_STEPS):
        started = time.thread_time_ns()
        session.step()
        times.append(time.thread_time_ns() - started)
    return [], statistics.median(times) / 1000, (memory.read_bytes() - before) / 1e6


def reproduce(session: FusedSession, selftests: Sequence[SelfTest]) -> list[str]:
    """Run the vectors of all bundles side by side, in order, from the initial states.

    A bundle with fewer steps than the others stays at its last inputs, and is not judged then.
    """
    pairs = list(zip(session.bundles, selftests, strict=True))
    against = [reason for pair in pairs for reason in against_vectors(*pair)]
    if against:
        return against
    expected = [vectors(*pair) for pair in pairs]
    session.reset()
    for step in range(max(len(inputs) for inputs, _ in expected)):
        for view, (inputs, _) in zip(session.inputs, expected, strict=True):
            view[:] = inputs[min(step, len(inputs) - 1)]
        restarted = session.step()
        for i, (inputs, wanted) in enumerate(expected):
            if step < len(inputs):
                row = next((row for bundle, row in restarted if bundle == i), None)
                if row is not None:
                    esn = session.bundles[i].instances[row].esn
                    return [f"self-test: a state of ESN {esn} is not finite after step {step}"]
                against = _compare(session.bundles[i], selftests[i], step, wanted[step],
                                   session.outputs[i])  # fmt: skip
                if against:
                    return against
    session.reset()
    return []


def _compare(
    bundle: Bundle, selftest: SelfTest, step: int, wanted: Float32, got: Float32
) -> list[str]:
    close = np.isfinite(got) & (np.abs(got - wanted) <= np.array(selftest.tolerance))
    if close.all():
        return []
    row, column = (int(x[0]) for x in np.nonzero(~close))
    return [
        f"self-test: {bundle.outputs[column].name} of ESN {bundle.instances[row].esn} at step "
        f"{step} is {got[row, column]:g}, want {wanted[row, column]:g}"
    ]
