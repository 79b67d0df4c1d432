"""Children that give way."""

from __future__ import annotations

import os
import subprocess
import sys

from edge.niceness import NICE, give_way


def test_a_child_runs_behind_us_and_one_that_is_gone_is_no_error() -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        give_way(child.pid)
        assert os.getpriority(os.PRIO_PROCESS, child.pid) == NICE
        child.communicate(b"\n")
    give_way(child.pid)
