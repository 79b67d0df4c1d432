"""Cuts at every system call that touches the slots: a real process, killed there by strace.

In: an act of `edge.update.slots` on a real folder. Out: what the next boot finds, for each call that
the act makes on that folder. A call that is cut does not happen; the one before it did.
Always holds: the calls are listed first, in a run that is let go; each is then hit in a run of its
own, and that the right one was hit is read from strace's own log.

What a kill cannot show, data that was written and not synced, the disk of
`tests.unit.edge.update.powercut` shows.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from edge.update.slots import Slots
from edge.update.verified import VerifiedBundle
from shared.errors import TailTwinError

ATTACH_S_MAX = 5.0
PR_SET_PTRACER, PTRACER_ANY = 0x59616D61, ctypes.c_ulong(-1)
_CALL = re.compile(r"([a-z0-9_]+)\(")

State = tuple[tuple[str, ...], str]
"""(the live set, `good` or `probation` or `muted …`)."""


def bundles(folder: Path, *named: str) -> list[VerifiedBundle]:
    """Fetched files of `egt 2`, `vib 1`, …"""
    found = []
    for text in named:
        name, _, release = text.partition(" ")
        data = text.encode() * 20
        path = folder / f"{name}-{release}.fetched"
        path.write_bytes(data)
        found.append(
            VerifiedBundle(
                target=f"{name}/{name}-{release}.tar.zst", name=name, release=int(release),
                sha256=hashlib.sha256(data).hexdigest(), length=len(data), path=str(path),
                    )
        )  # fmt: skip
    return found


def _yes() -> bool:
    return True


def _install(slots: Slots, fetched: Path) -> None:
    slots.install_first(bundles(fetched, "egt 1", "vib 1"))


def _stage(slots: Slots, fetched: Path) -> None:
    slots.stage(bundles(fetched, "egt 2", "vib 1"))


def _update(slots: Slots, fetched: Path) -> None:
    slots.activate(slots.stage(bundles(fetched, "egt 2", "vib 1")), _yes)


def _rollback(slots: Slots, fetched: Path) -> None:
    slots.rollback(_yes)


def _overtake(slots: Slots, fetched: Path) -> None:
    slots.rollback(_yes, leave=False)
    slots.activate(slots.stage(bundles(fetched, "egt 3", "vib 1")), _yes)


def _prove(slots: Slots, fetched: Path) -> None:
    slots.prove()


def _mute(slots: Slots, fetched: Path) -> None:
    live = slots.live()
    assert live is not None
    slots.mute(live.slot, "the worker died")


def _mute_bundle(slots: Slots, fetched: Path) -> None:
    slots.mute_bundle("egt", "out of range")


def _third(slots: Slots, fetched: Path) -> None:
    slots.activate(slots.stage(bundles(fetched, "egt 3", "vib 1")), _yes)


def _twice(slots: Slots, fetched: Path) -> None:
    _update(slots, fetched)
    slots.prove()


@dataclass(frozen=True)
class Act:
    """before: what made the folder. may: what a boot may find after a cut; the last is the end."""

    before: tuple[Callable[[Slots, Path], None], ...]
    act: Callable[[Slots, Path], None]
    may: tuple[State, ...]
    good: frozenset[tuple[str, ...]]


NONE: State = ((), "")
ONE, TWO, THREE = ("egt 1", "vib 1"), ("egt 2", "vib 1"), ("egt 3", "vib 1")
ON_ONE, ON_TWO = frozenset({ONE}), frozenset({TWO})
ACTS: dict[str, Act] = {
    "install": Act((), _install, (NONE, (ONE, "good")), ON_ONE),
    "stage": Act((_install,), _stage, ((ONE, "good"),), ON_ONE),
    "stage and activate": Act((_install,), _update, ((ONE, "good"), (TWO, "probation")), ON_ONE),
    "stage over an old set": Act((_install, _twice, _rollback), _third,
                                 ((ONE, "good"), (THREE, "probation")), ON_ONE),
    "roll back": Act((_install, _update), _rollback, ((TWO, "probation"), (ONE, "good")), ON_ONE),
    "overtake": Act((_install, _update), _overtake,
                    ((TWO, "probation"), (ONE, "good"), (THREE, "probation")), ON_ONE),
    "pass": Act((_install, _update), _prove, ((TWO, "probation"), (TWO, "good")), ON_ONE | ON_TWO),
    "mute the set": Act((_install, _update), _mute,
                        ((TWO, "probation"), (TWO, "muted")), ON_ONE),
    "mute a bundle": Act((_install, _update), _mute_bundle,
                         ((TWO, "probation"), (TWO, "muted egt")), ON_ONE),
}  # fmt: skip


@dataclass
class Cuts:
    """Of one act: how many calls it makes on the folder, how many were cut, what came of it."""

    calls: Counter[str] = field(default_factory=Counter)
    cut: int = 0
    found: Counter[State] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)


def boot(state: Path) -> tuple[State, tuple[str, ...]]:
    """(what is live and how, the last known good set), every byte of both checked."""
    slots = Slots(state)
    live, good = slots.live(), slots.last_good()
    if live is None:
        return NONE, ()
    how = "probation" if live.probation else "good"
    how = "muted egt" if live.muted_bundles else "muted" if live.muted else how
    named = [tuple(f"{b.name} {b.release}" for b in s.bundles) if s else () for s in (live, good)]
    return (named[0], how), named[1]


def cut(name: str, folder: Path, every: int = 1) -> Cuts:
    """Cut `name` at each `every`-th call that touches the folder; boot, and do it again."""
    act, cuts = ACTS[name], Cuts()
    template = folder / "before"
    template.mkdir(parents=True)
    fetched = folder / "fetched"
    fetched.mkdir()
    for step in act.before:
        step(Slots(template), fetched)
    with _server() as server:
        state = _fresh(template, folder)
        calls = list(_calls(server.run(state, name, fetched), state))
        cuts.calls.update(call for call, _ in calls)
        _judge(act, state, "not cut", cuts)
        if boot(state)[0] != act.may[-1]:
            cuts.faults.append("the act itself came to nothing")
        for call, number in calls[::every]:
            state = _fresh(template, folder)
            log = server.run(state, name, fetched, f"{call}:signal=KILL:when={number}")
            where = f"{call} {number}"
            if "killed by SIGKILL" not in log or str(state) not in _last_call(log):
                cuts.faults.append(f"{where}: another call was hit: {log[-300:]}")
                continue
            cuts.cut += 1
            _judge(act, state, where, cuts)
            _again(act, state, fetched, where, cuts)
    return cuts


def _judge(act: Act, state: Path, where: str, cuts: Cuts) -> None:
    try:
        found, good = boot(state)
    except TailTwinError as error:
        cuts.faults.append(f"{where}: {error}")
        return
    cuts.found[found] += 1
    if found not in act.may:
        cuts.faults.append(f"{where}: {found} is neither the old set nor the new one")
    if found != NONE and good not in act.good:
        cuts.faults.append(f"{where}: no proven set, but {good}")


def _again(act: Act, state: Path, fetched: Path, where: str, cuts: Cuts) -> None:
    """After the boot the act can be done, unless it was done."""
    if boot(state)[0] == act.may[-1] and len(act.may) > 1:
        return
    if boot(state)[0] == act.may[0]:
        act.act(Slots(state), fetched)
        if boot(state)[0] != act.may[-1]:
            cuts.faults.append(f"{where}: it cannot be done again")


def _fresh(template: Path, folder: Path) -> Path:
    state = folder / "state"
    shutil.rmtree(state, ignore_errors=True)
    shutil.copytree(template, state)
    return state


def _calls(log: str, state: Path) -> Iterator[tuple[str, int]]:
    """(call, its number among calls of its kind) of every one that names the folder."""
    seen: Counter[str] = Counter()
    for line in log.splitlines():
        match = _CALL.match(line)
        if match is None:
            continue
        seen[match[1]] += 1
        if str(state) in line:
            yield match[1], seen[match[1]]


def _last_call(log: str) -> str:
    return next((line for line in reversed(log.splitlines()) if _CALL.match(line)), "")


class _Server:
    """Forks a process that has imported everything, waits until strace has it, lets it act."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def run(self, state: Path, name: str, fetched: Path, inject: str = "") -> str:
        """strace's log of one act."""
        log = state.parent / "strace.log"
        pid = int(self._say(f"{state}\t{name}\t{fetched}"))
        what = ["-e", f"inject={inject}"] if inject else []
        trace = inject.partition(":")[0] or "%file,%desc"
        with subprocess.Popen(
            ["strace", "-qq", "-y", "-s", "0", "-o", str(log), "-e", f"trace={trace}", *what,
             "-p", str(pid)],
            stderr=subprocess.PIPE,
        ) as strace:  # fmt: skip
            _wait_attached(pid, strace)
            self._say("go")
            strace.communicate(timeout=60)
        return log.read_text()

    def _say(self, line: str) -> str:
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()
        return self._process.stdout.readline()


def _wait_attached(pid: int, strace: subprocess.Popen[bytes]) -> None:
    end = time.monotonic() + ATTACH_S_MAX
    while "TracerPid:\t0" in Path(f"/proc/{pid}/status").read_text():
        if strace.poll() is not None or time.monotonic() > end:
            assert strace.stderr is not None
            raise RuntimeError(f"strace cannot attach: {strace.stderr.read(500)!r}")
        time.sleep(0.001)


@contextmanager
def _server() -> Iterator[_Server]:
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.sim.slotcuts"], stdin=subprocess.PIPE,
        stdout=subprocess.PIPE, text=True, cwd=Path(__file__).resolve().parents[2],
    )  # fmt: skip
    with process:
        yield _Server(process)
        assert process.stdin is not None
        process.stdin.close()


def missing() -> str:
    """Why nothing can be cut here; empty when it can."""
    if shutil.which("strace") is None:
        return "strace is not installed"
    with subprocess.Popen(["sleep", "10"]) as sleeper:
        try:
            tried = subprocess.run(
                ["strace", "-qq", "-o", "/dev/null", "-p", str(sleeper.pid)], timeout=0.3,
                capture_output=True, check=False,
            )  # fmt: skip
            return f"strace cannot attach: {tried.stderr.decode(errors='replace')[:200]}"
        except subprocess.TimeoutExpired:
            return ""
        finally:
            sleeper.kill()


def serve() -> None:
    """One forked process an act. It waits for a signal, which is no call of those that are counted,
    whether strace came before it or in the middle of it."""
    libc = ctypes.CDLL(None)
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1})
    for line in sys.stdin:
        state, name, fetched = line.rstrip("\n").split("\t")
        pid = os.fork()
        if pid == 0:
            libc.prctl(PR_SET_PTRACER, PTRACER_ANY, 0, 0, 0)
            signal.sigwait({signal.SIGUSR1})
            ACTS[name].act(Slots(Path(state)), Path(fetched))
            os._exit(0)
        print(pid, flush=True)
        sys.stdin.readline()
        os.kill(pid, signal.SIGUSR1)
        os.waitpid(pid, 0)
        print("done", flush=True)


if __name__ == "__main__":
    serve()
