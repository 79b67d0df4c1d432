"""Requests of people aboard: whole or not there, bounded, taken once."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from edge.update.mediawatch import MediaWatch
from edge.update.requests import WAITING_MAX, Accept, Look, Request, Rollback, decode, leave, take
from shared.errors import Rejected

SET = "0123456789abcdef"
ACCEPT = Accept(set_id=SET, by="J-17")
BACK = Rollback(set_id=SET, by="ops", reason="EGT reads 900 at idle")


def test_requests_are_taken_once_and_in_order(tmp_path: Path) -> None:
    requests: list[Request] = [ACCEPT, BACK, Look(by="J-17")]
    for n, request in enumerate(requests):
        os.utime(leave(tmp_path, request), ns=(n, n))
    assert take(tmp_path) == ([ACCEPT, BACK, Look(by="J-17")], [])
    assert take(tmp_path) == ([], [])
    assert list((tmp_path / "requests").iterdir()) == []


@pytest.mark.parametrize(
    "data",
    [
        b"", b"{", b"\xff", b'{"type":"accept","set_id":"x","by":"J"}', b"[" * 5000,
        b'{"type":"rollback","by":"J","reason":"x","more":1}', b'{"type":"open_gate","by":"J"}',
        b'{"type":"rollback","by":"","reason":"x"}', b'{"type":"look","by":"a\\nb"}', b"x" * 5000,
        b'{"type":"accept","set_id":"0123456789abcdef\\n","by":"J"}',
    ],
)  # fmt: skip
def test_what_is_no_request_is_put_away_and_said_to_be_none(tmp_path: Path, data: bytes) -> None:
    leave(tmp_path, ACCEPT)
    (tmp_path / "requests" / "odd.json").write_bytes(data)
    found, faults = take(tmp_path)
    assert found == [ACCEPT] and len(faults) == 1
    assert take(tmp_path) == ([], [])


def test_links_folders_and_half_written_files_are_no_requests(tmp_path: Path) -> None:
    secret = tmp_path / "secret.json"
    secret.write_bytes(b"{}")
    folder = tmp_path / "requests"
    folder.mkdir()
    (folder / "link.json").symlink_to(secret)
    (folder / "folder.json").mkdir()
    os.mkfifo(folder / "pipe.json")
    (folder / ".half.json").write_bytes(b"{}")
    (folder / "note.txt").write_bytes(b"{}")
    assert take(tmp_path) == ([], []) and secret.exists()


def test_so_many_wait_and_no_more(tmp_path: Path) -> None:
    for _ in range(WAITING_MAX):
        leave(tmp_path, ACCEPT)
    with pytest.raises(Rejected, match="wait already"):
        leave(tmp_path, ACCEPT)
    for n in range(100):
        (tmp_path / "requests" / f"{n}.json").write_bytes(b"{}")
    found, faults = take(tmp_path)
    assert len(found) + len(faults) == WAITING_MAX


TOO_MUCH: list[Request] = [
    Rollback(set_id=SET, by="x" * 65, reason="y"), Rollback(set_id=SET, by="x", reason="y" * 201),
    Rollback(set_id="", by="x", reason="y"), Look(by=""),
]  # fmt: skip


@pytest.mark.parametrize("request_", TOO_MUCH)
def test_a_request_that_says_too_much_or_nobody_is_not_written(
    tmp_path: Path, request_: Request
) -> None:
    with pytest.raises(Rejected):
        leave(tmp_path, request_)
    assert not (tmp_path / "requests").exists()


def test_without_a_state_folder_nothing_is_made(tmp_path: Path) -> None:
    with pytest.raises(Rejected, match="no such state folder"):
        leave(tmp_path / "typo", ACCEPT)


def test_a_decoded_request_is_of_its_kind() -> None:
    assert decode(b'{"type":"look","by":"J"}', "x") == Look(by="J")


def test_media_are_news_once_each_time_they_appear(tmp_path: Path) -> None:
    stick = tmp_path / "a stick"
    watch = MediaWatch([f"file://{tmp_path}/a%20stick", "https://host/tuf"])
    assert watch and watch.appeared() == []
    (stick / "image/metadata").mkdir(parents=True)
    assert watch.appeared() == [], "an empty stick is none of ours"
    (stick / "image/metadata/timestamp.json").write_bytes(b"{}")
    assert watch.appeared() == [str(stick)]
    assert watch.appeared() == []
    (stick / "image/metadata/timestamp.json").unlink()
    assert watch.appeared() == []
    (stick / "image/metadata/timestamp.json").write_bytes(b"{}")
    assert watch.appeared() == [str(stick)]
    assert not MediaWatch(["https://host/tuf"])


def test_a_folder_that_cannot_be_looked_into_is_a_fault_and_no_crash(tmp_path: Path) -> None:
    (tmp_path / "requests").symlink_to("requests")
    found, (fault,) = take(tmp_path)
    assert found == [] and fault.startswith("requests: ")
