"""The replay's report as text for a terminal. In: a `ReplayReport`. Out: lines."""

from __future__ import annotations

from collections.abc import Iterable

from edge.chronicle import FlightTimes, ReplayReport, iso


def table(report: ReplayReport, lines_max: int) -> str:
    """What happened, section by section; each at most `lines_max` lines long."""
    parts = [
        (None, _head(report)),
        ("phases", _phases(report)),
        ("flights and ground periods", [_period(one) for one in report.periods]),
        (f"gate open for {_span(report.gate_open_s)}", _open(report)),
        ("gate shut because", _refusals(report)),
        ("evidence that contradicts itself", _contradictions(report)),
        ("samples that are not good", _quality(report)),
        ("alerts", _alerts(report)),
        ("reports", [f"{one.name:<24} {_clock(one.start_ns)}  {one.phase}" for one in report.reports]),
        ("of the file, not used", _refused(report)),
    ]  # fmt: skip
    text = []
    for title, lines in parts:
        if not lines:
            continue
        shown = lines[:lines_max]
        if len(lines) > lines_max:
            shown.append(f"… {len(lines) - lines_max} more; --report has all")
        text += ["", f"{title}:"] if title else []
        text += [f"  {line}" if title else line for line in shown]
    return "\n".join(text)


def _head(report: ReplayReport) -> list[str]:
    stored = report.outbox
    per = "" if stored.bytes_per_sample is None else f", {stored.bytes_per_sample:.2f} a sample"
    return [
        f"{report.recording}: {iso(report.start_ns)} to {iso(report.end_ns)}, "
        f"{_span(report.recorded_s)}",
        f"{report.samples:,} samples in {report.elapsed_s:.1f} s: "
        f"{report.samples_per_s:,.0f} samples/s, {report.times_real_time:,.0f} x real time",
        f"outbox: {stored.records:,} records, {stored.bytes:,} bytes{per}",
        *(f"time jumps from {iso(jump.start_ns)} to {iso(jump.end_ns)}"
          for jump in report.time_jumps[:3]),
    ]  # fmt: skip


def _phases(report: ReplayReport) -> list[str]:
    lines = []
    for span in report.phases:
        sure = span.high_s / span.seconds if span.seconds > 0 else 0.0
        said = "" if span.phase == "unknown" else f"  high confidence {100 * sure:.0f} %"
        lines.append(f"{_clock(span.start_ns)}  {span.phase:<9} {_span(span.seconds):>12}{said}")
    return lines


def _period(one: FlightTimes) -> str:
    times = ((one.out_ns, "out"), (one.off_ns, "off"), (one.on_ns, "on"), (one.in_ns, "in"))
    oooi = "  ".join(f"{name} {_clock(at) if at is not None else '-'}" for at, name in times)
    closed = "still open" if one.closed_ns is None else f"closed: {one.why}"
    return f"{one.id[-6:]} {one.kind:<6} {oooi if one.kind == 'flight' else ''}  {closed}"


def _open(report: ReplayReport) -> list[str]:
    spans = [
        f"{_clock(span.start_ns)} to {_clock(span.end_ns)}  {_span(span.seconds)}"
        for span in report.gate_open
    ]
    return spans or ["never"]


def _refusals(report: ReplayReport) -> list[str]:
    """One line a reason; roles that are missing for equally long share one."""
    together: dict[tuple[str, float], list[str]] = {}
    for one in report.gate_refusals:
        if one.code == "missing":
            together.setdefault((one.code, one.seconds), []).append(one.role)
    lines = []
    for one in report.gate_refusals:
        roles = together.get((one.code, one.seconds), [])
        if roles[1:] and one.role == roles[0]:
            lines.append(f"{_span(one.seconds):>12}  missing: {', '.join(roles)}")
        elif not roles[1:]:
            role = f" ({one.role})" if one.role else ""
            lines.append(f"{_span(one.seconds):>12}  {one.code}{role}: {one.text}")
    return lines


def _contradictions(report: ReplayReport) -> list[str]:
    ordered = sorted(report.contradictions.items(), key=lambda item: -item[1])
    return [f"{_span(seconds):>12}  {name}" for name, seconds in ordered]


def _quality(report: ReplayReport) -> list[str]:
    found = {
        name: {kind: n for kind, n in counts.items() if kind != "good"}
        for name, counts in report.quality.items()
    }
    ordered = sorted(found.items(), key=lambda item: -sum(item[1].values()))
    return [f"{name:<16} {_counts(counts)}" for name, counts in ordered if counts]


def _alerts(report: ReplayReport) -> list[str]:
    return [
        f"{_clock(one.onset_ns if one.clear_ns is None else one.clear_ns)}  {one.name} "
        f"{one.change}: {one.signal} {one.value:g} {one.unit}, limit {one.threshold:g}"
        for one in report.alerts
    ]


def _refused(report: ReplayReport) -> list[str]:
    return [_counts(report.refused), *report.problems] if report.refused else []


def _counts(counts: dict[str, int]) -> str:
    return ", ".join(f"{name} {n:,}" for name, n in _most(counts.items()))


def _most(items: Iterable[tuple[str, int]]) -> list[tuple[str, int]]:
    return sorted(items, key=lambda item: -item[1])


def _clock(t_ns: int) -> str:
    return iso(t_ns)[11:21] + "Z"


def _span(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.1f} s"
    hours, rest = divmod(round(seconds), 3600)
    minutes, left = divmod(rest, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {left:02d} s"
