"""Drafts: what people sign apart from each other, and what a repository takes over."""

from __future__ import annotations

import errno
import json
import shutil
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from random import Random
from typing import Any

import pytest
from tuf.api.metadata import Metadata

from signing.__main__ import main
from signing.drafts import Draft, propose, write_draft
from signing.image import Delegation
from signing.summary import summaries
from signing.verify import Applicability
from tests.unit.signing.desk import NOW, Desk, declared


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Desk:
    desk = Desk(tmp_path)
    monkeypatch.chdir(tmp_path)
    desk.keys.create("image-root-4")
    return desk


def sign(name: str, key: str, keys: str = "keys") -> int:
    return main(["sign", "--draft", name, "--key", key, "--keys", keys])


def rotate(role: str = "image-root", old: str = "image-root-3", new: str = "image-root-4") -> int:
    return main(["rotate", "--repo", "repo", "--role", role, "--key", old,
                 "--new", f"keys/{new}.pub.json"])  # fmt: skip


def publish(*drafts: str, keys: str = "keys") -> int:
    given = [word for draft in drafts for word in ("--draft", draft)]
    return main(["publish", "--repo", "repo", "--keys", keys, *given])


DRAFT = "repo/drafts/image-2.root.json"


def test_a_draft_is_refused_until_the_old_and_the_new_keys_have_signed(
    desk: Desk, capsys: pytest.CaptureFixture[str]
) -> None:
    assert rotate() == 0
    assert sign(DRAFT, "image-root-4") == 0
    assert publish(DRAFT) == 65
    assert "0 of 2 of the keys before it and 1 of 2 of its own" in capsys.readouterr().err
    assert sign(DRAFT, "image-root-3") == 0, "who leaves may sign with those before"
    assert sign(DRAFT, "image-root-1") == 0
    assert desk.image.inspect().roles[0].version == 1
    assert publish(DRAFT) == 0
    assert desk.image.inspect().roles[0].key_names == (
        "image-root-1", "image-root-2", "image-root-4",
    )  # fmt: skip
    assert not Path(DRAFT).exists()


def test_copies_that_people_signed_apart_are_one_draft(desk: Desk, tmp_path: Path) -> None:
    rotate()
    for n in (1, 2):
        (tmp_path / f"stick-{n}").mkdir()
        shutil.copy(DRAFT, f"stick-{n}/image-2.root.json")
        shutil.copy("repo/image/metadata/1.root.json", f"stick-{n}")
        assert main(["sign", "--draft", f"stick-{n}/image-2.root.json", "--root",
                     f"stick-{n}/1.root.json", "--key", f"image-root-{n}", "--keys", "keys"]) == 0  # fmt: skip
    assert publish("stick-1/image-2.root.json") == 65
    assert publish("stick-1/image-2.root.json", "stick-2/image-2.root.json") == 0
    assert desk.image.inspect().roles[0].version == 2


def test_changes_that_nobody_has_signed_yet_are_one_ceremony(
    desk: Desk, capsys: pytest.CaptureFixture[str]
) -> None:
    desk.keys.create("image-timestamp-2")
    rotate()
    assert rotate("image-timestamp", "image-timestamp", "image-timestamp-2") == 0
    sign(DRAFT, "image-root-1")
    capsys.readouterr()
    desk.keys.create("image-snapshot-2")
    assert rotate("image-snapshot", "image-snapshot", "image-snapshot-2") == 65
    assert "somebody has signed this draft already" in capsys.readouterr().err
    sign(DRAFT, "image-root-2")
    assert publish(DRAFT) == 0
    roles = {r.role: r.key_names for r in desk.image.inspect().roles}
    assert "image-root-4" in roles["root"] and roles["timestamp"] == ("image-timestamp-2",)


def test_a_new_targets_key_signs_what_the_old_one_had_signed(desk: Desk) -> None:
    desk.publish(1)
    desk.keys.create("image-targets-2")
    assert rotate("image-targets", "image-targets", "image-targets-2") == 0
    targets = "repo/drafts/image-3.targets.json"
    for key in ("image-root-1", "image-root-2"):
        sign(DRAFT, key)
    assert sign(targets, "image-targets") == 65, "the present root names it, its draft does not"
    assert publish(DRAFT, targets) == 65
    assert sign(targets, "image-targets-2") == 0
    assert publish(DRAFT, targets) == 0
    assert [b.release for b in desk.image.inspect().bundles] == [1]


def test_what_follows_from_a_draft_needs_keys_that_are_named_before_anything_is_written(
    desk: Desk, capsys: pytest.CaptureFixture[str]
) -> None:
    """A root with a new targets key, without what that key is to sign."""
    desk.keys.create("image-targets-2")
    rotate("image-targets", "image-targets", "image-targets-2")
    for key in ("image-root-1", "image-root-2"):
        sign(DRAFT, key)
    desk.keys.path("image-targets-2").unlink()
    assert publish(DRAFT) == 65
    assert "no such key" in capsys.readouterr().err
    assert desk.image.inspect().roles[0].version == 1


def test_a_draft_with_a_bundle_that_is_not_here_is_refused(
    desk: Desk, capsys: pytest.CaptureFixture[str]
) -> None:
    with desk.image.changing() as change:
        desk.image.add(change, [declared(1)])
        propose(desk.image.plan(change), Path("repo/drafts"))
    draft = "repo/drafts/image-2.targets.json"
    sign(draft, "image-targets")
    assert publish(draft) == 65
    assert "a bundle of that hash is not here" in capsys.readouterr().err
    desk.image.write_bundles(change)
    assert publish(draft) == 0


def test_a_signed_draft_is_judged_by_what_its_role_may(
    desk: Desk, capsys: pytest.CaptureFixture[str]
) -> None:
    """A maker signs what it likes on its own machine; here it is not taken over."""
    key = desk.keys.create("maker").public_key
    wanted = Delegation(name="maker", keys=(key,), paths=("vib/*",), until=NOW + timedelta(days=9))
    desk.image.delegate(desk.keys, wanted)
    desk.publish(1, "vib", "maker")
    for path, parent in (("egt/vib-1.tar.zst", ""), ("cal/N1/egt/vib-1.tar.zst", "a" * 64)):
        signed = desk.image.chain().targets("maker")
        signed.version += 1
        (target,) = signed.targets.values()
        target.path = path
        target.unrecognized_fields["custom"] |= {"name": "egt"} | (
            {"parent": parent} if parent else {}
        )
        signed.targets = {path: target}
        write_draft(Draft(Path("image-2.maker.json"), "image", "maker", Metadata(signed)))
        assert main(["sign", "--draft", "image-2.maker.json", "--root",
                     str(desk.metadata("image", "2.targets.json")), "--key", "maker",
                     "--keys", "keys"]) == 0  # fmt: skip
        assert publish("image-2.maker.json") == 65
        error = capsys.readouterr().err
        assert path in error and "it is not maker's to sign" in error


def test_a_signature_is_added_once_and_by_a_key_of_the_role(
    desk: Desk, capsys: pytest.CaptureFixture[str]
) -> None:
    rotate()
    sign(DRAFT, "image-root-1")
    before = Path(DRAFT).read_bytes()
    capsys.readouterr()
    for key, says in (
        ("image-root-1", "signed it already"), ("image-targets", "does not sign root"),
        ("director-root-1", "does not sign root"), ("nobody", "no such key"),
    ):  # fmt: skip
        assert sign(DRAFT, key) == 65
        assert says in capsys.readouterr().err
    assert Path(DRAFT).read_bytes() == before


def test_drafts_of_elsewhere_or_of_yesterday_are_refused(
    desk: Desk, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rotate()
    for key in ("image-root-1", "image-root-2"):
        sign(DRAFT, key)
    shutil.copy(DRAFT, "repo/drafts/image-3.root.json")
    shutil.copy(DRAFT, "director-2.root.json")
    shutil.copy(DRAFT, "image-2.root.json")
    Path("image-2.targets.json").write_bytes(b"[" * 100_000)
    capsys.readouterr()
    for name, says in (
        ("repo/drafts/image-3.root.json", "its name says root 3; it is root 2"),
        ("director-2.root.json", "root 2 is signed by 0 of 2 of the keys before it"),
        ("image-2.targets.json", "not TUF metadata"), ("gone-2.root.json", "not the name of a"),
        ("image-9.root.json", "cannot read"),
    ):  # fmt: skip
        assert publish(name) in (65, 69), name
        assert says in capsys.readouterr().err, name
    other = Desk(tmp_path / "other", NOW - timedelta(hours=1))
    other.keys.create("image-root-4")
    assert publish(DRAFT) == 0
    yesterday = json.loads(Path("image-2.root.json").read_bytes())
    yesterday["signed"]["expires"] = "2030-01-01T00:00:00Z"
    Path("old").mkdir()
    Path("old/image-2.root.json").write_text(json.dumps(yesterday))
    capsys.readouterr()
    assert publish("old/image-2.root.json") == 65
    assert "it is version 2 of root; the repository has 2" in capsys.readouterr().err
    assert main(["publish", "--repo", "other/repo", "--keys", "other/keys",
                 "--draft", "image-2.root.json"]) == 65  # fmt: skip
    assert "root 2 is signed by 0 of 2 of the keys before it" in capsys.readouterr().err


def test_publishing_again_is_no_mistake_and_goes_on_where_it_was_cut_short(
    desk: Desk, capsys: pytest.CaptureFixture[str]
) -> None:
    """One command takes over drafts of both repositories, one after the other."""
    other = "repo/drafts/director-2.root.json"
    for role in ("image-root", "director-root"):
        assert main(["refresh", "--repo", "repo", "--role", role]) == 0
    for n in (1, 2):
        sign(other, f"director-root-{n}")
        sign(DRAFT, f"image-root-{n}") if n == 1 else None
    copies = Path("stick")
    copies.mkdir()
    both = [str(shutil.copy(path, copies)) for path in (DRAFT, other)]
    capsys.readouterr()
    assert publish(*both) == 65
    assert "root 2 is signed by 1 of 2" in capsys.readouterr().err
    assert [r.inspect().roles[0].version for r in (desk.image, desk.director)] == [1, 2]
    assert sign(both[0], "image-root-2") == 0
    capsys.readouterr()
    assert publish(*both) == 0
    assert "published image root 2; already published: director root 2" in capsys.readouterr().out
    timestamp = desk.image.chain().timestamp.version
    assert publish(*both) == 0
    assert "already published: image root 2, director root 2" in capsys.readouterr().out
    assert desk.image.chain().timestamp.version == timestamp, "nothing was signed for it"


def test_a_draft_that_nobody_could_read_again_is_not_written(
    desk: Desk, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["add-key", "--repo", "repo", "--role", "image-root", "--new"]
    assert main([*arguments, "keys/attestor-1.pub.json"]) == 65
    assert "an attestor's key has a role of the root" in capsys.readouterr().err
    assert not Path(DRAFT).exists()
    assert main([*arguments, "keys/image-root-4.pub.json"]) == 0, "the next ceremony is not barred"


def test_whoever_signs_sees_who_did_and_that_a_version_between_is_not_at_hand(
    desk: Desk, capsys: pytest.CaptureFixture[str]
) -> None:
    rotate()
    sign(DRAFT, "image-root-1")
    capsys.readouterr()
    sign(DRAFT, "image-root-2")
    assert "signed so far by image-root-1" in capsys.readouterr().out
    shutil.copytree("repo", "stick/repo")
    publish(DRAFT)
    assert rotate("image-snapshot", "image-snapshot", "image-root-3") == 0
    draft = shutil.copy("repo/drafts/image-3.root.json", "stick/repo/drafts")
    capsys.readouterr()
    assert sign(draft, "image-root-1") == 0
    assert "version 2, which it replaces, is not at hand, but version 1" in capsys.readouterr().out


def test_a_draft_of_targets_wants_the_key_that_the_draft_of_the_root_names(
    desk: Desk, capsys: pytest.CaptureFixture[str]
) -> None:
    assert rotate("image-targets", "image-targets", "image-root-4") == 0
    draft = "repo/drafts/image-2.targets.json"
    capsys.readouterr()
    assert sign(draft, "image-targets") == 65, "whose key it was"
    said = capsys.readouterr()
    assert "by 1 of 1: image-root-4 (" in said.out and "does not sign targets" in said.err
    assert sign(draft, "image-root-4") == 0
    assert "signed by image-root-4: 1 of 1" in capsys.readouterr().out


def test_two_drafts_that_say_different_things_are_not_merged(
    desk: Desk, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rotate()
    (tmp_path / "stick").mkdir()
    draft = json.loads(Path(DRAFT).read_bytes())
    draft["signed"]["roles"]["root"]["threshold"] = 3
    Path("stick/image-2.root.json").write_text(json.dumps(draft))
    assert publish(DRAFT, "stick/image-2.root.json") == 65
    assert "it says something else than" in capsys.readouterr().err


def test_the_signer_sees_what_changes_by_names(
    desk: Desk, capsys: pytest.CaptureFixture[str]
) -> None:
    rotate()
    capsys.readouterr()
    assert main(["sign", "--draft", DRAFT, "--key", "image-root-1", "--keys", "keys",
                 "--dry-run"]) == 0  # fmt: skip
    shown = capsys.readouterr().out
    assert "signs image root: version 1 -> 2" in shown
    assert "+ key of root: image-root-4 (" in shown and "- key of root: image-root-3 (" in shown
    assert not json.loads(Path(DRAFT).read_bytes())["signatures"]
    assert main(["sign", "--draft", DRAFT, "--key", "image-root-1", "--keys", "keys",
                 "--json"]) == 0  # fmt: skip
    (one,) = json.loads(capsys.readouterr().out)["signs"]
    assert (one["role"], one["version_before"], one["version"]) == ("root", 1, 2)


def test_foreign_text_in_a_draft_moves_no_cursor_of_who_reads_it(
    desk: Desk, capsys: pytest.CaptureFixture[str]
) -> None:
    rotate()
    draft = json.loads(Path(DRAFT).read_bytes())
    for key in draft["signed"]["keys"].values():
        key["x-tailtwin-name"] = "\x1b[2Jroot" + "x" * 5000
    Path(DRAFT).write_text(json.dumps(draft))
    capsys.readouterr()
    main(["sign", "--draft", DRAFT, "--key", "image-root-1", "--keys", "keys", "--dry-run"])
    shown = capsys.readouterr().out
    assert "signs image root" in shown and "\x1b" not in shown and len(shown) < 10_000


def test_a_full_stick_leaves_the_draft_as_it_was(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    rotate()
    before = Path(DRAFT).read_bytes()

    def full(path: Path, data: bytes) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("signing.drafts.write_durably", full)
    assert sign(DRAFT, "image-root-1") == 69
    assert "cannot write: No space left" in capsys.readouterr().err
    assert Path(DRAFT).read_bytes() == before


def test_roots_that_expire_are_drafted_anew_without_a_change(desk: Desk) -> None:
    assert main(["refresh", "--repo", "repo", "--role", "image-root"]) == 0
    for key in ("image-root-2", "image-root-3"):
        sign(DRAFT, key)
    assert publish(DRAFT) == 0
    assert desk.image.inspect().roles[0].version == 2
    assert main(["refresh", "--repo", "repo", "--keys", "keys", "--role", "calibration"]) == 0


ODD: tuple[Any, ...] = (
    None,
    -1,
    "",
    "\x1b[2J",
    [],
    {},
    True,
    2**70,
    1.5,
    ["x"],
    {"a": "b"},
    "2027-13-01T00:00:00Z",
)


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Every place in a JSON document."""
    if path:
        yield path
    if isinstance(value, dict | list):
        for key in value if isinstance(value, dict) else range(len(value)):
            yield from places(value[key], (*path, key))


@pytest.mark.parametrize("role", ["root", "targets", "maker"])
def test_a_draft_that_is_wrong_anywhere_is_refused_in_a_line(
    desk: Desk, capsys: pytest.CaptureFixture[str], role: str
) -> None:
    """At forty places of it something odd, of a fixed seed; every place was tried with five."""
    key = desk.keys.create("maker").public_key
    desk.image.delegate(
        desk.keys,
        Delegation(name="maker", keys=(key,), paths=("vib/*",), until=NOW + timedelta(days=9)),
    )
    desk.publish(1, "vib", "maker")
    desk.publish(1)
    with desk.image.changing() as change:
        _ = change.root() if role == "root" else change.targets(role)
        (draft,) = propose(desk.image.plan(change), Path("repo/drafts"))
    whole = json.loads(draft.path.read_bytes())
    random = Random(20270301)
    everywhere = list(places(whole))
    for path in random.sample(everywhere, min(40, len(everywhere))):
        wrong = json.loads(json.dumps(whole))
        at = wrong
        for step in path[:-1]:
            at = at[step]
        at[path[-1]] = random.choice(ODD)
        draft.path.write_text(json.dumps(wrong))
        for arguments in (
            ["sign", "--draft", str(draft.path), "--key", "maker", "--keys", "keys", "--dry-run"],
            ["publish", "--repo", "repo", "--keys", "keys", "--draft", str(draft.path)],
            ["rotate", "--repo", "repo", "--role", "image-root", "--key", "image-root-3", "--new",
             "keys/image-root-4.pub.json", "--dry-run"],
        ):  # fmt: skip
            assert main(arguments) in (0, 65, 69, 74, 75), path
        assert "\x1b" not in "".join(capsys.readouterr())
    assert desk.image.inspect()


def test_a_full_stick_is_not_left_with_half_a_draft(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("shared.files.os.fsync", full)
    assert rotate() == 69
    assert "cannot write: No space left on device" in capsys.readouterr().err
    assert list(Path("repo/drafts").iterdir()) == []


def test_whom_a_bundle_is_for_is_said_in_words_the_same_before_and_after_it_was_signed(
    desk: Desk, capsys: pytest.CaptureFixture[str]
) -> None:
    with desk.image.changing() as change:
        whom = Applicability(types=("B737",), esns=tuple(f"E{n}" for n in range(9)))
        desk.image.add(change, [declared(1, applicability=whom)])
        plan = desk.image.plan(change)
        (before,) = (one for one in summaries(plan) if one.role == "targets")
        desk.image.write_bundles(change)
        (draft,) = propose(plan, Path("repo/drafts"))
    capsys.readouterr()
    assert main(["sign", "--draft", str(draft.path), "--key", "image-targets", "--keys", "keys",
                 "--dry-run", "--json"]) == 0  # fmt: skip
    (after,) = json.loads(capsys.readouterr().out)["signs"]
    assert list(before.changes) == after["changes"]
    assert "for types B737; esns E0, E1, E2, E3, E4, E5 and 3 more" in after["changes"][0]
