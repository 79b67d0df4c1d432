"""The bench's turbofan in NASA's pyCycle: design once, then any off-design point by its N1.

In: an operating point (N1, Mach, altitude, temperature, bleed) and health. Out: what the solver
says. Always holds: a point either converged below the tolerance or says that it did not.

This folder is no package and is not imported by the rest: its scripts run in an environment of
their own (requirements/pycycle.txt), because pyCycle needs numpy below 2.4:

    python3.11 -m venv DIR && DIR/bin/pip install --require-hashes -r requirements/pycycle.txt
    DIR/bin/python hil/plant/pycycle/points.py

The cycle and its design numbers are those of pyCycle's published example `high_bypass_turbofan`
(NASA, Apache-2.0; maps `FanMap` to `LPTMap` of pyCycle, "HBTF map from NPSS"). Ours: N1 is set and
fuel balances the LP shaft; the thermodynamic table is refined (table.py); mass flow, and with it
thrust and the shaft power taken off, is scaled to the thrust of a CFM56-3 class engine.
"""

from __future__ import annotations

import contextlib
import os
import warnings
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version

import numpy as np
import numpy.typing as npt
import openmdao.api as om
import pycycle.api as pyc
from table import refined

THERMO = os.environ.get("PYCYCLE_THERMO", "TABULAR")
"""TABULAR: the refined table, about 1 s a point. CEA: chemical equilibrium, about 10 s."""

Float64 = npt.NDArray[np.float64]

# What is the same at every point (the example's).
CONSTANT = {
    "inlet.ram_recovery": 0.999, "duct4.dPqP": 0.0048, "duct6.dPqP": 0.0101,
    "burner.dPqP": 0.054, "duct11.dPqP": 0.0051, "duct13.dPqP": 0.0107, "duct15.dPqP": 0.0149,
    "core_nozz.Cv": 0.9933, "byp_nozz.Cv": 0.9939, "byp_bld.bypBld:frac_W": 0.005,
    "hpc.cool1:frac_W": 0.050708, "hpc.cool1:frac_P": 0.5, "hpc.cool1:frac_work": 0.5,
    "hpc.cool2:frac_W": 0.020274, "hpc.cool2:frac_P": 0.55, "hpc.cool2:frac_work": 0.5,
    "hpc.cust:frac_P": 0.5, "hpc.cust:frac_work": 0.5,
    "bld3.cool3:frac_W": 0.067214, "bld3.cool4:frac_W": 0.101256,
    "hpt.cool3:frac_P": 1.0, "hpt.cool4:frac_P": 0.0,
    "lpt.cool1:frac_P": 1.0, "lpt.cool2:frac_P": 0.0,
}  # fmt: skip
DESIGN = {
    "splitter.BPR": 5.105, "fan.PR": 1.685, "fan.eff": 0.8948, "lpc.PR": 1.935,
    "lpc.eff": 0.9243, "hpc.PR": 9.369, "hpc.eff": 0.8707, "hpt.eff": 0.8888, "lpt.eff": 0.8996,
    "fc.MN": 0.8, "hpc.cust:frac_W": 0.0445,
}  # fmt: skip
DESIGN_ALTITUDE_FT = 35_000.0
DESIGN_N1C = 112.02
DESIGN_T4_DEGR = 2857.0
DESIGN_LP_RPM = 4666.1
DESIGN_HP_RPM = 14_705.7
EXAMPLE_THRUST_LBF = 5900.0
EXAMPLE_HPX_HP = 250.0

SCALE = 0.953247
"""Mass flow against the example: net thrust 89 kN, static, sea level, ISA, corrected N1 95 %, no bleed."""
N1_100_RPM = 4500.0
N2_100_RPM = 15_500.0
BLEED_ON = 0.03
ANTI_ICE = 0.01

HEALTH = tuple(f"{c}_{w}" for c in ("fan", "lpc", "hpc", "hpt", "lpt") for w in ("eff", "flow"))
T_ISA_K = 288.15
MACH_MIN = 1e-5  # a standing engine; pyCycle's statics need some flow
_COMPRESSORS = ("fan", "lpc", "hpc")
_KEYS = {
    f"{c}_{w}": f"{c}.s_" + ("eff" if w == "eff" else "Wc" if c in _COMPRESSORS else "Wp")
    for c in (*_COMPRESSORS, "hpt", "lpt")
    for w in ("eff", "flow")
}
_OUTPUTS = {
    "n1": ("speed.rpm", "rpm", 100 / N1_100_RPM), "n2": ("HP_Nmech", "rpm", 100 / N2_100_RPM),
    "egt_k": ("hpt.Fl_O:tot:T", "degK", 1.0),
    "ff_kg_h": ("burner.Wfuel", "kg/s", 3600.0), "thrust_n": ("perf.Fn", "N", 1.0),
    "t2_k": ("inlet.Fl_O:tot:T", "degK", 1.0), "p2_pa": ("inlet.Fl_O:tot:P", "Pa", 1.0),
    "t3_k": ("hpc.Fl_O:tot:T", "degK", 1.0), "p3_pa": ("hpc.Fl_O:tot:P", "Pa", 1.0),
    "t4_k": ("burner.Fl_O:tot:T", "degK", 1.0), "airflow_kg_s": ("balance.W", "kg/s", 1.0),
    "bpr": ("splitter.BPR", None, 1.0), "far": ("balance.FAR", None, 1.0),
    "static_k": ("fc.Fl_O:stat:T", "degK", 1.0), "static_pa": ("fc.Fl_O:stat:P", "Pa", 1.0),
    "fan_rline": ("fan.map.RlineMap", None, 1.0), "lpc_rline": ("lpc.map.RlineMap", None, 1.0),
    "hpc_rline": ("hpc.map.RlineMap", None, 1.0), "fan_pr": ("fan.PR", None, 1.0),
    "lpc_pr": ("lpc.PR", None, 1.0), "hpc_pr": ("hpc.PR", None, 1.0),
    "hpt_pr": ("hpt.PR", None, 1.0), "lpt_pr": ("lpt.PR", None, 1.0),
}  # fmt: skip
_FLOWS = (
    ("fc.Fl_O", "inlet.Fl_I"), ("inlet.Fl_O", "fan.Fl_I"), ("fan.Fl_O", "splitter.Fl_I"),
    ("splitter.Fl_O1", "duct4.Fl_I"), ("duct4.Fl_O", "lpc.Fl_I"), ("lpc.Fl_O", "duct6.Fl_I"),
    ("duct6.Fl_O", "hpc.Fl_I"), ("hpc.Fl_O", "bld3.Fl_I"), ("bld3.Fl_O", "burner.Fl_I"),
    ("burner.Fl_O", "hpt.Fl_I"), ("hpt.Fl_O", "duct11.Fl_I"), ("duct11.Fl_O", "lpt.Fl_I"),
    ("lpt.Fl_O", "duct13.Fl_I"), ("duct13.Fl_O", "core_nozz.Fl_I"),
    ("splitter.Fl_O2", "byp_bld.Fl_I"), ("byp_bld.Fl_O", "duct15.Fl_I"),
    ("duct15.Fl_O", "byp_nozz.Fl_I"),
)  # fmt: skip
_WIRES = (
    ("inlet.Fl_O:tot:P", "perf.Pt2"), ("hpc.Fl_O:tot:P", "perf.Pt3"),
    ("burner.Wfuel", "perf.Wfuel_0"), ("inlet.F_ram", "perf.ram_drag"),
    ("core_nozz.Fg", "perf.Fg_0"), ("byp_nozz.Fg", "perf.Fg_1"), ("fan.trq", "lp_shaft.trq_0"),
    ("lpc.trq", "lp_shaft.trq_1"), ("lpt.trq", "lp_shaft.trq_2"), ("hpc.trq", "hp_shaft.trq_0"),
    ("hpt.trq", "hp_shaft.trq_1"), ("fc.Fl_O:stat:P", "core_nozz.Ps_exhaust"),
    ("fc.Fl_O:stat:P", "byp_nozz.Ps_exhaust"),
)  # fmt: skip


@cache
def _table() -> dict[str, Float64]:
    return refined(pyc.AIR_JETA_TAB_SPEC)


class Turbofan(pyc.Cycle):
    """Two spools, separate nozzles; with design=False N1 is an input and fuel balances it."""

    def setup(self):
        if THERMO == "CEA":
            self.options["thermo_method"], self.options["thermo_data"] = (
                "CEA",
                pyc.species_data.janaf,
            )
        else:
            self.options["thermo_method"], self.options["thermo_data"] = "TABULAR", _table()
        lp, hp = [("Nmech", "LP_Nmech")], [("Nmech", "HP_Nmech")]
        add = self.add_subsystem
        compressor, turbine = pyc.Compressor, pyc.Turbine
        add("fc", pyc.FlightConditions())
        add("inlet", pyc.Inlet(statics=False))
        if not self.options["design"]:
            self._speed()
        add(
            "fan",
            compressor(statics=False, map_data=pyc.FanMap, map_extrap=True),
            promotes_inputs=lp,
        )
        add("splitter", pyc.Splitter(statics=False))
        add("duct4", pyc.Duct(statics=False))
        add(
            "lpc",
            compressor(statics=False, map_data=pyc.LPCMap, map_extrap=True),
            promotes_inputs=lp,
        )
        add("duct6", pyc.Duct(statics=False))
        bleeds = ["cool1", "cool2", "cust"]
        hpc = compressor(statics=False, map_data=pyc.HPCMap, bleed_names=bleeds, map_extrap=True)
        add("hpc", hpc, promotes_inputs=hp)
        add("bld3", pyc.BleedOut(statics=False, bleed_names=["cool3", "cool4"]))
        add(
            "burner",
            pyc.Combustor(statics=False, fuel_type="Jet-A(g)" if THERMO == "CEA" else "FAR"),
        )
        hpt = turbine(
            statics=False, map_data=pyc.HPTMap, bleed_names=["cool3", "cool4"], map_extrap=True
        )
        add("hpt", hpt, promotes_inputs=hp)
        add("duct11", pyc.Duct(statics=False))
        lpt = turbine(
            statics=False, map_data=pyc.LPTMap, bleed_names=["cool1", "cool2"], map_extrap=True
        )
        add("lpt", lpt, promotes_inputs=lp)
        add("duct13", pyc.Duct(statics=False))
        add("core_nozz", pyc.Nozzle(nozzType="CV", lossCoef="Cv"))
        add("byp_bld", pyc.BleedOut(statics=False, bleed_names=["bypBld"]))
        add("duct15", pyc.Duct(statics=False))
        add("byp_nozz", pyc.Nozzle(nozzType="CV", lossCoef="Cv"))
        add("lp_shaft", pyc.Shaft(num_ports=3), promotes_inputs=lp)
        add("hp_shaft", pyc.Shaft(num_ports=2), promotes_inputs=hp)
        add("perf", pyc.Performance(num_nozzles=2, num_burners=1))
        for source, target in _WIRES:
            self.connect(source, target)
        balance = add("balance", om.BalanceComp())
        (self._design_balances if self.options["design"] else self._balances)(balance)
        for source, target in _FLOWS:
            self.pyc_connect_flow(source, target, connect_stat=source == "fc.Fl_O")
        for name, target in (("cool1", "lpt"), ("cool2", "lpt")):
            self.pyc_connect_flow(f"hpc.{name}", f"{target}.{name}", connect_stat=False)
        for name in ("cool3", "cool4"):
            self.pyc_connect_flow(f"bld3.{name}", f"hpt.{name}", connect_stat=False)
        self._solvers()
        super().setup()

    def _speed(self):
        """Mechanical from corrected N1; before the fan, which starts from it."""
        rpm = f"rpm = {N1_100_RPM / 100} * n1c * (t2 / {T_ISA_K}) ** 0.5"
        self.add_subsystem("speed", om.ExecComp(rpm, rpm={"units": "rpm"}, t2={"units": "degK"}))
        self.connect("inlet.Fl_O:tot:T", "speed.t2")
        self.connect("speed.rpm", "LP_Nmech")

    def _power(self, balance, name, shaft, **how):
        """A shaft that gives as much power as it takes decides `name`."""
        balance.add_balance(name, eq_units="hp", use_mult=True, mult_val=-1, **how)
        self.connect(f"{shaft}.pwr_in_real", f"balance.lhs:{name}")
        self.connect(f"{shaft}.pwr_out_real", f"balance.rhs:{name}")

    def _design_balances(self, balance):
        balance.add_balance("W", units="lbm/s", eq_units="lbf", val=300.0)
        self.connect("balance.W", "fc.W")
        self.connect("perf.Fn", "balance.lhs:W")
        balance.add_balance("FAR", eq_units="degR", lower=1e-4, val=0.025)
        self.connect("balance.FAR", "burner.Fl_I:FAR")
        self.connect("burner.Fl_O:tot:T", "balance.lhs:FAR")
        for name, shaft, target, guess in (
            ("lpt_PR", "lp_shaft", "lpt.PR", 4.0),
            ("hpt_PR", "hp_shaft", "hpt.PR", 3.0),
        ):
            self._power(balance, name, shaft, val=guess, lower=1.001, upper=8)
            self.connect(f"balance.{name}", target)

    def _balances(self, balance):
        self._power(balance, "FAR", "lp_shaft", val=0.02, lower=1e-4)
        self.connect("balance.FAR", "burner.Fl_I:FAR")
        self._power(balance, "hp_Nmech", "hp_shaft", val=14_000.0, units="rpm", lower=500.0)
        self.connect("balance.hp_Nmech", "HP_Nmech")
        balance.add_balance("W", units="lbm/s", lower=2.0, upper=2000.0, eq_units="inch**2")
        self.connect("balance.W", "fc.W")
        self.connect("core_nozz.Throat:stat:area", "balance.lhs:W")
        balance.add_balance("BPR", lower=2.0, upper=40.0, eq_units="inch**2", val=5.1)
        self.connect("balance.BPR", "splitter.BPR")
        self.connect("byp_nozz.Throat:stat:area", "balance.lhs:BPR")

    def _solvers(self):
        newton = self.nonlinear_solver = om.NewtonSolver()
        newton.options.update({
            "atol": 1e-6, "rtol": 1e-99, "maxiter": 40, "iprint": -1, "solve_subsystems": True,
            "max_sub_solves": 1000, "reraise_child_analysiserror": False,
        })  # fmt: skip
        newton.linesearch = om.BoundsEnforceLS(bound_enforcement="scalar", iprint=-1)
        self.linear_solver = om.DirectSolver()


def _ready(model: Turbofan) -> om.Problem:
    problem = om.Problem(model=model, reports=False)
    problem.setup(check=False)
    problem.set_solver_print(level=-1)
    for name, value in CONSTANT.items():
        problem.set_val(name, value)
    problem.set_val("hp_shaft.HPX", EXAMPLE_HPX_HP * SCALE, units="hp")
    return problem


def design() -> om.Problem:
    """The engine at its design point, solved."""
    problem = _ready(Turbofan())
    for name, value in DESIGN.items():
        problem.set_val(name, value)
    problem.set_val("fc.alt", DESIGN_ALTITUDE_FT, units="ft")
    problem.set_val("LP_Nmech", DESIGN_LP_RPM, units="rpm")
    problem.set_val("HP_Nmech", DESIGN_HP_RPM, units="rpm")
    problem.set_val("balance.rhs:FAR", DESIGN_T4_DEGR, units="degR")
    problem.set_val("balance.rhs:W", EXAMPLE_THRUST_LBF * SCALE, units="lbf")
    problem.set_val("balance.W", 300.0 * SCALE, units="lbm/s")
    problem.set_val("fc.balance.Pt", 5.2)
    problem.set_val("fc.balance.Tt", 440.0)
    problem.run_model()
    return problem


@dataclass(frozen=True)
class Point:
    """What the engine is asked."""

    n1c: float
    """Corrected N1, % of N1_100_RPM."""
    mach: float
    altitude_ft: float
    isa_dev_k: float = 0.0
    bleed: float = 0.0
    anti_ice: float = 0.0
    health: tuple[tuple[str, float], ...] = ()


class Engine:
    """The engine off design. A point near the one before it solves faster."""

    def __init__(self) -> None:
        base = design()
        self._problem = p = _ready(Turbofan(design=False))
        self._nominal: dict[str, float] = {}
        for name, element in base.model._children.items():
            for source, target in getattr(element, "default_des_od_conns", ()):
                if not source.endswith("area"):  # flow areas matter to static properties only
                    self._nominal[f"{name}.{target}"] = float(base.get_val(f"{name}.{source}")[0])
        for name, value in self._nominal.items():
            p.set_val(name, value)
        for nozzle, name in (("core_nozz", "W"), ("byp_nozz", "BPR")):
            area = base.get_val(f"{nozzle}.Throat:stat:area", units="inch**2")[0]
            p.set_val(f"balance.rhs:{name}", area, units="inch**2")
        p.set_val("balance.hp_Nmech", DESIGN_HP_RPM, units="rpm")
        p.set_val("balance.BPR", DESIGN["splitter.BPR"])
        p.final_setup()
        known = dict(base.model._outputs._abs_item_iter())
        for name, value in p.model._outputs._abs_item_iter():
            if name in known and not name.startswith("_auto_ivc"):  # those are numbered
                value[:] = known[name]
        self.design = base
        self.design = base
        self._good: list[tuple[Point, Float64]] = []
        here = Point(DESIGN_N1C, DESIGN["fc.MN"], DESIGN_ALTITUDE_FT, bleed=0.0445 / BLEED_ON)
        if not self._run(here):
            raise RuntimeError("the design point does not converge off design")

    def solve(self, point: Point, depth: int = 5) -> dict[str, float] | None:
        """The outputs of a point, SI and %; None where the solver does not converge.

        depth: how often the way from the nearest solved point is halved."""
        known, state = min(self._good, key=lambda g: _distance(g[0], point))
        self._problem.model._outputs.set_val(state)
        return self._outputs() if self._reach(known, point, depth) else None

    def _reach(self, known: Point, point: Point, depth: int) -> bool:
        """Go from a converged point to another, by halves where one step does not converge."""
        state = self._problem.model._outputs.asarray(copy=True)
        if self._run(point):
            return True
        if not depth:
            return False
        self._problem.model._outputs.set_val(state)
        middle = _middle(known, point)
        return self._reach(known, middle, depth - 1) and self._reach(middle, point, depth - 1)

    def _run(self, point: Point) -> bool:
        p, n = self._problem, self._nominal
        health = dict(point.health)
        for name in HEALTH:
            key = _KEYS[name]
            p.set_val(key, n[key] * (1 + health.get(name, 0.0)))
        p.set_val("fc.alt", point.altitude_ft, units="ft")
        p.set_val("fc.MN", max(point.mach, MACH_MIN))
        p.set_val("fc.dTs", point.isa_dev_k * 1.8, units="degR")
        p.set_val("hpc.cust:frac_W", BLEED_ON * point.bleed + ANTI_ICE * point.anti_ice)
        p.set_val("speed.n1c", point.n1c)
        with contextlib.redirect_stdout(None), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # OpenMDAO tells of every bound it met on the way
            try:
                p.run_model()
                p.model.run_apply_nonlinear()
            except (RuntimeError, om.AnalysisError):  # a singular Jacobian, on the way to nowhere
                return False
        self.residual = float(p.model._residuals.get_norm())
        if not self.residual < 1e-4:
            return False
        self._good.append((point, p.model._outputs.asarray(copy=True)))
        return True

    def _outputs(self) -> dict[str, float]:
        out: dict[str, float] = {}
        for name, (source, units, factor) in _OUTPUTS.items():
            value = self._problem.get_val(source, units=units)[0]
            out[name] = float(f"{float(value) * factor:.8g}")
        return out


_REACH = {"n1c": 10.0, "mach": 0.2, "altitude_ft": 10_000.0, "isa_dev_k": 15.0, "bleed": 1.0}


def _distance(a: Point, b: Point) -> float:
    far = sum(((getattr(a, k) - getattr(b, k)) / v) ** 2 for k, v in _REACH.items())
    first, second = dict(a.health), dict(b.health)
    both = first.keys() | second.keys()
    far += sum(((first.get(k, 0.0) - second.get(k, 0.0)) / 0.02) ** 2 for k in both)
    return float(far)


def _middle(a: Point, b: Point) -> Point:
    first, second = dict(a.health), dict(b.health)
    both = sorted(first.keys() | second.keys())
    return Point(
        **{k: (getattr(a, k) + getattr(b, k)) / 2 for k in (*_REACH, "anti_ice")},
        health=tuple((k, (first.get(k, 0.0) + second.get(k, 0.0)) / 2) for k in both),
    )


def provenance() -> dict[str, object]:
    """How results were made, for the head of a data file."""
    names = ("om-pycycle", "openmdao", "numpy", "scipy")
    return {
        "made_by": "hil/plant/pycycle, see engine.py",
        "solver": "NASA pyCycle (Apache-2.0)",
        "thermo": "CEA, janaf" if THERMO == "CEA" else "TABULAR AIR_JETA_TAB_SPEC, see table.py",
        "cycle": "pyCycle example high_bypass_turbofan, mass flow scaled, N1 set",
        "maps": "pyCycle FanMap, LPCMap, HPCMap, HPTMap, LPTMap (HBTF maps from NPSS)",
        "versions": {name: version(name) for name in names},
        "engine": {
            "scale": SCALE, "n1_100_rpm": N1_100_RPM, "n2_100_rpm": N2_100_RPM,
            "bleed_on": BLEED_ON, "anti_ice": ANTI_ICE,
        },
    }  # fmt: skip
