"""What `make bench` found, as a table: each figure beside its budget, each baseline as a ratio.

In: the report of `bench.edge`. Out: lines; budgets as met or not; what the profile says remains.
Always holds: a figure that was not measured is not shown; nothing is rounded up.
"""

from __future__ import annotations

from typing import Any, Final

WIRE_AIM: Final = 0.45
TOP: Final = 25


def budgets(report: dict[str, Any]) -> list[dict[str, Any]]:
    """Every line of DESIGN.md's budgets that this run measures."""
    lines = []
    aims = {"1000": 5.0, "10000": 10.0}
    for rate, one in report["rates"].items():
        name = f"{int(rate):,} msg/s"
        must = 15.0 if rate == "1000" else None
        lines.append(_line(f"{name}: CPU of one core, whole edge", "%",
                           one["cpu_percent_of_one_core"], must, aims[rate]))  # fmt: skip
        memory = one["memory"]
        lines.append(_line(f"{name}: memory, RSS of all processes added up", "MB",
                           memory["rss_sum_mb"], 256.0, 128.0))  # fmt: skip
        lines.append(_line(f"{name}: memory, PSS of all processes added up", "MB",
                           memory["pss_sum_mb"], 256.0, 128.0))  # fmt: skip
        durable, handed = (one["alert_latency_ms"][key] for key in ("durable", "handed"))
        if durable:
            bare = one["alert_latency_ms"]["machine_alone"]["both_ms"]["p99_9"]
            for what, marks in (("durable", durable), ("handed to the link", handed)):
                line = _line(f"{name}: alert, sent to {what}, p99.9", "ms", marks["p99_9"],
                             100.0, 20.0)  # fmt: skip
                lines.append(line | {"bare": bare})
    wire = report["bytes_per_sample"]["block/1 on the wire"]["bytes_per_sample"]
    lines.append(_line("blocks of the demo's flight on the wire", "B/sample", wire, None, WIRE_AIM))
    return lines


def _line(what: str, unit: str, value: float, must: float | None, aim: float) -> dict[str, Any]:
    return {
        "what": what, "unit": unit, "value": value, "must": must, "aim": aim,
        "must_holds": must is None or value < must, "aim_holds": value <= aim,
    }  # fmt: skip


def costs(profile: dict[str, Any]) -> dict[str, Any]:
    """A profile in % of one core: by function, alone and with what it calls."""
    one = 100 * profile["cpu_s"] / profile["wall_s"] / max(1, profile["samples"])
    return {
        "cpu_percent_of_one_core": round(100 * profile["cpu_s"] / profile["wall_s"], 2),
        "samples": profile["samples"],
        **{
            key: [[name, round(count * one, 2)] for name, count in profile[key][:TOP]]
            for key in ("alone", "within")
        },
    }  # fmt: skip


def show(report: dict[str, Any]) -> None:
    """Print it."""
    found = report["machine"]
    print(f"\n{found['cores']} cores {found['arch']}, Python {found['python']}; load average "
          f"{found['load_average_before']:.1f} before, {report['load_average_after']:.1f} "
          "after")  # fmt: skip
    print(f"\n{'':64}{'measured':>10}{'must':>8}{'aim':>8}")
    for line in report["budgets"]:
        must = "" if line["must"] is None else f"< {line['must']:g}"
        verdict = (
            "aim met" if line["aim_holds"] else "must met" if line["must_holds"] else "NOT MET"
        )
        shown = f"{line['value']:g} {line['unit']}"
        if line.get("bare"):
            verdict += f"; a bare wake-up and commit here: {line['bare']:g}"
        print(f"{line['what'][:58]:58}{shown:>16}{must:>8}{line['aim']:>8g}  {verdict}")
    for rate, one in report["rates"].items():
        _show_rate(int(rate), one)
    print("\nbytes a sample, blocks of the demo's flight")
    for name, size in report["bytes_per_sample"].items():
        print(f"  {name:44}{size['bytes_per_sample']:8.3f}{size['times_ours']:8.2f} x ours")


def _show_rate(rate: int, one: dict[str, Any]) -> None:
    cpu = one["cpu_percent_of_one_core"]
    print(f"\n{rate:,} messages/s in {one['groups']} groups, {one['samples_per_s']:,} samples/s, "
          f"{one['bundles_live']} bundles live; {one['steady_s']:.0f} s")  # fmt: skip
    shares = ", ".join(f"{k} {v:g} %" for k, v in one["cpu_by_process"].items())
    print(f"  {'CPU of one core':44}{cpu:8.2f} %   {shares}")
    for name, bare in one["receive_alone"].items():
        _baseline(f"receive alone: {name}", bare["cpu_percent_of_one_core"], cpu)
    for name, bare in one["append_alone"].items():
        _baseline(f"SQLite alone: {name.replace('_', ' ')}", bare["cpu_percent_of_one_core"], cpu)
    for name, memory in one["memory"]["by_process"].items():
        print(
            f"  {'memory of ' + name:44}{memory['rss_mb']:8.1f} MB RSS {memory['pss_mb']:.1f} PSS"
        )
    print(f"  {'storage aboard':44}{one['storage_mb_per_hour']:8.1f} MB an hour")
    latency = one["alert_latency_ms"]
    print(f"  alert latency, ms, n = {latency['n']}")
    rows = {"durable": latency["durable"], "handed to the link": latency["handed"]}
    rows["a bare wake-up and commit beside it"] = latency["machine_alone"].get("both_ms", {})
    for name, marks in rows.items():
        if marks:
            text = ", ".join(f"{mark.replace('_', '.')} {value:g}" for mark, value in marks.items())
            print(f"    {name:42}{text}")
    profile = one["profile"]
    print(f"  what the {profile['cpu_percent_of_one_core']:g} % of a core of a profiled run are, "
          "recorder, start included; with callees | alone")  # fmt: skip
    for (within, a), (alone, b) in zip(profile["within"], profile["alone"], strict=False):
        print(f"    {a:6.2f}  {within[-52:]:52} | {b:6.2f}  {alone[-52:]}")


def _baseline(name: str, bare: float, edge: float) -> None:
    ratio = f"edge is {edge / bare:6.1f} x" if bare else ""
    print(f"  {name:44}{bare:8.2f} %   {ratio}")
