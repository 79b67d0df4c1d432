"""Which files somebody else's path can reach."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from shared.below import open_below


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "repo"
    (folder / "image" / "targets").mkdir(parents=True)
    (folder / "image" / "a.json").write_bytes(b"a")
    (tmp_path / "secret").write_bytes(b"secret")
    return folder


def read(folder: Path, path: str) -> bytes:
    descriptor = open_below(folder, path)
    try:
        return os.read(descriptor, 100)
    finally:
        os.close(descriptor)


def test_a_regular_file_below_the_folder_is_read_and_nothing_stays_open(folder: Path) -> None:
    held = Path("/proc/self/fd")
    before = len(list(held.iterdir()))
    assert read(folder, "image/a.json") == b"a"
    for path in ("image/none", "image/a.json/x", "image/targets", "image"):
        with pytest.raises(OSError, match=r"No such|Not a dir|not a regular"):
            open_below(folder, path)
    assert len(list(held.iterdir())) == before


@pytest.mark.parametrize("path", [
    "", ".", "..", "/", "/etc/hostname", "image/../../secret", "image/./a.json", "image//a.json",
    "image/a.json/", ".hidden", "image/.hidden", "image/a\0", "image/a\n", "image/ä.json",
    "image\\a.json", "a" * 256, "/".join("abcdefghi"),
])  # fmt: skip
def test_a_path_that_no_repository_has_reaches_no_file_system(folder: Path, path: str) -> None:
    with pytest.raises(OSError, match="not a path"):
        open_below(folder, path)


def test_the_longest_names_of_a_repository_are_paths(folder: Path) -> None:
    target = "cal/" + "T" * 32 + "/" + "n" * 32
    (folder / "image" / "targets" / target).mkdir(parents=True)
    name = f"{'0' * 64}.{'f' * 180}.tar.zst"
    (folder / "image" / "targets" / target / name).write_bytes(b"longest")
    assert read(folder, f"image/targets/{target}/{name}") == b"longest"


@pytest.mark.parametrize("where", ["image/link", "image/to/secret", "image/dangling"])
def test_no_link_below_the_folder_is_followed(folder: Path, where: str) -> None:
    (folder / "image" / "link").symlink_to(folder.parent / "secret")
    (folder / "image" / "to").symlink_to(folder.parent)
    (folder / "image" / "dangling").symlink_to("none")
    with pytest.raises(OSError, match=r"symbolic|Not a dir"):
        open_below(folder, where)


def test_the_folder_itself_may_be_a_link(folder: Path) -> None:
    link = folder.parent / "link"
    link.symlink_to(folder)
    assert read(link, "image/a.json") == b"a"


def test_what_is_no_file_blocks_nobody(folder: Path) -> None:
    os.mkfifo(folder / "image" / "fifo")
    for at, path in ((folder, "image/fifo"), (folder, "image"), (Path("/dev"), "zero")):
        with pytest.raises(OSError, match="regular"):
            open_below(at, path)
