"""Invariant 7: no unverified byte becomes a session. What the attack table does not hold: the update
client around a session, first roots, the time floor, and metadata that is none."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tuf.api.metadata import Metadata, Root

from edge.models.admission import AdmissionResult
from edge.update.decisions import UpdateDecision
from edge.update.floor import FILE
from edge.update.provision import provision
from edge.update.slots import BundleSet, SlotsView
from edge.update.updates import UpdateClient
from edge.update.verified import FetchAnswer, FetchFailure, VerifiedBundle, VerifiedSet
from shared.errors import Corrupt, Rejected
from signing.keyring import Keyring
from signing.keys import KeyFolder
from signing.repositories import Repositories
from signing.rolekeys import KeyChange
from signing.verify import RELEASE_MAX
from tests.tamper.attack import IMAGE, direct, forget_metadata, on_day2, see_day2, slip_in
from tests.tamper.fleet import MAKER, TAIL, Fleet, attested, calibrated, in_days, model
from tests.tamper.scene import REPOSITORIES, Scene
from tests.unit.edge.update.stand import OPEN, serving, settle

Drive = Callable[..., list[UpdateDecision]]


@pytest.fixture
def drive(scene: Scene) -> Drive:
    """Look with the aircraft's own update client, its gate open, until it has decided."""

    async def fetch(target: str, view: SlotsView) -> FetchAnswer:
        return await asyncio.to_thread(scene.look, target=target)

    async def admit(bundle: VerifiedBundle) -> AdmissionResult:
        return AdmissionResult(True, [], bundle.sha256, bundle.name, "", bundle.release)

    async def load(live: BundleSet) -> list[str]:
        return []

    def drive(target: str = "") -> list[UpdateDecision]:
        decisions: list[UpdateDecision] = []

        async def look() -> None:
            client = UpdateClient(
                slots=scene.slots, fetch=fetch, admit=admit, load=load, ask=lambda: OPEN,
                record=decisions.append, clock=scene.clock, retry_s=60.0,
            )  # fmt: skip
            client.offer(target, "notice" if target else "director")
            done = ("failed", "activated", "refused", "unchanged")
            await settle(client, lambda: bool(decisions) and decisions[-1].decision in done)

        asyncio.run(look())
        return decisions

    return drive


def live_releases(scene: Scene) -> dict[str, int]:
    live = scene.slots.live()
    assert live is not None
    return {bundle.name: bundle.release for bundle in live.bundles}


# -- the client around the session


def test_an_honest_set_is_fetched_and_activated(scene: Scene, drive: Drive) -> None:
    on_day2(scene)
    assert [(d.step, d.decision) for d in drive()] == [
        ("download", "fetched"), ("swap", "activated"),
    ]  # fmt: skip
    assert live_releases(scene) == {"egt_rom": 2, "bearing": 1}


def test_a_refused_set_is_a_decision_with_its_code_and_nothing_is_written(
    scene: Scene, drive: Drive
) -> None:
    on_day2(scene)
    before = (scene.state / "active").read_bytes()
    scene.put(scene.bundle("egt 2"), b"other bytes")
    (decision,) = drive()
    assert (decision.step, decision.decision) == ("download", "failed")
    assert [r.code for r in decision.reasons] == ["length_or_hash"]
    assert (scene.state / "active").read_bytes() == before
    assert not list((scene.state / "tuf/targets").glob("*egt_rom-2*")), "unverified under its name"
    scene.assert_unharmed()


@pytest.mark.parametrize(
    "target",
    ["../x/y.tar.zst", "egt/../../active", "egt/set.json", "/etc/passwd", "egt", "a" * 999],
)
def test_a_notice_that_names_no_bundle(drive: Drive, target: str) -> None:
    (decision,) = drive(target)
    assert (decision.decision, decision.reasons[0].code) == ("refused", "target_path")


def test_a_withdrawn_bundle_is_told_by_a_session_that_fails_too(scene: Scene) -> None:
    image = scene.thief("image", "image-targets", *IMAGE)
    path = scene.fleet.targets["egt 1"]
    sha256 = image.roles["targets"].signed.targets[path].hashes["sha256"]
    image.edit("targets", lambda signed: signed.targets.pop(path))
    image.seal()
    answer = scene.look()
    assert isinstance(answer, FetchFailure) and answer.code == "no_target"
    assert answer.withdrawn == (sha256,)
    assert scene.against_live() == [f"{path} is not among the signed targets"]


def test_a_release_that_ran_is_not_gone_behind_after_a_swap_back(
    scene: Scene, drive: Drive
) -> None:
    """Going back is the aircraft's own affair; what was left does not lower the counter."""
    on_day2(scene)
    drive()
    assert scene.slots.rollback(lambda: True)
    assert live_releases(scene) == {"egt_rom": 1, "bearing": 1}
    direct(scene, "egt 1", "bearing 1")
    assert scene.slots.releases() == {"egt_rom": 2, "bearing": 1}
    answer = scene.look(releases=scene.slots.releases(), held={})
    assert isinstance(answer, FetchFailure) and answer.code == "release_back"


def test_a_stolen_calibration_key_cannot_outrun_the_offline_ones(
    scene: Scene, drive: Drive
) -> None:
    """A calibration with the highest release there is runs, within its bounds; the next release that
    offline keys sign is taken all the same."""
    parent = scene.fleet.bundles["egt 1"]
    data = calibrated(parent, 1.01, RELEASE_MAX)
    slip_in(scene, data, "calibration", role=f"calibration-{TAIL}", folder=f"cal/{TAIL}/egt_rom",
            parent=hashlib.sha256(parent).hexdigest())  # fmt: skip
    assert drive()[-1].decision == "activated"
    assert live_releases(scene) == {"egt_rom": RELEASE_MAX}
    scene.slots.prove()
    repositories = Repositories(scene.repo, in_days(0))
    repositories.director.assign(
        scene.fleet.keys, TAIL, scene.fleet.paths("egt 2", "bearing 1"), repositories.image
    )
    assert drive()[-1].decision == "activated"
    assert live_releases(scene) == {"egt_rom": 2, "bearing": 1}


def test_stolen_online_keys_take_a_set_back_and_do_not_bar_it(scene: Scene, drive: Drive) -> None:
    """What they can do, shown so that nobody is surprised: only to the set that was proven last, and
    the honest director has the other one taken again."""
    on_day2(scene)
    drive()
    scene.slots.prove()
    taken_back = scene.slots.live()
    assert taken_back is not None
    direct(scene, "egt 1", "bearing 1", change=lambda signed: signed.unrecognized_fields.update(
        {"x-tailtwin-rollback-of": taken_back.id}))  # fmt: skip
    drive()
    assert live_releases(scene) == {"egt_rom": 1, "bearing": 1}
    direct(scene, "egt 2", "bearing 1",
           change=lambda signed: signed.unrecognized_fields.pop("x-tailtwin-rollback-of"))  # fmt: skip
    assert drive()[-1].decision == "activated"
    assert live_releases(scene) == {"egt_rom": 2, "bearing": 1}


@pytest.mark.parametrize(
    ("role", "cut"),
    [
        ("image-targets", "image/metadata/*.snapshot.json"),
        (MAKER, f"image/metadata/*.{MAKER}.json"),
        ("director-tails", f"director/metadata/*.tail-{TAIL}.json"),
    ],
)
def test_a_link_cut_amid_an_honest_rotation_takes_nothing_from_what_runs(
    scene: Scene, role: str, cut: str
) -> None:
    """Somebody on the path lets the new keys through and holds back what they signed."""
    keys, repositories = scene.fleet.keys, Repositories(scene.repo, in_days(0))
    new = KeyFolder(scene.folder / "new-keys").create(role).public_key
    change = KeyChange(role, add=new, remove=keys.public(role).keyid)
    ring = Keyring(keys, KeyFolder(scene.folder / "new-keys"))
    repository = repositories.named("director" if role.startswith("director") else "image")
    with repository.changing() as changing:
        change.apply(changing)
        repository.commit(changing, ring)
    newest = max(scene.repo.glob(cut), key=lambda p: int(p.name.split(".")[0]))
    held_back = newest.read_bytes()
    newest.unlink()
    assert scene.refused().code == "http"
    newest.write_bytes(held_back)
    assert isinstance(scene.look(), VerifiedSet)
    scene.assert_unharmed()


def test_bytes_changed_in_the_slot_are_not_called_live(scene: Scene) -> None:
    path = scene.live.path(scene.live.bundles[0])
    data = path.read_bytes()
    path.unlink()
    path.write_bytes(data[:-1] + b"!")
    with pytest.raises(Corrupt, match="not the bytes that were verified"):
        scene.slots.live()


# -- on the way


def test_a_target_with_one_bit_turned(scene: Scene, drive: Drive) -> None:
    on_day2(scene)
    data = bytearray(scene.read(scene.bundle("egt 2")))
    data[100] ^= 1
    scene.put(scene.bundle("egt 2"), bytes(data))
    assert [r.code for r in drive()[-1].reasons] == ["length_or_hash"]
    scene.assert_unharmed()


def test_a_bundle_made_for_another_aircraft(scene: Scene, drive: Drive) -> None:
    direct(scene, "other_tail")
    assert [r.code for r in drive()[-1].reasons] == ["inapplicable"]
    scene.assert_unharmed()


def test_a_redirect_is_not_followed(scene: Scene) -> None:
    on_day2(scene)
    with serving(scene.repo) as server:
        server.lies[scene.bundle("egt 2")] = 302
        assert scene.refused(sources=(server.url,)).code == "http"


def test_of_a_bundle_made_for_others_not_a_byte_is_fetched(scene: Scene) -> None:
    direct(scene, "other_type")
    with serving(scene.repo) as server:
        assert scene.refused(sources=(server.url,)).code == "inapplicable"
        assert server.asked and not [p for p in server.asked if "/targets/" in p]


def test_a_bundle_for_more_aircraft_than_this_one_fits_too(scene: Scene) -> None:
    data = attested(model(release=9), scene.fleet.keys.load("attestor-1"))[1]
    who = {"types": ["A320", "B737"], "esns": ["ESN9", "ESN1"]}
    slip_in(scene, data, "image-targets", applicability=who)
    assert isinstance(scene.look(), VerifiedSet)


@pytest.mark.parametrize(
    ("says", "code"),
    [
        ({"types": ["A320"]}, "inapplicable"),
        ({"types": ["B737", "A320"], "esns": ["ESN1", "ESN9"]}, "inapplicable"),
    ],
)
def test_a_bundle_that_was_attested_for_others_is_not_made_ours_by_whoever_signs_targets(
    scene: Scene, says: dict[str, list[str]], code: str
) -> None:
    """Stolen: image targets and all that is online, not an attestor. An honest bundle is aimed at
    an aircraft that it was not made for."""
    data = attested(model(release=9), scene.fleet.keys.load("attestor-1"))[1]
    scene.aircraft = msgspec.structs.replace(scene.aircraft, type="A320", esns=("ESN9",))
    slip_in(scene, data, "image-targets", applicability=says)
    answer = scene.look()
    assert isinstance(answer, FetchFailure) and answer.code == code, answer
    assert "the bundle says" in answer.text


def test_a_bundle_is_of_the_release_that_it_says_itself(scene: Scene) -> None:
    data = attested(model(release=9), scene.fleet.keys.load("attestor-1"))[1]
    slip_in(scene, data, "image-targets", release=11)
    answer = scene.look()
    assert isinstance(answer, FetchFailure) and answer.code == "custom", answer
    assert "the bundle says egt_rom 9" in answer.text


@pytest.mark.parametrize("repository", REPOSITORIES)
@pytest.mark.parametrize("role", ["timestamp", "snapshot", "targets"])
def test_metadata_changed_after_it_was_signed(scene: Scene, repository: str, role: str) -> None:
    on_day2(scene)
    forget_metadata(scene)
    names = [p.name for p in (scene.repo / repository / "metadata").glob(f"*{role}.json")]
    newest = max(names, key=lambda n: int(n.split(".")[0]) if n[0].isdigit() else 0)
    path = f"{repository}/metadata/{newest}"
    content = json.loads(scene.read(path))
    content["signed"]["expires"] = "2039-01-01T00:00:00Z"
    scene.put(path, json.dumps(content).encode())
    assert scene.refused().code in {"signature", "length_or_hash"}


@pytest.mark.parametrize("repository", REPOSITORIES)
@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe", b'{"signed": 1}', b"[]"])
def test_metadata_that_is_none(scene: Scene, repository: str, content: bytes) -> None:
    scene.put(f"{repository}/metadata/timestamp.json", content)
    assert scene.refused().code == "metadata"


def test_rollback_protection_survives_losing_everything_that_was_not_synced(scene: Scene) -> None:
    """What a `_persist_file` without fsync would leave after a power cut is an empty file; the next
    session then forgets what it had seen. Ours is never empty: it is synced aside."""
    see_day2(scene)
    for name in REPOSITORIES:
        folder = scene.state / "tuf" / name / "metadata"
        kept = (folder / "timestamp.json").read_bytes()
        assert kept == scene.read(f"{name}/metadata/timestamp.json")
        assert not list(folder.glob(".*"))


# -- first roots


def roots(fleet: Fleet) -> tuple[bytes, bytes]:
    image, director = (
        (fleet.day0 / name / "metadata/1.root.json").read_bytes() for name in REPOSITORIES
    )
    return image, director


def changed(fleet: Fleet, data: bytes, *signers: str, **changes: Any) -> bytes:
    metadata: Metadata[Root] = Metadata.from_bytes(data)
    for key, value in changes.items():
        setattr(metadata.signed.roles["root"], key, value)
    metadata.signatures.clear()
    for name in signers:
        metadata.sign(fleet.keys.load(name), append=True)
    return metadata.to_bytes()


def test_first_roots_with_a_threshold_of_one(fleet: Fleet, tmp_path: Path) -> None:
    image, director = roots(fleet)
    weak = changed(fleet, image, "image-root-1", threshold=1)
    with pytest.raises(Rejected, match="threshold is 1"):
        provision(tmp_path / "tuf", weak, director)
    weak = changed(fleet, director, "director-root-1", threshold=1)
    with pytest.raises(Rejected, match="threshold is 1"):
        provision(tmp_path / "tuf", image, weak)


def test_first_roots_that_do_not_sign_themselves(fleet: Fleet, tmp_path: Path) -> None:
    image, director = roots(fleet)
    with pytest.raises(Rejected, match="not a trustworthy root"):
        provision(tmp_path / "tuf", changed(fleet, image), director)
    with pytest.raises(Rejected, match="not a trustworthy root"):
        provision(tmp_path / "tuf", image, changed(fleet, director, "director-root-2"))


def test_one_root_is_not_both_repositories(fleet: Fleet, tmp_path: Path) -> None:
    """Whoever had its keys would decide alone."""
    image, director = roots(fleet)
    for pair in ((image, image), (director, director), (director, image)):
        with pytest.raises(Rejected):
            provision(tmp_path / "tuf", *pair)
    assert not list((tmp_path / "tuf").rglob("root.json"))


def test_an_image_root_without_attestors(fleet: Fleet, tmp_path: Path) -> None:
    image, director = roots(fleet)
    metadata: Metadata[Root] = Metadata.from_bytes(image)
    del metadata.signed.unrecognized_fields["x-tailtwin-attestors"]
    metadata.signatures.clear()
    for name in ("image-root-1", "image-root-2"):
        metadata.sign(fleet.keys.load(name), append=True)
    with pytest.raises(Rejected, match="attestors"):
        provision(tmp_path / "tuf", metadata.to_bytes(), director)


# -- the time floor


def floor(scene: Scene) -> float:
    """Unix time, s."""
    return float(json.loads((scene.state / "tuf" / FILE).read_bytes())["floor_ns"]) / 1e9


def at(now: datetime) -> float:
    return now.timestamp()


def test_the_floor_learns_from_what_offline_keys_signed(scene: Scene) -> None:
    """Metadata made on day 5 was seen; the repositories of day 0 are over then, whatever the clock
    says and whatever else was forgotten."""
    repositories = Repositories(scene.repo, in_days(5))
    data = attested(model(release=4), scene.fleet.keys.load("attestor-1"))[1]
    repositories.image.publish(scene.fleet.keys, [scene.fleet.declared(data)])
    repositories.director.refresh(scene.fleet.keys)
    scene.clock.now = in_days(5)
    assert isinstance(scene.look(), VerifiedSet)
    assert floor(scene) == at(in_days(5))
    scene.serve(scene.fleet.day0)
    forget_metadata(scene)
    scene.clock.now = in_days(0.5)
    assert scene.refused().code in ("expired", "no_trusted_time")


def test_expired_metadata_with_the_wall_clock_turned_back(scene: Scene) -> None:
    """Frozen metadata is kept alive by turning the clock back; the floor remembers later."""
    see_day2(scene)
    scene.serve(scene.fleet.day0)
    forget_metadata(scene)
    for hours_back, code in ((0.5, "expired"), (24 * 30, "no_trusted_time")):
        scene.clock.now = in_days(2 - hours_back / 24)
        assert scene.refused().code == code


def test_stolen_online_keys_cannot_push_the_floor(scene: Scene) -> None:
    for name in REPOSITORIES:
        forger = scene.thief(name, f"{name}-snapshot", f"{name}-timestamp", "director-tails")
        forger.prolong(in_days(3650))
        for metadata in (forger.snapshot, forger.timestamp):
            metadata.signed.unrecognized_fields["x-tailtwin-issued"] = "2036-01-01T00:00:00Z"
        forger.seal()
    assert isinstance(scene.look(), VerifiedSet)
    assert floor(scene) <= at(in_days(0))


def test_the_calibration_key_cannot_push_the_floor(scene: Scene) -> None:
    image = scene.thief("image", "calibration", *IMAGE)
    for role in ("calibration", *(r for r in image.roles if r.startswith("calibration-"))):
        image.edit(role, lambda signed: signed.unrecognized_fields.update(
            {"x-tailtwin-issued": "2027-03-02T11:00:00Z"}))  # fmt: skip
    image.seal()
    direct(scene, "calibration 2", "bearing 1")
    assert isinstance(scene.look(), VerifiedSet)
    assert floor(scene) <= at(in_days(0))


def test_a_ground_time_that_is_wrong_is_over_with_the_next_metadata(scene: Scene) -> None:
    for ns in (4_102_444_800 * 10**9, (1 << 62) - 1, 1 << 63):
        assert scene.refused(ground_time_ns=ns).code == "expired"
    scene.serve(scene.fleet.hour1)
    scene.clock.now = in_days(1 / 24)
    assert isinstance(scene.look(), VerifiedSet)


def test_a_bus_time_is_never_remembered(scene: Scene) -> None:
    before = floor(scene)
    scene.look(bus_utc_ns=int(at(in_days(300))) * 10**9)
    assert floor(scene) == before


def test_the_request_cannot_switch_the_policy_off() -> None:
    from edge.update.verified import FetchRequest

    assert not {"policy", "guard", "contents"} & set(FetchRequest.__struct_fields__)
    assert (
        msgspec.json.schema(FetchRequest)["$defs"]["FetchRequest"]["additionalProperties"] is False
    )
