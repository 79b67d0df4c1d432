"""The 3S LiPo example: as written it parses and is refused by name; put right it runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from scipy.integrate import solve_ivp

from shared.behaviour.__main__ import main
from shared.behaviour.declaration import load_declaration, parse_declaration
from shared.behaviour.examine import examine
from shared.behaviour.faults import Fault
from shared.behaviour.grammar import parse_equation
from shared.behaviour.model import Model
from shared.errors import Rejected
from tests.fakes.graphs import number, play

MODELS = Path(__file__).parents[4] / "firmware_profiles/models"
WRITTEN, PUT_RIGHT = MODELS / "lipo_3s_as_written.toml", MODELS / "lipo_3s.toml"


def faults_of(model: Model) -> list[Fault]:
    return list(examine(model).faults)


def written(*equations: str, **parameters: Any) -> Model:
    model = load_declaration(WRITTEN).model
    kind: Any = model.behaviour
    changed = msgspec.structs.replace(
        kind, equations=equations or kind.equations, parameters={**kind.parameters, **parameters}
    )
    return Model(changed, model.inputs, model.outputs, model.rate_hz)


def test_example_parses_as_written() -> None:
    for i, text in enumerate(written().behaviour.equations):  # type: ignore[union-attr]
        parse_equation(text, f"equation {i}")


def test_unit_check_names_what_is_wrong_in_the_example() -> None:
    found = {(x.kind, x.place.split(",")[0]): x.what for x in faults_of(written())}
    discharge = "equation 1 (dV/dt)"
    assert set(found) == {
        ("time unit", discharge), ("temperature", discharge), ("argument", discharge),
        ("no equation", "state capacity"),
    }  # fmt: skip
    assert "C is in mA.h, and d/dt is per s" in found["time unit", discharge]
    assert "T in Cel - 25 without a unit" in found["temperature", discharge]
    assert "exp of -k * (T - 25), which is in K" in found["argument", discharge]


@pytest.mark.parametrize(
    ("equation", "kinds"),
    [
        # other ways in which such an example is written: each has its faults named too
        ("dV/dt = -I / C", {"time unit"}),
        ("dV/dt = -I * R - k * (T - 25)", {"temperature", "time unit", "unit"}),
        ("dV/dt = -(I / C) * (1 + k * (T - 25))", {"temperature", "time unit", "unit"}),
        ("dV/dt = -I * R / 1 [h]", {"unit"}),
        ("dV/dt = -k * V * exp(-T / 25)", {"temperature", "time unit", "argument"}),
        ("dV/dt = -I / (C * 60) * T", {"temperature", "time unit"}),
    ],
)
def test_other_writings_of_it_are_named_too(equation: str, kinds: set[str]) -> None:
    found = faults_of(written(equation, "voltage = V - R * I"))
    assert {x.kind for x in found if x.place.startswith("equation 1")} == kinds
    assert "no equation" in {x.kind for x in found}


def test_capacity_left_in_ampere_hours_is_named_where_only_the_scale_is_wrong() -> None:
    """A state of charge: the dimension is right, 1/h against 1/s is not."""
    found = faults_of(written("dcapacity/dt = -I", "dV/dt = 0", "voltage = V - R * I"))
    assert [x.kind for x in found] == ["time unit"]
    assert "capacity in mA.h, is mA.h/s; the right side is A" in found[0].what


def by_hand(t_ambient: float, current: float) -> Any:
    """The right sides of lipo_3s.toml, written out again; voltage as well."""
    r_flat, r_empty, r1, c1, r2, c2 = 0.03797, 0.07966, 0.02381, 1379.6, 0.02542, 8774.5

    def resistance(soc: float, t: float) -> float:
        arrhenius = np.exp(2400 * (1 / (t + 273.15) - 1 / 298.15))
        return float((r_flat + r_empty * np.exp(-24.37 * soc)) * arrhenius)

    def rates(_t: float, x: Any) -> list[float]:
        soc, v1, v2, t = x
        heat = current**2 * resistance(soc, t) + v1**2 / r1 + v2**2 / r2
        return [-current / 18000, current / c1 - v1 / (r1 * c1), current / c2 - v2 / (r2 * c2),
                (heat - (t - t_ambient) / 4) / 400]  # fmt: skip

    def voltage(x: Any) -> float:
        soc, v1, v2, t = x
        cell = -1.031 * np.exp(-35 * soc) + 3.685 + 0.2156 * soc - 0.1178 * soc**2 + 0.3201 * soc**3
        return float(3 * cell - current * resistance(soc, t) - v1 - v2)

    return rates, voltage


def test_corrected_model_agrees_with_scipy() -> None:
    """A flight of 20 minutes to 37 % of the charge: within 10 uV, 1 ppm and 0.1 mK."""
    model = load_declaration(PUT_RIGHT).model
    levels = [(0.0, 20.0), (25.0, 10.0), (8.0, -5.0), (12.0, 15.0), (2.0, 30.0)]
    rows = np.repeat(np.array(levels, np.float32), 240, axis=0)[:, None, :]
    got, _ = play(model, rows)
    x = np.array([1.0, 0.0, 0.0, 20.0])
    for i, (current, t_ambient) in enumerate(rows[:, 0].astype(float)):
        rates, voltage = by_hand(t_ambient, current)
        assert got[i, 0, 0] == pytest.approx(voltage(x), abs=1e-5)
        assert got[i, 0, 1] == pytest.approx(100 * x[0], abs=1e-4)
        assert got[i, 0, 2] == pytest.approx(x[3], abs=1e-4)
        if i % 40 == 0:  # one integration for what is held, read at each step
            level = solve_ivp(
                rates, (0, 40), x, "DOP853", rtol=1e-11, atol=1e-12, dense_output=True
            )
        x = level.sol(i % 40 + 1)
    assert got[-1, 0, 1] == pytest.approx(100 * (1 - (240 * 45 + 239 * 2) / 18000), abs=1e-3)


def test_pack_behaves_as_a_pack_does() -> None:
    """Full at 12.3 V, sagging under load and more so in the cold, empty stays empty."""
    model = load_declaration(PUT_RIGHT).model
    full, _ = play(model, [[[0.0, 20.0]]])
    warm, _ = play(model, np.tile([[[50.0, 20.0]]], (600, 1, 1)))
    assert full[0, 0, 0] == pytest.approx(12.31, abs=0.01)
    assert warm[0, 0, 0] < full[0, 0, 0] - 1.5
    assert warm[-1, 0, 1] == 0.0 and np.isfinite(warm).all()


def test_declared_initial_temperature_may_be_one_an_instance() -> None:
    model = load_declaration(PUT_RIGHT).model
    kind: Any = model.behaviour
    own = {**kind.parameters, "R_flat": number((0.038, 0.057), "Ohm")}
    two = Model(msgspec.structs.replace(kind, parameters=own), model.inputs, model.outputs, 1.0, 2)
    got, _ = play(two, np.full((3, 2, 2), 20.0))
    # 0.019 Ohm more, at 20 A and 293.15 K
    sag = 20 * 0.019 * np.exp(2400 * (1 / 293.15 - 1 / 298.15))
    assert got[0, 0, 0] - got[0, 1, 0] == pytest.approx(sag, abs=1e-4)


def test_command_prints_figures_and_writes_the_graph(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "lipo.onnx"
    assert main([str(PUT_RIGHT), "--out", str(out)]) == 0
    text = capsys.readouterr().out
    assert text.startswith("accepted: lipo_3s 1.0.0, differential-equation")
    for words in ("input I [A] valid -5 to 50", "state tensor state [1, 4]", "step 1 s, rk4",
                  "float32 rounds voltage", "nodes", "calibration: Chen"):  # fmt: skip
        assert words in text
    found = examine(load_declaration(PUT_RIGHT).model)
    assert found.compiled is not None
    assert out.read_bytes() == found.compiled.onnx


def test_command_names_every_fault_and_leaves_no_graph(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "lipo.onnx"
    assert main([str(WRITTEN), "--out", str(out)]) == Rejected.exit_code
    text = capsys.readouterr().out
    assert text.startswith("refused: lipo_3s_as_written 0.1.0, 4 faults")
    assert len(text.splitlines()) == 5
    assert not out.exists()


def test_command_says_what_is_wrong_with_the_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(tmp_path / "none.toml")]) == Rejected.exit_code
    assert main([str(PUT_RIGHT), "--out", str(tmp_path / "no/x.onnx")]) == Rejected.exit_code
    text = capsys.readouterr().err
    assert "cannot read" in text and "cannot write" in text


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (("rate_hz = 1.0", "rate_hz = 0.0"), "rate_hz"),
        (("rate_hz = 1.0", "rate_hz = 1.0\nspeed = 2"), "speed"),
        (('name = "I" ', 'name = "T_ambient" '), "declared twice"),
        (('kind = "differential-equation"', 'kind = "python"'), "python"),
        (('name = "lipo_3s"', 'name = "../x"'), "name"),
        (("calibration = ", "calibration = 1 #"), "calibration"),
        (("version", "versi\x00on"), "lipo"),
    ],
)
def test_file_that_is_no_declaration_is_refused_by_key(change: tuple[str, str], words: str) -> None:
    text = PUT_RIGHT.read_text()
    assert change[0] in text
    with pytest.raises(Rejected) as refused:
        parse_declaration(text.replace(change[0], change[1], 1).encode(), "lipo")
    assert words in str(refused.value)


def test_file_beyond_its_bound_is_refused() -> None:
    with pytest.raises(Rejected, match="at most"):
        parse_declaration(b"#" * (1 << 20) + b"\n", "lipo")
