"""The model worker: a child process that runs the live bundle set.

In: frames on standard input (`edge.models.frames`). Out: frames on standard output.
Always holds: only a file whose bytes have the hash that the recorder named becomes a session; a
set is replaced as a whole or not at all; the process dies with the recorder and cannot grow
beyond its address space. Ends at end of input.

`python -m edge.models.worker PARENT_PID ADDRESS_SPACE_MB`
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import BinaryIO

import numpy as np

from edge.models.confine import confine
from edge.models.frames import Load, Loaded, Step, Stepped, body_size, frame, request
from edge.models.session import ModelSession
from shared.bundle import unpack
from shared.errors import Rejected
from shared.profile import ModelBounds


def load(path: Path, sha256: str, bounds: ModelBounds) -> ModelSession:
    """A session of the bundle file at `path`; Rejected when its bytes are not those named."""
    try:
        with path.open("rb") as file:
            data = file.read(bounds.bundle_bytes_max + 1)
    except OSError as error:
        raise Rejected(f"cannot read: {error.strerror}", path.name) from None
    files = unpack(data, bounds, path.name)
    if files.sha256 != sha256:
        raise Rejected(f"sha-256 is {files.sha256[:12]}…, not {sha256[:12]}…", path.name)
    try:
        return ModelSession(files)
    except Exception as error:  # onnxruntime raises its own unrelated types
        raise Rejected(f"no session: {str(error)[:200]}", path.name) from None


class Worker:
    """Answers requests one after the other."""

    def __init__(self) -> None:
        self._set: list[ModelSession] = []

    def answer(self, message: Load | Step) -> Loaded | Stepped:
        if isinstance(message, Load):
            return Loaded(message.seq, self._load(message))
        return Stepped(message.seq, self._step(message.inputs))

    def _load(self, message: Load) -> str:
        try:
            fresh = [load(Path(path), sha, message.bounds) for path, sha in message.bundles]
        except Rejected as error:
            return f"{error.where}: {error.what}"
        self._set = fresh
        return ""

    def _step(self, inputs: list[bytes]) -> list[bytes]:
        outputs = []
        for session, data in zip(self._set, inputs, strict=True):
            session.inputs[:] = np.frombuffer(data, "<f4").reshape(session.inputs.shape)
            session.step()
            outputs.append(session.outputs.tobytes())
        return outputs


def serve(source: BinaryIO, sink: BinaryIO) -> None:
    """Until the end of input."""
    worker = Worker()
    while header := source.read(4):
        size = body_size(header)
        sink.write(frame(worker.answer(request(source.read(size)))))
        sink.flush()


def main(arguments: list[str]) -> int:
    parent_pid, address_space_mb = (int(x) for x in arguments)
    confine(parent_pid, address_space_mb << 20, file_bytes=0)
    sink = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # a library that prints must not speak into the frames
    serve(sys.stdin.buffer, sink)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
