"""What the aircraft checks of a repository, value by value."""

from __future__ import annotations

import hashlib

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tuf.api.metadata import (
    DelegatedRole,
    Delegations,
    MetaFile,
    Snapshot,
    TargetFile,
    Targets,
    Timestamp,
)

from shared.errors import Rejected
from signing.verify import (
    Aircraft,
    Applicability,
    agree,
    check_target_path,
    counters,
    director_path,
    image_path,
    inapplicable,
    issued_at,
    name_of_path,
    narrower,
    parse_custom,
    set_id,
    tail_of_path,
)
from signing.verify.delegations import (
    check_below,
    check_bound,
    check_director_top,
    check_image_top,
    check_lineage,
)

GOOD = {"name": "egt", "release": 2, "applicability": {"types": ["B737-800"]}}


def test_a_custom_that_says_what_it_must_is_taken() -> None:
    custom = parse_custom(GOOD, "egt/egt-2.tar.zst")
    assert (custom.name, custom.release, custom.applicability.types) == ("egt", 2, ("B737-800",))


@pytest.mark.parametrize(
    "custom",
    [
        None, 5, [], {}, {**GOOD, "release": 0}, {**GOOD, "release": -1}, {**GOOD, "release": "2"},
        {**GOOD, "release": 2**53}, {**GOOD, "release": 1.5}, {**GOOD, "name": "vib"},
        {**GOOD, "more": 1}, {**GOOD, "applicability": {"types": []}},
        {**GOOD, "applicability": {}},
        {**GOOD, "applicability": {"types": ["B737-800"], "esn": ["1"]}},
        {**GOOD, "applicability": {"types": ["B737-800\n"]}},
        {**GOOD, "applicability": {"types": ["B737-800"], "esns": [str(n) for n in range(1025)]}},
    ],
)  # fmt: skip
def test_a_custom_that_says_less_or_more_is_refused(custom: object) -> None:
    with pytest.raises(Rejected):
        parse_custom(custom, "egt/egt-2.tar.zst")


words = st.lists(st.sampled_from(["a", "b", "c"]), unique=True, max_size=3).map(tuple)


@given(words.filter(bool), words, words, words, words, words)
def test_applicable_is_a_match_in_every_list_that_is_not_empty(
    types: tuple[str, ...],
    tails: tuple[str, ...],
    esns: tuple[str, ...],
    parts: tuple[str, ...],
    has_esns: tuple[str, ...],
    has_parts: tuple[str, ...],
) -> None:
    who = Applicability(types=types, tails=tails, esns=esns, part_numbers=parts)
    aircraft = Aircraft(tail="a", type="b", esns=has_esns, part_numbers=has_parts)
    fits = (
        "b" in types
        and (not tails or "a" in tails)
        and (not esns or any(e in esns for e in has_esns))
        and (not parts or any(p in parts for p in has_parts))
    )
    assert (inapplicable(who, aircraft) == ()) is fits


def test_a_refusal_names_both_sides() -> None:
    who = Applicability(types=("A320",))
    (reason,) = inapplicable(who, Aircraft(tail="t", type="B737-800"))
    assert "A320" in reason and "B737-800" in reason


@given(st.text(max_size=60))
def test_a_target_path_never_leaves_its_folder(text: str) -> None:
    try:
        path = check_target_path(text)
    except Rejected:
        return
    *folders, file = path.split("/")
    assert len(folders) in (1, 3) and all(folders) and (len(folders) == 1 or folders[0] == "cal")
    assert file.endswith(".tar.zst") and not file.startswith(".")


@pytest.mark.parametrize("text", [None, 5, "", "yesterday", "2027-13-01T00:00:00Z", "2" * 99])
def test_an_issue_time_that_is_none_teaches_nothing(text: object) -> None:
    assert issued_at(Timestamp(unrecognized_fields={"x-tailtwin-issued": text})) is None


SHA = "ab" * 32
CAL = "cal/B737-1/egt/egt-3.tar.zst"


def test_a_path_says_whose_calibration_it_is_and_of_what() -> None:
    assert tail_of_path(CAL) == "B737-1" and name_of_path(CAL) == "egt"
    assert tail_of_path("egt/egt-3.tar.zst") == "" and name_of_path("egt/egt-3.tar.zst") == "egt"
    assert image_path(director_path("B737-2", CAL)) == ("B737-2", CAL)


@pytest.mark.parametrize(
    "path",
    ["cal/egt-3.tar.zst", "cal/x/egt-3.tar.zst", "cal/x/y/z/egt-3.tar.zst", "x/egt/egt-3.tar.zst",
     "cal/../egt/egt-3.tar.zst", CAL + "\n", CAL.replace("egt-3", ".egt")],
)  # fmt: skip
def test_a_path_that_is_half_a_calibrations_is_none(path: str) -> None:
    with pytest.raises(Rejected):
        check_target_path(path)
    with pytest.raises(Rejected):
        image_path(director_path("B737-2", path))


def test_a_parent_is_for_calibrations_and_for_each_of_them() -> None:
    assert parse_custom({**GOOD, "parent": SHA}, CAL).parent == SHA
    for custom, path in (
        (GOOD, CAL), ({**GOOD, "parent": SHA}, "egt/egt-2.tar.zst"), ({**GOOD, "parent": "ab"}, CAL),
        ({**GOOD, "parent": SHA, "name": "cal"}, CAL), ({**GOOD, "parent": SHA.upper()}, CAL),
    ):  # fmt: skip
        with pytest.raises(Rejected):
            parse_custom(custom, path)


class One(msgspec.Struct):
    name: str
    release: int
    sha256: str


def test_a_set_id_knows_no_order_and_misses_no_bundle() -> None:
    a, b = One("egt", 1, "00" * 32), One("vib", 2, "11" * 32)
    assert set_id([a, b]) == set_id([b, a])
    text = f"egt 1 {a.sha256}\nvib 2 {b.sha256}"  # the contract's own words
    assert set_id([a, b]) == hashlib.sha256(text.encode()).hexdigest()[:16]
    assert len({set_id(x) for x in ([a], [b], [a, b], [One("egt", 2, a.sha256), b])}) == 4


def test_a_calibration_counts_below_its_parent_and_its_parent_as_the_name() -> None:
    assert counters("egt", 4) == {"egt": 4}
    assert counters("egt", 900, SHA, 4) == {"egt": 4, f"egt@{SHA[:16]}": 900}


@given(words.filter(bool), words, words, words)
def test_narrower_is_a_subset_in_every_list_that_is_limited(
    types: tuple[str, ...], esns: tuple[str, ...], within: tuple[str, ...], of: tuple[str, ...]
) -> None:
    who = Applicability(types=types, esns=esns)
    limit = Applicability(types=within or types, esns=of)
    holds = set(types) <= set(within or types) and (not of or (bool(esns) and set(esns) <= set(of)))
    assert (narrower(who, limit) == ()) is holds


def entry(path: str, **changes: object) -> TargetFile:
    raw = {"length": 5, "hashes": {"sha256": SHA}, "custom": {"name": "egt", "release": 1}}
    return TargetFile.from_dict({**raw, **changes}, path)


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"length": 6}, "length"), ({"hashes": {"sha256": "cd" * 32}}, "hashes"),
        ({"hashes": {"sha256": SHA, "sha512": SHA}}, "hashes"),
        ({"custom": {"name": "egt", "release": 2}}, "custom"),
        ({"custom": {"name": "egt", "release": 1, "more": 0}}, "custom"),
    ],
)  # fmt: skip
def test_two_entries_agree_on_everything_or_not_at_all(
    changes: dict[str, object], what: str
) -> None:
    image = entry("egt/e.tar.zst")
    assert agree(entry("T1/egt/e.tar.zst"), image) == ()
    (reason,) = agree(entry("T1/egt/e.tar.zst", **changes), image)
    assert reason.startswith(what)
    assert agree(entry("T1/vib/e.tar.zst"), image)[0].startswith("path")
    assert agree(entry("egt/e.tar.zst"), image)


# -- the shape of delegations


def role(name: str, *paths: str, **fields: object) -> DelegatedRole:
    until = {} if name == "calibration" else {"x-tailtwin-until": "2027-01-01T00:00:00Z"}
    return DelegatedRole(
        name, ["k"], 1, True, list(paths), unrecognized_fields={**until, **fields}
    )  # fmt: skip


def top(*roles: DelegatedRole, **fields: object) -> Targets:
    delegations = Delegations({}, {r.name: r for r in roles})
    return Targets(delegations=delegations, unrecognized_fields=dict(fields))


DESK = role("calibration", "cal/*/*/*")


def test_makers_with_names_of_their_own_and_the_desk_are_our_shape() -> None:
    check_image_top(top(DESK, role("maker", "egt/*", "vib*/*"), role("shop", "oil/*")), "here")


@pytest.mark.parametrize(
    "roles",
    [
        (role("calibration", "cal/*/*"),), (role("calibration-T1", "x/*"),), (role("tail-x", "x/*"),),
        (role("m", "*/*"),), (role("m", "cal/*"),), (role("m", "egt*"),), (role("m", "e?t/*"),),
        (role("m", "egt/*"), role("n", "egt/*")), (role("m", "e*/*"), role("n", "egt/*")),
        (role("m", "eg*/*"), role("n", "egt*/*")),
        (role("m", "egt/*", **{"x-tailtwin-within": {"types": []}}),),
        (role("m", "egt/*", **{"x-tailtwin-within": 5}),),
        (role("m", "egt/*", **{"x-tailtwin-hours": "day"}),),
    ],
)  # fmt: skip
def test_another_shape_of_the_images_delegations_is_refused(
    roles: tuple[DelegatedRole, ...],
) -> None:
    with pytest.raises(Rejected):
        check_image_top(top(*roles), "here")


def test_a_makers_delegation_ends_some_day_and_ends_the_search() -> None:
    endless = DelegatedRole("m", ["k"], 1, True, ["egt/*"])
    with pytest.raises(Rejected, match="no end"):
        check_image_top(top(endless), "here")
    going_on = role("m", "egt/*")
    going_on.terminating = False
    with pytest.raises(Rejected, match="does not end"):
        check_image_top(top(going_on), "here")


def test_a_director_delegates_to_tails_for_their_own_paths_and_targets_nothing() -> None:
    def tail(name: str, *paths: str) -> DelegatedRole:
        return DelegatedRole(name, ["k"], 1, True, list(paths))

    good = tail("tail-T1", "T1/*/*", "T1/cal/T1/*/*")
    check_director_top(top(good), "here")
    for wrong in (
        top(tail("tail-T1", "T2/*/*", "T2/cal/T2/*/*")), top(tail("tail-T1", "*/*/*")),
        top(tail("fleet", "T1/*/*")),
        Targets(targets={"x": entry("x")}), top(good, **{"x-tailtwin-new": 1}),
    ):  # fmt: skip
        with pytest.raises(Rejected):
            check_director_top(wrong, "here")


def test_nobody_but_the_desk_hands_on_and_the_desk_to_tails_alone() -> None:
    def desks(name: str, path: str) -> Targets:
        return top(DelegatedRole(name, ["k"], 1, True, [path]))

    check_below("maker", Targets(), "here")
    check_below("calibration", desks("calibration-T1", "cal/T1/*/*"), "here")
    for name, targets in (
        ("maker", desks("calibration-T1", "cal/T1/*/*")), ("tail-T1", desks("x", "T1/*/*")),
        ("calibration", desks("calibration-T1", "cal/T2/*/*")),
        ("calibration", desks("maker", "cal/T1/*/*")),
        ("calibration-T1", desks("calibration-T2", "cal/T2/*/*")),
    ):  # fmt: skip
        with pytest.raises(Rejected):
            check_below(name, targets, "here")


def test_who_signed_is_held_against_what_it_is() -> None:
    check_lineage("T1", ["calibration", "calibration-T1"], "here")
    check_lineage("", ["maker"], "here")
    check_lineage("", [], "here")
    for tail, roles in (
        ("T1", []), ("T1", ["maker"]), ("T1", ["calibration"]), ("", ["calibration"]),
        ("T1", ["calibration", "calibration-T2"]), ("", ["calibration", "calibration-T1"]),
    ):  # fmt: skip
        with pytest.raises(Rejected):
            check_lineage(tail, roles, "here")


def test_a_snapshot_binds_what_it_names_by_hash_and_length() -> None:
    bound = MetaFile(1, 9, {"sha256": SHA})
    check_bound(Snapshot(meta={"targets.json": bound}), "here")
    check_bound(Timestamp(snapshot_meta=bound), "here")
    for loose in (MetaFile(1), MetaFile(1, 9), MetaFile(1, None, {"sha256": SHA})):
        with pytest.raises(Rejected, match="no sha-256"):
            check_bound(Snapshot(meta={"targets.json": bound, "x.json": loose}), "here")
        with pytest.raises(Rejected, match="no sha-256"):
            check_bound(Timestamp(snapshot_meta=loose), "here")
