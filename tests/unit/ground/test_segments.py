import errno
import os
from pathlib import Path

import pytest

from ground.ingest.segments import EXCESS_BYTES_MAX, OsDisk, Place, SegmentReader, Segments
from shared.errors import Corrupt


def opened(folder: Path, size: int = 1 << 20, disk: OsDisk | None = None) -> Segments:
    segments = Segments(folder, size, disk)
    segments.recover(0, 0)
    return segments


def test_what_was_appended_is_read_again(tmp_path: Path) -> None:
    segments = opened(tmp_path)
    items = [b"a", b"", b"c" * 5000]
    places = segments.append(items) + segments.append([b"later"])
    reader = SegmentReader(tmp_path)
    assert [reader.read(place) for place in places] == [*items, b"later"]


def test_a_full_segment_is_followed_by_a_new_one(tmp_path: Path) -> None:
    segments = opened(tmp_path, 1000)
    places = [segments.append([b"x" * 600])[0] for _ in range(4)]
    assert [place.segment for place in places] == [1, 1, 2, 2]


def test_bytes_beyond_the_last_known_record_are_cut(tmp_path: Path) -> None:
    segments = opened(tmp_path)
    first = segments.append([b"kept"])[0]
    segments.append([b"never committed"])
    segments.close()
    again = Segments(tmp_path, 1 << 20)
    assert again.recover(1, first.end) == 8 + len(b"never committed")
    assert again.append([b"next"])[0].offset == first.end
    assert (tmp_path / "00000001.seg").stat().st_size == first.end + 8 + 4


def test_a_segment_that_was_begun_and_never_committed_goes(tmp_path: Path) -> None:
    segments = opened(tmp_path, 16)
    first = segments.append([b"fills the first segment"])[0]
    segments.append([b"in the second"])
    segments.close()
    again = Segments(tmp_path, 16)
    again.recover(1, first.end)
    assert [path.name for path in tmp_path.iterdir()] == ["00000001.seg"]
    assert again.append([b"second"])[0].segment == 2


def test_an_old_copy_of_the_ledger_is_refused_instead_of_cutting_records(tmp_path: Path) -> None:
    segments = opened(tmp_path, 16)
    for _ in range(4):
        segments.append([b"fills a segment of 16 bytes"])
    with pytest.raises(Corrupt, match="beyond the last record"):
        Segments(tmp_path, 16).recover(1, 43)
    os.truncate(tmp_path / "00000004.seg", EXCESS_BYTES_MAX + 100)
    with pytest.raises(Corrupt, match="beyond the last record"):
        Segments(tmp_path, 16).recover(4, 43)


def test_a_segment_shorter_than_the_ledger_says_is_refused(tmp_path: Path) -> None:
    segments = opened(tmp_path)
    end = segments.append([b"data"])[0].end
    os.truncate(tmp_path / "00000001.seg", end - 1)
    with pytest.raises(Corrupt, match="the ledger knows"):
        Segments(tmp_path, 1 << 20).recover(1, end)


@pytest.mark.parametrize("flip", [0, 5, 8, 11])
def test_one_flipped_byte_is_noticed(tmp_path: Path, flip: int) -> None:
    place = opened(tmp_path).append([b"data"])[0]
    path = tmp_path / "00000001.seg"
    data = bytearray(path.read_bytes())
    data[place.offset + flip] ^= 1
    path.write_bytes(data)
    with pytest.raises(Corrupt):
        SegmentReader(tmp_path).read(place)


@pytest.mark.parametrize("place", [Place(9, 8, 4), Place(1, 1 << 40, 4), Place(1, 8, 1 << 40)])
def test_a_place_that_is_not_there_is_corrupt(tmp_path: Path, place: Place) -> None:
    opened(tmp_path).append([b"data"])
    with pytest.raises(Corrupt):
        SegmentReader(tmp_path).read(place)


class FullDisk(OsDisk):
    full = False

    def write(self, handle: int, data: bytes, offset: int) -> None:
        if self.full:
            super().write(handle, data[: len(data) // 2], offset)
            raise OSError(errno.ENOSPC, "No space left on device")
        super().write(handle, data, offset)


def test_after_a_full_disk_the_next_append_overwrites_what_was_half_written(
    tmp_path: Path,
) -> None:
    disk = FullDisk()
    segments = opened(tmp_path, disk=disk)
    first = segments.append([b"first"])[0]
    disk.full = True
    with pytest.raises(OSError, match="No space"):
        segments.append([b"second" * 100])
    disk.full = False
    second = segments.append([b"third"])[0]
    assert second.offset == first.end
    assert SegmentReader(tmp_path).read(second) == b"third"


def test_a_reader_keeps_few_files_open(tmp_path: Path) -> None:
    segments = opened(tmp_path, 1)
    places = [segments.append([b"%d" % i])[0] for i in range(80)]
    reader = SegmentReader(tmp_path)
    before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208  # a count, not paths
    assert [reader.read(place) for place in places] == [b"%d" % i for i in range(80)]
    assert len(os.listdir("/proc/self/fd")) - before <= 32  # noqa: PTH208
    reader.close()
