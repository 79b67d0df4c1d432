"""What a thief of keys tries, goal by goal, with whatever keys were stolen.

In: a `Scene` and the names of the stolen keys. Out: whether the aircraft gave in.
Always holds: the attempt uses everything these keys can sign. When it fails, the caller finds the
aircraft as it was.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

from securesystemslib.signer import Signer
from tuf.api.metadata import TargetFile, Targets

from edge.update.verified import VerifiedSet
from tests.tamper.fleet import (
    MAKER,
    MAKERS_MODEL,
    TAIL,
    attested,
    calibrated,
    in_days,
    model,
    opened,
)
from tests.tamper.forge import ROGUES, Forger
from tests.tamper.scene import Scene, linked

TAIL_ROLE, DESK = f"tail-{TAIL}", f"calibration-{TAIL}"
APPLICABILITY = {"types": ["B737"], "esns": ["ESN1", "ESN2"], "tails": [TAIL]}
PROLONGED_DAYS = 30
Stolen = frozenset[str]
Attempt = Callable[[Scene, Stolen], bool]


def runs_new_code(scene: Scene, stolen: Stolen) -> bool:
    """A graph that nobody approved, by every role that the keys can sign."""
    for role, path, parent in _ways_in(scene, stolen):
        data = _evil(scene, stolen, path)
        if _offered(scene, stolen, role, f"{path}/{opened(data).filename}", data, parent):
            return True
    return False


def runs_new_code_bluntly(scene: Scene, stolen: Stolen) -> bool:
    """The same with everything changed, and own signatures in the place of missing ones."""
    data = _evil(scene, stolen, "egt_rom")
    path = f"egt_rom/{opened(data).filename}"
    return _offered(scene, stolen, "targets", path, data, "", blunt=True)


def runs_new_numbers(scene: Scene, stolen: Stolen) -> bool:
    """A calibration within the bounds of its parent that the desk never made."""
    parent = scene.fleet.bundles["egt 1"]
    sha256 = hashlib.sha256(parent).hexdigest()
    data = calibrated(parent, 1.05, 8)  # none has to say how it was made
    path = f"cal/{TAIL}/egt_rom/{opened(data).filename}"
    return _offered(scene, stolen, DESK, path, data, sha256)


def chooses(scene: Scene, stolen: Stolen) -> bool:
    """An approved bundle that nobody directed this tail to."""
    image = scene.thief("image")
    entry = image.roles["targets"].signed.targets[scene.fleet.targets["egt 2"]]
    _direct(scene, stolen, entry)
    return _took(scene, entry.hashes["sha256"])


def freezes(scene: Scene, stolen: Stolen) -> bool:
    """On day 2 the director says what it said on day 0, and no error is seen aboard."""
    scene.clock.now = in_days(2)
    scene.serve(scene.fleet.day2)
    shutil.rmtree(scene.repo / "director")
    linked(scene.fleet.day0 / "director", scene.repo / "director")
    forger = scene.thief("director", *stolen)
    forger.take_over()
    forger.prolong(in_days(PROLONGED_DAYS))
    forger.seal()
    answer = scene.look()
    return isinstance(answer, VerifiedSet) and answer.id == scene.live.id


def withdraws(scene: Scene, stolen: Stolen) -> bool:
    """Something that runs is called withdrawn."""
    forger = scene.thief("image", *stolen)
    forger.take_over()
    for role in ("targets", MAKER):
        if forger.can(role):
            forger.edit(role, lambda signed: signed.targets.clear())
    forger.seal()
    scene.look()
    return bool(scene.against_live())


GOALS: dict[str, Attempt] = {
    "C": runs_new_code, "N": runs_new_numbers, "D": chooses, "F": freezes, "W": withdraws,
}  # fmt: skip


TOUCHES: dict[Attempt, str] = {chooses: "director", freezes: "director", withdraws: "image"}
"""The only repository that an attempt changes: keys of the other one are not used in it."""


def used(attempt: Attempt, stolen: Stolen) -> Stolen:
    """The keys that an attempt has a use for."""
    only = TOUCHES.get(attempt)
    return frozenset(
        k for k in stolen if only is None or k.startswith("director") == (only == "director")
    )


# -- inside


def _ways_in(scene: Scene, stolen: Stolen) -> Iterator[tuple[str, str, str]]:
    """(role, folder, parent) for every role of the image that the keys can sign; the top one when
    they can sign none."""
    forger = scene.thief("image", *stolen)
    is_mine = forger.can("root") or forger.can("targets")
    if is_mine or not (forger.can(MAKER) or forger.can("calibration")):
        yield "targets", "egt_rom", ""
    if forger.can(MAKER) and not is_mine:
        yield MAKER, MAKERS_MODEL, ""
        yield MAKER, "egt_rom", ""
    if forger.can("calibration") and not is_mine:
        parent = hashlib.sha256(scene.fleet.bundles["egt 1"]).hexdigest()
        yield DESK, f"cal/{TAIL}/egt_rom", parent
        yield DESK, f"cal/{TAIL}/egt_rom", ""
        yield DESK, "egt_rom", ""


def _attestor(scene: Scene, stolen: Stolen) -> Signer:
    """The stolen attestor, or the one that a new root of the thief's names."""
    return scene.fleet.keys.load("attestor-1") if "attestor-1" in stolen else ROGUES[3]


def _evil(scene: Scene, stolen: Stolen, folder: str) -> bytes:
    return _evil_bytes(folder.rpartition("/")[2], _attestor(scene, stolen))


@cache
def _evil_bytes(name: str, attestor: Signer) -> bytes:
    return attested(model(name, release=9, seed=9), attestor)[1]


def _offered(
    scene: Scene, stolen: Stolen, role: str, path: str, data: bytes, parent: str, *,
    blunt: bool = False,
) -> bool:  # fmt: skip
    files = opened(data)
    custom: dict[str, Any] = {
        "name": files.bundle.name, "release": files.bundle.release, "applicability": APPLICABILITY,
    }  # fmt: skip
    if parent:
        custom["parent"] = parent
    forger = scene.thief("image", *stolen)
    forger.take_over()
    entry = forger.put(path, data, custom)
    forger.edit(role, lambda signed: signed.targets.update({path: entry}))
    forger.seal(blunt=blunt)
    _direct(scene, stolen, entry, blunt=blunt)
    return _took(scene, entry.hashes["sha256"])


def _direct(scene: Scene, stolen: Stolen, entry: TargetFile, *, blunt: bool = False) -> None:
    path = f"{TAIL}/{entry.path}"

    def edit(signed: Targets) -> None:
        signed.targets = {path: TargetFile.from_dict(entry.to_dict(), path)}

    forger: Forger = scene.thief("director", *stolen)
    forger.take_over()
    forger.edit(TAIL_ROLE, edit)
    forger.seal(blunt=blunt)


def _took(scene: Scene, sha256: str) -> bool:
    answer = scene.look()
    return isinstance(answer, VerifiedSet) and sha256 in {b.sha256 for b in answer.bundles}


def restore(scene: Scene, template: Path) -> None:
    """The scene as it was, for the next attempt."""
    scene.serve(scene.fleet.day0)
    shutil.rmtree(scene.state)
    linked(template, scene.state)
    scene.clock.now = in_days(0)
