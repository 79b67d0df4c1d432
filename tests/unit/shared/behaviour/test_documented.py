"""The page of behavioural models says what the code does."""

from __future__ import annotations

import re
from typing import Any

import msgspec
import pytest

from shared.behaviour.__main__ import parser
from shared.behaviour.declaration import Declaration
from shared.behaviour.grammar import CONSTANTS, FUNCTIONS
from shared.behaviour.kinds import LookupTable
from shared.behaviour.model import KINDS
from tests.unit.test_docs import ROOT, default, marked, rows, structs_below

PAGE = ROOT / "docs/behavioural-models.md"


def test_tables_name_exactly_the_keys_of_the_code_with_their_defaults() -> None:
    tables = marked(PAGE, "keys")
    for kind, table in tables:
        said = {cells[0].strip("`"): cells[2].strip("`") for cells in rows(table)}
        wanted = {f.encode_name: default(f) for f in msgspec.structs.fields(kind)}
        assert said == wanted, kind
    tabled = structs_below(LookupTable)  # its declarations are made by a fit, not by hand
    assert {kind for kind, _ in tables} == structs_below(Declaration) - tabled


def test_page_names_every_kind_and_function() -> None:
    text = PAGE.read_text()
    assert all(f"| `{kind}` |" in text for kind in KINDS)
    said = re.search(r"`pi`, and `([a-z\s]+)`", text)
    assert said is not None
    assert set(said[1].split()) == set(FUNCTIONS) and set(CONSTANTS) == {"pi"}


def test_help_shows_an_example_that_exists(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parser().parse_args(["--help"])
    shown: Any = re.search(r"example: python -m shared.behaviour\s+(\S+)", capsys.readouterr().out)
    assert (ROOT / shown[1]).exists()
