"""`python -m bench.fuzz [--seconds 10] [--seed 1] [NAME …]`: mutates inputs of every decoder.

Each target runs in a child of its own with a bound on its address space; an input that takes more
than HANG_S, grows the process by more than GROWTH_MB or raises what is no TailTwinError is kept in
var/fuzz/. Inputs whose answer is new are seeds for the next ones. Prints executions and findings,
writes var/bench/fuzz.json; exit code 1 when anything was found.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import multiprocessing
import random
import re
import resource
import signal
import time
import traceback
from collections.abc import Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from bench.fuzz.mutate import mutate
from bench.fuzz.targets import TARGETS, Target
from shared.errors import TailTwinError

HANG_S = 2.0
GROWTH_MB = 200  # more than any bound of a decoder, a block of 8 MiB or a bundle of 16
ADDRESS_SPACE_SPARE = 1 << 30
POOL_MAX = 400
FOUND_MAX = 5
FOLDER = Path("var/fuzz")


class Hang(BaseException):
    """Raised by the alarm; no decoder catches it."""


def _alarm(*_: object) -> None:
    raise Hang


def fuzz(target: Target, seconds: float, seed: int) -> dict[str, Any]:
    """Run one target here; its figures and findings."""
    draw, pool, answers = random.Random(f"{target.name} {seed}"), list(target.seeds()), set[str]()
    found: dict[str, bytes] = {}
    signal.signal(signal.SIGALRM, _alarm)
    for one in pool:
        answers.add(_answer(target, one, found))
    before_mb = _rss_peak_mb()
    count, slowest, end_s = 0, 0.0, time.perf_counter() + seconds
    while (now_s := time.perf_counter()) < end_s and len(found) < FOUND_MAX:
        data = mutate(pool, draw, is_text=target.is_text)
        answer = _answer(target, data, found)
        slowest = max(slowest, time.perf_counter() - now_s)
        count += 1
        if answer not in answers and len(pool) < POOL_MAX:
            answers.add(answer)
            pool.append(data)
        if _rss_peak_mb() - before_mb > GROWTH_MB:
            found[f"grew by {_rss_peak_mb() - before_mb:.0f} MB"] = data
            break
    return {
        "executions": count, "seconds": round(seconds, 1), "answers": len(answers),
        "slowest_ms": round(slowest * 1e3, 1), "grown_mb": round(_rss_peak_mb() - before_mb, 1),
        "findings": {why: _keep(target.name, data) for why, data in found.items()},
    }  # fmt: skip


def _answer(target: Target, data: bytes, found: dict[str, bytes]) -> str:
    """What it says to an input, numbers and names left out."""
    signal.setitimer(signal.ITIMER_REAL, HANG_S)
    try:
        said = f"accepted {_short(target.decode(data))}"
    except TailTwinError as error:
        said = re.sub(r"[0-9]+|'[^']*'|`[^`]*`", "#", f"{type(error).__name__} {error.what}"[:120])
    except Hang:
        found[f"more than {HANG_S} s"] = data
        said = "hang"
    except Exception as error:
        where = traceback.extract_tb(error.__traceback__)[-1]
        said = f"{type(error).__name__} {Path(where.filename).name}:{where.lineno}"
        found.setdefault(f"{said}: {error!s:.80}", data)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
    return said


def _short(answer: object) -> str:
    """What tells one accepted input from another."""
    words = answer if isinstance(answer, tuple) else ""
    return f"{words}{getattr(answer, 'problem', '')}{getattr(answer, 'detail', '')}"[:80]


def _rss_peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _keep(name: str, data: bytes) -> str:
    FOLDER.mkdir(parents=True, exist_ok=True)
    path = FOLDER / f"{name.replace(' ', '-')}-{hashlib.sha256(data).hexdigest()[:12]}"
    path.write_bytes(data)
    return str(path)


def _child(pipe: Connection, name: str, seconds: float, seed: int) -> None:
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    size = pages * resource.getpagesize() + ADDRESS_SPACE_SPARE
    resource.setrlimit(resource.RLIMIT_AS, (size, size))
    pipe.send(fuzz(TARGETS[name], seconds, seed))


def run(name: str, seconds: float, seed: int) -> dict[str, Any]:
    """In a child, so that one that dies is a finding too."""
    near, far = multiprocessing.Pipe()
    child = multiprocessing.Process(target=_child, args=(far, name, seconds, seed))
    child.start()
    far.close()
    try:
        if near.poll(seconds + 60):
            result: dict[str, Any] = near.recv()
            return result
        child.kill()
        return {"executions": 0, "findings": {"no end": ""}}
    except EOFError:
        child.join()
        return {"executions": 0, "findings": {f"died with {child.exitcode}": ""}}
    finally:
        child.join()


def main(argv: Sequence[str] | None = None) -> int:
    """Print a line a target; whether nothing was found."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=10.0, help="for each target")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("name", nargs="*", choices=[*TARGETS, []], help="all of them by default")
    args = parser.parse_args(argv)
    table = {}
    print(f"{'target':26}{'executions':>11}{'answers':>9}{'slowest ms':>12}{'MB':>7}  findings")
    for name in args.name or TARGETS:
        table[name] = row = run(name, args.seconds, args.seed)
        print(f"{name:26}{row['executions']:11,}{row.get('answers', 0):9}"
              f"{row.get('slowest_ms', 0):12}{row.get('grown_mb', 0):7}  {len(row['findings'])}",
              flush=True)  # fmt: skip
        for why, path in row["findings"].items():
            print(f"    {why}  {path}", flush=True)
    total = sum(row["executions"] for row in table.values())
    print(f"{total:,} executions of {len(table)} decoders")
    out = Path("var/bench/fuzz.json")
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(table, indent=2) + "\n")
    return int(any(row["findings"] for row in table.values()))


if __name__ == "__main__":
    raise SystemExit(main())
