"""One model as an onnxruntime session with buffers bound once.

In: an unpacked, admitted bundle and float32 rows. Out: float32 rows.
Always holds: one thread, no arena, no spinning, no telemetry; the bytes are read as ONNX only.
Imported by the worker and by admission, never by the recorder: it costs about 20 MB.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import onnxruntime

from shared.bundle import BundleFiles

Float32 = npt.NDArray[np.float32]


class ModelSession:
    """Runs one bundle; keeps its states between steps."""

    def __init__(self, files: BundleFiles) -> None:
        bundle = files.bundle
        count = len(bundle.instances)
        self.inputs: Float32 = np.zeros((count, len(bundle.inputs)), np.float32)
        self.outputs: Float32 = np.zeros((count, len(bundle.outputs)), np.float32)
        self._initial = {s.name: np.array(s.initial, np.float32) for s in bundle.states}
        self._now = {name: first.copy() for name, first in self._initial.items()}
        self._next = {name: first.copy() for name, first in self._initial.items()}
        self._session = onnxruntime.InferenceSession(
            files.model, _options(), providers=["CPUExecutionProvider"]
        )
        self._binding = self._session.io_binding()
        self._bind_input("inputs", self.inputs)
        self._bind_output("outputs", self.outputs)
        for name in self._initial:
            self._bind_input(name, self._now[name])
            self._bind_output(f"{name}.next", self._next[name])

    def reset(self) -> None:
        """States back to their initial values."""
        for name, first in self._initial.items():
            self._now[name][:] = first

    def step(self) -> None:
        """From `inputs` to `outputs`; states advance."""
        self._session.run_with_iobinding(self._binding)
        for name, now in self._now.items():
            now[:] = self._next[name]

    def _bind_input(self, name: str, array: Float32) -> None:
        self._binding.bind_input(name, "cpu", 0, np.float32, array.shape, array.ctypes.data)

    def _bind_output(self, name: str, array: Float32) -> None:
        self._binding.bind_output(name, "cpu", 0, np.float32, array.shape, array.ctypes.data)


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
