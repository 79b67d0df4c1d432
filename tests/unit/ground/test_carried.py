"""From the aircraft to the lake by hand: recorded, exported, verified, imported, the same bytes."""

from __future__ import annotations

import asyncio
import json
import os
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from inspect import signature
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from edge.__main__ import main as edge
from edge.outbox.store import Outbox
from ground.__main__ import main as ground
from ground.app import only_one
from ground.config import Paths
from ground.database import open_reader
from ground.ingest import carried, schema
from ground.ingest.segments import Place, SegmentReader
from shared.envelope import open_envelope, seal
from shared.errors import Corrupt
from shared.export import JOURNAL, MANIFEST, RECORD, Frame, Reader, Writer, open_manifest
from shared.identity import Signer
from shared.messages import Drop, encode
from tests.unit.edge.test_daemon import FLIGHT, Aircraft


@pytest.fixture
def flown(tmp_path: Path) -> Aircraft:
    """An aircraft that flew one flight without a link."""
    aircraft = Aircraft(tmp_path)

    async def fly() -> None:
        await aircraft.live(FLIGHT)
        aircraft.daemon._recorder.seal_all()

    asyncio.run(fly())
    identity = tmp_path / "state" / "identity"
    identity.mkdir(exist_ok=True)
    (identity / "device.key").write_bytes((tmp_path / "device.key").read_bytes())
    (identity / "device.pub").write_text(aircraft.device.public.hex())
    return aircraft


@pytest.fixture
def site(tmp_path: Path, flown: Aircraft) -> Paths:
    paths = Paths(tmp_path / "ground")
    (tmp_path / "tail.toml").write_text(
        'operator = "OPX"\ntail = "T-1"\ntype = "T"\nregistration = "X-T"\nengines = []\n'
    )
    assert ground(["init", "--state", str(paths.state), "--operator", "OPX"]) == 0
    assert ground(["enroll", "--state", str(paths.state), "--tail-file", str(tmp_path / "tail.toml"),
                   "--device-pub", str(tmp_path / "state/identity/device.pub"),
                   "--out", str(tmp_path / "enrolment.toml")]) == 0  # fmt: skip
    return paths


@pytest.fixture
def exported(tmp_path: Path, flown: Aircraft) -> Path:
    out = tmp_path / "T-1.ttx"
    state = tmp_path / "state"
    assert edge(["export", "--state", str(state), str(out)]) == 0
    pub = state / "identity" / "device.pub"
    assert edge(["verify", str(out), "--device-pub", str(pub)]) == 0
    return out


def imported(site: Paths, file: Path, capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    capsys.readouterr()
    assert ground(["import", "--state", str(site.state), str(file), "--json"]) == 0
    said: dict[str, Any] = json.loads(capsys.readouterr().out)
    return said


def held_by_ledger(site: Paths) -> dict[tuple[str, str, int], bytes]:
    t, reader = schema.records.c, SegmentReader(site.segments)
    engine = open_reader(site.ledger)
    with engine.connect() as db:
        rows = db.execute(select(t.epoch, t.stream, t.seq, t.segment, t.offset, t.length)).all()
    found = {(row[0], row[1], row[2]): reader.read(Place(*row[3:])) for row in rows}
    reader.close()
    engine.dispose()
    return found


def held_aboard(outbox: Outbox) -> dict[tuple[str, str, int], bytes | None]:
    return {(h.epoch, h.stream, h.seq): outbox.sealed(h) for h in outbox.records()}


def test_the_lake_holds_the_records_of_the_aircraft_byte_for_byte(
    flown: Aircraft, site: Paths, exported: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    said = imported(site, exported, capsys)
    aboard = held_aboard(flown.daemon._outbox)
    assert len(aboard) > 20 and said["records_new"] == len(aboard)
    assert held_by_ledger(site) == aboard
    flights = [manifest.flight for manifest in flown.manifests() if manifest.kind == "flight"]
    assert flights and all(said["closures"][flight] == "complete" for flight in flights)


def test_what_is_here_already_counts_once(
    site: Paths, exported: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first = imported(site, exported, capsys)
    again = imported(site, exported, capsys)
    assert again["records_duplicate"] == first["records_new"] and "records_new" not in again


def test_a_flipped_byte_is_named_and_nothing_is_taken(
    site: Paths, exported: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = bytearray(exported.read_bytes())
    data[len(data) // 2] ^= 1
    exported.write_bytes(data)
    assert edge(["verify", str(exported)]) == 1
    assert ground(["import", "--state", str(site.state), str(exported)]) == 74
    assert "CRC-32 differs" in capsys.readouterr().err
    assert not held_by_ledger(site)


def test_a_file_that_the_tail_did_not_sign_is_refused(
    site: Paths, exported: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Every CRC and hash is right; only the signature is another's."""
    forged = tmp_path / "forged.ttx"
    with exported.open("rb") as file, forged.open("wb") as out:
        writer = Writer(out)
        frames = [frame for frame in Reader(file) if isinstance(frame, Frame)]
        for frame in frames:
            if frame.kind != MANIFEST:
                writer.put(frame.kind, frame.body)
        manifest, _ = open_manifest(frames[-1].body, None, "test")
        writer.finish(manifest, Signer.create(tmp_path / "other.key"))
    assert edge(["verify", str(forged)]) == 0  # nobody said which key it must be
    assert ground(["import", "--state", str(site.state), str(forged)]) == 65
    assert "signature" in capsys.readouterr().err
    assert sum(frame.kind == RECORD for frame in frames) > 20


class Medium:
    """A stick that answers what it likes, each time one reads it anew from somewhere."""

    def __init__(self, answers: list[bytes]) -> None:
        self.answers, self.asked, self._at = answers, Counter[int](), 0

    def seek(self, at: int) -> None:
        self._at = at

    def read(self, size: int) -> bytes:
        data = self.answers[min(self.asked[self._at], len(self.answers) - 1)]
        self.asked[self._at] += 1
        piece = data[self._at : self._at + size]
        self._at += len(piece)
        return piece


def forged(file: Path) -> tuple[bytes, bytes]:
    """The bytes of an export, and the same with other bytes in its first record, all CRCs right."""
    with file.open("rb") as source:
        frames = [frame for frame in Reader(source) if isinstance(frame, Frame)]
    good = file.read_bytes()
    first = next(frame for frame in frames if frame.kind == RECORD)
    record = open_envelope(first.body)
    fields = {name: getattr(record, name) for name in signature(seal).parameters}
    changed = bytes(len(record.payload) - 1) + b"!"
    _, body = seal(**fields | {"payload": changed})
    out = BytesIO()
    Writer(out).put(RECORD, body)
    frame = out.getvalue()
    return good, good[: first.offset] + frame + good[first.offset + len(frame) :]


def test_a_medium_that_gives_other_bytes_the_second_time_adds_nothing(
    site: Paths, flown: Aircraft, exported: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    """Once it was found good, it holds another record: what was found good is taken."""
    found_good, (_, other) = carried.trusted, forged(exported)

    def swap(*args: Any) -> Any:
        found = found_good(*args)
        exported.write_bytes(other)
        return found

    monkeypatch.setattr(carried, "trusted", swap)
    imported(site, exported, capsys)
    assert held_by_ledger(site) == held_aboard(flown.daemon._outbox)


def test_what_is_hashed_and_what_is_taken_are_one_reading(
    site: Paths, flown: Aircraft, exported: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    """A reader looks at a frame, then at its bytes for the hash: a medium may lie between."""
    good, other = forged(exported)
    media: list[Medium] = []

    @contextmanager
    def opened(handle: int, *_: object, **__: object) -> Iterator[Medium]:
        os.close(handle)
        media.append(Medium([other, good, other]))
        yield media[-1]

    monkeypatch.setattr(os, "fdopen", opened)
    assert ground(["import", "--state", str(site.state), str(exported)]) == 74
    monkeypatch.undo()
    assert len(media) == 1 and set(media[0].asked.values()) == {1}, "it was read again"
    assert f"{exported}: the bytes before the manifest are others" in capsys.readouterr().err
    assert not held_by_ledger(site)


def test_the_copy_goes_away_and_a_state_folder_without_room_is_said(
    site: Paths, exported: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    imported(site, exported, capsys)
    before = {path.name for path in site.state.iterdir()}
    imported(site, exported, capsys)
    assert {path.name for path in site.state.iterdir()} == before
    monkeypatch.setattr(carried, "SPARE_BYTES", 1 << 60)
    assert ground(["import", "--state", str(site.state), str(exported)]) == 69
    assert "no room for" in capsys.readouterr().err


def test_what_is_no_file_or_too_long_is_not_copied(
    site: Paths, exported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", tmp_path, tmp_path / "nowhere"):
        assert ground(["import", "--state", str(site.state), str(path)]) == 78
        assert f"{path}: cannot read" in capsys.readouterr().err
    monkeypatch.setattr(carried, "EXPORT_BYTES_MAX", 1000)
    assert ground(["import", "--state", str(site.state), str(exported)]) == 65
    assert "over the cap of 1000" in capsys.readouterr().err


def test_a_tail_that_is_not_enrolled_and_a_running_ingest_are_said(
    site: Paths, exported: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with only_one(site, "ingest"):
        assert ground(["import", "--state", str(site.state), str(exported)]) == 78
    other = tmp_path / "other"
    assert ground(["init", "--state", str(other), "--operator", "OPX"]) == 0
    assert ground(["import", "--state", str(other), str(exported)]) == 65
    assert ground(["import", "--state", str(site.state), str(tmp_path / "none.ttx")]) == 78
    assert "Traceback" not in capsys.readouterr().err


def test_records_behind_the_signed_manifest_are_not_taken(
    site: Paths, exported: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Anybody can add frames to a stick: a drop record would have the aircraft forget its alerts."""
    with exported.open("rb") as file:
        frames = [frame for frame in Reader(file) if isinstance(frame, Frame)]
    epoch = next(open_envelope(f.body).epoch for f in frames if f.kind == RECORD)
    _, forged = seal(
        operator="OPX", tail="T-1", epoch=epoch, stream="drop", seq=0, cls="drop", flight="",
        t_event_ns=1, t_quality=1, schema="drop/1", codec="",
        payload=encode(Drop(1, "alert", 0, 1000, [], "outbox full")),
    )  # fmt: skip
    with exported.open("ab") as out:
        Writer(out).put(RECORD, forged)
    assert edge(["verify", str(exported)]) == 1
    assert ground(["import", "--state", str(site.state), str(exported)]) == 74
    assert "bytes behind the manifest" in capsys.readouterr().err
    assert not held_by_ledger(site)


def test_a_file_full_of_faults_is_refused_at_the_first_ones(tmp_path: Path) -> None:
    file = tmp_path / "hostile.ttx"
    with file.open("wb") as out:
        for _ in range(20_000):
            Writer(out).put(JOURNAL, b"")
            out.write(b"x")
    read: list[int] = []

    class Watched(Reader):
        def _take(self, at: int, size: int) -> None:
            read.append(at)
            super()._take(at, size)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(carried, "Reader", Watched)
        with file.open("rb") as hostile, pytest.raises(Corrupt, match="no frame begins here"):
            carried.trusted(hostile, str(file), "OPX", {})
    assert len(read) < 20
