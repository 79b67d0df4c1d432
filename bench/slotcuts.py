"""Cuts at every system call that touches the slots: what the next boot finds.

`python -m bench.slotcuts` lets strace kill a real process at each call that an act of the slots makes
on the state folder, boots from what is left and does the act again. Prints a table, writes
var/bench/slotcuts.json; exit code 1 when a boot found anything but the old set or the new one, or no
proven set.
"""

from __future__ import annotations

import json
import os
import platform
import tempfile
import time
from pathlib import Path

from tests.sim.slotcuts import ACTS, cut, missing


def main() -> int:
    """Print the table; whether all held."""
    why = missing()
    if why:
        print(f"nothing was cut: {why}")
        return 1
    print(f"slots, cut at every call; {os.cpu_count()} cores {platform.machine()}")
    print(f"{'act':24}{'calls':>7}{'cut':>6}{'faults':>8}{'s':>7}  a boot found")
    table, faults, total = {}, list[str](), 0
    for name in ACTS:
        start_s = time.perf_counter()
        with tempfile.TemporaryDirectory() as folder:
            cuts = cut(name, Path(folder))
        seconds = time.perf_counter() - start_s
        found = {f"{' + '.join(live) or 'none'} {how}": n for (live, how), n in cuts.found.items()}
        said = ", ".join(f"{what} {n}" for what, n in found.items())
        calls = sum(cuts.calls.values())
        print(f"{name:24}{calls:7}{cuts.cut:6}{len(cuts.faults):8}{seconds:7.1f}  {said}")
        table[name] = {"calls": dict(cuts.calls), "cut": cuts.cut, "found": found,
                       "faults": cuts.faults, "seconds": round(seconds, 1)}  # fmt: skip
        faults += cuts.faults
        total += cuts.cut
    print(f"{total} calls cut, {len(faults)} faults")
    for fault in faults[:20]:
        print(fault)
    out = Path("var/bench/slotcuts.json")
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(table, indent=2) + "\n")
    return int(bool(faults))


if __name__ == "__main__":
    raise SystemExit(main())
