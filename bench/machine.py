"""What a benchmark ran on, and its progress.

In: nothing, or a line. Out: facts for the report; a line with the time of day.
"""

from __future__ import annotations

import os
import platform
import time
from typing import Any


def machine() -> dict[str, Any]:
    return {
        "arch": platform.machine(), "cores": os.cpu_count(), "python": platform.python_version(),
        "load_average_before": os.getloadavg()[0],
    }  # fmt: skip


def say(text: str) -> None:
    print(f"{time.strftime('%H:%M:%S')}  {text}", flush=True)
