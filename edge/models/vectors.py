"""The vectors of a self-test as arrays, and whether they can prove anything.

In: a bundle and its self-test. Out: arrays, or the reasons against them. Pure.
Always holds: no reason means that every number is finite and every tolerance is above 0 and
within its output's own step.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from shared.bundle import Bundle, SelfTest

Float32 = npt.NDArray[np.float32]


def vectors(bundle: Bundle, selftest: SelfTest) -> tuple[Float32, Float32]:
    """Inputs [steps, instances, inputs], outputs [steps, instances, outputs]."""
    shape = (selftest.steps, len(bundle.instances), -1)
    inputs = np.frombuffer(selftest.inputs, "<f4").reshape(shape)
    return inputs, np.frombuffer(selftest.outputs, "<f4").reshape(shape)


def against_vectors(bundle: Bundle, selftest: SelfTest) -> list[str]:
    """Why they prove nothing."""
    reasons = [
        f"self-test tolerance of {output.name} is not within its step"
        for output, tolerance in zip(bundle.outputs, selftest.tolerance, strict=True)
        if not 0 < tolerance <= output.lsb
    ]
    for word, array in zip(("inputs", "outputs"), vectors(bundle, selftest), strict=True):
        if not np.isfinite(array).all():
            reasons.append(f"self-test {word} are not all numbers")
    initial = [x for state in bundle.states for row in state.initial for x in row]
    if not np.isfinite(np.array(initial, np.float32)).all():
        reasons.append("an initial state is not a float32 number")
    return reasons
