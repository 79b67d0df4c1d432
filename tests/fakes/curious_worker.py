"""The real model worker, but a step tries to reach the network: as a hostile model would."""

from __future__ import annotations

import socket
import sys

from edge.models import worker
from edge.models.frames import Step, Stepped


class CuriousWorker(worker.Worker):
    def step(self, message: Step) -> Stepped:
        socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        return super().step(message)


if __name__ == "__main__":
    worker.Worker = CuriousWorker  # type: ignore[misc]
    sys.exit(worker.main(sys.argv[1:]))
