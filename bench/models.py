"""What fusing is worth: 2 baselines and 20 ROMs as one session against 22 sessions.

`python -m bench.models [--json FILE]` prints step time, load time and memory of each way, the
median of seven rounds in one run, as ratios against the named baseline: one session a bundle,
asked with `run()`. The real worker is measured at its pipe, with the same set.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
import onnxruntime

from edge.models.host import HostTimes, ModelHost
from edge.models.session import FusedSession
from shared.behaviour.linear import StateSpace
from shared.bundle import Bundle, BundleFiles, Output, parse_bundle, states_of, unpack
from shared.bundlefile import build_bundle, pack_declared
from shared.profile import ModelBounds

MODELS = Path(__file__).resolve().parent.parent / "firmware_profiles" / "models"
BASELINES = ("egt_rom_v1.json", "egt_rom_v2.json")
ROMS, ROUNDS, STEPS, HOST_STEPS = 20, 7, 100, 200
BOUNDS = ModelBounds()


def rom(parent: Bundle, number: int) -> Bundle:
    """A linear one of four states, three inputs and an output, drawn: a lag of N1, TAT, Mach."""
    rng = np.random.default_rng(number)
    poles = -rng.uniform(0.02, 0.3, 4)
    turn, _ = np.linalg.qr(rng.normal(size=(4, 4)))
    a = turn @ np.diag(poles) @ turn.T
    behaviour = StateSpace(
        a=_rows(a), b=_rows(rng.normal(0, 0.1, (4, 3))), c=_rows(rng.normal(0, 1, (1, 4))),
        operating_point={"tat": 15.0},
    )  # fmt: skip
    names = [x for x in parent.inputs if x.name in ("n1", "tat", "mach")]
    instances = tuple(
        msgspec.structs.replace(
            x, inputs={p.name: x.inputs[p.name] for p in names}, measured={}
        )
        for x in parent.instances
    )  # fmt: skip
    draft = msgspec.structs.replace(
        parent, name=f"rom_{number:02}", inputs=tuple(names), monitors=(), instances=instances,
        outputs=(Output(name="y", unit="K", lsb=0.5),), states=(), behaviour=behaviour,
    )  # fmt: skip
    return msgspec.structs.replace(draft, states=states_of(draft.model))


def _rows(matrix: npt.NDArray[np.float64]) -> tuple[tuple[float, ...], ...]:
    return tuple(tuple(float(x) for x in row) for row in matrix)


def the_set() -> list[bytes]:
    """The packed bundles."""
    built = [build_bundle(MODELS / name)[1] for name in BASELINES]
    parent = parse_bundle((MODELS / BASELINES[0]).read_bytes(), BASELINES[0])
    return built + [pack_declared(rom(parent, i + 1))[1] for i in range(ROMS)]


def fill(session: FusedSession) -> None:
    """The middle of every input's range."""
    for view, bundle in zip(session.inputs, session.bundles, strict=True):
        view[:] = [sum(x.valid) / 2 for x in bundle.inputs]


def plain(files: BundleFiles) -> Callable[[], None]:
    """The baseline: a session as shipped by onnxruntime, asked with `run`, states fed back."""
    session = onnxruntime.InferenceSession(files.model, providers=["CPUExecutionProvider"])
    bundle = files.bundle
    middle = [[sum(x.valid) / 2 for x in bundle.inputs]] * len(bundle.instances)
    states = {s.name: np.array(s.initial, np.float32) for s in bundle.states}
    names = ["outputs", *(f"{name}.next" for name in states)]
    feed: dict[str, Any] = {"inputs": np.array(middle, np.float32), **states}

    def step() -> None:
        _, *moved = session.run(names, feed)
        feed.update(zip(states, moved, strict=True))

    return step


def step_us(step: Callable[[], object], steps: int = STEPS) -> float:
    """CPU time of one step, microseconds."""
    rounds = []
    for _ in range(ROUNDS):
        started = time.process_time_ns()
        for _ in range(steps):
            step()
        rounds.append((time.process_time_ns() - started) / steps / 1000)
    return statistics.median(rounds)


def times(files: list[BundleFiles]) -> dict[str, float]:
    """Step time of the whole set, each way."""
    fused, singles = FusedSession(files), [FusedSession([x]) for x in files]
    plains = [plain(x) for x in files]
    for session in (fused, *singles):
        fill(session)
    return {
        "sessions_run_us": step_us(lambda: [step() for step in plains]),
        "sessions_bound_us": step_us(lambda: [x.step() for x in singles]),
        "fused_us": step_us(fused.step),
    }


def memory(way: str, folder: Path) -> None:
    """In a child: load the set one way and print what it takes."""
    files = [unpack(x.read_bytes(), BOUNDS) for x in sorted(folder.glob("*.zst"))]
    before, started = _memory_kb(), time.perf_counter()
    ways: dict[str, Callable[[], object]] = {
        "sessions_run": lambda: [plain(x) for x in files],
        "sessions_bound": lambda: [FusedSession([x]) for x in files],
        "fused": lambda: FusedSession(files),
    }
    kept = ways[way]()
    load_ms = (time.perf_counter() - started) * 1000
    grown = {key: round((value - before[key]) / 1000, 2) for key, value in _memory_kb().items()}
    print(json.dumps({"load_ms": round(load_ms, 1), **grown}))
    del kept


def _memory_kb(pid: int | str = "self") -> dict[str, float]:
    text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    found = {line.split(":")[0]: float(line.split()[1]) for line in text.splitlines()[1:]}
    return {"rss_mb": found["Rss"], "pss_mb": found["Pss"]}


async def at_the_pipe(folder: Path) -> dict[str, float]:
    """The real worker with the set: wall time from the question to the answer, memory."""
    host = ModelHost(BOUNDS, {1: "894101", 2: "894102"}, HostTimes(load_s=60.0))
    task = asyncio.create_task(host.run())
    try:
        files = sorted(folder.glob("*.zst"))
        names = [(x, hashlib.sha256(x.read_bytes()).hexdigest()) for x in files]
        values = {
            bound[port.name]: sum(port.valid) / 2
            for path in files
            for bundle in [unpack(path.read_bytes(), BOUNDS).bundle]
            for bound in (x.inputs for x in bundle.instances)
            for port in bundle.inputs
        }
        while host.status.state != "empty":
            await asyncio.sleep(0.01)
        if why := await host.load(names):
            raise SystemExit(why)
        waits = []
        for i in range(HOST_STEPS):
            started = time.perf_counter()
            assert await host.step(i, values) is not None
            waits.append((time.perf_counter() - started) * 1e6)
        kb = _memory_kb(host.status.pid or 0)
        return {
            "question_to_answer_us": statistics.median(waits),
            "worker_rss_mb": kb["rss_mb"] / 1000, "worker_pss_mb": kb["pss_mb"] / 1000,
        }  # fmt: skip
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def measured() -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        packed = the_set()
        for i, data in enumerate(packed):
            (folder / f"{i:02}.tar.zst").write_bytes(data)
        found: dict[str, Any] = times([unpack(x, BOUNDS) for x in packed])
        for way in ("sessions_run", "sessions_bound", "fused"):
            command = [sys.executable, "-m", "bench.models", "--memory", way, str(folder)]
            environment = {**os.environ, "ORT_DISABLE_TELEMETRY": "1"}
            done = subprocess.run(command, capture_output=True, check=True, env=environment)
            found |= {f"{way}_{k}": v for k, v in json.loads(done.stdout).items()}
        found |= asyncio.run(at_the_pipe(folder))
    baseline = found["sessions_run_us"]
    found["ratio_bound"] = found["sessions_bound_us"] / baseline
    found["ratio_fused"] = found["fused_us"] / baseline
    found["machine"] = f"{os.cpu_count()} cores {platform.machine()}, shared"
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, help="write the figures here as well")
    parser.add_argument("--memory", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.memory:
        memory(options.memory[0], Path(options.memory[1]))
        return 0
    found = measured()
    print(f"{len(BASELINES)} baselines and {ROMS} ROMs, {found['machine']}")
    print(f"{'':28}{'us a step':>12}{'ratio':>8}{'load ms':>10}{'RSS MB':>9}{'PSS MB':>9}")
    for way, title in (
        ("sessions_run", "a session each, run()"), ("sessions_bound", "a session each, bound"),
        ("fused", "one session, bound"),
    ):  # fmt: skip
        ratio = found[f"{way}_us"] / found["sessions_run_us"]
        print(
            f"{title:28}{found[f'{way}_us']:12.0f}{ratio:8.2f}{found[f'{way}_load_ms']:10.0f}"
            f"{found[f'{way}_rss_mb']:9.1f}{found[f'{way}_pss_mb']:9.1f}"
        )
    print(
        f"the worker with the set: {found['question_to_answer_us']:.0f} us from question to answer, "
        f"RSS {found['worker_rss_mb']:.1f} MB, PSS {found['worker_pss_mb']:.1f} MB"
    )
    if options.json:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(json.dumps(found, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
