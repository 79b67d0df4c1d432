"""What the aircraft checks of a repository, value by value."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tuf.api.metadata import Timestamp

from shared.errors import Rejected
from signing.verify import (
    Aircraft,
    Applicability,
    check_target_path,
    inapplicable,
    issued_at,
    parse_custom,
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
    name, _, file = path.partition("/")
    assert name and file.endswith(".tar.zst") and "/" not in file and not file.startswith(".")


@pytest.mark.parametrize("text", [None, 5, "", "yesterday", "2027-13-01T00:00:00Z", "2" * 99])
def test_an_issue_time_that_is_none_teaches_nothing(text: object) -> None:
    assert issued_at(Timestamp(unrecognized_fields={"x-tailtwin-issued": text})) is None
