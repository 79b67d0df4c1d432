"""One row of the attack table, and what many of them do.

A row is made in a `Scene` by code short enough to read as its description; it may return changes
to the aircraft's request. Code `taken`: what is honest gets through in spite of it.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import msgspec
from tuf.api.metadata import TargetFile, Targets

from edge.update.verified import VerifiedSet
from tests.tamper.fleet import TAIL, in_days, opened
from tests.tamper.scene import REPOSITORIES, Scene

Changes = dict[str, Any] | None
Make = Callable[[Scene], Changes]
TAKEN = "taken"
TAIL_ROLE = f"tail-{TAIL}"
DIRECTOR = ("director-tails", "director-snapshot", "director-timestamp")
IMAGE = ("image-snapshot", "image-timestamp")

KINDS = (
    "arbitrary software", "rollback", "freeze", "fast-forward",
    "mix and match within a repository", "mix and match between repositories",
    "mix and match between sources", "endless data", "slow retrieval", "wrong hardware (type)",
    "wrong hardware (part number)", "wrong tail", "wrong ESN", "withdrawal", "partial bundle set",
    "extraneous dependency", "forged director", "another tail's director metadata",
    "tampered attestation", "stolen delegation", "shape of delegations", "calibration", "root",
    "expired everything", "clock back", "clock forward", "dead clock",
)  # fmt: skip
"""In the order of the table: TUF's and Uptane's words first, then ours."""


@dataclass(frozen=True)
class Attack:
    """keys: what the attacker has stolen. code: what the session answers."""

    kind: str
    how: str
    code: str
    make: Make
    keys: str = "none"


def attacks_into(table: list[Attack]) -> Callable[..., Callable[[Make], Make]]:
    """A decorator that adds rows to this table."""

    def attack(kind: str, how: str, code: str, keys: str = "none") -> Callable[[Make], Make]:
        assert kind in KINDS

        def add(make: Make) -> Make:
            table.append(Attack(kind, how, code, make, keys))
            return make

        return add

    return attack


# -- what many of them do


def on_day2(scene: Scene) -> None:
    """Something new is on offer, honestly so far."""
    scene.serve(scene.fleet.day2)
    scene.clock.now = in_days(2)


def see_day2(scene: Scene) -> None:
    """The aircraft looks at day 2 and knows what there is, and what time, without taking it."""
    on_day2(scene)
    answer = scene.look(ground_time_ns=scene.clock.wall_ns())
    assert isinstance(answer, VerifiedSet), answer


def forget_metadata(scene: Scene) -> None:
    """Only the roots and the time floor are left aboard, as on an aircraft from the shop."""
    for name in REPOSITORIES:
        shutil.rmtree(scene.state / "tuf" / name / "metadata")


def direct(
    scene: Scene, *labels: str, change: Callable[[Targets], object] = lambda _: None
) -> None:
    """With the director's online keys: this tail's set, from honest entries of the image."""
    forger, image = scene.thief("director", *DIRECTOR), scene.thief("image")
    known = {p: t for role in image.roles.values() for p, t in role.signed.targets.items()}

    def edit(signed: Targets) -> None:
        entries = [known[scene.fleet.targets[label]] for label in labels]
        signed.targets = {f"{TAIL}/{e.path}": moved(e, f"{TAIL}/{e.path}") for e in entries}
        change(signed)

    forger.edit(TAIL_ROLE, edit)
    forger.seal()


def slip_in(
    scene: Scene, data: bytes, *stolen: str, role: str = "targets", folder: str = "", **custom: Any
) -> None:
    """Put a bundle into the image with these keys and its online ones, and direct this tail to it."""
    files = opened(data)
    folder = folder or files.bundle.name
    path = f"{folder}/{files.filename}"
    who = msgspec.to_builtins(files.bundle.applicability)
    said = {
        "name": folder.rpartition("/")[2], "release": files.bundle.release,
        "applicability": {field: names for field, names in who.items() if names}, **custom,
    }  # fmt: skip
    image = scene.thief("image", *stolen, *IMAGE)
    target = image.put(path, data, said)
    image.edit(role, lambda signed: signed.targets.update({path: target}))
    image.seal()
    director, named = scene.thief("director", *DIRECTOR), f"{TAIL}/{path}"

    def edit(signed: Targets) -> None:
        signed.targets = {named: moved(target, named)}

    director.edit(TAIL_ROLE, edit)
    director.seal()


def moved(entry: TargetFile, path: str) -> TargetFile:
    """The same entry under another path."""
    return TargetFile.from_dict(entry.to_dict(), path)
