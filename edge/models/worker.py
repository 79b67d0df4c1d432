"""The model worker: a child process that runs the live bundle set.

In: frames on standard input (`edge.models.frames`), and the bytes of bundle files after a Load.
Out: frames on standard output.
Always holds: only bytes that have the hash that the recorder named become part of a session, and
the session reproduced the self-test of every bundle in it; a set is replaced as a whole or not
at all; the process opens no file (`edge.models.seccomp`), dies with the recorder and cannot grow
beyond its address space. Ends at end of input.

`python -m edge.models.worker PARENT_PID BOUNDS` (ModelBounds as JSON)
"""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import BinaryIO

import msgspec
import numpy as np

from edge.heap import give_back, settle
from edge.models.confine import confine, seal
from edge.models.frames import (
    ALL_RATES,
    Load,
    Loaded,
    Named,
    Rows,
    Step,
    Stepped,
    body_size,
    frame,
    request,
)
from edge.models.fuse import operator_sets
from edge.models.selftest import reproduce
from edge.models.session import FusedSession, together, warm
from shared.bundle import BundleFiles, parse_selftest, unpack
from shared.errors import Rejected
from shared.profile import ModelBounds


@dataclass(frozen=True, eq=False)
class _Group:
    """Bundles that run as one graph; places: of theirs in the set."""

    rate_hz: float
    places: list[int]
    session: FusedSession

    def step(self, rows: Sequence[Rows]) -> list[tuple[int, int]]:
        """Run on `rows`, one a bundle; the (bundle, row) whose states started anew."""
        usable = []
        for view, given in zip(self.session.inputs, rows, strict=True):
            view[:] = np.frombuffer(given.inputs, "<f4").reshape(view.shape)
            usable.append(np.frombuffer(given.usable, np.bool_) if given.usable else None)
        return self.session.step(usable)


class Worker:
    """Answers requests one after the other."""

    def __init__(self) -> None:
        self._groups: list[_Group] = []

    def load(self, message: Load, files: Sequence[bytes]) -> Loaded:
        """Replace the set by `files`, whose hashes must be those named."""
        where = "model set"
        try:
            bundles = []
            for named, data in zip(message.bundles, files, strict=True):
                where = named.name
                bundles.append(_unpack(named, data, message.bounds))
            where = "model set"
            self._groups = _sessions(bundles)
        except Rejected as error:
            return Loaded(message.seq, f"{error.where or where}: {error.what}")
        del bundles
        give_back()  # graphs as text and their optimisation take more than what stays
        return Loaded(message.seq, "")

    def step(self, message: Step) -> Stepped:
        """One step of the bundles of a rate."""
        groups = [x for x in self._groups if message.rate_hz in (ALL_RATES, x.rate_hz)]
        asked = sorted(place for group in groups for place in group.places)
        at = {place: i for i, place in enumerate(asked)}
        if len(message.rows) != len(asked):
            raise Rejected(f"rows of {len(message.rows)} bundles, want {len(asked)}", "step")
        outputs, restarted = [b""] * len(asked), list[tuple[int, int]]()
        for group in groups:
            broken = group.step([message.rows[at[place]] for place in group.places])
            restarted += [(at[group.places[i]], row) for i, row in broken]
            for place, view in zip(group.places, group.session.outputs, strict=True):
                outputs[at[place]] = view.tobytes()
        return Stepped(message.seq, outputs, restarted)


def _unpack(named: Named, data: bytes, bounds: ModelBounds) -> BundleFiles:
    sha256 = hashlib.sha256(data).hexdigest()
    if sha256 != named.sha256:
        raise Rejected(f"sha-256 is {sha256[:12]}…, not {named.sha256[:12]}…", named.name)
    return unpack(data, bounds, named.name)


def _sessions(bundles: Sequence[BundleFiles]) -> list[_Group]:
    """One session a rate, each proved by the self-tests of its bundles."""
    groups = []
    sets = [operator_sets(files.model) for files in bundles]
    for places in together([files.bundle for files in bundles], sets):
        members = [bundles[i] for i in places]
        names = ", ".join(x.filename for x in members)
        try:
            session = FusedSession(members)
        except Rejected:
            raise
        except Exception as error:  # onnxruntime raises its own unrelated types
            raise Rejected(f"no session: {str(error)[:200]}", names) from None
        against = reproduce(
            session, [parse_selftest(x.selftest, x.bundle, x.filename) for x in members]
        )
        if against:
            raise Rejected(against[0], names)
        groups.append(_Group(members[0].bundle.rate_hz, places, session))
    return groups


def serve(source: BinaryIO, sink: BinaryIO, worker: Worker) -> None:
    """Until the end of input."""
    while header := source.read(4):
        message = request(source.read(body_size(header)))
        if isinstance(message, Load):
            answer: Loaded | Stepped = worker.load(message, _files(source, message))
        else:
            answer = worker.step(message)
        sink.write(frame(answer))
        sink.flush()


def _files(source: BinaryIO, message: Load) -> list[bytes]:
    limit = message.bounds.bundle_bytes_max
    for named in message.bundles:
        if not 0 <= named.size <= limit:
            raise Rejected(f"{named.size} bytes, over the bound", named.name)
    return [source.read(named.size) for named in message.bundles]


def main(arguments: list[str]) -> int:
    parent_pid, bounds = int(arguments[0]), msgspec.json.decode(arguments[1], type=ModelBounds)
    settle()
    confine(parent_pid, bounds.worker_address_space_mb << 20, file_bytes=0)
    sink = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # a library that prints must not speak into the frames
    warm()
    seal(bounds.seccomp_required)
    serve(sys.stdin.buffer, sink, Worker())
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
