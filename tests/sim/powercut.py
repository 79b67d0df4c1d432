"""Power cuts at every operation of a recorded life, and what the outbox makes of each.

In: traces. Out: a `Score`: images opened, and complaints by kind.
Always holds: an image is opened by the same code as aboard, in a folder in memory; each cut says
seed, generation, prefix and mode, which make the same image again.
"""

from __future__ import annotations

import random
import tempfile
import time
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from shared.errors import TailTwinError
from tests.sim.disk import MODES, Disk, Mode
from tests.sim.told import History, Told, complaints
from tests.sim.workload import Synchronous, Trace, clear, open_outbox, put, record

EXAMPLES_MAX = 20


@dataclass(frozen=True, slots=True)
class Cut:
    """The power goes after `prefix` operations; `image` is what a reboot finds."""

    prefix: int
    mode: Mode
    image: dict[str, bytes]
    told: Told
    coming: Told


@dataclass(slots=True)
class Score:
    """cuts: images, those that equal the one before included. opened: those that differ."""

    cuts: int = 0
    opened: int = 0
    prefixes: int = 0
    failed: int = 0
    by_kind: Counter[str] = field(default_factory=Counter)
    """Images with at least one complaint of a kind."""
    by_mode: Counter[str] = field(default_factory=Counter)
    calls: Counter[str] = field(default_factory=Counter)
    examples: list[str] = field(default_factory=list)
    seconds: float = 0.0

    def add(self, cut: Cut, said: list[str], where: str) -> None:
        self.opened += 1
        self.by_mode[cut.mode] += 1
        if not said:
            return
        self.failed += 1
        for kind in {text.split(":")[0] for text in said}:
            self.by_kind[kind] += 1
        if len(self.examples) < EXAMPLES_MAX:
            self.examples.append(f"{where} prefix {cut.prefix} {cut.mode}: {said[:3]}")


def cuts(trace: Trace, draw: random.Random, modes: tuple[Mode, ...] = MODES) -> Iterator[Cut]:
    """After each operation one cut a mode, or one where nothing is unsynced."""
    disk, acks = Disk(trace.files), iter(trace.acks)
    told, coming = next(acks)[1], next(acks, None)
    for prefix in range(len(trace.ops) + 1):
        if prefix:
            disk.do(trace.ops[prefix - 1])
        while coming is not None and coming[0] <= prefix:
            told, coming = coming[1], next(acks, None)
        for mode in modes[:1] if disk.is_certain else modes:
            after = coming[1] if coming else told
            yield Cut(prefix, mode, disk.image(mode, draw), told, after)


def judge(folder: Path, cut: Cut, trace: Trace, seed: int = 0) -> list[str]:
    """Open the image as a boot would; what it broke of what was promised."""
    put(folder, cut.image)
    dice = random.Random(f"boot {seed} {cut.prefix}")
    try:
        outbox = open_outbox(folder, dice.randbytes, is_sealed=trace.is_sealed)
        try:
            said = complaints(outbox, trace.history, cut.told, cut.coming)
            if not said:
                outbox.audit("boot", "started", flight="", t_event_ns=1, t_quality=1)
            return said
        finally:
            outbox.__exit__(None, None, None)
    except TailTwinError as error:
        return [f"shut: {error.what}"]
    finally:
        clear(folder)


def run(
    seed: int, *, calls: int, generations: int = 1, synchronous: Synchronous = "full",
    modes: tuple[Mode, ...] = MODES, score: Score | None = None, full: bool = False,
    change: Callable[[dict[str, bytes]], dict[str, bytes]] | None = None, sealed_then: bool = False,
) -> Score:  # fmt: skip
    """A life of `generations`, each from an image of the one before; all cuts of each judged.

    full: the outbox is at its size from the beginning, so that appends evict. change: what is done
    to the files between a first life and the one that is cut. Every second pair of seeds seals at
    rest; sealed_then: of the others, what follows the first life as well.
    """
    is_sealed = seed // 2 % 2 == 1
    score = score or Score()
    start_s = time.perf_counter()
    draw = random.Random(f"cuts {seed}")
    with memory_folder() as live, memory_folder() as reboot:
        if full or change:
            before = record(seed, live, calls=0 if full else 20, fill=full, is_sealed=is_sealed)
            cut = _end(before)
            if change:
                cut = replace(cut, image=change(cut.image))
            before = replace(before, is_sealed=is_sealed or sealed_then)
            trace = _go_on(before, cut, seed, live, calls, synchronous)
        else:
            trace = record(seed, live, calls=calls, synchronous=synchronous, is_sealed=is_sealed)
        for generation in range(generations):
            where = f"seed {seed} generation {generation}"
            last, chosen, chance = -1, None, random.Random(f"next {seed} {generation}")
            score.calls.update(trace.calls)
            for number, cut in enumerate(cuts(trace, draw, modes)):
                score.cuts += 1
                if chance.randrange(number + 1) == 0:
                    chosen = cut
                digest = _digest(cut)
                if digest == last:
                    continue
                last = digest
                score.add(cut, judge(reboot, cut, trace, seed), where)
            score.prefixes += len(trace.ops) + 1
            if generation + 1 < generations and chosen is not None:
                trace = _go_on(
                    trace, chosen, seed + 1000 * (generation + 1), live, calls, synchronous
                )
    score.seconds += time.perf_counter() - start_s
    return score


def _end(trace: Trace) -> Cut:
    """No power cut: all that was done is there."""
    disk, told = Disk(trace.files), trace.acks[-1][1]
    for op in trace.ops:
        disk.do(op)
    return Cut(len(trace.ops), "all", disk.image("all", random.Random(0)), told, told)


def _go_on(
    trace: Trace, cut: Cut, seed: int, live: Path, calls: int, synchronous: Synchronous
) -> Trace:
    """The next boot, on what the power cut left."""
    history = History(
        trace.history.records[: cut.told.records], trace.history.epochs[: cut.told.epochs]
    )
    told = Told(cut.told.records, cut.told.epochs, cut.told.journal, cut.told.kept, cut.coming.safe)
    return record(seed, live, calls=calls, synchronous=synchronous, files=cut.image,
                  history=history, told=told, is_sealed=trace.is_sealed)  # fmt: skip


def _digest(cut: Cut) -> int:
    """Equal for the same image under the same promises."""
    crc = hash((cut.told.records, cut.told.epochs, id(cut.told), id(cut.coming)))
    for name, data in cut.image.items():
        crc = hash((crc, name, len(data), zlib.crc32(data)))
    return crc


@contextmanager
def memory_folder() -> Iterator[Path]:
    """A folder that is gone afterwards, in memory where there is such a file system."""
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as name:
        yield Path(name)
