"""The table of `python -m bench.ground`.

In: its report. Out: lines on stdout. What was not measured is said, never guessed.
"""

from __future__ import annotations

from typing import Any

AIM_CLOSED_S, AIM_STATES, AIM_P99_MS = 60.0, 0.8, 50.0


def table(report: dict[str, Any]) -> None:
    found = report["machine"]
    print(f"\n{found['cores']} cores {found['arch']}, Python {found['python']}; load average "
          f"{found['load_average_before']:.1f} before, {report['load_average_after']:.1f} "
          "after")  # fmt: skip
    for name in ("engine", "roms"):
        if name in report:
            print(f"\n{name}")
            _plain(report[name], "  ")
    if "flight" in report:
        _flight(report["flight"])
    if "telemetry" in report:
        _telemetry(report["telemetry"])
    if "states" in report:
        _states(report["states"])


def _plain(values: dict[str, Any], indent: str) -> None:
    for name, value in values.items():
        if isinstance(value, dict) and "error" not in value and not _has_dict(value):
            text = ", ".join(f"{k.replace('_', ' ')} {v if isinstance(v, str) else f'{v:,.4g}'}"
                             for k, v in value.items())  # fmt: skip
            print(f"{indent}{name.replace('_', ' '):32}{text}")
        elif isinstance(value, dict):
            print(f"{indent}{name}")
            _plain(value, indent + "  ")
        else:
            text = f"{value:,.4g}" if isinstance(value, float) else str(value)
            print(f"{indent}{name.replace('_', ' '):44}{text:>14}")


def _has_dict(values: dict[str, Any]) -> bool:
    return any(isinstance(value, dict) for value in values.values())


def _flight(one: dict[str, Any]) -> None:
    print(f"\na flight of {one['hours']:g} h: {one['samples']:,} samples, {one['records']:,} records, "
          f"{one['megabytes']:g} MB; taken at {one['records_taken_per_s']:,} records/s")  # fmt: skip
    after = one["after_last_byte_s"]
    for name in ("closure", "flight_file", "reconciliation"):
        value = after[name]
        said = "not there" if value is None else f"{value:.2f} s"
        aim = ""
        if name == "reconciliation" and value is not None:
            aim = "aim met (< 60 s)" if value < AIM_CLOSED_S else "AIM MISSED (< 60 s)"
        print(f"  {name.replace('_', ' ') + ' after the last byte':44}{said:>14}  {aim}")
    print(f"  {'state of the closure':44}{after['state'] or '-':>14}")


def _telemetry(found: dict[str, Any]) -> None:
    print(f"\n{'telemetry in 1,000 points, ms (median)':46}{'store':>9}{'api':>9}{'DuckDB':>9}"
          f"{'api/store':>11}{'DuckDB/api':>12}")  # fmt: skip
    for name, one in found.items():
        print(f"  {name:44}{one['store_ms']:9.2f}{one['api_ms']:9.2f}{one['duckdb_ms']:9.2f}"
              f"{one['api_over_store']:11.2f}{one['duckdb_over_api']:12.2f}")  # fmt: skip


def _states(found: dict[str, Any]) -> None:
    print(f"\nstate of a twin, {found['bytes']:,} bytes, {found['ours']['connections']:.0f} "
          "connections")  # fmt: skip
    names = {"ours": "ours", "bare_small": "bare FastAPI, one key",
             "bare_model": "bare FastAPI, this body as a model",
             "bare_bytes": "bare FastAPI, this body as bytes"}  # fmt: skip
    for key, name in names.items():
        one = found[key]
        ratio = found.get(f"of_{key}")
        text = "" if ratio is None else f"  ours is {ratio:.2f} x"
        print(f"  {name:44}{one['per_s']:10,.0f}/s  p50 {one['p50_ms']:.1f}  p99 {one['p99_ms']:.1f} "
              f"ms{text}")  # fmt: skip
    small, p99 = found["of_bare_small"], found["ours"]["p99_ms"]
    met = small >= AIM_STATES and p99 < AIM_P99_MS
    print(
        f"  aim {AIM_STATES:g} of bare FastAPI at p99 < {AIM_P99_MS:g} ms: {'met' if met else 'MISSED'}"
    )
