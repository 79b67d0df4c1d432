"""A role's file is known by its name alone, and python-tuf keeps what it verified by name: somebody
who may delegate could give a role of their own the name of another's, and be taken for it."""

from __future__ import annotations

import hashlib
from collections.abc import Generator

from tuf.api.metadata import DelegatedRole, Delegations, Metadata, Targets

from edge.update.sources import Source, open_source
from edge.update.verified import FetchFailure
from tests.tamper.attack import DIRECTOR, IMAGE, TAIL_ROLE, moved
from tests.tamper.fleet import MAKER, MAKERS_MODEL, TAIL, calibrated, opened
from tests.tamper.forge import ROGUE
from tests.tamper.scene import Scene

DESK, DESKS_TAIL = "calibration", f"calibration-{TAIL}"


class TwoFaced:
    """A source that gives a file's second face once its first has been read."""

    def __init__(self, source: Source, faces: dict[str, list[bytes]]) -> None:
        self._source, self._faces, self.name = source, faces, source.name

    def read(self, path: str, offset: int = 0) -> Generator[bytes, None, None]:
        if self._faces.get(path):
            yield self._faces[path].pop(0)
            return
        yield from self._source.read(path, offset)

    def cut(self) -> None:
        self._source.cut()

    def close(self) -> None:
        self._source.close()


def test_a_maker_with_all_online_keys_cannot_sign_in_the_name_of_the_calibration_desk(
    scene: Scene,
) -> None:
    """The director's set leads the aircraft through the maker to roles with the names and versions
    of the desk's, and then to the desk. The snapshot pins no hashes, so that both faces fit."""
    parent = scene.fleet.bundles["egt 1"]
    data = calibrated(parent, 1.05, 8)
    evil_path = f"cal/{TAIL}/egt_rom/{opened(data).filename}"
    image = scene.thief("image", MAKER, *IMAGE)
    evil = image.put(evil_path, data, {
        "name": "egt_rom", "release": 8, "parent": hashlib.sha256(parent).hexdigest(),
        "applicability": {"types": ["B737"], "esns": ["ESN1", "ESN2"], "tails": [TAIL]},
    })  # fmt: skip
    honest = image.roles[MAKER].signed.targets.copy()
    through = f"{MAKERS_MODEL}*/*"
    fakes = {
        DESK: Targets(delegations=_delegations(DESKS_TAIL, through)),
        DESKS_TAIL: Targets(targets={evil_path: evil, **honest}),
    }
    faces: dict[str, list[bytes]] = {}
    for name, fake in fakes.items():
        real = image.roles[name]
        fake.version, fake.expires = real.signed.version, real.signed.expires
        metadata = Metadata(fake)
        metadata.sign(ROGUE)
        path = f"image/metadata/{fake.version}.{name}.json"
        faces[path] = [metadata.to_bytes(), scene.read(path)][: 2 if name == DESK else 1]
        meta = image.snapshot.signed.meta[f"{name}.json"]
        meta.hashes = meta.length = None

    def lead_on(signed: Targets) -> None:
        signed.targets, signed.delegations = {}, _delegations(DESK, through)

    image.edit(MAKER, lead_on)
    image.seal()
    director = scene.thief("director", *DIRECTOR)
    entries = [*honest.values(), evil]

    def direct(signed: Targets) -> None:
        signed.targets = {f"{TAIL}/{e.path}": moved(e, f"{TAIL}/{e.path}") for e in entries}

    director.edit(TAIL_ROLE, direct)
    director.seal()
    scene.opened = lambda text: TwoFaced(open_source(text), faces)
    answer = scene.look()
    assert isinstance(answer, FetchFailure), answer
    scene.assert_unharmed()


def _delegations(role: str, pattern: str) -> Delegations:
    key = ROGUE.public_key
    return Delegations(
        {key.keyid: key}, {role: DelegatedRole(role, [key.keyid], 1, True, [pattern])}
    )
