"""The documentation says what the code does.

Commands are parsed by the real parsers; tables of keys and lists of fields are compared with the
structs, both ways; paths, tests, links and routes that pages name exist; the examples work.
"""

from __future__ import annotations

import argparse
import ast
import importlib
import importlib.util
import re
import shlex
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

import edge.__main__ as edge_cli
import ground.__main__ as ground_cli
import hil.__main__ as hil_cli
import signing.__main__ as sign_cli
from edge.config import Enrolment, Profile, Tail
from ground.api.server import make_app
from ground.commands import init as ground_init
from ground.config import GroundConfig, Paths, load_config
from ground.twins.control import TailFile
from hil.plant.replay import replay
from hil.scenario import Scenario
from shared import signals
from shared.signals import parse_signal_set

ROOT = Path(__file__).parents[2]
PAGES = sorted(
    [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")], key=lambda page: page.as_posix()
)
README, ARCHITECTURE = ROOT / "README.md", ROOT / "docs/architecture.md"
CONFIGURATION, SIGNAL_SET = ROOT / "docs/configuration.md", ROOT / "docs/signal-set.md"
PARSERS = {
    "tailtwin-edge": edge_cli._parser(),
    "tailtwin-ground": ground_cli.parser(),
    "tailtwin-sign": sign_cli._parser(),
    "tailtwin-hil": hil_cli._parser(),
}
MARK = re.compile(r"<!-- (keys|fields|values): ([\w.]+):(\w+) -->\n")
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
SPAN = re.compile(r"(?<!`)`([^`\n]+)`(?!`)")


def page_ids(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def prose(page: Path) -> str:
    """The page without fenced blocks."""
    return FENCE.sub("", page.read_text())


def command_lines(page: Path) -> Iterator[str]:
    """Lines of its shell blocks, and its inline commands; continued lines joined."""
    for language, body in FENCE.findall(page.read_text()):
        if language == "sh":
            yield from body.replace("\\\n", " ").splitlines()
    for span in SPAN.findall(prose(page)):
        yield from [span] if span.startswith(("make ", "tailtwin-", "python -m ")) else []


def words(line: str) -> list[str]:
    """The command's words, without a subshell's `(cd … &&` and what follows a comment."""
    text = re.sub(r"^\(cd [^&]+&& (.*)\)$", r"\1", line.strip())
    return shlex.split(text, comments=True)


def subcommands(parser: argparse.ArgumentParser) -> set[str]:
    actions = [a for a in parser._actions if isinstance(a, argparse._SubParsersAction)]
    return {name for action in actions for name in action.choices}


def marked(page: Path, kind: str) -> list[tuple[Any, str]]:
    """(what a marker names, the text up to the next heading, marker or blank-line pair)."""
    found = []
    text = page.read_text()
    for match in MARK.finditer(text):
        if match[1] == kind:
            body = re.split(r"\n#|\n<!--", text[match.end() :])[0].lstrip("\n")
            found.append((getattr(importlib.import_module(match[2]), match[3]), body))
    return found


def rows(table: str) -> list[list[str]]:
    """Cells of the first table in a text, without its head."""
    lines = []
    for line in table.splitlines():
        if line.startswith("|"):
            lines.append(line)
        elif lines:
            break
    return [re.split(r" (?<!\\)\| ", line.strip("| \n")) for line in lines[2:]]


def literal(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return f'"{value}"'
    if isinstance(value, tuple | list):
        return "[" + ", ".join(literal(item) for item in value) + "]"
    if isinstance(value, msgspec.Struct):
        return "table"
    return "none" if value is None else repr(value)


def default(field: msgspec.structs.FieldInfo) -> str:
    if field.default is not msgspec.NODEFAULT:
        return literal(field.default)
    if field.default_factory is not msgspec.NODEFAULT:
        return literal(field.default_factory())
    return "required"


def structs_below(kind: type[msgspec.Struct]) -> set[type]:
    """A struct and every one that its fields hold."""
    found: set[type] = set()

    def walk(info: Any) -> None:
        if isinstance(info, msgspec.inspect.StructType) and info.cls not in found:
            found.add(info.cls)
            for field in info.fields:
                walk(field.type)
        for part in ("item_type", "value_type"):
            if (inner := getattr(info, part, None)) is not None:
                walk(inner)
        for inner in (*getattr(info, "types", ()), *getattr(info, "item_types", ())):
            walk(inner)

    walk(msgspec.inspect.type_info(kind))
    return found


# -- commands


@pytest.mark.parametrize("page", PAGES, ids=page_ids)
def test_commands_of_a_page_are_taken_by_the_real_parsers(page: Path) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for line in command_lines(page):
        command = words(line)
        if not command:
            continue
        if command[0] == "make":
            assert command[1] in targets, line
        elif command[:2] == ["python", "-m"]:
            assert importlib.util.find_spec(command[2]), line
        elif command[0].startswith("tailtwin-"):
            parser = PARSERS[command[0]]
            assert len(command) == 1 or command[1] in subcommands(parser), line
            if len(command) > 2:
                parser.parse_args(command[1:])


def test_a_command_that_does_not_exist_would_be_noticed(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        PARSERS["tailtwin-ground"].parse_args(["closure", "F1", "--state", "x", "--yaml"])
    assert "--yaml" in capsys.readouterr().err


def test_the_ground_page_names_every_command_of_the_ground() -> None:
    named = set(
        re.findall(r"^\| (`.+?`(?:, `.+?`)*) \|", (ROOT / "docs/ground.md").read_text(), re.M)
    )
    assert subcommands(PARSERS["tailtwin-ground"]) <= {
        n for row in named for n in SPAN.findall(row)
    }


def test_the_readme_shows_demo_and_test() -> None:
    assert {"make demo", "make test"} <= {line.strip() for line in command_lines(README)}


# -- keys, fields, values


@pytest.mark.parametrize("page", [CONFIGURATION, SIGNAL_SET], ids=page_ids)
def test_tables_name_exactly_the_keys_of_the_code_with_their_defaults(page: Path) -> None:
    tables = marked(page, "keys")
    assert tables
    for kind, table in tables:
        said = {cells[0].strip("`"): cells[2].strip("`") for cells in rows(table)}
        assert said == {f.name: default(f) for f in msgspec.structs.fields(kind)}, kind


@pytest.mark.parametrize(
    ("page", "roots"),
    [(CONFIGURATION, (Profile, Tail, Enrolment, GroundConfig, Scenario)),
     (SIGNAL_SET, (signals._File,))],
    ids=["configuration", "signal-set"],
)  # fmt: skip
def test_every_struct_of_a_file_has_a_table(page: Path, roots: Iterable[Any]) -> None:
    assert {kind for kind, _ in marked(page, "keys")} == set().union(*map(structs_below, roots))


def test_both_ends_read_the_same_tail_file() -> None:
    assert set(Tail.__struct_fields__) == set(TailFile.__struct_fields__)


def test_lists_of_fields_are_those_of_the_code_in_their_order() -> None:
    found = marked(ARCHITECTURE, "fields")
    assert len(found) >= 6
    for kind, body in found:
        assert SPAN.findall(body.splitlines()[0]) == list(kind.__struct_fields__), kind


@pytest.mark.parametrize("page", [ARCHITECTURE, SIGNAL_SET], ids=page_ids)
def test_lists_of_values_are_those_of_the_code(page: Path) -> None:
    found = marked(page, "values")
    assert found
    for values, body in found:
        cells = rows(body)
        text = " ".join(row[0] for row in cells) if cells else body.splitlines()[0]
        assert set(SPAN.findall(text)) == {str(value) for value in values}


def test_the_layout_of_a_reading_is_that_of_the_dtype() -> None:
    table = ARCHITECTURE.read_text().partition("<!-- layout: reading -->")[2].lstrip()
    group = signals.Group(
        name="g", rate_hz=1.0,
        signal=(*(signals.Signal(name=f"i{k}", unit="1") for k in range(3)),
                *(signals.Signal(name=f"f{k}", unit="1", encoding="f64") for k in range(2))),
    )  # fmt: skip
    n, m = 3, 2
    assert group.dtype.names == tuple(cells[2].strip("`") for cells in rows(table))
    for offset, size, name, _ in rows(table):
        field: tuple[np.dtype[Any], int] = group.dtype.fields[name.strip("`")]  # type: ignore[index, assignment]
        assert field[1] == _sum(offset, n, m), name
        assert field[0].itemsize == _sum(size, n, m), name


def _sum(text: str, n: int, m: int) -> int:
    """`24 + 4n + 8m` with n and m put in."""
    total = 0
    for term in text.replace(" ", "").split("+"):
        digits, letter = re.fullmatch(r"(\d*)([nm]?)", term).groups()  # type: ignore[union-attr]
        total += int(digits or 1) * {"n": n, "m": m, "": 1}[letter]
    return total


# -- paths, tests, links, routes


@pytest.mark.parametrize("page", PAGES, ids=page_ids)
def test_paths_of_a_page_exist(page: Path) -> None:
    tops = {path.name for path in ROOT.iterdir() if not path.name.startswith(".")} - {"var"}
    for span in SPAN.findall(prose(page)):
        path, _, test = span.partition("::")
        if not re.fullmatch(r"[\w./-]+", path) or path.split("/")[0] not in tops:
            continue
        assert (ROOT / path).exists() or importlib.util.find_spec(path.replace("/", ".")), span
        if test:
            tree = ast.parse((ROOT / path).read_text())
            assert test in {n.name for n in ast.walk(tree) if isinstance(n, ast.FunctionDef)}, span


@pytest.mark.parametrize("page", PAGES, ids=page_ids)
def test_links_of_a_page_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)]+)\)", prose(page)):
        if target.startswith("https://"):
            continue
        name, _, anchor = target.partition("#")
        other = (page.parent / name) if name else page
        assert other.exists(), target
        if anchor:
            heads = re.findall(r"^#+ (.+)$", FENCE.sub("", other.read_text()), re.MULTILINE)
            assert anchor in {re.sub(r"[^\w -]", "", h.lower()).replace(" ", "-") for h in heads}


def test_each_of_the_twelve_names_its_tests() -> None:
    text = ARCHITECTURE.read_text().partition("## What always holds")[2].partition("\n## ")[0]
    parts = re.split(r"^\*\*(\d+)\. ", text, flags=re.MULTILINE)[1:]
    assert [int(number) for number in parts[::2]] == list(range(1, 13))
    assert all("::test_" in body for body in parts[1::2])


def test_routes_are_those_of_the_api(tmp_path: Path) -> None:
    paths = Paths(tmp_path)
    ground_init.make(paths, "OPX", 4222, 1883, 8080)
    app = make_app(paths, load_config(paths), None)
    table = ARCHITECTURE.read_text().partition("<!-- routes -->")[2].lstrip()
    said = {span for cells in rows(table) for span in SPAN.findall(cells[0])}
    assert said == set(app.openapi()["paths"])


# -- examples


def test_the_example_of_a_signal_set_replays_the_example_of_a_recording(tmp_path: Path) -> None:
    text = SIGNAL_SET.read_text()
    blocks = {
        kind: FENCE.search(text, text.index(f"<!-- example {kind} -->"))[2]  # type: ignore[index]
        for kind in ("csv", "toml")
    }
    signal_set = parse_signal_set(blocks["toml"].encode(), "docs/signal-set.md")
    (tmp_path / "recording.csv").write_text(blocks["csv"])
    flight = replay(tmp_path / "recording.csv", signal_set)
    readings = flight.groups["rig"]
    assert readings.raw[:, 0].tolist() == [123, 123, 123, 124, 124, 124]
    assert readings.raw[:, 1].tolist() == [0, 0, 0, 0, 1, 1]
    assert readings.f64[0, 0] == 99.81
    assert readings.status[5].tolist() == [0, 1, 0]


def test_the_profile_of_the_runbook_is_one(tmp_path: Path) -> None:
    from edge.config import load_profile, load_tail

    found = [b for language, b in FENCE.findall(
        (ROOT / "docs/runbooks/first-flight.md").read_text()) if language == "toml"]  # fmt: skip
    tail, profile = found
    (tmp_path / "tail.toml").write_text(tail)
    assert load_tail(tmp_path / "tail.toml").tail == "B737-28001"
    folder = (ROOT / "firmware_profiles/signals").as_posix()
    (tmp_path / "profile.toml").write_text(
        profile.replace("../../firmware_profiles/signals", folder)
    )
    assert load_profile(tmp_path / "profile.toml")[0].pace.flight_rate == 5.0


def test_the_scenarios_that_are_shipped_load_under_their_names() -> None:
    from hil.scenario import load_scenario

    for path in sorted((ROOT / "hil/scenarios").glob("*.toml")):
        assert load_scenario(path).name == path.stem
