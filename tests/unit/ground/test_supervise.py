from pathlib import Path

from ground.config import Paths
from ground.supervise import _children


def test_up_runs_as_many_workers_as_the_settings_say(tmp_path: Path) -> None:
    names = [child.name for child in _children(Paths(tmp_path), None, 3)]
    assert names == ["nats", "ingest", "worker", "worker-2", "worker-3", "api"]
    commands = [child.command for child in _children(Paths(tmp_path), None, 2)]
    assert commands[2] == commands[3] and "worker" in commands[2]
