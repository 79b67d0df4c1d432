"""Blocks for tests of the outbox: noisy integer signals of one group."""

from __future__ import annotations

import numpy as np

from edge.outbox.store import Outbox, RecordRef
from shared.block import Block, encode_block

SECOND_NS = 1_000_000_000


def block(group: str, hz: int, number: int = 0, seconds: int = 20, signals: int = 12) -> Block:
    """The `number`-th block of a group that sends `hz` readings a second."""
    n = hz * seconds
    dice = np.random.default_rng([hz, number])
    first = number * n
    raw = dice.normal(0, 40, (n, signals)).astype(np.int64) + 1000
    flags = np.zeros((n, signals), np.uint8)
    counter = np.arange(first, first + n)
    return Block(
        group, b"s" * 32, "f1", 1, 0, 1, counter * (SECOND_NS // hz), counter, raw,
        np.zeros((n, 0)), flags, flags.copy(),
    )  # fmt: skip


def put_block(outbox: Outbox, made: Block, flight: str = "f1") -> RecordRef:
    return outbox.append(
        "block", encode_block(made), stream=f"block-{made.group}", schema="block/1",
        flight=flight, t_event_ns=int(made.t_ns[0]), t_quality=1,
    )  # fmt: skip
