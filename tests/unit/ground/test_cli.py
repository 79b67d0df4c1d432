import os
import stat
import tomllib
from pathlib import Path

import pytest

from ground.__main__ import main, parser
from ground.config import Paths, load_config
from ground.twins.control import Control
from shared.errors import ConfigError
from tests.unit.ground.stores import Store
from tests.unit.ground.synthetic import FLIGHT, OPERATOR, TAIL, Tail

TAIL_TEXT = f"""operator = "{OPERATOR}"
tail = "{TAIL}"
type = "B737-800"
registration = "D-TEST"
[[engines]]
position = 1
esn = "E1"
part_number = "CFM56"
"""


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    found = Paths(tmp_path / "ground")
    assert main(["init", "--state", str(found.state), "--operator", OPERATOR]) == 0
    return found


def enroll(paths: Paths, tmp_path: Path, text: str = TAIL_TEXT, public: str = "ab" * 32,
           *more: str) -> int:  # fmt: skip
    (tmp_path / "tail.toml").write_text(text)
    (tmp_path / "tail.pub").write_text(public + "\n")
    return main(["enroll", "--state", str(paths.state), "--tail-file", str(tmp_path / "tail.toml"),
                 "--device-pub", str(tmp_path / "tail.pub"), "--out", str(tmp_path / "out.toml"),
                 *more])  # fmt: skip


def said(capsys: pytest.CaptureFixture[str]) -> str:
    error = capsys.readouterr().err
    assert "Traceback" not in error
    return error


def test_init_makes_a_key_settings_and_private_files(paths: Paths) -> None:
    assert load_config(paths).operator == OPERATOR
    for path in (paths.key, paths.control, paths.nats_config):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600, path


def test_nothing_in_the_state_folder_is_for_another_account(tmp_path: Path) -> None:
    state = tmp_path / "ground"
    state.mkdir(mode=0o755)
    before = os.umask(0o022)
    try:
        assert main(["init", "--state", str(state), "--operator", OPERATOR]) == 0
    finally:
        os.umask(before)
    for path in (state, *state.rglob("*")):
        assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0, path


def test_init_twice_is_refused_and_changes_nothing(
    paths: Paths, capsys: pytest.CaptureFixture[str]
) -> None:
    key = paths.key.read_bytes()
    assert main(["init", "--state", str(paths.state), "--operator", "OTHER"]) == 78
    assert "to do" in said(capsys)
    assert paths.key.read_bytes() == key


def test_enrolment_says_user_password_and_the_key_of_the_ground(
    paths: Paths, tmp_path: Path
) -> None:
    assert enroll(paths, tmp_path) == 0
    out = tmp_path / "out.toml"
    assert stat.S_IMODE(out.stat().st_mode) == 0o600
    enrolment = tomllib.loads(out.read_text())
    assert set(enrolment) == {"user", "password", "ground_pub"}
    assert enrolment["user"] == TAIL
    assert len(enrolment["password"]) == 64 and len(enrolment["ground_pub"]) == 64
    twin = Control.open(paths.control).twins()[0]
    assert (twin.device_pub.hex(), twin.engines[0].esn) == ("ab" * 32, "E1")


def test_another_device_key_is_taken_only_when_said_so(
    paths: Paths, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert enroll(paths, tmp_path) == 0
    assert enroll(paths, tmp_path) == 0
    assert enroll(paths, tmp_path, TAIL_TEXT, "cd" * 32) == 78
    assert "--replace-key" in said(capsys)
    assert enroll(paths, tmp_path, TAIL_TEXT, "cd" * 32, "--replace-key") == 0
    assert Control.open(paths.control).device_keys() == {TAIL: bytes.fromhex("cd" * 32)}


@pytest.mark.parametrize(
    ("text", "public", "named"),
    [
        (TAIL_TEXT, "zz", "hexadecimal"),
        (TAIL_TEXT, "ab" * 31, "31 bytes"),
        (TAIL_TEXT.replace("OPX", "OPY"), "ab" * 32, "OPY"),
        (TAIL_TEXT.replace(TAIL, "a.b"), "ab" * 32, "identifier"),
        (TAIL_TEXT.replace(TAIL, "ingest"), "ab" * 32, "service"),
        (TAIL_TEXT.replace("registration", "regstration"), "ab" * 32, "regstration"),
        (TAIL_TEXT + TAIL_TEXT[TAIL_TEXT.index("[["):], "ab" * 32, "position"),
        ("not toml", "ab" * 32, "tail.toml"),
    ],
)  # fmt: skip
def test_a_wrong_tail_file_or_key_is_refused_by_name(
    paths: Paths, tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str, public: str,
    named: str,
) -> None:  # fmt: skip
    assert enroll(paths, tmp_path, text, public) == 78
    error = said(capsys)
    assert named in error and "to do" in error
    assert not (tmp_path / "out.toml").exists()


@pytest.mark.parametrize(
    ("old", "new", "named"),
    [
        ("port = 4222", "port = 0", "nats.port"),
        ("port = 8080", "port = 1883", "one port"),
        ('operator = "OPX"', 'operator = "a b"', "operator"),
        ("[http]", "[htpp]", "htpp"),
        ("port = 8080", 'port = "8080"', "port"),
        ("[http]", "[ingest]\nbatch_records_max = 0\n[http]", "batch_records_max"),
        ("[http]", "[ingest]\nspeed = 1\n[http]", "speed"),
        ("[http]", "[worker]\ncount = 0\n[http]", "worker.count"),
        ("[http]", "[worker]\nack_wait_s = 0.5\n[http]", "worker.ack_wait_s"),
        ("[nats]", "[nats", "ground.toml"),
    ],
)
def test_a_wrong_setting_is_refused_by_file_and_key(
    paths: Paths, old: str, new: str, named: str
) -> None:
    paths.config.write_text(paths.config.read_text().replace(old, new, 1))
    with pytest.raises(ConfigError) as caught:
        load_config(paths)
    assert "ground.toml" in str(caught.value)
    assert named in str(caught.value)
    assert caught.value.remedy


@pytest.mark.parametrize(
    "command",
    [["up"], ["ingest"], ["api"], ["worker"], ["flights"], ["closure", "F"],
     ["offer", "--tail", "T", "--target", "x"], ["jobs"], ["cases"], ["reconcile", "F"]],
)  # fmt: skip
def test_a_folder_that_is_no_ground_is_said_without_a_trace(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], command: list[str]
) -> None:
    assert main([*command, "--state", str(tmp_path / "nowhere")]) == 78
    assert "to do" in said(capsys)


def test_an_offer_without_a_broker_is_unreachable(
    paths: Paths, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["offer", "--state", str(paths.state), "--tail", TAIL, "--target", "x"]) == 65
    enroll(paths, tmp_path)
    text = paths.config.read_text().replace("port = 4222", "port = 1", 1)
    paths.config.write_text(text)
    assert main(["offer", "--state", str(paths.state), "--tail", TAIL, "--target", "x"]) == 69
    assert "running?" in said(capsys)


def test_flights_and_closure_print_what_the_ledger_says(
    paths: Paths, tail: Tail, capsys: pytest.CaptureFixture[str]
) -> None:
    for path in [paths.ledger, *paths.state.glob("ledger.db-*")]:
        path.unlink()
    store = Store(paths.state)
    messages = [tail.signal_set(), tail.block("engine", 0, 5), tail.block("engine", 5, 5)]
    store.put(tail, *messages[:2])
    state = ["--state", str(paths.state)]
    assert main(["closure", FLIGHT, *state]) == 0
    assert "is open" in capsys.readouterr().out
    store.put(tail, tail.manifest())
    store.close_due(5)
    store.close()
    capsys.readouterr()
    assert main(["flights", *state]) == 0
    assert FLIGHT in capsys.readouterr().out
    assert main(["closure", FLIGHT, *state]) == 0
    out = capsys.readouterr().out
    assert "is gaps, revision 1: 2 records, 1 missing" in out
    assert "[1, 2)" in out
    assert main(["closure", "NONE", *state]) == 65


def test_an_empty_word_is_no_question(
    paths: Paths, tail: Tail, capsys: pytest.CaptureFixture[str]
) -> None:
    state = ["--state", str(paths.state)]
    for move in ("--take", "--close", "--reject"):
        assert main(["cases", move, "", *state]) == 65
    assert main(["cases", "C000001", "--take", " ", *state]) == 65
    assert "nobody is named" in said(capsys)
    assert main(["cases", *state]) == 0
    assert "none is open" in capsys.readouterr().out


def test_a_file_that_cannot_be_written_is_said_without_a_trace(
    paths: Paths, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "nowhere" / "tank.html"
    order = ["what-if", "--model", "tank", "--hours", "0.1", "--plot", str(out)]
    assert main([*order, "--state", str(paths.state)]) == 65
    assert "cannot write" in said(capsys)


def test_help_of_every_command_is_there(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parser().parse_args(["--help"])
    assert "examples:" in capsys.readouterr().out
