"""Plays a flight onto the MQTT bus of the bench, at a rate of real time.

In: a flight file, a signal set, a broker; one JSON a line on stdin: {"stop": true},
{"pause": true|false}, {"inject": {"group", "raw": {signal: raw}, "count"}}. Out: readings on
`bus/{group}`, QoS 0; one JSON a line on stdout. Always holds: readings go out in event time order,
never before they are due; what a line says was published has been handed to the socket.
"""

from __future__ import annotations

import argparse
import json
import queue
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion

from hil.bus.schedule import Altered, Schedule
from hil.plant import flight as flights
from shared.clock import Clock, SystemClock
from shared.errors import Rejected, TailTwinError, Unreachable
from shared.signals import load_signal_set

SLICE_S: Final = 0.008  # pace of the player: fewer wake-ups than messages, far below any age_max
PROGRESS_S: Final = 0.25
_BURST_MAX: Final = 4000  # readings a slice, when behind schedule
COUNTER: Final = slice(12, 16)  # of a bench reading, u32 little endian
Send = Callable[[str, bytes], None]


class Player:
    """Paces a `Schedule` on the wall clock."""

    def __init__(
        self, schedule: Schedule, rate: float, send: Send, clock: Clock | None = None
    ) -> None:
        if not 0.01 <= rate <= 1000:
            raise Rejected(f"rate {rate} is out of range", "rate", "0.01 to 1000 x real time")
        self.schedule, self._rate, self._send = schedule, rate, send
        self._clock = clock or SystemClock()
        self._topics = tuple(f"bus/{name}" for name in schedule.names)
        self._mono_ns = self._clock.mono_ns()
        self._event_ns = schedule.start_ns
        self.paused = False
        self.stamps: dict[str, dict[str, int]] = {}
        """Of the groups in it: counter to the monotonic time at which a reading went out."""
        self._waiting: list[Altered] = []

    def start(self) -> None:
        """Flight time begins to run now."""
        self._mono_ns = self._clock.mono_ns()

    def pause(self, paused: bool) -> None:
        """Hold flight time, or let it run on."""
        self._event_ns, self._mono_ns = self._now_ns(), self._clock.mono_ns()
        self.paused = paused

    def play_due(self) -> int:
        """Publish all that is due (up to a bound); how many went out."""
        before = self.schedule.sent
        for index, payload in self.schedule.due(self._now_ns(), _BURST_MAX):
            self._send(self._topics[index], payload)
            stamps = self.stamps.get(self.schedule.names[index]) if self.stamps else None
            if stamps is not None:
                counter = int.from_bytes(payload[COUNTER], "little")
                stamps[str(counter)] = self._clock.mono_ns()
        return self.schedule.sent - before

    def inject(self, group: str, raw: dict[str, int], count: int = 1) -> Altered:
        """Replace raw values in the next readings of a group."""
        done = self.schedule.alter(group, raw, count)
        self._waiting.append(done)
        return done

    def gone_out(self) -> list[Altered]:
        """Injections whose first reading went out since this was last asked."""
        ranges = self.schedule.ranges
        out = [a for a in self._waiting if ranges[a.group][1] > a.first]
        self._waiting = [a for a in self._waiting if a not in out]
        return out

    @property
    def over(self) -> bool:
        return self.schedule.sent == len(self.schedule)

    def progress(self) -> dict[str, Any]:
        """Where the player is; `lag_s` is flight time that is due and not yet out."""
        s = self.schedule
        due = s.t_ns[s.sent] if not self.over else s.event_ns
        return {
            "t_event_ns": s.event_ns,
            "flight_s": round((s.event_ns - s.flight.start_ns) / 1e9, 3),
            "published": s.published,
            "total": s.sent,
            "lag_s": round(max(0, self._now_ns() - int(due)) / 1e9, 4) if not self.over else 0.0,
            "paused": self.paused,
        }

    def _now_ns(self) -> int:
        """Event time by the wall clock."""
        if self.paused:
            return self._event_ns
        return self._event_ns + int((self._clock.mono_ns() - self._mono_ns) * self._rate)


class Bus:
    """One MQTT connection, publishing at QoS 0 from its own thread's socket."""

    def __init__(self, host: str, port: int, timeout_s: float = 5.0) -> None:
        self._where = f"{host}:{port}"
        self._client = paho.Client(CallbackAPIVersion.VERSION2, clean_session=True)
        up = threading.Event()
        self._client.on_connect = lambda *_: up.set()
        try:
            self._client.connect(host, port, keepalive=60)
        except OSError as error:
            raise self._gone(str(error)) from None
        self._client.loop_start()
        if not up.wait(timeout_s):
            self.close()
            raise self._gone("no answer to CONNECT")

    def send(self, topic: str, payload: bytes) -> None:
        """Hand one reading to the socket; Unreachable when the broker is gone."""
        if self._client.publish(topic, payload).rc != paho.MQTT_ERR_SUCCESS:
            raise self._gone("the bus broker is gone")

    def close(self) -> None:
        """Say goodbye; what was handed over has been written."""
        self._client.disconnect()
        self._client.loop_stop()

    def _gone(self, what: str) -> Unreachable:
        return Unreachable(what, self._where, "start the bus broker before the player")


def run(player: Player, commands: queue.SimpleQueue[dict[str, Any]], say: Callable[[Any], None],
        until_s: float | None = None) -> None:  # fmt: skip
    """Play to the end, a stop command, or flight second `until_s`."""
    player.start()
    told = time.monotonic()
    while not player.over:
        while not commands.empty():
            if not _obey(player, commands.get(), say):
                return
        player.play_due()
        for altered in player.gone_out():
            say({"injected": _plain(altered), "wall_ns": time.time_ns()})
        if until_s is not None and player.progress()["flight_s"] >= until_s:
            return
        now = time.monotonic()
        if now - told >= PROGRESS_S:
            told = now
            say({"progress": player.progress()})
        time.sleep(SLICE_S)


def _obey(player: Player, command: dict[str, Any], say: Callable[[Any], None]) -> bool:
    """Carry out one command; False to stop."""
    if command.get("stop"):
        return False
    try:
        if "pause" in command:
            player.pause(bool(command["pause"]))
        elif "inject" in command:
            want = command["inject"]
            raw = {str(k): int(v) for k, v in want["raw"].items()}
            done = player.inject(str(want["group"]), raw, int(want.get("count", 1)))
            say({"armed": _plain(done)})
    except Rejected as error:
        say({"refused": str(error)})
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        say({"refused": f"not a command: {error}"})
    return True


def _plain(altered: Altered) -> dict[str, Any]:
    return {
        "group": altered.group, "first": altered.first, "last": altered.last,
        "raw": dict(altered.raw),
    }  # fmt: skip


def _listen(commands: queue.SimpleQueue[dict[str, Any]]) -> None:
    """Commands from stdin; the end of stdin is a stop, so a dead bench leaves no player."""
    for line in sys.stdin:
        try:
            command = json.loads(line)
        except ValueError:
            continue  # a torn line of a dying bench; the end of stdin follows
        if isinstance(command, dict):
            commands.put(command)
    commands.put({"stop": True})


def _say(message: Any) -> None:
    print(json.dumps(message), flush=True)


def main(arguments: Sequence[str] | None = None) -> int:
    """`python -m hil.bus.publish --flight FILE --signals FILE --port N --rate R`."""
    parser = argparse.ArgumentParser(prog="hil.bus.publish", description="play a flight on the bus")
    parser.add_argument("--flight", type=Path, required=True, help="flight file (.npz)")
    parser.add_argument("--signals", type=Path, required=True, help="signal set (.toml)")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--rate", type=float, default=1.0, help="times real time")
    parser.add_argument("--start-s", type=float, default=0.0, help="flight second to begin with")
    parser.add_argument("--uncontrolled", action="store_true", help="take no commands on stdin")
    parser.add_argument("--stamps", type=Path, help="write when each reading of --stamp went out")
    parser.add_argument("--stamp", nargs="*", default=[], help="groups to stamp")
    parser.add_argument("--until-s", type=float, default=None, help="flight second to end with")
    args = parser.parse_args(arguments)
    commands: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
    try:
        schedule = Schedule(flights.load(args.flight), load_signal_set(args.signals), args.start_s)
        bus = Bus(args.host, args.port)
        player = Player(schedule, args.rate, bus.send)
        player.stamps = {group: {} for group in args.stamp}
        _say({"ready": {"first": schedule.first, "total": len(schedule)}})
        if not args.uncontrolled:
            threading.Thread(target=_listen, args=(commands,), daemon=True).start()
        cpu, wall = time.process_time(), time.monotonic()
        try:
            run(player, commands, _say, args.until_s)
        finally:
            cpu, wall = time.process_time() - cpu, time.monotonic() - wall
            _say({"final": {
                **player.progress(), "first": schedule.first,
                "altered": [_plain(a) for a in schedule.altered],
                "cpu_s": round(cpu, 3), "wall_s": round(wall, 3),
            }})  # fmt: skip
        bus.close()
        if args.stamps is not None:
            args.stamps.write_text(json.dumps(player.stamps))
    except TailTwinError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
