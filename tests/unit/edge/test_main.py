"""The program aboard, from its command line."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from edge.__main__ import main
from edge.outbox.devicekey import load_keyring
from edge.outbox.keyring import Keyring
from tests.unit.edge.update.stand import Shop

TAIL = 'operator = "OPX"\ntail = "T1"\ntype = "B737"\n'


@pytest.fixture(autouse=True)
def umask() -> Iterator[None]:
    before = os.umask(0o022)
    yield
    os.umask(before)


def init(tmp_path: Path, roots: tuple[bytes, bytes], *more: str) -> int:
    (tmp_path / "tail.toml").write_text(TAIL)
    where = []
    for name, root in zip(("image", "director"), roots, strict=True):
        (tmp_path / f"{name}.json").write_bytes(root)
        where += [f"--{name}-root", str(tmp_path / f"{name}.json")]
    return main(
        ["init", "--state", str(tmp_path / "state"), "--tail-file", str(tmp_path / "tail.toml"),
         *where, *more]
    )  # fmt: skip


def test_a_root_that_nobody_signed_is_refused_before_anything_is_made(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    image, director = Shop(tmp_path / "shop").roots()
    unsigned = json.loads(director) | {"signatures": []}
    assert init(tmp_path, (image, json.dumps(unsigned).encode())) != 0
    assert "not a trustworthy root" in capsys.readouterr().err
    assert init(tmp_path, (b"[" * 100_000, director)) != 0
    assert init(tmp_path, (director, image)) != 0  # a director names no attestors
    assert not (tmp_path / "state").exists()


def test_what_init_makes_is_nobody_elses(tmp_path: Path) -> None:
    assert init(tmp_path, Shop(tmp_path / "shop").roots()) == 0
    made = [tmp_path / "state", *(tmp_path / "state").rglob("*")]
    assert len(made) > 5
    assert [path for path in made if stat.S_IMODE(path.stat().st_mode) & 0o077] == []


def test_the_private_half_goes_to_no_file_that_waits_for_it(tmp_path: Path) -> None:
    """A folder that others can write to, such as a shared disk."""
    loot = tmp_path / "loot"
    loot.touch()
    (tmp_path / ".fleet.key.tmp").symlink_to(loot)
    assert main(["recovery-key", "--out", str(tmp_path / "fleet")]) == 0
    assert not loot.read_bytes() and not (tmp_path / "fleet.key").is_symlink()
    mine = os.open(tmp_path / ".other.key.tmp", os.O_RDWR | os.O_CREAT, 0o666)
    assert main(["recovery-key", "--out", str(tmp_path / "other")]) == 0
    assert not os.read(mine, 10)
    os.close(mine)


def test_a_daemon_that_crashes_leaves_no_keys_in_a_core_file(tmp_path: Path) -> None:
    said = subprocess.run(
        [sys.executable, "-c", "import resource; from edge.__main__ import main; "
         "main(['run', '--profile', 'none', '--state', 'none']); "
         "print(resource.getrlimit(resource.RLIMIT_CORE))"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert said.stdout == "(0, 0)\n"


def test_a_recovery_key_is_made_off_the_aircraft_and_only_its_public_half_goes_aboard(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = Shop(tmp_path / "shop").roots()
    assert main(["recovery-key", "--out", str(tmp_path / "fleet")]) == 0
    private, public = tmp_path / "fleet.key", tmp_path / "fleet.pub"
    assert stat.S_IMODE(private.stat().st_mode) == 0o600
    assert main(["recovery-key", "--out", str(tmp_path / "fleet")]) != 0
    assert "already there" in capsys.readouterr().err
    assert init(tmp_path, root, "--recovery-pub", str(private)) != 0
    (tmp_path / "zeros.pub").write_text("00" * 32)  # a point of low order: nobody's key
    assert init(tmp_path, root, "--recovery-pub", str(tmp_path / "zeros.pub")) != 0
    assert not (tmp_path / "state").exists()
    assert init(tmp_path, root, "--recovery-pub", str(public)) == 0
    identity = tmp_path / "state" / "identity"
    assert (identity / "recovery.pub").read_bytes() == public.read_bytes()
    keyring = load_keyring(identity)
    offline = Keyring.from_recovery(private)
    assert keyring is not None and keyring.recovery_key_id == offline.recovery_key_id
