"""An edge that samples itself: which functions its CPU time goes to.

`python -m bench.load.profiled OUT.json run --profile … --state …`. In: the arguments of
`tailtwin-edge`. Out: at the end OUT.json: samples by function, alone and with what it called.
Method: ITIMER_PROF fires after each SAMPLE_S of CPU time of the process, so a sample is a share of
CPU, not of wall time; time in C is that of the Python line that called it.
"""

from __future__ import annotations

import json
import signal
import sys
import time
from collections import Counter
from pathlib import Path
from types import FrameType
from typing import Final

SAMPLE_S: Final = 0.001  # the kernel makes it at least one of its own ticks, often 4 ms
OWN: Final = Path(__file__).resolve().parents[2]


def main(arguments: list[str]) -> int:
    alone: Counter[str] = Counter()
    within: Counter[str] = Counter()

    def take(_number: int, frame: FrameType | None) -> None:
        seen = set()
        first = True
        while frame is not None:
            name = _name(frame)
            if first:
                alone[name] += 1
                first = False
            seen.add(name)
            frame = frame.f_back
        within.update(seen)

    from edge.__main__ import main as edge

    signal.signal(signal.SIGPROF, take)
    signal.setitimer(signal.ITIMER_PROF, SAMPLE_S, SAMPLE_S)
    wall_s, cpu_s = time.monotonic(), time.process_time()
    try:
        return edge(arguments[1:])
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        cpu_s, wall_s = time.process_time() - cpu_s, time.monotonic() - wall_s
        Path(arguments[0]).write_text(json.dumps({
            "cpu_s": cpu_s, "wall_s": wall_s, "samples": sum(alone.values()),
            "alone": alone.most_common(), "within": within.most_common(),
        }))  # fmt: skip


def _name(frame: FrameType) -> str:
    code = frame.f_code
    path = Path(code.co_filename)
    shown = path.relative_to(OWN) if path.is_relative_to(OWN) else Path(*path.parts[-2:])
    return f"{shown}:{code.co_qualname}"


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
