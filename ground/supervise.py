"""Supervise: nats-server, ingest, api and workers as children of one process.

In: a state folder. Out: one line `ready {…}` on stdout once /readyz is ok; the log on stderr.
Always holds: a child that dies is started again after a wait that doubles from 0.2 s to 10 s,
and the log says why; SIGTERM stops all, those that take work first; children die with us.
"""

from __future__ import annotations

import ctypes
import json
import logging
import signal
import ssl
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ground.broker import clear_store, find_server, write_server_config
from ground.config import GroundConfig, Paths
from ground.twins.control import Control
from shared.errors import Unreachable
from shared.log import event

BACKOFF_S_MIN, BACKOFF_S_MAX = 0.2, 10.0
STEADY_S = 30.0  # a child that lived this long starts again without a wait
STOP_WAIT_S = 10.0
READY_WAIT_S = 60.0
POLL_S = 0.05
PR_SET_PDEATHSIG = 1
_LIBC = ctypes.CDLL(None, use_errno=True)


class Child:
    """One process that should live."""

    def __init__(
        self, name: str, command: list[str], prepare: Callable[[], None] = lambda: None
    ) -> None:
        """prepare: called before each start."""
        self.name, self.command, self.prepare = name, command, prepare
        self.process: subprocess.Popen[bytes] | None = None
        self._started_s = 0.0
        self._wait_s = 0.0
        self._start_at_s = 0.0

    def tend(self, now_s: float) -> None:
        """Start it when it is due; note its death."""
        if self.process is not None and (code := self.process.poll()) is not None:
            lived_s = now_s - self._started_s
            steady = lived_s >= STEADY_S
            self._wait_s = (
                BACKOFF_S_MIN
                if steady
                else min(BACKOFF_S_MAX, max(BACKOFF_S_MIN, 2 * self._wait_s))
            )
            self._start_at_s = now_s + self._wait_s
            self.process = None
            event("child_died", level=logging.ERROR, child=self.name, reason=_reason(code),
                  lived_s=round(lived_s, 2), again_in_s=self._wait_s)  # fmt: skip
        if self.process is None and now_s >= self._start_at_s:
            self._started_s = now_s
            self.prepare()
            self.process = subprocess.Popen(
                self.command, stdin=subprocess.DEVNULL, stdout=sys.stderr, preexec_fn=_die_with_us
            )
            event("child_started", child=self.name, pid=self.process.pid)

    def stop(self) -> None:
        """SIGTERM, then SIGKILL after STOP_WAIT_S."""
        if self.process is None:
            return
        self.process.terminate()
        try:
            self.process.wait(STOP_WAIT_S)
        except subprocess.TimeoutExpired:
            event("child_killed", level=logging.ERROR, child=self.name)
            self.process.kill()
            self.process.wait()
        event("child_stopped", child=self.name, code=self.process.returncode)


def up(paths: Paths, config: GroundConfig, control: Control, tuf_repo: Path | None,
       say: Callable[[str], None]) -> None:  # fmt: skip
    """Run until SIGTERM or SIGINT; Unreachable when it is not ready within READY_WAIT_S."""
    write_server_config(config, paths, control)
    children = _children(paths, tuf_repo, config.worker.count)
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    started_s, ready, why = time.monotonic(), False, ""
    try:
        while not stop.wait(POLL_S):
            now_s = time.monotonic()
            for child in children:
                child.tend(now_s)
            if ready:
                continue
            ready, why = is_ready(config)
            if ready:
                say("ready " + json.dumps(_summary(paths, config, children)))
            elif now_s - started_s > READY_WAIT_S:
                what = f"not ready after {READY_WAIT_S:.0f} s: {why}"
                raise Unreachable(what, config.http_url, f"read {paths.logs} and the log above")
    finally:
        for child in reversed(children):
            child.stop()


def is_ready(config: GroundConfig) -> tuple[bool, str]:
    """Whether /readyz says ok, and else what it says."""
    own = ssl.create_default_context()  # for our own child, whose certificate names the host
    own.check_hostname, own.verify_mode = False, ssl.CERT_NONE
    try:
        with urllib.request.urlopen(config.http_url + "/readyz", timeout=2, context=own) as answer:
            return answer.status == 200, ""
    except urllib.error.HTTPError as error:
        return False, error.read(2000).decode(errors="replace")
    except OSError as error:
        return False, str(error)


def _children(paths: Paths, tuf_repo: Path | None, workers: int) -> list[Child]:
    """In the order in which they start; they stop in the reverse one."""

    def own(command: str, *more: str, name: str = "") -> Child:
        arguments = ["-P", "-m", "ground", command, "--state", str(paths.state), *more]
        return Child(name or command, [sys.executable, *arguments])

    return [
        Child(
            "nats",
            [str(find_server()), "-c", str(paths.nats_config.absolute())],
            lambda: clear_store(paths),
        ),
        own("ingest"),
        own("worker"),
        *(own("worker", name=f"worker-{k}") for k in range(2, workers + 1)),
        own("api", *(["--tuf-repo", str(tuf_repo)] if tuf_repo else [])),
    ]


def _summary(paths: Paths, config: GroundConfig, children: list[Child]) -> dict[str, Any]:
    return {
        "http": config.http_url,
        "nats": config.nats_url,
        "mqtt": f"mqtt://{config.host}:{config.nats.mqtt_port}",
        "state": str(paths.state),
        "pids": {child.name: child.process.pid for child in children if child.process},
    }


def _reason(code: int) -> str:
    return f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"


def _die_with_us() -> None:
    _LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
