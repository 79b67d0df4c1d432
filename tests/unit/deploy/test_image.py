"""The image builder, on small trees: same bytes every time, our own code only where it belongs."""

from __future__ import annotations

import os
import re
import tarfile
import tomllib
from pathlib import Path

import pytest
import zstandard

from deploy.image.build import (
    OWN_FILES,
    pack,
    place_own_code,
    place_profile,
    place_unit,
    prune,
    sums,
)
from deploy.image.bytecode import compile_tree
from edge.config import load_profile
from shared.errors import ConfigError

ROOT = Path(__file__).parents[3]
PIN = re.compile(r"^([a-z0-9-]+)==([^ ;]+)", re.MULTILINE)


def tree(folder: Path, names: list[str]) -> Path:
    root = folder / "image"
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(f"VALUES = {{'b', 'a', 'c'}}  # {name}\n")
    return root


def test_two_packings_are_the_same_bytes_whatever_order_time_and_mode_the_files_have(
    tmp_path: Path,
) -> None:
    names = ["a/x.py", "b.txt", "a/y.py"]
    one, two = tree(tmp_path / "1", names), tree(tmp_path / "2", names[::-1])
    os.utime(two / "b.txt", (1, 1))
    (two / "b.txt").chmod(0o600)
    first, second = pack(one, tmp_path / "1.zst", 1000), pack(two, tmp_path / "2.zst", 1000)
    assert first.sha256 == second.sha256
    (two / "b.txt").write_text("other")
    assert pack(two, tmp_path / "3.zst", 1000).sha256 != first.sha256


def test_what_is_packed_is_owned_by_root_of_one_time_and_executable_only_where_it_was(
    tmp_path: Path,
) -> None:
    root = tree(tmp_path, ["bin/run", "lib/x.py"])
    (root / "bin/run").chmod(0o700)
    (root / "bin/python").symlink_to("/usr/bin/python3")
    image = pack(root, tmp_path / "1.zst", 1000)
    plain = zstandard.ZstdDecompressor().decompress(image.path.read_bytes(), 1 << 20)
    (tmp_path / "1.tar").write_bytes(plain)
    with tarfile.open(tmp_path / "1.tar") as tar:
        found = {m.name: m for m in tar.getmembers()}
    assert {(m.uid, m.gid, m.uname, m.mtime) for m in found.values()} == {(0, 0, "", 1000)}
    assert found["image/bin/run"].mode == 0o755
    assert found["image/lib/x.py"].mode == 0o644
    assert found["image/bin/python"].linkname == "/usr/bin/python3"


def test_bytecode_names_no_path_of_this_machine_and_is_the_same_twice(tmp_path: Path) -> None:
    one, two = tree(tmp_path / "1", ["m.py"]), tree(tmp_path / "long" / "2", ["m.py"])
    assert (compile_tree(one), compile_tree(two)) == (1, 1)
    first, second = (next(root.rglob("*.pyc")).read_bytes() for root in (one, two))
    assert first == second
    assert str(tmp_path).encode() not in first
    assert first[4:8] == (0b01).to_bytes(4, "little")  # bound by hash, never checked (PEP 552)


def test_our_own_code_aboard_is_edge_shared_and_the_verifier(tmp_path: Path) -> None:
    digest = place_own_code(ROOT, tmp_path / "site")
    assert digest == place_own_code(ROOT, tmp_path / "again")
    found = {p.relative_to(tmp_path / "site").as_posix() for p in (tmp_path / "site").rglob("*.*")}
    beside = {name for name in found if name.startswith("signing/")} - set(OWN_FILES)
    assert beside and all(name.startswith("signing/verify/") for name in beside)
    assert {name.split("/")[0] for name in found} == {"edge", "shared", "signing"}
    assert "edge/outbox/schema.sql" in found
    assert not [name for name in found if "__pycache__" in name]


def test_tests_headers_and_tools_of_libraries_are_pruned(tmp_path: Path) -> None:
    kept = ["numpy/core.py", "x-1.dist-info/METADATA", "zstandard/backend_c.so"]
    gone = ["numpy/tests/test_core.py", "numpy/core.pyi", "numpy/include/a.h", "x/test_x.py",
            "onnxruntime/transformers/a.py", "x-1.dist-info/RECORD", "zstandard/_cffi.so"]  # fmt: skip
    root = tree(tmp_path, [*kept, *gone])
    prune(root)
    assert sorted(p.relative_to(root).as_posix() for p in root.rglob("*") if p.is_file()) == kept


def test_a_signal_set_outside_the_profiles_folder_does_not_go_aboard(tmp_path: Path) -> None:
    path = ROOT / "firmware_profiles/acms_x86.toml"
    profile, _ = load_profile(path)
    place_profile(path, profile, tmp_path / "in")
    assert load_profile(tmp_path / "in/profile.toml")[0] == profile
    (tmp_path / "sub").mkdir()
    other = tmp_path / "sub/profile.toml"
    other.write_text(
        path.read_text().replace("signals/b737_bench.toml", "../in/signals/b737_bench.toml")
    )
    with pytest.raises(ConfigError, match="not below"):
        place_profile(other, load_profile(other)[0], tmp_path / "out")


def test_the_wall_behind_the_governor_is_twice_the_profiles_memory(tmp_path: Path) -> None:
    profile, _ = load_profile(ROOT / "firmware_profiles/arm64_512mb.toml")
    place_unit(profile, tmp_path / "systemd")
    text = (tmp_path / "systemd/tailtwin-edge.service.d/profile.conf").read_text()
    assert "MemoryMax=400M\nCPUQuota=100%\n" in text


def test_sums_name_every_file_but_links(tmp_path: Path) -> None:
    root = tree(tmp_path, ["a", "b/c"])
    (root / "link").symlink_to("a")
    assert [line.split("  ")[1] for line in sums(root).splitlines()] == ["a", "b/c"]


def test_the_edges_pins_are_those_of_the_whole_and_cover_its_extra() -> None:
    """Whether each has a wheel for aarch64 cannot be told offline: `make edge-image` resolves it."""
    text = (ROOT / "requirements/edge.txt").read_text()
    pins, whole = PIN.findall(text), set(PIN.findall((ROOT / "requirements/all.txt").read_text()))
    assert set(pins) <= whole
    assert all("--hash=sha256:" in part for part in re.split(PIN.pattern, text, flags=re.M)[3::3])
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = [*project["dependencies"], *project["optional-dependencies"]["edge"]]
    assert {re.split(r"[<>=]", name)[0] for name in wanted} <= {name for name, _ in pins}
