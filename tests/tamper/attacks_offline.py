"""Attacks with one of the keys that decide what may run, beside all online ones."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any

import msgspec
from securesystemslib.dsse import Envelope
from securesystemslib.signer import Key
from tuf.api.metadata import DelegatedRole, Delegations, Metadata, Root, Targets

from shared.bundle import Monitor, attach
from signing.verify.attested import encode_envelope, parse_envelope
from signing.verify.composite import CompositeKey
from tests.tamper.attack import (
    IMAGE,
    TAKEN,
    Attack,
    Changes,
    attacks_into,
    direct,
    slip_in,
)
from tests.tamper.fleet import (
    CLAIMS,
    MAKER,
    MAKERS_MODEL,
    OTHER_TAIL,
    POLICY,
    TAIL,
    attested,
    calibrated,
    model,
    opened,
)
from tests.tamper.forge import ROGUE
from tests.tamper.scene import Scene

ATTACKS: list[Attack] = []
attack = attacks_into(ATTACKS)
TARGETS = "image targets, all online"
BLESSED = "image targets, attestor, all online"
MAKERS = "maker, attestor, all online"
DESK = "calibration, all online"
DESK_ROLE = f"calibration-{TAIL}"


# -- who says how it was built


def _attested(scene: Scene, data: bytes, **claims: Any) -> bytes:
    """By the real attestor."""
    said = msgspec.structs.replace(CLAIMS, **claims)
    return attested(data, scene.fleet.keys.load("attestor-1"), claims=said)[1]


@attack("tampered attestation", "there is none", "attestation", TARGETS)
def _no_attestation(scene: Scene) -> None:
    slip_in(scene, model(release=9, seed=9), "image-targets")


@attack("tampered attestation", "by somebody whom the root does not name", "attestation", TARGETS)
def _stranger(scene: Scene) -> None:
    stranger = scene.fleet.keys.load("stranger")
    slip_in(scene, attested(model(release=9, seed=9), stranger)[1], "image-targets")


@attack("tampered attestation", "by the image targets key itself", "attestation", TARGETS)
def _own_word(scene: Scene) -> None:
    signer = scene.fleet.keys.load("image-targets")
    slip_in(scene, attested(model(release=9, seed=9), signer)[1], "image-targets")


@attack("tampered attestation", "the honest statement of another bundle", "attestation", TARGETS)
def _other_statement(scene: Scene) -> None:
    honest = opened(scene.fleet.bundles["egt 1"]).attestation
    slip_in(scene, attach(opened(model(release=9, seed=9)), honest), "image-targets")


@attack("tampered attestation", "the type of the signed payload is swapped", "attestation", TARGETS)
def _type_swap(scene: Scene) -> None:
    files = opened(_attested(scene, model(release=9)))
    honest, swapped = b"application/vnd.in-toto+json", b"application/vnd.other00+json"
    assert honest in files.attestation
    slip_in(scene, attach(files, files.attestation.replace(honest, swapped)), "image-targets")


@attack(
    "tampered attestation",
    "two are asked for, one key signs under two key ids", "attestation", BLESSED,
)  # fmt: skip
def _counted_twice(scene: Scene) -> Changes:
    files = opened(_attested(scene, model(release=9, seed=9)))
    envelope: Envelope = parse_envelope(files.attestation, "")
    ((_, signature),) = envelope.signatures.items()
    again = type(signature)("f" * 64, signature.signature)
    envelope.signatures[again.keyid] = again
    slip_in(scene, attach(files, encode_envelope(envelope)), "image-targets")
    return {"attestation": msgspec.structs.replace(POLICY, threshold=2)}


@attack(
    "tampered attestation", "by a builder that the profile does not name", "attestation", BLESSED
)
def _foreign_builder(scene: Scene) -> None:
    elsewhere = "https://elsewhere.example/shop"
    slip_in(scene, _attested(scene, model(release=9), builder=elsewhere), "image-targets")


# -- delegations


@attack("stolen delegation", "a maker signs a bundle of another's name", "no_target", MAKERS)
def _beyond_names(scene: Scene) -> None:
    slip_in(scene, _attested(scene, model(release=9, seed=9)), MAKER, role=MAKER)


@attack("stolen delegation", "a maker says more types than it may", "delegation", MAKERS)
def _beyond_types(scene: Scene) -> None:
    data = _attested(scene, model(MAKERS_MODEL, release=9, seed=9))
    who = {"types": ["B737", "A320"]}
    slip_in(scene, data, MAKER, role=MAKER, applicability=who)


@attack("stolen delegation", "a maker signs a calibration of its own model", "no_target", MAKERS)
def _makers_calibration(scene: Scene) -> None:
    data = _calibration(scene, 1.01, 8)
    slip_in(scene, data, MAKER, role=MAKER, folder=f"cal/{TAIL}/egt_rom", parent=_parent(scene))


# -- what no delegation of ours looks like

SHAPE = "shape of delegations"


def _shaped(scene: Scene, role: str, change: Callable[[Targets], object], *stolen: str) -> None:
    """The image's role changed, and offered under a new snapshot."""
    image = scene.thief("image", *stolen, *IMAGE)
    image.edit(role, change)
    image.seal()


def _roles(signed: Targets) -> dict[str, DelegatedRole]:
    assert signed.delegations is not None and signed.delegations.roles is not None
    return signed.delegations.roles


def _delegation(role: str, *paths: str) -> Delegations:
    key = ROGUE.public_key
    return Delegations(
        {key.keyid: key}, {role: DelegatedRole(role, [key.keyid], 1, True, [*paths])}
    )


@attack(SHAPE, "a maker hands on what it may", "rejected", "maker, all online")
def _hands_on(scene: Scene) -> None:
    def change(signed: Targets) -> None:
        signed.delegations = _delegation("friend", f"{MAKERS_MODEL}*/*")

    direct(scene, "bearing 1")
    _shaped(scene, MAKER, change, MAKER)


@attack(SHAPE, "the desk delegates to a role that is no tail's", "rejected", DESK)
def _desk_hands_on(scene: Scene) -> None:
    def change(signed: Targets) -> None:
        signed.delegations = _delegation(MAKER, f"cal/{TAIL}/*/*")

    direct(scene, "calibration 2")
    _shaped(scene, "calibration", change, "calibration")


@attack(SHAPE, "two makers share names, the first would win", "rejected", TARGETS)
def _shared_names(scene: Scene) -> None:
    def change(signed: Targets) -> None:
        honest = _roles(signed)[MAKER]
        other = DelegatedRole.from_dict({**honest.to_dict(), "name": "other", "paths": ["bear*/*"]})
        _roles(signed)["other"] = other

    _shaped(scene, "targets", change, "image-targets")


@attack(SHAPE, "a maker's delegation without an end", "rejected", TARGETS)
def _endless(scene: Scene) -> None:
    _shaped(scene, "targets",
            lambda s: _roles(s)[MAKER].unrecognized_fields.pop("x-tailtwin-until"), "image-targets")  # fmt: skip


@attack(SHAPE, "a maker has an online key", "rejected", TARGETS)
def _online_maker(scene: Scene) -> None:
    def change(signed: Targets) -> None:
        assert signed.delegations is not None
        key = scene.fleet.keys.public("image-timestamp")
        signed.delegations.keys[key.keyid] = key
        _roles(signed)[MAKER].keyids = [key.keyid]

    _shaped(scene, "targets", change, "image-targets")


@attack(SHAPE, "a maker has a key of the director's", "rejected", TARGETS)
def _directors_maker(scene: Scene) -> None:
    def change(signed: Targets) -> None:
        assert signed.delegations is not None
        key = scene.fleet.keys.public("director-timestamp")
        signed.delegations.keys[key.keyid] = key
        _roles(signed)[MAKER].keyids = [key.keyid]

    _shaped(scene, "targets", change, "image-targets")


@attack(SHAPE, "the desk has the key of an attestor", "rejected", TARGETS)
def _attesting_desk(scene: Scene) -> None:
    def change(signed: Targets) -> None:
        assert signed.delegations is not None
        key = scene.fleet.keys.public("attestor-1")
        signed.delegations.keys[key.keyid] = key
        _roles(signed)["calibration"].keyids = [key.keyid]

    _shaped(scene, "targets", change, "image-targets")


# -- calibrations


def _parent(scene: Scene, label: str = "egt 1") -> str:
    return hashlib.sha256(scene.fleet.bundles[label]).hexdigest()


def _calibration(
    scene: Scene, factor: float, release: int, label: str = "egt 1", **changes: Any
) -> bytes:
    return calibrated(scene.fleet.bundles[label], factor, release, **changes)


def _by_the_desk(
    scene: Scene, data: bytes, parent: str, folder: str = f"cal/{TAIL}/egt_rom", **custom: Any
) -> None:
    if parent:
        custom["parent"] = parent
    slip_in(scene, data, "calibration", role=DESK_ROLE, folder=folder, **custom)


@attack("calibration", "numbers beyond what the parent allows", "calibration", DESK)
def _out_of_bounds(scene: Scene) -> None:
    _by_the_desk(scene, _calibration(scene, 1.2, 8), _parent(scene))


@attack("calibration", "a graph of its own that names a parent", "calibration", DESK)
def _new_graph(scene: Scene) -> None:
    _by_the_desk(scene, model(release=8, seed=9), _parent(scene), applicability=_own_tail())


@attack("calibration", "a graph of its own without a parent", "custom", DESK)
def _no_parent(scene: Scene) -> None:
    _by_the_desk(scene, model(release=8, seed=9), "", applicability=_own_tail())


@attack("calibration", "a bundle of a type, signed by the desk", "no_target", DESK)
def _not_cal(scene: Scene) -> None:
    _by_the_desk(scene, model(release=8, seed=9), "", folder="egt_rom")


@attack("calibration", "monitors that speak later than the parent's", "calibration", DESK)
def _deaf(scene: Scene) -> None:
    monitors: tuple[Monitor, ...] = opened(scene.fleet.bundles["egt 1"]).bundle.monitors
    deaf = tuple(msgspec.structs.replace(m, onset=m.onset * 10) for m in monitors)
    _by_the_desk(scene, _calibration(scene, 1.0, 8, monitors=deaf), _parent(scene))


@attack("calibration", "a calibration of a calibration, step by step beyond", "calibration", DESK)
def _chain(scene: Scene) -> None:
    first = scene.fleet.bundles["calibration 2"]
    data = calibrated(first, 1.09, 8)
    _by_the_desk(scene, data, hashlib.sha256(first).hexdigest())


@attack("calibration", "of a parent that is behind what ran", "release_back", DESK)
def _old_parent(scene: Scene) -> Changes:
    _by_the_desk(scene, _calibration(scene, 1.01, 8), _parent(scene))
    return {"releases": {"egt_rom": 2}, "held": {}}


@attack("calibration", "of a parent that was withdrawn", "calibration", f"{DESK}, image targets")
def _withdrawn_parent(scene: Scene) -> None:
    _by_the_desk(scene, _calibration(scene, 1.01, 8, label="egt 2"), _parent(scene, "egt 2"))
    image = scene.thief("image", "image-targets", *IMAGE)
    image.edit("targets", lambda signed: signed.targets.pop(scene.fleet.targets["egt 2"]))
    image.seal()


@attack("wrong tail", "a calibration of another tail is directed", "wrong_tail", DESK)
def _other_tails_calibration(scene: Scene) -> None:
    who = {"types": ["B737"], "esns": ["ESN1", "ESN2"], "tails": [TAIL, OTHER_TAIL]}
    folder = f"cal/{OTHER_TAIL}/egt_rom"
    _by_the_desk(scene, _calibration(scene, 1.01, 8), _parent(scene), folder, applicability=who)


def _own_tail() -> dict[str, list[str]]:
    return {"types": ["B737"], "esns": ["ESN1", "ESN2"], "tails": [TAIL]}


# -- withdrawal


@attack(
    "withdrawal", "the director goes on with a bundle that was withdrawn", "no_target",
    "director tails, snapshot, timestamp",
)  # fmt: skip
def _withdrawn(scene: Scene) -> None:
    direct(scene, "egt 2")
    image = scene.thief("image", "image-targets", *IMAGE)
    image.edit("targets", lambda signed: signed.targets.pop(scene.fleet.targets["egt 2"]))
    image.seal()


# -- roots


def _next_root(scene: Scene, *signers: str, name: str = "image", **changes: Any) -> None:
    metadata: Metadata[Root] = Metadata.from_bytes(scene.read(f"{name}/metadata/1.root.json"))
    metadata.signed.version = 2
    for key, value in changes.items():
        setattr(metadata.signed.roles["root"], key, value)
    metadata.signatures.clear()
    for signer in signers:
        metadata.sign(scene.fleet.keys.load(signer), append=True)
    scene.put(f"{name}/metadata/2.root.json", metadata.to_bytes())


@attack("root", "a next root that one of three signed", "signature", "one image root")
def _one_of_three(scene: Scene) -> None:
    _next_root(scene, "image-root-1")


@attack("root", "a next root that the director's root keys signed", "signature", "director root")
def _directors_root(scene: Scene) -> None:
    _next_root(scene, "director-root-1", "director-root-2")


@attack("root", "a next root that one key could replace", "rejected", "two image roots")
def _threshold_one(scene: Scene) -> None:
    _next_root(scene, "image-root-1", "image-root-2", threshold=1)


def _second_person(scene: Scene, twin: Key) -> None:
    """A next root that lists a key of the first holder's as one more person's."""
    metadata: Metadata[Root] = Metadata.from_bytes(scene.read("image/metadata/1.root.json"))
    metadata.signed.version = 2
    metadata.signed.add_key(twin, "root")
    metadata.signatures.clear()
    for signer in ("image-root-1", "image-root-2"):
        metadata.sign(scene.fleet.keys.load(signer), append=True)
    scene.put("image/metadata/2.root.json", metadata.to_bytes())


@attack("root", "a next root with one key under two key ids", "rejected", "two image roots")
def _key_twice(scene: Scene) -> None:
    honest = scene.fleet.keys.public("image-root-1")
    twin = type(honest).from_dict("e" * 64, honest.to_dict())
    twin.keyval["public"] = twin.keyval["public"].upper()
    _second_person(scene, twin)


@attack(
    "root", "a next root with half of a composite key as a person", "rejected", "two image roots"
)
def _half_twice(scene: Scene) -> None:
    half = bytes.fromhex(scene.fleet.keys.public("image-root-1").keyval["public"])
    _second_person(scene, CompositeKey.of(bytes(1952), half))


@attack("root", "none: two of three sign a next root honestly", TAKEN, "two image roots")
def _honest_root(scene: Scene) -> None:
    _next_root(scene, "image-root-1", "image-root-3")
