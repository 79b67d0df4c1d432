"""docs/runbooks/signing.md, walked through command by command in a scratch folder.

Its lines are run as they stand, in their order. Only the hashes in bundles' file names are put in.
"""

from __future__ import annotations

import re
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from shared.bundlefile import pack_declared
from signing.__main__ import main
from signing.repositories import Repositories
from signing.repository import wall_now
from tests.fakes.calibrated import TYPE, scaled

PAGE = Path(__file__).parents[3] / "docs/runbooks/signing.md"
FENCE = re.compile(r"^```sh\n(.*?)^```$", re.MULTILINE | re.DOTALL)
BUNDLE = re.compile(r"(bundles/|attested/|egt_rom/)egt_rom-(\d)\.0\.0-[0-9a-f]{12}\.tar\.zst")


def lines() -> Iterator[str]:
    for body in FENCE.findall(PAGE.read_text()):
        yield from body.splitlines()


def put_in(line: str) -> str:
    """The line with the names that the bundles have today."""

    def name(match: re.Match[str]) -> str:
        folder = "bundles" if match[1] == "bundles/" else "attested"
        (file,) = Path(folder).glob(f"egt_rom-{match[2]}.*.tar.zst")
        return f"{match[1]}{file.name}"

    return BUNDLE.sub(name, line)


def test_every_command_of_the_runbook_does_what_it_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("bundles").mkdir()
    for declared in (TYPE, scaled(1.02)):
        file, data = pack_declared(declared)
        (Path("bundles") / file).write_bytes(data)
    run = 0
    for line in map(put_in, lines()):
        words = shlex.split(line)
        if words[0] == "tailtwin-sign":
            code = main(words[1:])
            said = capsys.readouterr()
            assert code == 0, f"{line}\n{said.err}"
            assert (
                words[1] in ("inspect", "new-key", "expire-soon", "attest") or "sign" in said.out
            ), line
            run += 1
        else:
            assert words[0] in ("cp", "mkdir", "rm"), line
            given = [
                name
                for word in words[1:]
                for name in (sorted(map(str, Path().glob(word))) or [word])
            ]
            subprocess.run([words[0], *given], check=True)
    assert run > 80
    made = Repositories(tmp_path / "repo", wall_now())
    names = {r.role: r.key_names for r in made.image.inspect().roles}
    assert names["root"] == ("image-root-1", "image-root-3", "image-root-4")
    assert names["calibration-B737-28001"] == ("calibration-desk-2",)
    directed = {b.target for b in made.director.inspect().bundles}
    assert {target.partition("/")[0] for target in directed} == {"B737-28001", "B737-28002"}
    assert made.draft_names() == [], "no draft is left over"
    assert (tmp_path / "medium/image/metadata/timestamp.json").exists()


def test_the_runbook_says_the_lifetimes_of_the_code() -> None:
    from signing.repository import EXPIRY_DAYS

    table = PAGE.read_text().partition("## Who keeps what")[2].partition("\n## ")[0]
    for role, key in (("root", "image-root-1"), ("targets", "director-targets"),
                      ("calibration", "calibration"), ("tails", "director-tails")):  # fmt: skip
        (row,) = [line for line in table.splitlines() if line.startswith(f"| `{key}`")]
        assert row.endswith(f"| {EXPIRY_DAYS[role]:g} days |")
    assert f"{EXPIRY_DAYS['snapshot']:g} days, {EXPIRY_DAYS['timestamp']:g} day |" in table
