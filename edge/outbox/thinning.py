"""Thinning: a block with fewer readings in it, before it has to go as a whole.

In: a block of a stream. Out: the same with every 2nd reading, for the stream of the next step.
Always holds: what is kept is exactly what the bus carried; a thinned block names every record
that it stands for, and how many readings of the bus it keeps one of. A reading at which a status
or a quality changes is kept as well, as long as these are few. Steps go 2, 4, 8, and not below
RATE_MIN_HZ. Each step of a group is a stream of its own, `thin4-eng1`: manifests count what was
recorded, and not what it was made into later.
"""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np

from shared.block import Block, Replaced

STEP = 2
KEEP_EVERY_MAX = 8
RATE_MIN_HZ = 1.0  # what the baselines step at
CHANGES_SHARE = 0.125  # of the readings, kept on top; more, and a flapping status keeps everything
_STREAM = re.compile(r"(?:block|thin(\d))-(.+)\Z")


def keep_every(stream: str) -> int:
    """One of how many readings a stream of blocks keeps; 0 when it is no such stream."""
    found = _STREAM.match(stream)
    return int(found[1] or 1) if found else 0


def is_thinned(stream: str) -> bool:
    """Whether its records stand for others, which are counted where they were recorded."""
    return keep_every(stream) > 1


def next_stream(stream: str) -> str | None:
    """Where its blocks go when they are thinned; None when they are not thinned further."""
    found = _STREAM.match(stream)
    if not found or (step := keep_every(stream) * STEP) > KEEP_EVERY_MAX:
        return None
    return f"thin{step}-{found[2]}"


def reason(step: int) -> str:
    """Of a drop record. step: of the stream it went to."""
    return f"thinned to 1 of {step} readings"


def rate_hz(block: Block) -> float:
    """Readings a second; 0 when it cannot tell."""
    span_ns = int(block.t_ns[-1] - block.t_ns[0])
    return (block.n - 1) / span_ns * 1e9 if span_ns > 0 else 0.0


def thin(block: Block, replaced: Replaced) -> Block:
    """Every 2nd of its readings, and those where a flag changes."""
    every = block.keep_every * STEP
    keep = block.counter % every == 0  # so that blocks join evenly
    if not 0.25 <= keep.mean() <= 0.75:  # the bus does not count by ones
        keep = np.arange(block.n) % STEP == 0
    changes = np.zeros(block.n, np.bool_)
    for flags in (block.status, block.quality):
        changes[1:] |= (flags[1:] != flags[:-1]).any(axis=1)
    if changes.sum() <= CHANGES_SHARE * block.n:
        keep |= changes
    columns = ("t_ns", "counter", "raw", "f64", "status", "quality")
    return replace(
        block, **{name: getattr(block, name)[keep] for name in columns},
        keep_every=every, replaces=(*block.replaces, replaced),
    )  # fmt: skip
