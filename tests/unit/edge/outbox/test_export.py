"""An outbox is copied while it records, exported and verified; a flipped byte is found and named."""

from __future__ import annotations

import json
import random
import sqlite3
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
import zstandard

from edge.__main__ import main
from edge.outbox.copy import StoreCopy, take
from edge.outbox.keyring import Keyring, make_recovery_key
from edge.outbox.store import Outbox
from edge.recorder import _Entry
from shared.clock import SystemClock
from shared.errors import Rejected, Unreachable
from shared.export import ExportManifest, Writer
from shared.identity import Signer
from shared.messages import Ack, Coverage

KEY = bytes(range(32))
DEVICE = Keyring(KEY)
Store = Callable[..., Outbox]


@pytest.fixture
def state(tmp_path: Path) -> Path:
    folder = tmp_path / "state"
    device = Signer.create(folder / "identity" / "device.key")
    (folder / "identity" / "device.pub").write_text(device.public.hex())
    (folder / "identity" / "storage.key").write_text(KEY.hex())
    return folder


@pytest.fixture
def store(state: Path) -> Iterator[Store]:
    """A recorder's outbox; it stays open, with its exclusive lock."""
    opened: list[Outbox] = []

    def make(keyring: Keyring | None = DEVICE, bytes_max: int = 64 << 20) -> Outbox:
        outbox = Outbox.open(
            state / "outbox.db", operator="OPX", tail="T-1", clock=SystemClock(),
            random=random.Random(1).randbytes, bytes_max=bytes_max, keyring=keyring,
        )  # fmt: skip
        opened.append(outbox)
        return outbox

    yield make
    for outbox in opened:
        outbox._db.close(True)


def live(outbox: Outbox, records: int = 60, flight: str = "T-1-e0-F00001", t_ns: int = 10) -> None:
    """Some of everything."""
    draw = random.Random(records)
    entry = zstandard.compress(
        msgspec.msgpack.encode(_Entry(b"s", flight, 1, 0, 2, b"", b"", b"", b"", b"", b""))
    )
    for number in range(records):
        for cls in ("alert", "block", "state"):
            outbox.append(
                cls, draw.randbytes(400), stream="block-air" if cls == "block" else cls,
                schema="test/1", flight=flight, t_event_ns=t_ns + number, t_quality=1,
            )  # fmt: skip
        if number % 10 == 0:
            outbox.audit("test", "done", flight=flight, t_event_ns=t_ns + number, t_quality=1)
            outbox.journal("air", entry, 2)


def cli(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, dict[str, Any]]:
    code = main([*map(str, arguments), "--json"])
    out = capsys.readouterr().out
    return code, json.loads(out) if out else {}


def faults(said: dict[str, Any]) -> list[str]:
    return [f"{check}: {text}" for check, texts in said["faults"].items() for text in texts]


class TestCopy:
    def test_a_copy_taken_while_records_are_appended_is_the_store_at_one_commit(
        self, store: Store, state: Path, tmp_path: Path
    ) -> None:
        outbox = store(bytes_max=1 << 20)
        live(outbox, 20)
        ended = threading.Event()

        def copy_often() -> None:
            for number in range(12):
                folder = tmp_path / f"copy{number}"
                folder.mkdir()
                with StoreCopy(take(state / "outbox.db", folder), Keyring(KEY)) as copy:
                    assert not copy.check_pages()
                    assert all(found.sealed for found in copy.records())
                    held = [copy.streams.all[copy.streams.epochs[0], "alert"].held]
                    counts.append(held[0].size)
            ended.set()

        counts: list[int] = []
        reader = threading.Thread(target=copy_often)
        reader.start()
        while not ended.is_set() and reader.is_alive():
            with outbox.transaction():
                for _ in range(3):
                    outbox.append("alert", b"x" * 3000, schema="a/1", flight="", t_event_ns=1,
                                  t_quality=1)  # fmt: skip
            outbox.maintain()
        reader.join()
        assert ended.is_set() and len(counts) == 12

    def test_what_changes_under_every_attempt_is_not_taken_for_a_copy(
        self, store: Store, state: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        live(store(), 3)
        salts = iter(range(10**6))
        monkeypatch.setattr("edge.outbox.copy._header", lambda _wal: str(next(salts)).encode())
        with pytest.raises(Unreachable, match="changed"):
            take(state / "outbox.db", tmp_path)

    def test_a_missing_outbox_and_a_full_disk_are_said(
        self, store: Store, state: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with pytest.raises(Rejected, match="no outbox"):
            take(tmp_path / "none.db", tmp_path)
        live(store(), 3)
        monkeypatch.setattr("edge.outbox.copy.SPARE_BYTES", 1 << 60)
        with pytest.raises(Unreachable, match="needed"):
            take(state / "outbox.db", tmp_path)


class TestVerify:
    def test_a_store_that_is_being_recorded_to_is_good(
        self, store: Store, state: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        live(store())
        code, said = cli(capsys, "verify", "--state", state)
        assert code == 0 and said["ok"] and said["tail"] == "T-1"
        assert said["counts"]["records"] == 186 and said["counts"]["journal"] == 6
        assert said["counts"]["audit chain"] == 6

    def test_the_original_is_not_changed(
        self, store: Store, state: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        live(store())
        files = {path: path.read_bytes() for path in state.glob("outbox.db*")}
        cli(capsys, "verify", "--state", state)
        assert files == {path: path.read_bytes() for path in state.glob("outbox.db*")}

    def test_evictions_are_covered_by_their_drop_records(
        self, store: Store, state: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        outbox = store(bytes_max=1 << 20)
        live(outbox, 700)
        code, said = cli(capsys, "verify", "--state", state)
        assert outbox.stats().evicted_unsafe and said["counts"]["dropped, by name"]
        assert code == 0, faults(said)

    @pytest.mark.parametrize("keyring", [None, Keyring(KEY)])
    def test_a_flipped_byte_of_any_record_is_found_and_named(
        self, store: Store, state: Path, capsys: pytest.CaptureFixture[str], keyring: Keyring | None
    ) -> None:
        outbox = store(keyring)
        live(outbox, 5)
        outbox.close()
        db = sqlite3.connect(state / "outbox.db")
        number, data = db.execute(
            "SELECT id, data FROM sealed ORDER BY id LIMIT 1 OFFSET 7"
        ).fetchone()
        name = db.execute(
            "SELECT epoch, stream FROM stream WHERE id = ?", (number >> 40,)
        ).fetchone()
        flipped = data[:90] + bytes([data[90] ^ 16]) + data[91:]
        db.execute("UPDATE sealed SET data = ? WHERE id = ?", (flipped, number))
        db.commit()
        db.close()
        code, said = cli(capsys, "verify", "--state", state)
        assert code == 1
        assert f"records: {' '.join(name)} {number & (1 << 40) - 1}: " in faults(said)[0]

    @pytest.mark.parametrize(
        ("change", "fault"),
        [
            ("DELETE FROM sealed WHERE id = (SELECT min(id) FROM sealed)", "its row has no bytes"),
            ("DELETE FROM record WHERE id = (SELECT min(id) + 3 FROM record)", "[3, 4) is missing"),
            ("UPDATE kv SET value = x'00' WHERE key = 'audit.previous'", "it ends at"),
            ("UPDATE journal SET data = x'00' WHERE id = 1", "entry 0 of air"),
        ],
    )
    def test_what_is_missing_or_does_not_fit_is_named(
        self, store: Store, state: Path, capsys: pytest.CaptureFixture[str], change: str, fault: str
    ) -> None:
        outbox = store(None)
        live(outbox, 12)
        outbox.close()
        db = sqlite3.connect(state / "outbox.db")
        db.execute(change)
        db.commit()
        db.close()
        code, said = cli(capsys, "verify", state / "outbox.db")
        assert code == 1 and any(fault in text for text in faults(said)), faults(said)

    def test_an_audit_record_that_was_replaced_breaks_the_chain(
        self, store: Store, state: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        outbox = store(None)
        live(outbox, 40)
        audits = [outbox.sealed(held) for held in outbox.records() if held.cls == "audit"]
        outbox.put("audit.previous", b"forged" * 5)
        outbox.audit("test", "done", flight="", t_event_ns=1, t_quality=1)
        assert len(audits) == 4
        code, said = cli(capsys, "verify", "--state", state)
        assert code == 1 and ["does not follow" in text for text in faults(said)] == [True]

    def test_a_damaged_page_is_a_fault_and_no_trace(
        self, store: Store, state: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        outbox = store()
        live(outbox)
        outbox.close()
        data = bytearray((state / "outbox.db").read_bytes())
        middle = len(data) // 8192 * 4096
        data[middle : middle + 4096] = b"\x5a" * 4096
        (state / "outbox.db").write_bytes(data)
        code, said = cli(capsys, "verify", "--state", state)
        assert code == 1 and said["faults"]["pages"]

    def test_without_the_key_records_are_locked_and_the_recovery_key_opens_them(
        self, store: Store, state: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        pem, public = make_recovery_key()
        (tmp_path / "fleet.key").write_bytes(pem)
        from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PublicKey

        recovery = X25519PublicKey.from_public_bytes(bytes.fromhex(public.decode().strip()))
        live(store(Keyring(KEY, recovery)), 4)
        code, said = cli(capsys, "verify", state / "outbox.db")
        assert code == 1 and said["locked"] == 13 + 1
        code, said = cli(capsys, "verify", state / "outbox.db", "--recovery-key",
                         tmp_path / "fleet.key")  # fmt: skip
        assert code == 0, faults(said)

    def test_what_is_no_outbox_is_refused(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        (tmp_path / "x.db").write_bytes(b"not a database, not at all" * 500)
        assert main(["verify", str(tmp_path / "x.db")]) != 0
        assert main(["verify", str(tmp_path / "none.db")]) == Rejected.exit_code
        assert main(["verify"]) == 78
        assert "Traceback" not in capsys.readouterr().err


class TestExport:
    def test_everything_goes_out_and_verifies_where_it_arrives(
        self, store: Store, state: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        live(store())
        code, said = cli(capsys, "export", "--state", state, tmp_path)
        assert code == 0 and said["records"] == 186 and said["journal_entries"] == 6
        out = Path(said["file"])
        assert out.name.startswith("T-1-") and out.stat().st_mode & 0o777 == 0o600
        assert sorted(path.name for path in tmp_path.iterdir()) == sorted([out.name, "state"])
        pub = state / "identity" / "device.pub"
        code, said = cli(capsys, "verify", out, "--device-pub", pub)
        assert code == 0, faults(said)
        assert said["counts"]["records"] == 186 and said["counts"]["journal"] == 6

    def test_a_flipped_byte_anywhere_in_an_export_is_found(
        self, store: Store, state: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        live(store(), 3)
        _, said = cli(capsys, "export", "--state", state, tmp_path / "x.ttx")
        good = (tmp_path / "x.ttx").read_bytes()
        named = 0
        for at in range(5, len(good), 37):
            (tmp_path / "y.ttx").write_bytes(good[:at] + bytes([good[at] ^ 4]) + good[at + 1 :])
            code, said = cli(capsys, "verify", tmp_path / "y.ttx",
                             "--device-pub", state / "identity" / "device.pub")  # fmt: skip
            assert code == 1, at
            named += any(", record " in text for text in said["faults"]["frames"])
        assert named > len(good) / 37 / 3

    def test_an_export_cut_short_or_signed_by_another_is_not_good(
        self, store: Store, state: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        live(store(), 3)
        out = tmp_path / "x.ttx"
        cli(capsys, "export", "--state", state, out)
        other = Signer.create(tmp_path / "other.key")
        (tmp_path / "other.pub").write_text(other.public.hex())
        assert main(["verify", str(out), "--device-pub", str(tmp_path / "other.pub")]) == 1
        data = out.read_bytes()
        for size in (0, 1, 100, len(data) // 2, len(data) - 1):
            out.write_bytes(data[:size])
            assert main(["verify", str(out)]) == 1, size
        capsys.readouterr()

    def test_a_selection_is_what_was_asked_for(
        self, store: Store, state: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        outbox = store()
        day = 24 * 3600 * 10**9
        live(outbox, 10, "T-1-e0-F00001", day)
        live(outbox, 10, "T-1-e0-F00002", 9 * day)
        safe = {"alert": Coverage(15)}
        outbox.apply_ack(Ack(1, "T-1", outbox.epoch, "l", b"", safe, safe, 1), answer=False)

        def count(*arguments: str) -> int:
            code, said = cli(capsys, "export", "--state", state, tmp_path / "s.ttx", *arguments)
            assert code == 0
            code, checked = cli(capsys, "verify", tmp_path / "s.ttx")
            assert code == 0, faults(checked)
            return int(said["records"])

        assert count() == 62
        assert count("--flight", "T-1-e0-F00002") == 31
        assert count("--since", "2d") == 31
        assert count("--since", "1970-01-09T00:00:00Z") == 31
        assert count("--unsafe-only") == 62 - 15
        assert count("--unsafe-only", "--since", "48h") == 31 - 5

    def test_a_record_that_cannot_be_read_is_named_and_the_others_go_out(
        self, store: Store, state: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        outbox = store()
        live(outbox, 5)
        outbox.close()
        db = sqlite3.connect(state / "outbox.db")
        db.execute("UPDATE sealed SET data = zeroblob(50) WHERE id = (SELECT min(id) FROM sealed)")
        db.commit()
        db.close()
        code, said = cli(capsys, "export", "--state", state, tmp_path / "x.ttx")
        assert code == 1 and len(said["unreadable"]) == 1 and said["records"] == 15
        code, said = cli(capsys, "verify", tmp_path / "x.ttx")
        assert code == 1 and "not exported" in faults(said)[0]

    def test_a_medium_without_room_or_that_lies_is_refused_and_nothing_is_left(
        self, store: Store, state: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        live(store(), 3)
        stick = tmp_path / "stick"
        stick.mkdir()
        command = ["export", "--state", str(state), "--scratch", str(tmp_path), str(stick)]
        monkeypatch.setattr("edge.outbox.export.SPARE_BYTES", 1 << 60)
        assert main(command) == Unreachable.exit_code
        monkeypatch.undo()
        monkeypatch.setattr("edge.outbox.export.READ_BYTES", 0)
        assert main(command) == 74
        assert not list(stick.iterdir())
        assert main(["export", "--state", str(state), "/nowhere/at/all.ttx"]) != 0

    def test_nothing_is_written_where_a_foreign_outbox_or_a_link_on_the_medium_says(
        self, store: Store, state: Path, tmp_path: Path
    ) -> None:
        outbox = store(None)
        live(outbox, 3)
        outbox.close()
        with sqlite3.connect(state / "outbox.db") as db:
            db.execute("UPDATE kv SET value = ? WHERE key = 'owner'", (b"OPX/../outside/T",))
        db.close()
        stick, outside = tmp_path / "stick", tmp_path / "outside"
        stick.mkdir()
        outside.mkdir()
        assert main(["export", "--store", str(state / "outbox.db"), str(stick)]) == 0
        (made,) = stick.glob("*.ttx")
        assert made.name.startswith("outbox-") and not list(outside.iterdir())
        (outside / "precious").write_text("as it was")
        (stick / ".x.ttx.part").symlink_to(outside / "precious")
        assert main(["export", "--store", str(state / "outbox.db"), str(stick / "x.ttx")]) == 0
        assert (outside / "precious").read_text() == "as it was"
        assert not (stick / "x.ttx").is_symlink()

    def test_what_a_foreign_export_says_of_itself_does_not_reach_the_terminal_raw(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        with (tmp_path / "x.ttx").open("wb") as file:
            writer = Writer(file)
            writer.finish(
                ExportManifest(
                    1, "OPX", "T\x1b[2J\x1b]0;good\x07", 0, "", [], 0, [], 0, b"", [], 0, b""
                ),
                None,
            )
        main(["verify", str(tmp_path / "x.ttx")])
        assert "\x1b" not in capsys.readouterr().out
