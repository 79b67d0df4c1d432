"""All models of one rate as one onnxruntime session, with buffers bound once.

In: unpacked, admitted bundles and float32 rows. Out: float32 rows.
Always holds: one thread, no arena, no spinning, no telemetry; the bytes are read as ONNX only;
each bundle's states are its own, are finite at the start of every step, and start anew with the
session. Imported by the worker and by admission, never by the recorder: it costs about 20 MB.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import onnxruntime

from edge.models.fuse import fuse
from shared.bundle import Bundle, BundleFiles

Float32 = npt.NDArray[np.float32]
_ALIGNMENT = 16  # elements: 64 bytes, a cache line
_COPY = bytes.fromhex(
    "08073a370a100a016112016222084964656e746974791201675a0f0a0161120a0a08080112040a020801"
    "620f0a0162120a0a08080112040a02080142040a00100d"
)
"""As ONNX: b = Identity(a), both float32 [1]; opset 13, IR 7."""


class FusedSession:
    """Runs bundles together; keeps their states between steps.

    inputs, outputs: one [instances, columns] a bundle, views that stay the same.
    """

    def __init__(self, bundles: Sequence[BundleFiles]) -> None:
        self.bundles = tuple(files.bundle for files in bundles)
        self._session = onnxruntime.InferenceSession(
            fuse([files.model for files in bundles]), _options(),
            providers=["CPUExecutionProvider"],
        )  # fmt: skip
        self.inputs = _views([(len(b.instances), len(b.inputs)) for b in self.bundles])[1]
        self.outputs = _views([(len(b.instances), len(b.outputs)) for b in self.bundles])[1]
        self._states = [(i, s.name) for i, b in enumerate(self.bundles) for s in b.states]
        self._initial = [np.array(s.initial, np.float32) for b in self.bundles for s in b.states]
        # States are read from one side and written to the other; then the sides change places.
        self._whole, self._sides = zip(
            *(_views([x.shape for x in self._initial]) for _ in range(2)), strict=True
        )
        self._bindings = [self._bind(self._sides[i], self._sides[1 - i]) for i in range(2)]
        self._now = 0
        self.reset()

    def reset(self) -> None:
        """States back to their initial values."""
        for view, first in zip(self._sides[self._now], self._initial, strict=True):
            view[:] = first

    def step(self, usable: Sequence[npt.NDArray[np.bool_] | None] = ()) -> list[tuple[int, int]]:
        """From `inputs` to `outputs`; states advance.

        usable: of each bundle which rows have real inputs, None for all; the others keep their
        states. Returns (bundle, row) whose next state was not finite: their outputs are NaN and
        their states start anew.
        """
        now, after = self._sides[self._now], self._sides[1 - self._now]
        self._session.run_with_iobinding(self._bindings[self._now])
        for (i, _), old, new in zip(self._states, now, after, strict=True):
            rows = usable[i] if usable else None
            if rows is not None:
                new[~rows] = old[~rows]
        self._now = 1 - self._now
        return [] if np.isfinite(self._whole[self._now]).all() else self._restart()

    def _restart(self) -> list[tuple[int, int]]:
        """States of the rows that are not finite, all of the row, back to their initial values."""
        broken = set[tuple[int, int]]()
        for (i, _), view in zip(self._states, self._sides[self._now], strict=True):
            broken |= {(i, int(row)) for row in np.flatnonzero(~np.isfinite(view).all(axis=1))}
        for (i, _), view, first in zip(
            self._states, self._sides[self._now], self._initial, strict=True
        ):
            rows = [row for bundle, row in broken if bundle == i]
            view[rows] = first[rows]
        for i, row in broken:
            self.outputs[i][row] = np.nan
        return sorted(broken)

    def _bind(self, now: list[Float32], after: list[Float32]) -> onnxruntime.IOBinding:
        binding = self._session.io_binding()
        for i in range(len(self.bundles)):
            _bind_input(binding, f"{i}/inputs", self.inputs[i])
            _bind_output(binding, f"{i}/outputs", self.outputs[i])
        for (i, name), source, target in zip(self._states, now, after, strict=True):
            _bind_input(binding, f"{i}/{name}", source)
            _bind_output(binding, f"{i}/{name}.next", target)
        return binding


def together(bundles: Sequence[Bundle], sets: Sequence[dict[str, int]]) -> list[list[int]]:
    """Which of them share a session: those of one rate, and of one operator set each."""
    groups: dict[object, list[int]] = {}
    for i, (bundle, versions) in enumerate(zip(bundles, sets, strict=True)):
        groups.setdefault((bundle.rate_hz, tuple(sorted(versions.items()))), []).append(i)
    return list(groups.values())


def warm() -> None:
    """One run of a copy of one number, so that onnxruntime and numpy have read all the files
    they ever read (processor features, late imports) before the process may open none.

    From here on this process takes numbers under 1e-38 for 0: with them a step can cost 170 times
    what its self-test did. Only the first session of a process can say so.
    """
    options = _options()
    options.add_session_config_entry("session.set_denormal_as_zero", "1")
    session = onnxruntime.InferenceSession(_COPY, options, providers=["CPUExecutionProvider"])
    session.run(None, {"a": np.zeros(1, np.float32)})


def _views(shapes: Sequence[tuple[int, ...]]) -> tuple[Float32, list[Float32]]:
    """One zeroed buffer, and a view of each shape in it, each on a cache line of its own."""
    starts, size = [], 0
    for shape in shapes:
        starts.append(size)
        size += -(-int(np.prod(shape)) // _ALIGNMENT) * _ALIGNMENT
    raw = np.zeros(size + _ALIGNMENT, np.float32)
    skip = -(raw.ctypes.data // raw.itemsize) % _ALIGNMENT
    whole = raw[skip : skip + size]
    views = [
        whole[start : start + int(np.prod(shape))].reshape(shape)
        for start, shape in zip(starts, shapes, strict=True)
    ]
    return whole, views


def _bind_input(binding: onnxruntime.IOBinding, name: str, array: Float32) -> None:
    binding.bind_input(name, "cpu", 0, np.float32, array.shape, array.ctypes.data)


def _bind_output(binding: onnxruntime.IOBinding, name: str, array: Float32) -> None:
    binding.bind_output(name, "cpu", 0, np.float32, array.shape, array.ctypes.data)


def _options() -> onnxruntime.SessionOptions:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.enable_cpu_mem_arena = False
    options.log_severity_level = 3
    # constant folding and the like; the level above gains nothing here (43 against 46 us a step)
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    for key, value in {
        "session.intra_op.allow_spinning": "0",
        "session.inter_op.allow_spinning": "0",
        # else bytes with the ORT format's mark at 4 would pass admission as one thing and
        # load as another
        "session.load_model_format": "ONNX",
    }.items():
        options.add_session_config_entry(key, value)
    return options
