"""An honest fleet: both repositories with every role in use, as the attacks find them.

In: a folder. Out: `Fleet`, made once a module and copied for each attack: its keys, its
repositories at day 0 and at day 2, an aircraft with a live set, and bundles that nobody approved.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import onnx
from securesystemslib.signer import Signer

from shared.bundle import BundleFiles, Calibratable, SelfTest, pack, unpack
from shared.profile import ModelBounds
from signing.attest import attest
from signing.declare import Declared, declare
from signing.image import Delegation
from signing.keyring import Keyring
from signing.keys import KeyFolder
from signing.media import export
from signing.repositories import Repositories
from signing.rolekeys import KeyChange
from signing.verify import Aircraft, Applicability
from signing.verify.attested import AttestationPolicy
from signing.verify.statement import Claims
from tests.fakes.bundles import bundle, model_of, selftest_of, table

NOW = datetime(2027, 3, 1, 12, 0, 0, tzinfo=UTC)
TAIL, OTHER_TAIL = "B737-33102", "B737-33103"
ESNS = ("ESN1", "ESN2")
AIRCRAFT = Aircraft(tail=TAIL, type="B737", esns=ESNS, part_numbers=("CFM56-7B27",))
MAKER, MAKERS_MODEL, UNTIL_DAYS = "bearings-inc", "bearing", 40
BUILDER = "https://builder.example/shop"
CALIBRATABLE = {"c26": Calibratable(low=0.9, high=1.1, of="parent")}  # the table's values
POLICY = AttestationPolicy(threshold=1, builders=(BUILDER,))
CLAIMS = Claims(builder=BUILDER, commit="5" * 40)


@cache
def _graph(seed: int) -> tuple[bytes, SelfTest]:
    declared = msgspec.structs.replace(bundle(), behaviour=table(seed))
    return model_of(declared), selftest_of(declared)


def model(name: str = "egt_rom", release: int = 1, seed: int = 1) -> bytes:
    """A bundle file without an attestation. seed: of its numbers."""
    graph, selftest = _graph(seed)
    declared = msgspec.structs.replace(
        bundle(release), name=name, behaviour=table(seed), calibratable=CALIBRATABLE
    )
    return pack(declared, graph, selftest)


def calibrated(parent: bytes, factor: float, release: int, **changes: Any) -> bytes:
    """The parent with all numbers of its table times a factor."""
    files = opened(parent)
    graph = onnx.load_from_string(files.model)
    (tensor,) = [x for x in graph.graph.initializer if x.name in CALIBRATABLE]
    tensor.raw_data = (np.frombuffer(tensor.raw_data, "<f4") * np.float32(factor)).tobytes()
    child = msgspec.structs.replace(
        files.bundle, release=release, version=f"{release}.0.0", calibratable=msgspec.UNSET,
        applicability=msgspec.structs.replace(files.bundle.applicability, tails=(TAIL,)), **changes
    )  # fmt: skip
    selftest = msgspec.msgpack.decode(files.selftest, type=SelfTest)
    return pack(child, graph.SerializeToString(deterministic=True), selftest)


def attested(data: bytes, *signers: Signer, claims: Claims = CLAIMS) -> tuple[str, bytes]:
    return attest(data, claims, signers)


def opened(data: bytes) -> BundleFiles:
    return unpack(data, ModelBounds())


MADE_FOR_OTHERS = {
    "other_type": Applicability(types=("A320",)),
    "other_part": Applicability(types=("B737",), part_numbers=("CFM56-7B26",)),
    "other_tail": Applicability(types=("B737",), tails=(OTHER_TAIL,)),
    "other_esn": Applicability(types=("B737",), esns=("ESN9",)),
}


class Fleet:
    """Everything honest, in a folder. Make it once and copy what an attack changes.

    `day0`: this aircraft is directed to releases 1, the other tail to release 2. `hour1`: there is
    a release 3 since, and it is directed to it. `day2`: two days on, directed to release 2.
    `stick`: day 0 as exported for a medium. `rotated`: day 0 after the keys of snapshot and
    timestamp were replaced in both repositories.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.keys = KeyFolder(folder / "keys")
        self.day0 = folder / "day0"
        repositories = Repositories(self.day0, NOW)
        repositories.create(self.keys)
        for name in (MAKER, "stranger"):
            self.keys.create(name)
        image, director = repositories.image, repositories.director
        image.delegate(self.keys, Delegation(
            name=MAKER, keys=(self.keys.public(MAKER),), paths=(f"{MAKERS_MODEL}*/*",),
            until=in_days(UNTIL_DAYS), within=Applicability(types=("B737",)),
        ))  # fmt: skip
        attestor = self.keys.load("attestor-1")
        self.targets: dict[str, str] = {}
        self.bundles: dict[str, bytes] = {}
        for label, role, data in (
            ("egt 1", "targets", model(release=1)),
            ("egt 2", "targets", model(release=2)),
            ("bearing 1", MAKER, model(MAKERS_MODEL)),
            *((label, "targets", model(label)) for label in MADE_FOR_OTHERS),
        ):
            self.bundles[label] = attested(data, attestor)[1]
            declared = self.declared(self.bundles[label], applicability=MADE_FOR_OTHERS.get(label))
            image.publish(self.keys, [declared], role)
            self.targets[label] = f"{declared.name}/{declared.file.name}"
        parent = self.bundles["egt 1"]
        data = calibrated(parent, 1.02, 2)
        declared = self.declared(data, tail=TAIL, parent=hashlib.sha256(parent).hexdigest())
        image.publish(self.keys, [declared], "calibration")
        self.bundles["calibration 2"] = data
        self.targets["calibration 2"] = f"cal/{TAIL}/{declared.name}/{declared.file.name}"
        director.add_tails(self.keys, [TAIL, OTHER_TAIL])
        director.assign(self.keys, TAIL, self.paths("egt 1", "bearing 1"), image)
        director.assign(self.keys, OTHER_TAIL, self.paths("egt 2"), image)
        self.day2 = self._later("day2", self._direct_egt2, in_days(2))
        self.hour1 = self._later("hour1", self._publish_egt3, in_days(1 / 24))
        self.rotated = self._later("rotated", self._rotate, NOW)
        self.stick = folder / "stick"
        self._later("online", self._export, NOW)

    def _later(self, name: str, change: Callable[[Repositories], None], now: datetime) -> Path:
        folder = self.folder / name
        shutil.copytree(self.day0, folder)
        change(Repositories(folder, now))
        return folder

    def _direct_egt2(self, repositories: Repositories) -> None:
        repositories.image.refresh(self.keys)
        self._assign(repositories, "egt 2")

    def _publish_egt3(self, repositories: Repositories) -> None:
        data = attested(model(release=3), self.keys.load("attestor-1"))[1]
        declared = self.declared(data)
        repositories.image.publish(self.keys, [declared])
        self.targets["egt 3"] = f"{declared.name}/{declared.file.name}"
        self._assign(repositories, "egt 3")

    def _assign(self, repositories: Repositories, label: str) -> None:
        paths = self.paths(label, "bearing 1")
        repositories.director.assign(self.keys, TAIL, paths, repositories.image)

    def _rotate(self, repositories: Repositories) -> None:
        for repository in (repositories.image, repositories.director):
            with repository.changing() as change:
                for role in ("snapshot", "timestamp"):
                    name = f"{repository.NAME}-{role}"
                    old = self.keys.public(name)
                    new = self.keys.create(f"{name}-new").public_key
                    KeyChange(name, add=new, remove=old.keyid).apply(change)
                repository.commit(change, self.keys)

    def _export(self, repositories: Repositories) -> None:
        export(repositories, Keyring(self.keys), self.stick, [TAIL], 30)

    def paths(self, *labels: str) -> list[str]:
        return [self.targets[label] for label in labels]

    def declared(self, data: bytes, **given: Any) -> Declared:
        """A bundle file as its signers declare it."""
        file = self.folder / opened(data).filename
        file.write_bytes(data)
        return declare(file, **given)


def in_days(days: float) -> datetime:
    return NOW + timedelta(days=days)
