"""FMUs in a child process: what they compute, what is refused, and every way one can go wrong."""

from __future__ import annotations

import io
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import numpy as np
import pytest

from ground.models.fmu.faults import FmuCrashed, FmuFailed, FmuRefused, FmuTimedOut, FmuTooLarge
from ground.models.fmu.fmu import Binding, Bound, FmuModel
from ground.models.fmu.messages import Limits, Request
from ground.models.fmu.process import _environment, run_child
from ground.models.model import Float64, FullFidelity
from shared.behaviour.dynamics import Port
from shared.errors import Rejected, TailTwinError
from tests.fakes.fmu import COMPILER, compiled, packed

pytestmark = pytest.mark.skipif(COMPILER is None, reason="no C compiler here to build an FMU with")

T = TypeVar("T")
STEP_S, COUNT = 10.0, 40
LIMITS = Limits(wall_s=20.0, cpu_s=10, memory_mb=1_024, file_mb=4)


def port(name: str, unit: str, low: float, high: float) -> Port:
    return Port(name=name, unit=unit, valid=(low, high))


BINDING = Binding(
    inputs=(
        Bound(port("loss", "W", 0.0, 1_000.0), "power"),
        Bound(port("T_bay", "Cel", -60.0, 80.0), "ambient"),
    ),
    outputs=(Bound(port("T_box", "Cel", -100.0, 400.0), "body.T"),),
    step_s=STEP_S,
    limits=LIMITS,
)


@pytest.fixture(scope="module")
def libraries(tmp_path_factory: pytest.TempPathFactory) -> dict[int, bytes]:
    folder = tmp_path_factory.mktemp("fmu")
    return {fmi: compiled(folder, fmi) for fmi in (2, 3)}


def model(tmp_path: Path, data: bytes, binding: Binding = BINDING) -> FmuModel:
    path = tmp_path / "lag.fmu"
    path.write_bytes(data)
    return FmuModel(path, binding)


def rows() -> dict[str, Float64]:
    rng = np.random.default_rng(5)
    return {"loss": rng.uniform(0, 200, COUNT), "T_bay": np.full(COUNT, 15.0)}


def by_hand(inputs: dict[str, Float64], tau: float = 100.0) -> Float64:
    """T at each row; the body starts at 20 Cel."""
    found, kelvin = [], 20.0
    for loss, air in zip(inputs["loss"], inputs["T_bay"], strict=True):
        found.append(kelvin)
        rest = air + 0.5 * loss
        kelvin = rest + (kelvin - rest) * np.exp(-STEP_S / tau)
    return np.array(found)


@pytest.mark.parametrize("fmi", [2, 3])
def test_fmu_stands_in_for_a_model(fmi: int, libraries: dict[int, bytes], tmp_path: Path) -> None:
    binding = msgspec.structs.replace(BINDING, parameters={"tau": 60.0})
    stands: FullFidelity = model(tmp_path, packed(libraries[fmi], fmi), binding)
    found = stands.evaluate(rows())
    assert np.allclose(found["T_box"], by_hand(rows(), 60.0), rtol=1e-12)
    assert len(stands.sha256) == 64 and stands.step_s == STEP_S
    holes = rows()
    holes["loss"][7], holes["loss"][9] = np.nan, 5_000.0
    after = stands.evaluate(holes)["T_box"]
    assert np.isfinite(after).tolist() == [True] * 7 + [False] * (COUNT - 7)


@pytest.mark.parametrize(
    ("fault", "limits", "error", "says"),
    [
        (1, Limits(wall_s=20.0, cpu_s=1, memory_mb=1_024, file_mb=4), FmuTimedOut, "processor"),
        (8, Limits(wall_s=1.0, cpu_s=10, memory_mb=1_024, file_mb=4), FmuTimedOut, "after 1 s"),
        (2, LIMITS, FmuCrashed, "SIGSEGV"),
        (3, LIMITS, FmuCrashed, "SIGABRT"),
        (4, Limits(wall_s=20.0, cpu_s=10, memory_mb=1_024, file_mb=1), FmuTooLarge, "1 MiB"),
        (5, LIMITS, FmuFailed, "fmi3DoStep|DoStep"),
        (7, LIMITS, FmuCrashed, "no answer"),
    ],
)
def test_each_way_an_fmu_fails_is_an_error_of_its_own_and_the_ground_goes_on(
    fault: int, limits: Limits, error: type[TailTwinError], says: str,
    libraries: dict[int, bytes], tmp_path: Path,
) -> None:  # fmt: skip
    fmi = 2 + fault % 2
    stands = model(tmp_path, packed(libraries[fmi], fmi))
    stands.binding = msgspec.structs.replace(
        BINDING, parameters={"fault": float(fault)}, limits=limits
    )
    started = time.monotonic()
    with pytest.raises(error, match=says) as caught:
        stands.evaluate(rows())
    assert type(caught.value) is error and "lag.fmu" in str(caught.value)
    assert time.monotonic() - started < 15.0


def test_outputs_that_are_no_number_are_told_as_none(
    libraries: dict[int, bytes], tmp_path: Path
) -> None:
    binding = msgspec.structs.replace(BINDING, parameters={"fault": 6.0})
    found = model(tmp_path, packed(libraries[3], 3), binding).evaluate(rows())
    assert np.isfinite(found["T_box"][0]) and np.isnan(found["T_box"][1:]).all()


def rebound(change: str) -> Binding:
    first, second = BINDING.inputs
    cases = {
        "unit": (Bound(port("loss", "kW", 0.0, 1.0), "power"), second),
        "scale": (first, Bound(port("T_bay", "K", 200.0, 350.0), "ambient")),
        "no unit": (Bound(port("loss", "1", 0.0, 1.0), "power"), second),
        "name": (Bound(port("loss", "W", 0.0, 1.0), "heat"), second),
        "causality": (Bound(port("loss", "Cel", 0.0, 1.0), "body.T"), second),
    }
    return msgspec.structs.replace(BINDING, inputs=cases[change])


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ("unit", "'loss' is in kW, variable 'power' in W"),
        ("scale", "'T_bay' is in K, variable 'ambient' in degC"),
        ("no unit", "'loss' is in 1, variable 'power' in W"),
        ("name", "there is no variable 'heat'"),
        ("causality", "'body.T' is output, not input"),
    ],
)
def test_binding_that_does_not_fit_is_refused_by_name_before_anything_runs(
    change: str, says: str, libraries: dict[int, bytes], tmp_path: Path
) -> None:
    with pytest.raises(FmuRefused, match=says):
        model(tmp_path, packed(libraries[3], 3), rebound(change))


def test_files_that_cannot_run_here_are_refused(
    libraries: dict[int, bytes], tmp_path: Path
) -> None:
    good = packed(libraries[3], 3)
    bad_type = msgspec.structs.replace(BINDING, parameters={"mode": 1.0, "nothing": 2.0})
    cases: list[tuple[bytes, Binding, str]] = [
        (packed(None, 3), BINDING, "no binary for .*it has: "),
        (good[:500], BINDING, "not a ZIP"),
        (
            packed(libraries[3], 3, description="<fmiModelDescription/>"),
            BINDING,
            "modelDescription",
        ),
        (packed(libraries[3], 3, extra={"../out": b"x"}), BINDING, "a file named"),
        (packed(libraries[3], 3, extra={"resources/x": bytes(20 << 20)}), BINDING, "unpacked"),
        (good, bad_type, "'mode' is no real parameter.*'nothing' is no"),
    ]
    for data, binding, says in cases:
        with pytest.raises(FmuRefused, match=says):
            model(tmp_path, data, binding)
    with pytest.raises(FmuRefused, match="cannot read"):
        FmuModel(tmp_path / "none.fmu", BINDING)


def test_wrong_guid_is_refused_when_it_is_instantiated(
    libraries: dict[int, bytes], tmp_path: Path
) -> None:
    for fmi in (2, 3):
        stands = model(tmp_path, packed(libraries[fmi], fmi, token="{another}"))
        with pytest.raises(FmuRefused, match="GUID"):
            stands.evaluate(rows())


def test_inputs_of_a_run_are_refused_by_name(libraries: dict[int, bytes], tmp_path: Path) -> None:
    stands = model(tmp_path, packed(libraries[2], 2))
    with pytest.raises(Rejected, match="no input 'heat'; input 'loss' is missing"):
        stands.evaluate({"heat": np.zeros(3), "T_bay": np.zeros(3)})
    assert stands.evaluate({"loss": np.zeros(0), "T_bay": np.zeros(0)})["T_box"].shape == (0,)


LEFT = {
    "a log without end": "os.remove('log'); os.symlink('/dev/zero', 'log'); os._exit(3)",
    "a pipe for an answer": "os.mkfifo('answer.json'); os._exit(0)",
    "a pipe for outputs": "os.mkfifo('outputs.npy'); open('answer.json', 'w').write('{}')",
    "a link for outputs": "os.symlink('/dev/zero', 'outputs.npy'); open('answer.json', 'w').write('{}')",
    "outputs of 4 TB": "open('outputs.npy', 'wb').write(HUGE); open('answer.json', 'w').write('{}')",
    "a signal without a name": "os.kill(os.getpid(), 40)",
}


@pytest.mark.parametrize("what", LEFT)
def test_what_an_fmu_leaves_behind_neither_fills_nor_holds_the_grounds_own_process(
    what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    head = io.BytesIO()
    shape = {"descr": "<f8", "fortran_order": False, "shape": (1 << 39,)}
    np.lib.format.write_array_header_1_0(head, shape)
    code = f"import os; HUGE = {head.getvalue()!r}; {LEFT[what]}"
    real = subprocess.Popen

    def hostile(_command: list[str], **rest: Any) -> subprocess.Popen[bytes]:
        return real([sys.executable, "-I", "-c", code], **rest)

    monkeypatch.setattr("ground.models.fmu.process.subprocess.Popen", hostile)
    with pytest.raises(FmuFailed):
        run_child(b"", Request("run", LIMITS, (), ("y",)), np.zeros((1, 1)), "x.fmu")


def test_child_dies_with_the_process_that_started_it(
    libraries: dict[int, bytes], tmp_path: Path
) -> None:
    (tmp_path / "lag.fmu").write_bytes(packed(libraries[3], 3))
    code = (
        "import sys, msgspec\nfrom pathlib import Path\n"
        "from tests.unit.ground.models.test_fmu import BINDING, FmuModel, rows\n"
        "model = FmuModel(Path(sys.argv[1]), BINDING)\n"
        "model.binding = msgspec.structs.replace(BINDING, parameters={'fault': 8.0})\n"
        "print('runs', flush=True)\nmodel.evaluate(rows())\n"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "lag.fmu")]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None and process.stdout.readline() == b"runs\n"
        found = waited(lambda: children_of(process.pid))
        process.kill()
    assert waited(lambda: not any(Path(f"/proc/{one}").exists() for one in found))


def children_of(pid: int) -> list[str]:
    return Path(f"/proc/{pid}/task/{pid}/children").read_text().split()


def waited(seen: Callable[[], T], within_s: float = 10.0) -> T:
    end_s = time.monotonic() + within_s
    while not (found := seen()) and time.monotonic() < end_s:
        time.sleep(0.02)
    assert found
    return found


def test_child_has_no_network_and_none_of_our_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TAILTWIN_SECRET", "x")
    assert not any("SECRET" in x for x in _environment("/x"))
    with socket.create_server(("127.0.0.1", 0)) as listening:
        code = (
            "import socket; from ground.models.fmu.child import _leave_network\n"
            "print(_leave_network())\n"
            f"print(socket.socket().connect_ex(('127.0.0.1', {listening.getsockname()[1]})))"
        )
        said = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=True
        ).stdout.split()
    if said[0] == "False":
        pytest.skip("this kernel gives us no network namespace")
    assert int(said[1]) != 0
