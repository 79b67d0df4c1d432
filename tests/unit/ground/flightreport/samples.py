"""A reconciliation, a manifest and a closure made up for tests of the report.

Two engines over an hour: engine 1 healthy, the HPC of engine 2 loses 2.1 % efficiency at 25 min.
Nothing here is a result of ours.
"""

import math

from ground.flightreport.contents import CaseLine, Sources
from ground.reconcile.result import (
    Delta,
    Deviation,
    EngineResult,
    Finding,
    Input,
    ModelError,
    Onset,
    Parameter,
    Reconciliation,
    Series,
    Verdict,
)
from ground.twins.control import FittedEngine, Twin
from shared.messages import Closure, Gap, Manifest, Oooi

T0 = 1_780_000_000_000_000_000
MINUTE = 60_000_000_000
TAIL, FLIGHT = "B737-28001", "B737-28001-3f9a1c-F00001"
N = 300
TIMES = tuple(T0 + k * 60 * MINUTE // N for k in range(N))


def _phase(k: int) -> str:
    for end, phase in ((12, "taxi_out"), (20, "takeoff"), (90, "climb"), (210, "cruise"),
                       (280, "descent"), (290, "landing")):  # fmt: skip
        if k < end:
            return phase
    return "taxi_in"


PHASES = tuple(_phase(k) for k in range(N))


def reconciliation() -> Reconciliation:
    inputs = tuple(
        Input(kind, name, f"{k:02x}" * 32)
        for k, (kind, name) in enumerate([
            ("flight_file", f"{FLIGHT}.parquet"), ("kpis", FLIGHT), ("manifest", FLIGHT),
            ("closure", "revision 2"), ("engine_type", "hbtf_cfm56"),
            ("baseline", "700101"), ("baseline", "700102"),
        ])
    )  # fmt: skip
    return Reconciliation(
        tail=TAIL, flight=FLIGHT, closure_revision=2, closure_state="gaps", start_ns=TIMES[0],
        end_ns=TIMES[-1], inputs=inputs, engine_type="hbtf_cfm56",
        models=tuple(
            ModelError(model="egt_rom-1.0.0-5f0c9a1b2c3d", output=o, unit=u, esn=esn, position=p,
                       phase=phase, steady=True, n=412, mean=4.213 * f, rms=6.87 * f, max_abs=19.4,
                       sigma=5.4, mean_95=0.61)
            for p, esn in ((1, "700101"), (2, "700102"))
            for o, u, f in (("egt", "Cel", 1.0), ("ff", "kg/h", 2.2))
            for phase in ("climb", "cruise", "descent", "all")
        ),
        deviations=tuple(
            Deviation(output=o, unit=u, esn=esn, position=p, phase=phase, n=700, mean=m * (p == 2),
                      sigma=2.1, mean_95=0.7, corrected_unit="K", measured_corrected=1.0,
                      baseline_corrected=1.0)
            for p, esn in ((1, "700101"), (2, "700102"))
            for o, u, m in (("egt", "Cel", 13.9), ("ff", "kg/h", 31.0), ("n2", "%", -0.22))
            for phase in ("climb", "cruise")
        ),
        deltas=(Delta(output="egt", unit="Cel", phase="cruise", esns=("700101", "700102"), n=650,
                      mean=13.7, mean_95=0.9),),
        engines=(_healthy(), _degrading()), series=tuple(_series()),
        findings=(Finding(code="holes", text="Readings of ENG_1 are missing from 10:21:04 to "
                                             "10:21:52; 48 rows are not used.", esn="700101"),),
    )  # fmt: skip


def _healthy() -> EngineResult:
    return EngineResult(
        position=1, esn="700101", baseline="ab" * 32, baseline_event="acceptance 2026-03-02",
        rows=3600, good={"ENG1_N1": 3590, "ENG1_EGT": 3588}, running=3410, steady=2210, windows=71,
        verdict=Verdict(kind="healthy", text="Nothing has moved against this engine's baseline: "
                        "every health parameter is within its band.", advice="Nothing to do."),
        parameters=(Parameter(name="hpc_eff", estimate=-0.03, estimate_95=0.21, learned=0.93),
                    Parameter(name="fan_flow", estimate=0.01, estimate_95=0.4, learned=0.21)),
    )  # fmt: skip


def _degrading() -> EngineResult:
    onset = Onset(shape="ramp", t_ns=TIMES[125], t_95_ns=(TIMES[120], TIMES[133]), ramp_s=300.0)
    return EngineResult(
        position=2, esn="700102", baseline="cd" * 32, baseline_event="acceptance 2026-03-02",
        rows=3600, good={"ENG2_N1": 3600, "ENG2_EGT": 3600}, running=3410, steady=2200, windows=70,
        verdict=Verdict(
            kind="degrading", text="HPC efficiency −2.1 % ± 0.4 since "
            "20:51:40 UTC; it grew over about 5 minutes and stands since.",
            advice="Borescope the HPC and check the variable stators before the next flight.",
            cause="hpc_eff", estimate=-2.1, estimate_95=0.4, unit="%", probability=0.994,
            score=41.2, threshold=9.0, onset=onset),
        parameters=(Parameter(name="hpc_eff", estimate=-2.08, estimate_95=0.41, learned=0.92),
                    Parameter(name="hpt_flow", estimate=0.11, estimate_95=0.5, learned=0.35)),
    )  # fmt: skip


def _series() -> list[Series]:
    altitude = [33_000.0 * min(1.0, max(0.0, (k - 15) / 75)) if k < 210
                else max(0.0, 33_000.0 * (1 - (k - 210) / 75)) for k in range(N)]  # fmt: skip
    out = [Series(name="conditions", esn="", position=0, unit="", t_ns=TIMES, phase=PHASES,
                  columns={"altitude": tuple(altitude)})]  # fmt: skip
    for position, esn in ((1, "700101"), (2, "700102")):
        loss = [2.1 * min(1.0, max(0.0, (k - 125) / 25)) if position == 2 else 0.0
                for k in range(N)]  # fmt: skip
        full = [None if k < 14 else 520 + 180 * min(1, altitude[k] / 30_000) + 6 * math.sin(k / 7)
                for k in range(N)]  # fmt: skip
        seen = [None if f is None or 100 < k < 106 else f + 6.6 * d + math.sin(k * 7.7)
                for k, (f, d) in enumerate(zip(full, loss, strict=True))]  # fmt: skip
        edge = [None if f is None else f + 5 for f in full]
        deviation = [None if f is None or s is None else s - f
                     for f, s in zip(full, seen, strict=True)]  # fmt: skip
        out.append(Series(name="egt", esn=esn, position=position, unit="Cel", t_ns=TIMES,
                          phase=PHASES, columns={"measured": tuple(seen), "full": tuple(full),
                                                 "edge": tuple(edge),
                                                 "deviation": tuple(deviation)}))  # fmt: skip
        estimate = [None if k < 30 else -d + 0.05 * math.sin(k) for k, d in enumerate(loss)]
        out.append(Series(name="health", esn=esn, position=position, unit="%", subject="hpc_eff",
                          t_ns=TIMES, phase=PHASES, columns={
                              "estimate": tuple(estimate),
                              "low": tuple(None if e is None else e - 0.4 for e in estimate),
                              "high": tuple(None if e is None else e + 0.4 for e in estimate)}))  # fmt: skip
    return out


def manifest() -> Manifest:
    return Manifest(
        v=1, operator="OPX", tail=TAIL, flight=FLIGHT, kind="flight", leg=1, opened_ns=T0,
        closed_ns=T0 + 60 * MINUTE, oooi=Oooi(T0, T0 + 3 * MINUTE, T0 + 57 * MINUTE, T0 + 60 * MINUTE),
        parts=[], groups=[], outages=[], boots=[1, 2], set_sha256=b"s" * 32,
        bundles=["egt_rom-1.0.0-5f0c9a1b2c3d"], esns=["700101", "700102"],
    )  # fmt: skip


def closure() -> Closure:
    gap = Gap("outage", "ENG_1", start_ns=TIMES[100], end_ns=TIMES[106], missing=480,
              cause="recorder_down")  # fmt: skip
    return Closure(1, "OPX", TAIL, FLIGHT, "flight", 2, "gaps", 8123, 0, [gap], b"m" * 32,
                   T0 + 62 * MINUTE)  # fmt: skip


def sources() -> Sources:
    engines = (FittedEngine(1, "700101", "CFM56-3B1"), FittedEngine(2, "700102", "CFM56-3B1"))
    return Sources(
        tail=TAIL, flight=FLIGHT, made_ns=T0 + 64 * MINUTE,
        twin=Twin(TAIL, "OPX", "B737-300", "N-BENCH", b"k" * 32, T0, engines),
        manifest=manifest(), closure=closure(), reconciliation=reconciliation(),
        cases=(CaseLine("C-000001", "maintenance", "open", "Engine 2 (700102): HPC efficiency",
                        "", T0 + 63 * MINUTE),),
        versions={"tailtwin": "0.1.0"},
    )  # fmt: skip
