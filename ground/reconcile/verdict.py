"""The verdict: evidence turned into what a person can act on.

In: the evidence for every cause on one engine. Out: a `Verdict` with its text.
Always holds: no cause is named below the threshold; two causes that explain the readings about
as well are both named; what was not found says how much would have been.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from scipy.stats import chi2 as chi2_law

from ground.reconcile.errors import NORMAL_95
from ground.reconcile.health import INPUT_SCALE, Observed
from ground.reconcile.onset import Evidence, When, probabilities, when
from ground.reconcile.result import Hypothesis, Onset, Verdict

THRESHOLD = 6.0
"""ln of the evidence for a cause over `none`: 400 to 1, set before bench/detect.py was run; on 40
flights of other seeds the greatest score of a healthy engine was 0.6."""
SEPARABLE = 3.0
"""ln of the evidence of two causes apart, 20 to 1: below it both are named."""
UNEXPLAINED_P = 1e-6
"""Chance of a remainder as large as this, below which no cause tried explains it; assumption."""
STANDING = 0.5
RIVALS_NAMED = 3  # in the text; all are in `not_separable`
ADVICE = {
    "hpc_eff": "borescope the HPC, consider a core wash; follow the EGT margin",
    "hpc_flow": "borescope the HPC, consider a core wash; follow the EGT margin",
    "hpt_eff": "borescope the HPT (blades, shrouds); follow the EGT margin",
    "hpt_flow": "borescope the HPT nozzles; follow the EGT margin",
    "lpt_eff": "borescope the LPT; follow the EGT margin",
    "lpt_flow": "borescope the LPT nozzles; follow the EGT margin",
    "fan_eff": "inspect the fan blades and the spinner",
    "fan_flow": "inspect the fan blades and the spinner",
    "lpc_eff": "inspect the booster; check the bleed valves",
    "lpc_flow": "inspect the booster; check the bleed valves",
    "bias_n2": "check the N2 sensor and its wiring before the engine is touched",
    "bias_egt": "check the thermocouples and their harness before the engine is touched",
    "bias_ff": "check the fuel-flow transmitter before the engine is touched",
    "bias_n1": "check the N1 sensor and its wiring before the engine is touched",
    "bias_tat": "check the TAT probe and its heater before an engine is touched; a wrong TAT shows on "
    "every engine of the aircraft",
    "bias_mach": "check pitot, static and the air-data computer before an engine is touched; a wrong "
    "Mach shows on every engine of the aircraft",
    "bias_altitude": "check the static ports and the air-data computer before an engine is touched; a "
    "wrong altitude shows on every engine of the aircraft",
    "bias_bleed": "check the bleed valves and what their signal says before the engine is touched",
    "bias_anti-ice": "check the anti-ice valves and what their signal says before the engine is "
    "touched",
}
SENSOR_UNITS = {"n2": "%", "egt": "Cel", "ff": "kg/h", "n1": "%", "tat": "Cel", "mach": "1",
                "altitude": "[ft_i]", "bleed": "1", "anti-ice": "1"}  # fmt: skip


def verdict_of(
    name: str, observed: Observed, found: Sequence[Evidence], level: dict[str, float],
    least_loss: float, second: Evidence | None = None,
) -> Verdict:  # fmt: skip
    """name: `engine 2 (ESN …)`; found: best first, the best one refined; level: typical readings
    (EGT in K); least_loss: HPC efficiency loss that would have been found, fraction; second: best
    cause of what the best one leaves."""
    best, score = found[0], found[0].score
    odds = probabilities(found)[1]
    if score < THRESHOLD:
        if _chance(observed.chi2, 3 * len(observed)) < UNEXPLAINED_P:
            return _unexplained(name, observed.chi2, 3 * len(observed), score)
        return Verdict(
            kind="healthy",
            text=f"{name}: healthy; no change against its baseline",
            advice=f"a standing loss of HPC efficiency from about {100 * least_loss:.1f} % on would "
            "have been seen in this flight (95 of 100)",
            score=score, threshold=THRESHOLD, probability=probabilities(found)[0],
        )  # fmt: skip
    if _chance(best.chi2, 3 * len(observed) - 1) < UNEXPLAINED_P:
        return _unexplained(name, best.chi2, 3 * len(observed) - 1, score)
    if best.at_limit > 0.5:
        return _beyond(name, best, score, level)
    if second is not None and second.score >= THRESHOLD:
        return _two(name, observed, best, second, level)
    rivals = [e for e in found[1:] if best.rank - e.rank < SEPARABLE]
    onset = onset_of(observed, best)
    scale, unit = _scale(best, level)
    since = since_text(onset)
    others = "".join(f", or {x.cause.text} {_size(x, level)}" for x in rivals[:RIVALS_NAMED])
    others += f", or {len(rivals) - RIVALS_NAMED} more" if len(rivals) > RIVALS_NAMED else ""
    doubt = "; these readings cannot tell them apart" if rivals else ""
    return Verdict(
        kind="sensor_fault" if best.cause.bias_of else "degrading",
        text=f"{name}: {best.cause.text} {_size(best, level)} {since}{others}{doubt}",
        advice=_advice(best, rivals, onset),
        cause=best.cause.bias_of or best.cause.name,
        not_separable=tuple(x.cause.name for x in (best, *rivals)) if rivals else (),
        estimate=scale * best.amount, estimate_95=scale * NORMAL_95 * best.amount_sigma, unit=unit,
        probability=odds[0], score=score, threshold=THRESHOLD, onset=onset,
    )  # fmt: skip


def hypotheses_of(observed: Observed, found: Sequence[Evidence]) -> tuple[Hypothesis, ...]:
    """Every cause and `none`, most probable first; estimates in %."""
    healthy, odds = probabilities(found)
    listed = [
        Hypothesis(name="none", text="no change", estimate=None, estimate_95=None,
                   chi2=observed.chi2, dof=3 * len(observed), probability=healthy)
    ]  # fmt: skip
    for evidence, share in zip(found, odds, strict=True):
        listed.append(
            Hypothesis(
                name=evidence.cause.name, text=evidence.cause.text,
                estimate=100 * evidence.amount,
                estimate_95=100 * NORMAL_95 * evidence.amount_sigma, chi2=evidence.chi2,
                dof=3 * len(observed) - 1, probability=share,
            )
        )  # fmt: skip
    return tuple(sorted(listed, key=lambda x: -x.probability))


def onset_of(observed: Observed, evidence: Evidence) -> Onset:
    """In event time. Standing when that is more probable than any change in the flight."""
    found: When = when(evidence)
    zero = int(observed.start_ns[0])
    if found.standing > STANDING:
        return Onset(shape="standing", t_ns=None, t_95_ns=None, ramp_s=0.0)
    low, high = (zero + round(x * 1e9) for x in (found.low_s, found.high_s))
    return Onset(
        shape="step" if found.is_step else "ramp", t_ns=zero + round(found.onset_s * 1e9),
        t_95_ns=(low, high), ramp_s=0.0 if found.is_step else found.ramp_s,
        still_growing=not found.is_step and evidence.reached < 0.95,
    )  # fmt: skip


def since_text(onset: Onset) -> str:
    """`since 11:42:10 ± 25 s`, or `since before this flight`."""
    if onset.t_ns is None or onset.t_95_ns is None:
        return "since before this flight"
    low, high = onset.t_95_ns
    half = max((high - low) / 2e9, 1.0)
    within = f"± {half:.0f} s" if half < 120 else f"between {_clock(low)} and {_clock(high)}"
    grown = f", over {onset.ramp_s / 60:.0f} min" if onset.ramp_s >= 30 else ""
    return f"since {_clock(onset.t_ns)} {within}{grown}" + (
        ", still growing" if onset.still_growing else ""
    )


def _unexplained(name: str, chi2: float, dof: int, score: float) -> Verdict:
    return Verdict(
        kind="unexplained",
        text=f"{name}: off its baseline, and no single cause explains it "
        f"(chi2 {chi2:.0f} over {dof})",
        advice="look at the deviations by hand: several causes at once, a new configuration "
        "without a new baseline, or a model that is wrong here",
        score=score, threshold=THRESHOLD,
    )  # fmt: skip


def _two(
    name: str, observed: Observed, best: Evidence, second: Evidence, level: dict[str, float]
) -> Verdict:
    """What the best cause leaves is news of its own: a sensor that is off may cover an engine."""
    told = [f"{x.cause.text} {_size(x, level)} {since_text(onset_of(observed, x))}"
            for x in (best, second)]  # fmt: skip
    return Verdict(
        kind="unexplained",
        text=f"{name}: off its baseline, and no single cause explains it; most like {told[0]}, and "
        f"beside it {told[1]}",
        advice="look at the deviations by hand: two causes at once; "
        + "; ".join(dict.fromkeys(ADVICE[x.cause.name] for x in (best, second))),
        score=best.score, threshold=THRESHOLD,
    )  # fmt: skip


def _beyond(name: str, best: Evidence, score: float, level: dict[str, float]) -> Verdict:
    """Nothing tried is as large: an amount at the end of what is tried is no estimate."""
    scale, unit = _scale(best, level)
    most = f"{float(f'{scale * best.amount:.2g}'):+g} {unit}"
    return Verdict(
        kind="unexplained",
        text=f"{name}: off its baseline by more than any wear; most like {best.cause.text} beyond "
        f"{most}, the most that is tried",
        advice="damage, a wrong baseline or a sensor that failed: look before the next flight; "
        + ADVICE[best.cause.name],
        score=score, threshold=THRESHOLD,
    )  # fmt: skip


def not_enough(name: str, why: str, advice: str, out_of_range: bool = False) -> Verdict:
    """Nothing can be said, and why."""
    kind = "model_out_of_range" if out_of_range else "not_enough_data"
    return Verdict(kind=kind, text=f"{name}: nothing can be said: {why}", advice=advice)  # type: ignore[arg-type]  # both are kinds


def _scale(evidence: Evidence, level: dict[str, float]) -> tuple[float, str]:
    """What turns its amount into the unit it is told in."""
    output = evidence.cause.bias_of
    if not output:
        return 100.0, "%"
    return (INPUT_SCALE | level)[output], SENSOR_UNITS[output]


def _size(evidence: Evidence, level: dict[str, float]) -> str:
    """`-3.0 % ± 0.4`."""
    scale, unit = _scale(evidence, level)
    half = scale * NORMAL_95 * evidence.amount_sigma
    digits = 0 if half >= 10 else 1 if half >= 0.1 else 2 if half >= 0.01 else 3
    shown = {"Cel": " K", "1": "", "[ft_i]": " ft"}.get(unit, f" {unit}")  # K: a difference
    return f"{scale * evidence.amount:+.{digits}f}{shown} ± {half:.{digits}f}"


def _advice(best: Evidence, rivals: Sequence[Evidence], onset: Onset) -> str:
    advice = ADVICE[best.cause.name]
    if rivals:
        advice += "; compare the other engine and the next flights before choosing between them"
    elif onset.shape == "standing" and not best.cause.bias_of:
        advice += "; a baseline moves only at an approved maintenance event"
    return advice


def _chance(chi2: float, dof: int) -> float:
    return float(chi2_law.sf(chi2, max(dof, 1)))


def _clock(t_ns: int) -> str:
    try:
        return f"{datetime.fromtimestamp(t_ns // 1_000_000_000, UTC):%H:%M:%S}"
    except (OverflowError, ValueError, OSError):
        return f"{t_ns} ns"
