"""Signal sets of the bench 737 with more messages a second, made of its own.

In: the airframe's set and a plan (rate and number of groups). Out: the TOML of a set with the same
signals, roles, reports and limits, and with the limits of a storm.
Always holds: names, scales and ranges are the airframe's, so its models bind to it unchanged.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any, Final

import msgspec

from hil.storm import RULE
from shared.signals import Group, SignalSet, parse_signal_set

STORM: Final = ("ENG1_OILQ", "ENG2_OILQ", "ENG1_VIB", "ENG2_VIB")
# group of the airframe: (groups to make of it, messages a second of each)
PLANS: Final[Mapping[int, Mapping[str, tuple[int, float]]]] = {
    # 121 messages a second times 8, and the two slowest groups times 20
    1_000: {
        "inertial": (1, 400), "controls": (1, 160), "air": (1, 80), "nav": (1, 40),
        "eng1": (1, 80), "eng2": (1, 80), "gear": (1, 80), "elec": (1, 40), "fuel": (1, 20),
        "cabin": (1, 20),
    },
    # one small group a signal, as far as 64 groups reach
    10_000: {
        "inertial": (9, 400), "controls": (8, 200), "air": (9, 200), "nav": (5, 100),
        "eng1": (11, 100), "eng2": (11, 100), "gear": (5, 40), "elec": (3, 20), "fuel": (2, 10),
        "cabin": (1, 20),
    },
}  # fmt: skip


def load_set(signals: SignalSet, messages_per_s: int) -> SignalSet:
    """The set that makes so many messages a second; one of PLANS."""
    groups: list[dict[str, Any]] = []
    for name, (parts, rate_hz) in PLANS[messages_per_s].items():
        group = signals.group(name)
        for i, share in enumerate(_shares(group, parts)):
            part = name if parts == 1 else f"{name}_{i}"
            groups.append({
                "name": part, "rate_hz": float(rate_hz), "block_s": group.block_s,
                "signal": [msgspec.to_builtins(one) for one in share],
            })  # fmt: skip
    total = sum(group["rate_hz"] for group in groups)
    assert total == messages_per_s, total
    text = _toml(signals, f"b737_load_{messages_per_s}", groups)
    return parse_signal_set(text.encode(), "bench.load")


def _shares(group: Group, parts: int) -> list[tuple[Any, ...]]:
    k = len(group.signal)
    edges = [round(i * k / parts) for i in range(parts + 1)]
    return [group.signal[a:b] for a, b in pairwise(edges)]


def _toml(signals: SignalSet, name: str, groups: Sequence[Mapping[str, Any]]) -> str:
    lines = [f'name = "{name}"', "version = 1", f'airframe = "{signals.airframe}"', "[roles]"]
    lines += [f'{role} = "{signal}"' for role, signal in signals.roles.items()]
    for group in groups:
        lines += ["[[group]]", *_keys(group)]
    for key, items in (("report", signals.reports), ("exceedance", signals.exceedances)):
        for item in items:
            lines += [f"[[{key}]]", *_keys(msgspec.to_builtins(item))]
    for signal in STORM:
        low, high = signals.signal(signal).range or (0.0, 0.0)
        lines.append(RULE.format(
            name=f"storm_{signal.lower()}", signal=signal, onset=low + 0.6 * (high - low),
            clear=low + 0.4 * (high - low),
        ))  # fmt: skip
    return "\n".join(lines) + "\n"


def _keys(item: Mapping[str, Any]) -> list[str]:
    return [f"{key} = {_value(value)}" for key, value in item.items() if value is not None]


def _value(value: Any) -> str:
    if isinstance(value, Mapping):
        parts = (f"{k} = {_value(v)}" for k, v in value.items() if v is not None)
        return "{ " + ", ".join(parts) + " }"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(_value(v) for v in value) + "]"
    return json.dumps(value)
