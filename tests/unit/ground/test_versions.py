"""Version reports on the ground: the newest of the enrolled device counts, no other does."""

import json
from pathlib import Path

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from ground.__main__ import main
from ground.config import Paths
from ground.ingest.receive import Ingest
from ground.twins.control import Twin
from ground.twins.versions import Versions
from shared.identity import Signer
from shared.messages import VersionBundle, VersionRefusal, VersionReport
from shared.version import VERSION_SCHEMA, sign_version
from tests.unit.ground.stores import Store
from tests.unit.ground.synthetic import OPERATOR, T0_NS, TAIL, Tail, wait_for
from tests.unit.ground.test_receive import Rig

S = 1_000_000_000
REPORT = VersionReport(
    operator=OPERATOR, tail=TAIL, boot=3, counter=1, t_ns=T0_NS + S, t_event_ns=T0_NS, t_quality=2,
    why="update", slot="b", set_id="5e" * 8, probation=True, last_good="11" * 8, left=[],
    bundles=[
        VersionBundle(name="egt", release=2, sha256="ab" * 32, probation=True),
        VersionBundle(name="oil", release=1, sha256="cd" * 32, probation=True, muted="too hot"),
    ],
    floors={"egt": 2}, tuf={"image": {"root": 1}, "director": {"tail-B737-28001": 4}},
    engines=[],
    refusals=[VersionRefusal(t_ns=T0_NS, bundle="egt 3", step="offer", decision="refused",
                             codes=["phase"])],
)  # fmt: skip


def version(
    by: Tail, counter: int, signer: Signer | None = None, **changes: str
) -> tuple[str, bytes]:
    """The next record of a tail, with a report of this counter."""
    report = msgspec.structs.replace(REPORT, counter=counter, **changes)
    payload = sign_version(report, signer or by.signer)
    return by.record("report", payload, schema=VERSION_SCHEMA)


def twin(public: bytes) -> Twin:
    return Twin(TAIL, OPERATOR, "B737", "D-TEST", public, 0, ())


def runs(store: Store, tail: Tail) -> int | None:
    """Counter of the report that counts."""
    known = Versions(store.read_engine).of(twin(tail.signer.public))
    return None if known is None else known.report.counter


def reasons(store: Store) -> list[str]:
    return [one.reason for one in Versions(store.read_engine).refused(TAIL)]


def test_the_report_with_the_highest_counter_says_what_runs(store: Store, tail: Tail) -> None:
    assert runs(store, tail) is None
    store.put(tail, version(tail, 1), version(tail, 2))
    store.put(tail, version(tail, 5))
    assert (runs(store, tail), reasons(store)) == (5, [])


def test_a_report_in_another_record_is_a_replay_and_is_kept_as_seen(
    store: Store, tail: Tail
) -> None:
    old = version(tail, 1)
    store.put(tail, old, version(tail, 2))
    committed = store.put(tail, version(tail, 1))  # the same words under a new seq
    assert [(x.tail, x.reason) for x in committed.versions] == [(TAIL, "replayed")]
    assert (runs(store, tail), reasons(store)) == (2, ["replayed"])
    store.put(tail, version(tail, 2))
    assert (runs(store, tail), reasons(store)) == (2, ["replayed", "replayed"])


def test_the_same_record_again_is_a_duplicate_and_no_replay(store: Store, tail: Tail) -> None:
    message = version(tail, 1)
    store.put(tail, message)
    assert store.put(tail, message).versions == []
    assert reasons(store) == []


def test_a_report_that_the_link_brought_late_is_no_state(store: Store, tail: Tail) -> None:
    early, later = version(tail, 1), version(tail, 2)
    store.put(tail, later)
    assert [x.reason for x in store.put(tail, early).versions] == ["late"]
    assert runs(store, tail) == 2
    assert [x.reason for x in store.put(tail, version(tail, 1)).versions] == ["replayed"]


def test_a_report_of_another_key_tail_or_form_does_not_count(store: Store, tail: Tail) -> None:
    stranger = Signer(Ed25519PrivateKey.generate())
    said = store.put(
        tail, version(tail, 1, signer=stranger), version(tail, 2, tail="B737-28002"),
        tail.record("report", b"\x81\xa1x", schema=VERSION_SCHEMA),
    )  # fmt: skip
    assert [x.reason for x in said.versions] == ["foreign"] * 3
    assert "signature does not verify" in said.versions[0].detail
    assert "B737-28002" in said.versions[1].detail
    assert runs(store, tail) is None


def test_a_changed_computer_counts_anew_and_the_old_one_says_nothing_more(
    store: Store, tail: Tail
) -> None:
    store.put(tail, version(tail, 40))
    new = Tail(epoch="77aa00")
    assert runs(store, new) is None
    store.put(new, version(new, 1))
    assert runs(store, new) == 1


def test_a_restart_of_the_ground_forgets_no_counter(store: Store, tail: Tail) -> None:
    store.put(tail, version(tail, 9))
    store.reopen()
    assert [x.reason for x in store.put(tail, version(tail, 9)).versions] == ["replayed"]
    assert runs(store, tail) == 9


def test_a_replay_raises_an_alarm_and_a_late_one_does_not(store: Store, tail: Tail) -> None:
    async def script(rig: Rig, ingest: Ingest) -> None:
        await rig.broker.deliver(version(tail, 2), version(tail, 1))
        await wait_for(lambda: ingest.counters["versions_late"] == 1)
        assert "version" not in ingest.alarms.standing
        await rig.broker.deliver(version(tail, 2))
        await wait_for(lambda: ingest.counters["versions_replayed"] == 1)
        assert "report 2 came before" in ingest.alarms.standing["version"]

    Rig(store, tail).run(script)


def test_the_command_says_what_the_fleet_runs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    paths, tail = Paths(tmp_path / "ground"), Tail()
    state = ("--state", str(paths.state))
    assert main(["init", *state, "--operator", OPERATOR]) == 0
    (tmp_path / "tail.toml").write_text(
        f'operator = "{OPERATOR}"\ntail = "{TAIL}"\ntype = "B737-800"\nregistration = "D-TEST"\n'
    )
    (tmp_path / "tail.pub").write_text(tail.signer.public.hex())
    assert main(["enroll", *state, "--tail-file", str(tmp_path / "tail.toml"), "--device-pub",
                 str(tmp_path / "tail.pub"), "--out", str(tmp_path / "out.toml")]) == 0  # fmt: skip
    store = Store(paths.state)
    capsys.readouterr()
    try:
        assert main(["versions", *state]) == 0
        assert "nothing was said yet" in capsys.readouterr().out
        store.put(tail, version(tail, 7), version(tail, 6))
        assert main(["versions", *state]) == 0
        line = capsys.readouterr().out.splitlines()[-1]
        assert line.startswith(TAIL) and "oil 1 (muted)" in line and " yes " in line
        assert main(["versions", *state, "--tail", TAIL]) == 0
        out = capsys.readouterr().out
        assert "report 7 of device" in out and "muted: too hot" in out
        assert "does not count" in out and "report 6 comes after 7" in out
        assert main(["versions", *state, "--json"]) == 0
        assert json.loads(capsys.readouterr().out)[0]["report"]["counter"] == 7
        assert main(["versions", *state, "--tail", "NOBODY"]) == 65
    finally:
        store.close()
