"""A recording through the real pipeline: what comes out, and what is said of a wrong file."""

from __future__ import annotations

import asyncio
import json
import re
import shlex
from pathlib import Path

import msgspec
import pytest

from edge.__main__ import main
from edge.acquire.csvfile import CsvSource
from edge.chronicle import ReplayReport
from edge.config import Enrolment, Settings, load_profile, load_tail
from edge.daemon import Daemon
from edge.replay import Replay
from shared.block import decode_block
from shared.clock import ManualClock
from shared.envelope import open_envelope
from shared.identity import Signed, Signer
from shared.messages import Manifest, decode
from shared.signals import SignalSet, load_signal_set, parse_signal_set
from tests.unit.edge.test_daemon import PROFILE, TAIL

ROOT = Path(__file__).parents[3]
EXAMPLE = ROOT / "examples" / "first_recording"
RECORDING, SIGNALS = EXAMPLE / "recording.csv", EXAMPLE / "signals.toml"
SMALL = """
name = "small"
version = 1
airframe = "T"
[roles]
altitude_ft = "ALT"
ground_speed_kt = "GS"
[[group]]
name = "all"
rate_hz = 1.0
signal = [
  { name = "ALT", unit = "[ft_i]", encoding = "f64" },
  { name = "GS", unit = "[kn_i]", encoding = "f64", range = [0.0, 700.0] },
]
"""


def replayed(
    path: Path, signals: SignalSet, folder: Path, chunk_s: float | None = None
) -> tuple[ReplayReport, Replay]:
    source = CsvSource(path, signals)
    source.open(0.0)
    folder.mkdir()
    replay = Replay(signals, folder)
    replay.run(source.slices(chunk_s or replay.chunk_s))
    source.close()
    return replay.report(path.name, 1.0, source.refused, source.problems), replay


@pytest.fixture(scope="module")
def example(tmp_path_factory: pytest.TempPathFactory) -> tuple[ReplayReport, Replay]:
    return replayed(RECORDING, load_signal_set(SIGNALS), tmp_path_factory.mktemp("r") / "box")


def small(folder: Path, text: str) -> list[str]:
    """Arguments of a replay of this text."""
    (folder / "set.toml").write_text(SMALL)
    (folder / "r.csv").write_text(text)
    return ["replay", str(folder / "r.csv"), "--signals", str(folder / "set.toml")]


def cruise(first: int, last: int) -> str:
    return "".join(f"{t},36000,450\n" for t in range(first, last))


# -- the example


def test_the_readme_of_the_example_shows_its_command_and_what_it_prints(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    text = (EXAMPLE / "README.md").read_text()
    (command,) = re.findall(r"^tailtwin-edge replay .*$", text, re.MULTILINE)
    (shown,) = re.findall(r"^```text\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    monkeypatch.chdir(ROOT)
    assert main(shlex.split(command)[1:]) == 0

    def stable(output: str) -> list[str]:
        """Without the line that says how fast this machine is, and what compression gave."""
        return [x for x in output.rstrip().splitlines() if "samples/s" not in x
                and not x.startswith("outbox")]  # fmt: skip

    assert stable(capsys.readouterr().out) == stable(shown)


def test_the_example_is_small_enough_to_ship() -> None:
    assert sum(path.stat().st_size for path in EXAMPLE.iterdir()) < 300_000


def test_every_reading_is_in_the_outbox_and_the_flight_in_its_manifest(
    example: tuple[ReplayReport, Replay],
) -> None:
    report, replay = example
    box = replay._outbox
    rows = 0
    for held in box.pending("block", {box.epoch}, {}, 10_000):
        rows += decode_block(open_envelope(box.read(held) or b"").payload).n
    assert rows == report.readings["row"] == len(RECORDING.read_text().splitlines()) - 1
    assert report.samples == rows * replay.signals.signal_count
    assert sum(sum(counts.values()) for counts in report.quality.values()) == report.samples
    (flight,) = [period for period in report.periods if period.kind == "flight"]
    bodies = [
        open_envelope(box.read(held) or b"").payload
        for held in box.pending("manifest", {box.epoch}, {}, 100)
    ]
    manifests = [_manifest(body) for body in bodies]
    assert [m.kind for m in manifests] == ["ground", "flight", "ground"]
    assert manifests[1].oooi.off_ns == flight.off_ns is not None
    assert report.outbox.bytes_per_sample is not None and report.outbox.bytes_per_sample < 1.0


def _manifest(signed: bytes) -> Manifest:
    return decode(Manifest, msgspec.msgpack.decode(signed, type=Signed).body, "manifest", 1 << 20)


def test_the_size_of_a_chunk_changes_nothing(
    example: tuple[ReplayReport, Replay], tmp_path: Path
) -> None:
    report, _ = example
    other, replay = replayed(RECORDING, load_signal_set(SIGNALS), tmp_path / "box", chunk_s=0.2)
    replay.close()
    for name in ("phases", "gate_open", "quality", "samples", "readings", "contradictions"):
        assert getattr(other, name) == getattr(report, name), name
    assert [(p.kind, p.closed_ns, p.off_ns, p.on_ns) for p in other.periods] == [
        (p.kind, p.closed_ns, p.off_ns, p.on_ns) for p in report.periods
    ]
    for one, same in zip(other.reports, report.reports, strict=True):
        for name, values in one.values.items():  # the means differ by the order of addition
            assert values == pytest.approx(same.values[name])
    assert [(a.name, a.change, a.onset_ns) for a in other.alerts] == [
        (a.name, a.change, a.onset_ns) for a in report.alerts
    ]


def test_the_polarity_of_weight_on_wheels_is_the_set_s_affair(
    example: tuple[ReplayReport, Replay], tmp_path: Path
) -> None:
    report, _ = example
    lines = RECORDING.read_text().splitlines()
    at = [lines[0].split(",").index(name) for name in ("GEAR_L", "GEAR_R")]
    swapped = [lines[0]]
    for line in lines[1:]:
        cells = line.split(",")
        for i in at:
            cells[i] = {"0": "1", "1": "0"}[cells[i]]
        swapped.append(",".join(cells))
    (tmp_path / "r.csv").write_text("\n".join(swapped))
    signals = parse_signal_set(SIGNALS.read_bytes().replace(b'"low"', b'"high"'), "set")
    other, replay = replayed(tmp_path / "r.csv", signals, tmp_path / "box")
    replay.close()
    assert other.phases == report.phases and other.gate_open == report.gate_open
    wrong = parse_signal_set(SIGNALS.read_bytes(), "set")
    upside_down, replay = replayed(tmp_path / "r.csv", wrong, tmp_path / "box2")
    replay.close()
    assert not upside_down.gate_open and upside_down.contradictions


def test_refusals_of_the_gate_are_there_with_their_duration(
    example: tuple[ReplayReport, Replay],
) -> None:
    report, _ = example
    seconds = {(one.code, one.role): one.seconds for one in report.gate_refusals}
    not_parked = sum(span.seconds for span in report.phases if span.phase != "parked")
    assert seconds["phase", ""] == pytest.approx(not_parked, abs=45)  # parked was sure later
    assert seconds["dwell", ""] == pytest.approx(60, abs=1)
    assert report.gate_open_s == pytest.approx(sum(s.seconds for s in report.gate_open), abs=3)
    assert report.gate_open_s + max(seconds.values()) < report.recorded_s


WINDOWS = b"""
[[report]]
name = "start"
window = "crossing"
start = { signal = "N2_1", above = 5.0 }
end = { signal = "N2_1", above = 55.0 }
signals = ["N2_1", "EGT_1"]
[[report]]
name = "cruise"
window = "stable"
phase = "cruise"
stable = { ALT = 150.0, N1_1 = 1.5 }
signals = ["N1_1"]
"""


def test_an_engine_start_and_a_steady_cruise_are_reported_as_aboard(tmp_path: Path) -> None:
    signals = parse_signal_set(SIGNALS.read_bytes() + WINDOWS, "s")
    report, replay = replayed(RECORDING, signals, tmp_path / "box")
    replay.close()
    start, _, steady = report.reports
    assert (start.name, steady.name) == ("start", "cruise")
    began_s, ended_s = ((t_ns - report.start_ns) / 1e9 for t_ns in (start.start_ns, start.end_ns))
    assert (began_s, ended_s) == (102, 133)  # where N2_1 of the file passes 5 and 55 %
    assert steady.values["N1_1"][3] == 60  # a sample in each second of its minute


def test_the_daemon_makes_the_same_of_it(tmp_path: Path) -> None:
    """The first 400 s, as a bus that the daemon ticks over, against their replay."""
    text = "".join(RECORDING.read_text().splitlines(keepends=True)[:401])
    (tmp_path / "r.csv").write_text(text)
    report, replay = replayed(tmp_path / "r.csv", load_signal_set(SIGNALS), tmp_path / "box")
    replay.close()
    daemon, clock = _daemon(tmp_path, tmp_path / "r.csv")

    async def fly() -> list[tuple[float, str]]:
        phases: list[tuple[float, str]] = []
        for tick in range(400 * 5):
            clock.advance_s(0.2)
            daemon.tick()
            phase = daemon._state.phase.value
            if not phases or phases[-1][1] != phase:
                phases.append((tick / 5, phase))
        await asyncio.sleep(0)
        return phases

    flown = asyncio.run(fly())
    assert [phase for _, phase in flown] == [span.phase for span in report.phases]
    for (at_s, _), span in zip(flown[1:], report.phases[1:], strict=True):
        # the daemon's bus comes a look later; a replay dates a phase back to its evidence
        assert -0.5 <= at_s - (span.start_ns - report.start_ns) / 1e9 <= 3.5
    oooi = daemon._periods.machine.period.oooi
    flight = report.periods[-1]
    for mine, theirs in ((oooi.out_ns, flight.out_ns), (oooi.off_ns, flight.off_ns)):
        assert mine is not None and theirs is not None and abs(mine - theirs) <= 1e9
    daemon._outbox.close()
    daemon._sources[0].close()


def _daemon(folder: Path, recording: Path) -> tuple[Daemon, ManualClock]:
    (folder / "set.toml").write_bytes(SIGNALS.read_bytes())
    (folder / "profile.toml").write_text(PROFILE)
    (folder / "tail.toml").write_text(TAIL)
    profile, signals = load_profile(folder / "profile.toml")
    settings = Settings(
        profile, signals, load_tail(folder / "tail.toml"),
        Enrolment(user="T-1", password="x", ground_pub="00" * 32),
        Signer.create(folder / "device.key"), folder / "state",
    )  # fmt: skip
    (folder / "state").mkdir()
    clock = ManualClock()
    source = CsvSource(recording, signals, now_ns=clock.mono_ns)
    source.open(0.0)
    daemon = Daemon(settings, clock, [source])
    daemon._start()
    return daemon, clock


# -- time


def test_a_hole_is_unknown_and_a_jump_is_named(tmp_path: Path) -> None:
    arguments = small(tmp_path, "t,ALT,GS\n" + cruise(0, 200) + cruise(7400, 7600))
    assert main([*arguments, "--report", str(tmp_path / "out.json")]) == 0
    report = json.loads((tmp_path / "out.json").read_text())
    assert [span["phase"] for span in report["phases"]] == ["unknown", "cruise"] * 2
    (jump,) = report["time_jumps"]
    assert jump["end_ns"] - jump["start_ns"] == (7400 - 199) * 10**9
    reasons = {one["code"] for one in report["gate_refusals"]}
    assert {"phase", "missing", "not_watched"} <= reasons


def test_time_that_goes_back_is_named_and_lived_through(tmp_path: Path) -> None:
    arguments = small(tmp_path, "t,ALT,GS\n" + cruise(5000, 5200) + cruise(100, 300))
    assert main([*arguments, "--report", str(tmp_path / "out.json")]) == 0
    report = json.loads((tmp_path / "out.json").read_text())
    assert report["samples"] == 800 and len(report["time_jumps"]) == 1
    assert report["phases"][-1]["phase"] == "cruise"
    assert 390 < report["recorded_s"] < 410


# -- what is wrong with a file


@pytest.mark.parametrize(
    ("text", "code", "says"),
    [
        ("t,ALT,GS\n0,1000,abc\n1,1000,250\n", 1, "row 2: GS is 'abc'"),
        ("t,ALT,GS\n0,1000,250\n1,1000\n2,1000,250\n", 1, "row 3: 2 cells, not 3"),
        ("t,ALT,GS\n0,1000,250\nx,1000,250\n", 1, "row 3: 'x' is no time in s"),
        ("t,ALT,GS\n", 65, "nothing of it can be used: it has no rows"),
        ("t,ALT,GS\nx,1,1\n", 65, "row 2: 'x' is no time in s"),
        ("time,ALT,GS\n0,1,1\n", 65, "no time column 't'"),
        ("t,A,B\n0,1,1\n", 65, "no column is named like a signal"),
        ("", 65, "r.csv: header: 0 columns"),
        ("\x00\x01\x02", 65, "not text"),
    ],
)
def test_a_wrong_file_is_named_by_row_and_column(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str, code: int, says: str
) -> None:
    assert main(small(tmp_path, text)) == code
    said = capsys.readouterr()
    assert says in said.out + said.err
    assert "Traceback" not in said.err


def test_wrong_arguments_are_answered_with_a_remedy(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = small(tmp_path, "t,ALT,GS\n" + cruise(0, 30))
    assert main([*arguments[:2], "--signals", str(tmp_path / "none.toml")]) == 78
    assert main(arguments[:2]) == 78
    assert main(["replay", str(tmp_path / "none.csv"), *arguments[2:]]) == 69
    assert main([*arguments, "--map", "ALT"]) == 65
    assert main([*arguments, "--map", "NONE=ALT"]) == 65
    (tmp_path / "box").mkdir()
    (tmp_path / "box" / "outbox.db").write_text("of another")
    assert main([*arguments, "--outbox", str(tmp_path / "box")]) == 65
    assert main([*arguments, "--report", str(tmp_path / "no" / "out.json")]) == 69
    assert capsys.readouterr().err.count("to do:") == 7
    assert (tmp_path / "box" / "outbox.db").read_text() == "of another"


def test_columns_are_mapped_and_the_outbox_is_kept_where_asked(tmp_path: Path) -> None:
    arguments = small(tmp_path, "UTC,H,V\n" + "".join(
        f"2026-03-01T06:00:{s:02d}Z,36000,450\n" for s in range(60)
    ))  # fmt: skip
    assert main([*arguments, "--time-column", "UTC", "--time-unit", "iso", "--map", "H=ALT",
                 "--map", "V=GS", "--outbox", str(tmp_path / "box"),
                 "--report", str(tmp_path / "out.json")]) == 0  # fmt: skip
    report = json.loads((tmp_path / "out.json").read_text())
    assert report["start_ns"] == 1_772_344_800 * 10**9 and report["samples"] == 120
    assert (tmp_path / "box" / "outbox.db").stat().st_size > 4096
    assert report["outbox"]["path"] == str(tmp_path / "box" / "outbox.db")


def test_a_profile_brings_its_signal_set_and_its_gate_rule(tmp_path: Path) -> None:
    profile = (ROOT / "firmware_profiles" / "bench.toml").read_text()
    for name, value in (("signal_set", "set.toml"), ("bus_port", "1"), ("air_port", "1"),
                        ("air_bytes_per_s", "1"), ("stand_port", "1"), ("http_port", "1"),
                        ("flight_rate", "1.0")):  # fmt: skip
        profile = profile.replace("{" + name + "}", value)
    (tmp_path / "p.toml").write_text(profile.replace("dwell_s = 30.0", "dwell_s = 10.0"))
    (tmp_path / "set.toml").write_bytes(SIGNALS.read_bytes())
    out = tmp_path / "out.json"
    assert main(["replay", str(RECORDING), "--profile", str(tmp_path / "p.toml"),
                 "--report", str(out)]) == 0  # fmt: skip
    report = json.loads(out.read_text())
    assert report["gate_open_s"] > 375  # 359 with the dwell of 30 s
