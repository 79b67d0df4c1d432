"""One session over both repositories, in this process: what is taken, from where, and why not."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from tuf.api.metadata import Metadata

from edge.update import room
from edge.update.fetch import NoRoom
from edge.update.trusted import Guard, newest_root
from edge.update.verified import FetchFailure
from shared.errors import Rejected
from signing.image import Delegation
from signing.verify import Aircraft, Applicability, set_id
from tests.unit.edge.update.stand import (
    AIRCRAFT,
    FITS,
    NOW,
    TAIL,
    Aboard,
    Server,
    Shop,
    later,
    serving,
)


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    return Shop(tmp_path)


@pytest.fixture
def aboard(tmp_path: Path, shop: Shop) -> Aboard:
    return Aboard(tmp_path, shop)


@pytest.fixture
def server(shop: Shop, aboard: Aboard) -> Iterator[Server]:
    with serving(shop.folder) as server:
        aboard.sources = (server.url,)
        yield server


def fetched(server: Server) -> list[str]:
    return [path for path in server.asked if "/targets/" in path]


def test_the_whole_set_comes_and_what_is_aboard_is_not_fetched_again(
    aboard: Aboard, shop: Shop, server: Server
) -> None:
    targets = [shop.offer(1, name="vib"), shop.offer(3, name="anomaly")]
    answer = aboard.taken()
    assert [b.name for b in answer.bundles] == ["anomaly", "egt", "vib"]
    assert answer.id == set_id(answer.bundles) and answer.source == server.url
    assert len(fetched(server)) == 2
    live = aboard.slots.live()
    assert live is not None
    (egt,) = [b for b in answer.bundles if b.name == "egt"]
    assert egt.file == live.path(live.bundles[0])
    for bundle in answer.bundles:
        assert bundle.file.read_bytes().startswith(f"{bundle.name} release".encode())
    assert aboard.taken(targets[0]) == answer
    assert len(fetched(server)) == 2  # verified once, found where it was put


def test_a_held_file_that_changed_is_fetched_again(aboard: Aboard) -> None:
    live = aboard.slots.live()
    assert live is not None
    path = live.path(live.bundles[0])
    path.write_bytes(b"x" * path.stat().st_size)
    (bundle,) = aboard.taken().bundles
    assert bundle.file != path and bundle.file.read_bytes() != path.read_bytes()


def test_what_the_director_does_not_direct_is_not_taken(aboard: Aboard, shop: Shop) -> None:
    other = shop.publish(2)
    answer = aboard.refused(other)
    assert answer.code == "not_directed" and other in answer.text and not answer.may_pass
    assert aboard.refused("cal/x").code == "rejected"


def test_a_tail_that_the_director_does_not_know_is_told_so(aboard: Aboard) -> None:
    stranger = Aircraft(tail="B737-1", type=AIRCRAFT.type, esns=AIRCRAFT.esns)
    answer = aboard.refused(aircraft=stranger)
    assert answer.code == "not_directed" and "no role for B737-1" in answer.text


def test_another_tails_metadata_is_refused_before_it_is_kept(aboard: Aboard, shop: Shop) -> None:
    """The director's online keys sign, under this tail's name, what was made for another."""
    repository = shop.at(NOW).director
    with repository.changing() as change:
        change.targets(f"tail-{TAIL}").unrecognized_fields["x-tailtwin-tail"] = "B737-1"
        repository.commit(change, shop.keys)
    path = aboard.trust / "director" / "metadata" / f"tail-{TAIL}.json"
    before = path.read_bytes()
    answer = aboard.refused()
    assert answer.code == "wrong_tail" and "B737-1" in answer.text
    assert path.read_bytes() == before


def test_repositories_that_disagree_are_named(aboard: Aboard, shop: Shop) -> None:
    repository = shop.at(NOW).director
    with repository.changing() as change:
        (entry,) = change.targets(f"tail-{TAIL}").targets.values()
        entry.unrecognized_fields["custom"]["release"] = 9
        entry.length += 1
        repository.commit(change, shop.keys)
    answer = aboard.refused()
    assert answer.code == "disagree" and "length" in answer.text and "custom" in answer.text


# -- sources


def test_the_next_source_is_asked_when_one_is_not_there(aboard: Aboard, shop: Shop) -> None:
    aboard.sources = ("http://127.0.0.1:1/tuf", shop.url)
    assert aboard.taken().source == shop.url


def test_a_source_that_lies_does_not_end_a_session_that_another_serves(
    tmp_path: Path, aboard: Aboard, shop: Shop
) -> None:
    liar = Shop(tmp_path / "liar", later(-1))
    aboard.sources = (liar.url, shop.url)
    assert aboard.taken().source == shop.url


def test_of_several_failures_the_worst_is_told_and_all_are_named(
    aboard: Aboard, shop: Shop
) -> None:
    shop.metadata("timestamp.json").write_text("{}")
    aboard.sources = ("nats://u:secret@127.0.0.1:1/aero.v1.O.T", "http://127.0.0.1:1/tuf", shop.url)
    answer = aboard.refused()
    assert (answer.kind, answer.code) == ("rejected", "metadata")
    assert "image repository, " + shop.url in answer.text and "127.0.0.1:1" in answer.text
    assert answer.may_pass and "secret" not in answer.text  # the ground may answer next time


def test_a_source_that_drips_leaves_time_for_the_next(
    aboard: Aboard, shop: Shop, server: Server
) -> None:
    server.drips, server.drip_s = "timestamp", 0.02
    aboard.sources, aboard.deadline_s = (server.url, shop.url), 1.0
    assert aboard.taken().source == shop.url


def test_no_single_file_takes_longer_than_its_step(aboard: Aboard, server: Server) -> None:
    server.drips, server.drip_s = "timestamp", 0.02
    assert aboard.refused(step_s=0.2).code == "deadline"


# -- where it is put


def test_memory_is_no_place_for_an_update(aboard: Aboard, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edge.update.session.is_memory", lambda folder: True)
    aboard.taken()  # a bench may
    answer = aboard.refused(staging_may_be_memory=False)
    assert answer.code == "memory_folder" and not answer.may_pass


MOUNTINFO = r"""
22 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw
30 22 0:26 / /dev/shm rw,nosuid - tmpfs tmpfs rw
31 22 0:27 / /var/lib rw - ext4 /dev/vdb rw
32 31 0:28 / /var/lib/a\040state rw - ramfs none rw
33 22 0:29 / /var/lib/over rw - ext4 /dev/vdc rw
34 22 0:30 / /var/lib/over rw - tmpfs none rw
"""


@pytest.mark.parametrize(
    ("folder", "kind"),
    [
        ("/home/x", "ext4"), ("/dev/shm", "tmpfs"), ("/dev/shm/x", "tmpfs"), ("/dev/shmx", "ext4"),
        ("/var/lib/a state/tuf", "ramfs"), ("/var/lib/over/tuf", "tmpfs"),
    ],
)  # fmt: skip
def test_a_folder_is_where_the_last_mount_above_it_says(folder: str, kind: str) -> None:
    assert room.file_system(Path(folder), MOUNTINFO) == kind
    assert room.file_system(Path(folder), "") == ""


def test_a_disk_without_room_is_told_before_a_byte_of_a_bundle(
    aboard: Aboard, shop: Shop, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop.offer(2)
    monkeypatch.setattr("edge.update.session.free_bytes", lambda folder: room.SPARE_BYTES + 10)
    answer = aboard.refused()
    assert answer.code == "no_room" and answer.may_pass and not fetched(server)
    monkeypatch.setattr("edge.update.session.free_bytes", lambda folder: 10)
    server.asked.clear()
    assert aboard.refused().code == "no_room" and not server.asked


def test_a_disk_that_fills_meanwhile_is_told_so(
    aboard: Aboard, shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise NoRoom("no room for the update", "/state", "free space")

    shop.offer(2)
    monkeypatch.setattr("edge.update.trusted.TrustedUpdater.fetch", full)
    assert aboard.refused().code == "no_room"


# -- roots and delegations


def rotate(shop: Shop, number: int) -> None:
    """A new timestamp key, root signed by two of three."""
    shop.keys.create(f"image-timestamp-{number}")
    repository = shop.at(later(number)).image
    with repository.changing() as change:
        root = change.root()
        root.revoke_key(root.roles["timestamp"].keyids[0], "timestamp")
        root.add_key(shop.keys.public(f"image-timestamp-{number}"), "timestamp")
        repository.commit(change, shop.keys)


def test_an_aircraft_that_was_away_for_a_year_steps_through_every_root(
    aboard: Aboard, shop: Shop
) -> None:
    for number in range(1, 25):
        rotate(shop, number)
    shop.refresh(later(300))
    aboard.clock.advance_s(300 * 86_400)
    aboard.taken()
    folder = aboard.trust / "image"
    assert len(list((folder / "metadata" / "root_history").iterdir())) == 25
    assert b'"version":25' in newest_root(folder, Guard(), NOW)


def test_a_bounded_number_of_roots_a_session_and_the_next_goes_on(
    aboard: Aboard, shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edge.update.trusted.ROOT_ROTATIONS_MAX", 2)
    for number in range(1, 6):
        rotate(shop, number)
    aboard.clock.advance_s(5 * 86_400)
    shop.refresh(later(5))
    codes = [type(aboard.fetch()).__name__ for _ in range(3)]
    assert codes == ["FetchFailure", "FetchFailure", "VerifiedSet"]


MAKER = "engine_maker"


def delegated(shop: Shop, within: Applicability | None = None, days: float = 30) -> str:
    """Release 2 of egt is the maker's."""
    shop.keys.create(MAKER)
    shop.at(NOW).image.withdraw(shop.keys, "egt/egt-1.0.0.tar.zst")
    shop.at(NOW).image.delegate(shop.keys, Delegation(
        name=MAKER, keys=(shop.keys.public(MAKER),), paths=("egt/*",), until=later(days),
        within=within,
    ))  # fmt: skip
    return shop.offer(2, role=MAKER)


def test_a_makers_bundle_is_taken_until_its_delegation_ends(aboard: Aboard, shop: Shop) -> None:
    delegated(shop)
    assert aboard.taken().bundles[0].release == 2
    aboard.clock.advance_s(30 * 86_400)
    shop.refresh(later(30))
    answer = aboard.refused()
    assert answer.code == "delegation" and MAKER in answer.text
    assert answer.withdrawn == ()  # what came of it goes on running


def test_a_maker_may_not_sign_for_more_than_it_was_given(aboard: Aboard, shop: Shop) -> None:
    delegated(shop, FITS)
    aboard.taken()
    repository = shop.at(NOW).image
    with repository.changing() as change:  # by hand: our signer refuses to
        (role,) = [r for name, r in change.targets().delegations.roles.items() if name == MAKER]  # type: ignore[union-attr]
        role.unrecognized_fields["x-tailtwin-within"] = {"types": ["A320"]}
        repository.commit(change, shop.keys)
    answer = aboard.refused()
    assert answer.code == "delegation" and "A320" in answer.text


# -- calibrations


def calibrated(shop: Shop, release: int, parent: str) -> str:
    sha256 = shop.at(NOW).image.chain().targets().targets[parent].hashes["sha256"]
    who = Applicability(types=FITS.types, esns=FITS.esns, tails=(TAIL,))
    return shop.offer(release, role="calibration", parent=sha256, who=who)


def test_a_calibration_comes_with_its_parent(aboard: Aboard, shop: Shop) -> None:
    target = calibrated(shop, 7, "egt/egt-1.0.0.tar.zst")
    assert target.startswith(f"cal/{TAIL}/egt/")
    (bundle,) = aboard.taken(target).bundles
    assert Path(bundle.parent).read_bytes().startswith(b"egt release 1")
    assert bundle.counters == {"egt": 1, f"egt@{bundle.parent_sha256[:16]}": 7}


def test_a_calibration_desk_outruns_no_offline_key(aboard: Aboard, shop: Shop) -> None:
    calibrated(shop, 900, "egt/egt-1.0.0.tar.zst")
    assert aboard.slots.activate(aboard.slots.stage(aboard.taken().bundles), lambda: True)
    aboard.slots.prove()
    offline = shop.offer(2)
    assert aboard.slots.activate(aboard.slots.stage(aboard.taken(offline).bundles), lambda: True)
    aboard.slots.prove()
    calibrated(shop, 901, "egt/egt-1.0.0.tar.zst")
    answer = aboard.refused()
    assert answer.code == "release_back" and "release 1" in answer.text


def test_a_calibration_whose_parent_was_withdrawn_is_refused(aboard: Aboard, shop: Shop) -> None:
    calibrated(shop, 7, "egt/egt-1.0.0.tar.zst")
    shop.at(NOW).image.withdraw(shop.keys, "egt/egt-1.0.0.tar.zst")
    assert aboard.refused().code == "calibration"


# -- leaving a set


def test_a_set_to_be_left_is_named_and_never_itself(aboard: Aboard, shop: Shop) -> None:
    live = aboard.slots.live()
    assert live is not None
    target = shop.publish(2)
    shop.assign(target, rollback_of=live.id)
    assert aboard.taken().rollback_of == live.id
    repository = shop.at(NOW).director
    for says in (set_id(aboard.taken().bundles), "nonsense", 5):
        with repository.changing() as change:
            role = change.targets(f"tail-{TAIL}")
            role.unrecognized_fields["x-tailtwin-rollback-of"] = says
            repository.commit(change, shop.keys)
        assert aboard.refused().code == "metadata"


# -- what a session leaves behind


def test_metadata_and_bundles_are_whole_under_their_names_or_not_there(
    aboard: Aboard, shop: Shop
) -> None:
    aboard.taken()
    assert not list(aboard.trust.rglob(".*"))
    for repository in ("image", "director"):
        kept = aboard.trust / repository / "metadata"
        served = shop.metadata("timestamp.json", repository).read_bytes()
        assert (kept / "timestamp.json").read_bytes() == served


def test_files_of_earlier_sessions_go_the_oldest_first(
    aboard: Aboard, shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edge.update.session.FETCHED_MAX", 2)
    for release in (2, 3, 4, 5):
        shop.offer(release)
        answer = aboard.taken()
    files = {p.name for p in (aboard.trust / "targets").iterdir()}
    assert len(files) == 2 and answer.bundles[0].file.name in files


def test_evidence_of_sets_long_gone_goes_and_that_of_the_live_one_stays(
    aboard: Aboard, shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edge.update.evidence.SETS_MAX", 2)
    for release in range(2, 7):
        shop.offer(release)
        aboard.taken()
    live = aboard.slots.live()
    kept = {p.name for p in (aboard.trust / "evidence").iterdir()}
    assert live is not None and live.id in kept and len(kept) == 3


def test_a_withdrawal_is_learned_even_where_the_director_fails(aboard: Aboard, shop: Shop) -> None:
    shop.at(NOW).image.withdraw(shop.keys, "egt/egt-1.0.0.tar.zst")
    shop.metadata("timestamp.json", "director").write_text("{}")
    live = aboard.slots.live()
    assert live is not None
    answer = aboard.refused()
    assert answer.code == "metadata" and answer.withdrawn == (live.bundles[0].sha256,)


def test_an_aircraft_without_roots_trusts_nobody(tmp_path: Path, aboard: Aboard) -> None:
    (aboard.trust / "director" / "root.json").unlink()
    answer = aboard.fetch()
    assert isinstance(answer, FetchFailure) and (answer.kind, answer.code) == ("corrupt", "no_root")


def test_provisioning_twice_is_harmless_and_never_changes_a_root(
    tmp_path: Path, aboard: Aboard, shop: Shop
) -> None:
    from edge.update.provision import provision

    nonce = json.loads((aboard.trust / "time_floor.json").read_bytes())["nonce"]
    assert provision(aboard.trust, *shop.roots()) == nonce
    image, director = shop.roots()
    with pytest.raises(Rejected, match="another root is trusted"):
        provision(aboard.trust, other_root(image, shop), director)


def other_root(image: bytes, shop: Shop) -> bytes:
    metadata = Metadata.from_bytes(image)
    metadata.signed.expires = later(700)
    for name in ("image-root-1", "image-root-2"):
        metadata.sign(shop.keys.load(name), append=True)
    return metadata.to_bytes()
