"""The self-test: does a session reproduce the vectors that came with the bundle?

In: an unpacked bundle whose graph was examined. Out: the reasons against it.
Always holds: every output of every step is finite and within its tolerance, and a tolerance
wider than the output's own step is refused. Imports onnxruntime: child process only.
"""

from __future__ import annotations

import numpy as np

from edge.models.session import ModelSession
from shared.bundle import BundleFiles, SelfTest


def reproduce(files: BundleFiles, selftest: SelfTest) -> list[str]:
    """Run the vectors in order, from the initial states."""
    bundle = files.bundle
    for output, tolerance in zip(bundle.outputs, selftest.tolerance, strict=True):
        if not 0 < tolerance <= output.lsb:
            return [f"self-test tolerance of {output.name} is not within its step"]
    try:
        session = ModelSession(files)
    except Exception as error:  # onnxruntime raises its own unrelated types
        return [f"no session: {str(error)[:200]}"]
    count = len(bundle.instances)
    inputs = np.frombuffer(selftest.inputs, "<f4").reshape(selftest.steps, count, -1)
    wanted = np.frombuffer(selftest.outputs, "<f4").reshape(selftest.steps, count, -1)
    got = np.empty_like(wanted)
    for i in range(selftest.steps):
        session.inputs[:] = inputs[i]
        session.step()
        got[i] = session.outputs
    close = np.isfinite(got) & (np.abs(got - wanted) <= np.array(selftest.tolerance))
    if close.all():
        return []
    step, row, column = (int(x[0]) for x in np.nonzero(~close))
    return [
        f"self-test: {bundle.outputs[column].name} of ESN {bundle.instances[row].esn} at step "
        f"{step} is {got[step, row, column]:g}, want {wanted[step, row, column]:g}"
    ]
