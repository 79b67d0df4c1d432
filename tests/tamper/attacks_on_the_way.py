"""Attacks by somebody on the path or with a stick, and with no key."""

from __future__ import annotations

from tests.tamper.attack import (
    TAIL_ROLE,
    TAKEN,
    Attack,
    Changes,
    attacks_into,
    on_day2,
    see_day2,
)
from tests.tamper.fleet import OTHER_TAIL, Fleet, in_days, model, opened
from tests.tamper.scene import REPOSITORIES, Dripping, Scene

ATTACKS: list[Attack] = []
attack = attacks_into(ATTACKS)


@attack("arbitrary software", "one bit of a bundle is turned on its way", "length_or_hash")
def _bit(scene: Scene) -> None:
    on_day2(scene)
    path = scene.bundle("egt 2")
    data = bytearray(scene.read(path))
    data[100] ^= 1
    scene.put(path, bytes(data))


@attack("arbitrary software", "a bundle is cut by its last byte", "length_or_hash")
def _cut(scene: Scene) -> None:
    on_day2(scene)
    scene.put(scene.bundle("egt 2"), scene.read(scene.bundle("egt 2"))[:-1])


@attack("arbitrary software", "the image lists a bundle signed by the attacker", "signature")
def _forged_image(scene: Scene) -> None:
    data = model(release=9, seed=9)
    image = scene.thief("image")
    path = f"egt_rom/{opened(data).filename}"
    custom = {"name": "egt_rom", "release": 9, "applicability": {"types": ["B737"]}}
    target = image.put(path, data, custom)
    image.edit("targets", lambda signed: signed.targets.update({path: target}))
    image.seal(blunt=True)


@attack("arbitrary software", "another pair of repositories of the same shape", "signature")
def _other_fleet(scene: Scene) -> None:
    scene.serve(Fleet(scene.folder / "other").day0)


@attack("arbitrary software", "what lies half fetched was poisoned by another source", TAKEN)
def _poisoned(scene: Scene) -> None:
    on_day2(scene)
    sha256 = scene.bundle("egt 2").rpartition("/")[2].partition(".")[0]
    partial = scene.state / "tuf/partial"
    partial.mkdir(exist_ok=True)
    (partial / sha256).write_bytes(b"poison" * 100)


@attack("rollback", "the timestamps of day 0 are played back on day 2", "rollback")
def _old_timestamp(scene: Scene) -> None:
    see_day2(scene)
    for name in REPOSITORIES:
        path = f"{name}/metadata/timestamp.json"
        scene.put(path, (scene.fleet.day0 / path).read_bytes())


@attack("freeze", "what was true on day 0 is served for ever", "expired")
def _frozen(scene: Scene) -> None:
    scene.clock.now = in_days(2)


@attack("freeze", "only the director's part is held at day 0, the image goes on", "expired")
def _half_frozen(scene: Scene) -> None:
    on_day2(scene)
    for file in (scene.fleet.day0 / "director/metadata").iterdir():
        scene.put(f"director/metadata/{file.name}", file.read_bytes())


@attack(
    "mix and match within a repository",
    "the newest timestamp with the snapshot of day 0", "length_or_hash",
)  # fmt: skip
def _mixed_snapshot(scene: Scene) -> None:
    on_day2(scene)
    folder = scene.repo / "director/metadata"
    newest = max(folder.glob("*.snapshot.json"), key=lambda p: int(p.name.split(".")[0]))
    scene.put(f"director/metadata/{newest.name}", scene.read("director/metadata/1.snapshot.json"))


@attack(
    "mix and match within a repository",
    "the newest snapshot with the tail's set of day 0", "length_or_hash",
)  # fmt: skip
def _mixed_set(scene: Scene) -> None:
    on_day2(scene)
    old = scene.read(f"director/metadata/1.{TAIL_ROLE}.json")
    scene.put(f"director/metadata/2.{TAIL_ROLE}.json", old)


@attack(
    "mix and match between repositories",
    "the director of now with an image of an hour ago, which lacks its bundle", "no_target",
)  # fmt: skip
def _early_image(scene: Scene) -> None:
    scene.clock.now = in_days(1 / 24)
    for file in (scene.fleet.hour1 / "director/metadata").iterdir():
        scene.put(f"director/metadata/{file.name}", file.read_bytes())


@attack(
    "mix and match between sources",
    "one source has an honest director and a broken image, the next one the opposite", "signature",
)  # fmt: skip
def _halves(scene: Scene) -> Changes:
    other = scene.folder / "other"
    scene.copy(other)
    on_day2(scene)
    broken = Fleet(scene.folder / "fleet")
    for file in (broken.day2 / "image/metadata").iterdir():
        scene.put(f"image/metadata/{file.name}", file.read_bytes())
    for file in (broken.day2 / "director/metadata").iterdir():
        (other / "director/metadata" / file.name).unlink(missing_ok=True)
        (other / "director/metadata" / file.name).write_bytes(file.read_bytes())
    return {"sources": (f"file://{scene.repo}", f"file://{other}")}


@attack("mix and match between sources", "the first source is frozen, the second honest", TAKEN)
def _first_frozen(scene: Scene) -> Changes:
    frozen = scene.folder / "frozen"
    scene.copy(frozen)
    on_day2(scene)
    return {"sources": (f"file://{frozen}", f"file://{scene.repo}")}


@attack("endless data", "a timestamp without an end", "length_or_hash")
def _endless_metadata(scene: Scene) -> None:
    for name in REPOSITORIES:
        scene.put(f"{name}/metadata/timestamp.json", b" " * 1_000_000)


@attack("endless data", "a bundle with a megabyte behind it", "length_or_hash")
def _endless_bundle(scene: Scene) -> None:
    on_day2(scene)
    path = scene.bundle("egt 2")
    scene.put(path, scene.read(path) + bytes(1 << 20))


@attack("endless data", "brackets nested ten thousand deep", "metadata")
def _nested(scene: Scene) -> None:
    for name in REPOSITORIES:
        scene.put(f"{name}/metadata/timestamp.json", b"[" * 10_000)


@attack("slow retrieval", "metadata at a byte every 10 ms", "deadline")
def _slow_metadata(scene: Scene) -> Changes:
    scene.opened = Dripping("metadata")
    return {"deadline_s": 0.4}


@attack("slow retrieval", "a bundle at a byte every 10 ms", "deadline")
def _slow_bundle(scene: Scene) -> Changes:
    on_day2(scene)
    scene.opened = Dripping("image/targets")
    return {"step_s": 0.4}


@attack("slow retrieval", "the first source drips, the second is honest", TAKEN)
def _slow_first(scene: Scene) -> Changes:
    slow = scene.folder / "slow"
    on_day2(scene)
    scene.copy(slow)
    scene.opened = Dripping("metadata", str(slow))
    return {"sources": (f"file://{slow}", f"file://{scene.repo}"), "deadline_s": 4.0, "step_s": 0.3}


@attack("partial bundle set", "one bundle of the set is not there", "http")
def _missing_bundle(scene: Scene) -> None:
    on_day2(scene)
    (scene.repo / scene.bundle("egt 2")).unlink()


@attack("partial bundle set", "a notice offers a bundle that nobody directed to it", "not_directed")
def _not_directed(scene: Scene) -> Changes:
    return {"target": scene.fleet.targets["egt 2"]}


@attack("forged director", "a set signed by the attacker", "signature")
def _forged_director(scene: Scene) -> None:
    forger = scene.thief("director")
    forger.edit(TAIL_ROLE, lambda signed: None)
    forger.seal(blunt=True)


@attack(
    "another tail's director metadata",
    "the file of another tail is served for this one's", "length_or_hash",
)  # fmt: skip
def _tail_served(scene: Scene) -> None:
    on_day2(scene)
    other = scene.read(f"director/metadata/1.tail-{OTHER_TAIL}.json")
    scene.put(f"director/metadata/2.{TAIL_ROLE}.json", other)


@attack("root", "the director's root is served as the image's next one", "signature")
def _other_root(scene: Scene) -> None:
    data = scene.read("director/metadata/1.root.json").replace(b'"version": 1', b'"version": 2')
    scene.put("image/metadata/2.root.json", data)


@attack("wrong ESN", "an honest set, but the engines have been replaced since", "inapplicable")
def _replaced(scene: Scene) -> None:
    scene.aircraft = scene.with_engines("ESN7", "ESN8")
