"""The fetcher's bounds, on a source and a clock of the test."""

from __future__ import annotations

import errno
import hashlib
import io
from collections.abc import Callable, Generator
from pathlib import Path

import pytest
from tuf.api.exceptions import DownloadError, LengthOrHashMismatchError, SlowRetrievalError

from edge.update.fetch import BoundedFetcher, NoRoom
from edge.update.partial import Partials
from shared.clock import ManualClock, SystemClock

DATA = bytes(range(200))
DIGEST = hashlib.sha256(DATA).hexdigest()
PATH = f"image/targets/egt/{DIGEST}.egt.tar.zst"


class Pieces:
    """A source that gives what it is told to, piece by piece."""

    name = "test"

    def __init__(self, *pieces: bytes, between: Callable[[], None] = lambda: None) -> None:
        self._pieces, self._between = pieces, between
        self.closed = 0

    def read(self, path: str, offset: int = 0) -> Generator[bytes, None, None]:
        try:
            for piece in self._pieces:
                self._between()
                yield piece
        finally:
            self.closed += 1

    def cut(self) -> None:
        pass

    def close(self) -> None:
        pass


def fetcher(source: Pieces, partial: Path | None = None) -> BoundedFetcher:
    return BoundedFetcher(source, SystemClock(), 20.0, 10.0, 1 << 20, partial)


def test_a_full_disk_is_a_typed_failure_and_what_came_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Full(io.FileIO):
        def write(self, data: object) -> int:
            if self.tell() >= 100:
                raise OSError(errno.ENOSPC, "No space left on device")
            return super().write(bytes(data)[: 100 - self.tell()])  # type: ignore[call-overload]

    def on_full(self: Partials, digest: str, length: int) -> io.FileIO:
        tmp_path.joinpath(digest).touch()
        return Full(tmp_path / digest, "r+b")

    monkeypatch.setattr(Partials, "open", on_full)
    source = Pieces(DATA[:60], DATA[60:])
    with (
        pytest.raises(NoRoom) as failed,
        fetcher(source, tmp_path).download_file(PATH, len(DATA)),
    ):
        pass
    assert failed.value.remedy == "free space in the state folder"
    assert (tmp_path / DIGEST).read_bytes() == DATA[:100]
    assert source.closed == 1


def test_a_target_that_is_used_up_leaves_nothing_and_one_whose_use_fails_stays(
    tmp_path: Path,
) -> None:
    def use(error: Exception | None) -> None:
        with fetcher(Pieces(DATA), tmp_path).download_file(PATH, len(DATA)) as file:
            assert file.read() == DATA
            if error is not None:
                raise error

    with pytest.raises(OSError, match="No space"):
        use(OSError(errno.ENOSPC, "No space left"))
    assert (tmp_path / DIGEST).read_bytes() == DATA  # verified or not, it need not come again
    with pytest.raises(LengthOrHashMismatchError):
        use(LengthOrHashMismatchError("refused"))
    assert list(tmp_path.iterdir()) == []
    use(None)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("url", ["image/targets/egt.tar.zst", "x/" + "g" * 64 + ".tar", PATH])
def test_without_a_hash_in_its_name_or_a_folder_nothing_is_kept(tmp_path: Path, url: str) -> None:
    partial = None if url == PATH else tmp_path
    with fetcher(Pieces(DATA), partial).download_file(url, len(DATA)) as file:
        assert file.read() == DATA
    with pytest.raises(DownloadError), fetcher(Pieces(DATA), partial).download_file(url, 5):
        pass
    assert list(tmp_path.iterdir()) == []


def test_a_piece_that_comes_after_the_deadline_does_not_count() -> None:
    clock = ManualClock()
    source = Pieces(b"a", b"b", between=lambda: clock.advance_s(0.6))
    bounded = BoundedFetcher(source, clock, 20.0, 1.0, 1 << 20)
    with pytest.raises(SlowRetrievalError):
        bounded.download_bytes("x", 100)
    assert source.closed == 1
    assert bounded.left_s() == pytest.approx(18.8)


def test_a_link_in_place_of_a_partial_is_not_followed(tmp_path: Path) -> None:
    secret, partial = tmp_path / "secret", tmp_path / "partial"
    secret.write_bytes(b"secret")
    partial.mkdir()
    (partial / DIGEST).symlink_to(secret)
    with fetcher(Pieces(DATA), partial).download_file(PATH, len(DATA)) as file:
        assert file.read() == DATA
    assert secret.read_bytes() == b"secret"
