"""The real model worker, but every step keeps 4 MB: a leak as a library would have it."""

from __future__ import annotations

import sys

from edge.models import worker
from edge.models.frames import Step, Stepped

_KEPT: list[bytes] = []


class LeakyWorker(worker.Worker):
    def step(self, message: Step) -> Stepped:
        _KEPT.append(b"\x55" * 4_000_000)
        return super().step(message)


if __name__ == "__main__":
    worker.Worker = LeakyWorker  # type: ignore[misc]
    sys.exit(worker.main(sys.argv[1:]))
