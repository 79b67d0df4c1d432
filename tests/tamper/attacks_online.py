"""Attacks with keys that lie online: snapshot and timestamp, and what the director signs."""

from __future__ import annotations

from tuf.api.metadata import Metadata, Targets

from signing.repositories import ONLINE
from tests.tamper.attack import (
    IMAGE,
    TAIL_ROLE,
    TAKEN,
    Attack,
    Changes,
    attacks_into,
    direct,
    forget_metadata,
    moved,
    see_day2,
)
from tests.tamper.fleet import MADE_FOR_OTHERS, OTHER_TAIL, in_days
from tests.tamper.scene import REPOSITORIES, Named, Scene

ATTACKS: list[Attack] = []
attack = attacks_into(ATTACKS)
ALL, DIRECTORS = "all online keys", "director tails, snapshot, timestamp"
TIMES = "director snapshot, timestamp"
FAR = 2**31


@attack(
    "rollback", "the tail's set of day 0 is listed again in a newer snapshot", "rollback", TIMES
)
def _old_set(scene: Scene) -> None:
    see_day2(scene)
    forger = scene.thief("director", "director-snapshot", "director-timestamp")
    meta = forger.snapshot.signed.meta[f"{TAIL_ROLE}.json"]
    meta.version, meta.hashes, meta.length = 1, None, None
    forger.seal()


@attack("rollback", "the director directs a release behind one that ran", "release_back", DIRECTORS)
def _old_release(scene: Scene) -> Changes:
    direct(scene, "egt 1", "bearing 1")
    return {"releases": {"egt_rom": 2}, "held": {}}


@attack("fast-forward", "versions near 2³¹; then the keys are rotated", TAKEN, ALL)
def _fast_forward(scene: Scene) -> None:
    for name in REPOSITORIES:
        forger = scene.thief(name, *ONLINE)
        forger.snapshot.signed.version = forger.timestamp.signed.version = FAR
        forger.edit(TAIL_ROLE, lambda signed: setattr(signed, "version", FAR))
        forger.seal()
    scene.look()
    scene.serve(scene.fleet.rotated)


@attack(
    "mix and match between repositories",
    "the director names a bundle that this image never had", "no_target", DIRECTORS,
)  # fmt: skip
def _unknown(scene: Scene) -> None:
    def edit(signed: Targets) -> None:
        ((path, entry),) = signed.targets.items()
        other = path.replace("1.0.0", "7.0.0")
        signed.targets = {other: moved(entry, other)}

    direct(scene, "egt 1", change=edit)


@attack(
    "mix and match between repositories",
    "the director says another hash than the image", "disagree", DIRECTORS,
)  # fmt: skip
def _other_hash(scene: Scene) -> None:
    def edit(signed: Targets) -> None:
        for entry in signed.targets.values():
            entry.hashes["sha256"] = "0" * 64

    direct(scene, "egt 1", change=edit)


@attack(
    "mix and match between repositories",
    "the director says a higher release than the image", "disagree", DIRECTORS,
)  # fmt: skip
def _other_release(scene: Scene) -> None:
    def edit(signed: Targets) -> None:
        for entry in signed.targets.values():
            entry.unrecognized_fields["custom"]["release"] = 99

    direct(scene, "egt 1", change=edit)


@attack(
    "mix and match between repositories",
    "the director says more aircraft than the image", "disagree", DIRECTORS,
)  # fmt: skip
def _wider(scene: Scene) -> None:
    def edit(signed: Targets) -> None:
        for entry in signed.targets.values():
            entry.unrecognized_fields["custom"]["applicability"] = {"types": ["B737", "A320"]}

    direct(scene, "other_type", change=edit)


@attack("wrong hardware (type)", "a bundle of another type is directed", "inapplicable", DIRECTORS)
def _other_type(scene: Scene) -> None:
    direct(scene, "other_type")


@attack(
    "wrong hardware (part number)",
    "a bundle of another part number is directed", "inapplicable", DIRECTORS,
)  # fmt: skip
def _other_part(scene: Scene) -> None:
    direct(scene, "other_part")


@attack("wrong tail", "a bundle of another tail is directed", "inapplicable", DIRECTORS)
def _other_tail(scene: Scene) -> None:
    direct(scene, "other_tail")


@attack("wrong ESN", "a bundle of another engine is directed", "inapplicable", DIRECTORS)
def _other_esn(scene: Scene) -> None:
    direct(scene, "other_esn")


@attack("partial bundle set", "the director directs an empty set", "not_directed", DIRECTORS)
def _empty(scene: Scene) -> None:
    direct(scene)


@attack("extraneous dependency", "the set has two bundles of one name", "metadata", DIRECTORS)
def _two_of_a_name(scene: Scene) -> None:
    direct(scene, "egt 1", "egt 2")


@attack("extraneous dependency", "one bundle more, made for others", "inapplicable", DIRECTORS)
def _one_more(scene: Scene) -> None:
    direct(scene, "egt 1", "bearing 1", *MADE_FOR_OTHERS)


@attack("extraneous dependency", "a set of thirty-three", "metadata", DIRECTORS)
def _many(scene: Scene) -> None:
    def edit(signed: Targets) -> None:
        ((path, entry),) = signed.targets.items()
        for n in range(33):
            other = path.replace("1.0.0", f"{n}.0.0")
            signed.targets[other] = moved(entry, other)

    direct(scene, "egt 1", change=edit)


@attack(
    "another tail's director metadata",
    "it is listed for this tail; all tails share one online key", "wrong_tail", TIMES,
)  # fmt: skip
def _tail_listed(scene: Scene) -> None:
    forget_metadata(scene)
    forger = scene.thief("director", "director-snapshot", "director-timestamp")
    other: Metadata[Targets] = forger.roles[f"tail-{OTHER_TAIL}"]
    scene.put(f"director/metadata/{other.signed.version}.{TAIL_ROLE}.json", other.to_bytes())
    meta = forger.snapshot.signed.meta
    meta[f"{TAIL_ROLE}.json"] = meta[f"tail-{OTHER_TAIL}.json"]
    forger.seal()


@attack(
    "another tail's director metadata",
    "this tail's role carries another tail in its signed part", "wrong_tail", DIRECTORS,
)  # fmt: skip
def _tail_inside(scene: Scene) -> None:
    def edit(signed: Targets) -> None:
        signed.unrecognized_fields["x-tailtwin-tail"] = OTHER_TAIL

    direct(scene, "egt 1", change=edit)


@attack(
    "another tail's director metadata",
    "this tail's role does not say whose it is", "wrong_tail", DIRECTORS,
)  # fmt: skip
def _tail_missing(scene: Scene) -> None:
    direct(scene, "egt 1", change=lambda signed: signed.unrecognized_fields.pop("x-tailtwin-tail"))


@attack(
    "another tail's director metadata",
    "this tail's role has a target of another tail", "wrong_tail", DIRECTORS,
)  # fmt: skip
def _tail_path(scene: Scene) -> None:
    def edit(signed: Targets) -> None:
        ((path, entry),) = signed.targets.items()
        other = f"{OTHER_TAIL}/{path.partition('/')[2]}"
        signed.targets[other] = moved(entry, other)

    direct(scene, "egt 1", change=edit)


@attack("forged director", "a snapshot that pins versions without hashes", "rejected", TIMES)
def _without_hashes(scene: Scene) -> None:
    forger = scene.thief("director", "director-snapshot", "director-timestamp")
    for meta in forger.snapshot.signed.meta.values():
        meta.hashes = meta.length = None
    forger.seal()


@attack(
    "forged director",
    "the same version of a set with other content",
    "length_or_hash",
    "director tails",
)
def _same_version(scene: Scene) -> None:
    forget_metadata(scene)
    forger = scene.thief("director", "director-tails")
    forger.edit(TAIL_ROLE, lambda signed: signed.targets.popitem())
    forger.seal()


@attack("forged director", "a restriction that this version does not know", "rejected", DIRECTORS)
def _unknown_field(scene: Scene) -> None:
    direct(scene, "egt 1", change=lambda signed: signed.unrecognized_fields.update(
        {"x-tailtwin-only-on-sundays": True}))  # fmt: skip


@attack("forged director", "a set that is to be left for itself", "metadata", DIRECTORS)
def _left_for_itself(scene: Scene) -> None:
    live = scene.live.id
    direct(scene, "egt 1", "bearing 1", change=lambda signed: signed.unrecognized_fields.update(
        {"x-tailtwin-rollback-of": live}))  # fmt: skip


@attack("freeze", "metadata that was made for a stick is served over a network", "expired")
def _stick_over_network(scene: Scene) -> Changes:
    scene.serve(scene.fleet.stick)
    scene.clock.now = in_days(10)
    scene.opened = Named("http://ground.example/tuf")
    return None


@attack("freeze", "the same stick in the aircraft, ten days old: that is what it is for", TAKEN)
def _stick(scene: Scene) -> None:
    scene.serve(scene.fleet.stick)
    scene.clock.now = in_days(10)


@attack("stolen delegation", "the maker's role is replayed after its end", "delegation", ALL)
def _after_until(scene: Scene) -> None:
    scene.clock.now = in_days(41)
    for name in REPOSITORIES:
        forger = scene.thief(name, *ONLINE, *IMAGE)
        forger.prolong(in_days(70))
        forger.seal()
