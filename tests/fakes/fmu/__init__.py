"""Builds real FMUs for tests: `lag.c` with the machine's own compiler, packed with a description.

The headers are those that FMPy ships. Where there is no compiler the tests skip and say so.
"""

from __future__ import annotations

import io
import platform
import shutil
import subprocess
import zipfile
from importlib.util import find_spec
from pathlib import Path

TOKEN = "{lag-1}"
SOURCE = Path(__file__).with_name("lag.c")
COMPILER = shutil.which("cc") or shutil.which("gcc")

_UNITS = """<UnitDefinitions>
  <Unit name="W"><BaseUnit kg="1" m="2" s="-3"/></Unit>
  <Unit name="degC"><BaseUnit K="1" offset="273.15"/></Unit>
  <Unit name="K/W"><BaseUnit kg="-1" m="-2" s="3" K="1"/></Unit>
  <Unit name="s"><BaseUnit s="1"/></Unit>
</UnitDefinitions>"""

# name, causality, unit, start; the value reference is its place.
_VARIABLES = (
    ("power", "input", "W", 0.0), ("ambient", "input", "degC", 20.0),
    ("body.T", "output", "degC", 20.0), ("tau", "parameter", "s", 100.0),
    ("R", "parameter", "K/W", 0.5), ("fault", "parameter", None, 0.0),
)  # fmt: skip


def _description(fmi: int, token: str, units: str) -> str:
    lines = []
    for i, (name, causality, unit, start) in enumerate(_VARIABLES):
        kind = {"parameter": ' variability="fixed"', "output": ' initial="exact"'}.get(
            causality, ""
        )
        what = f'name="{name}" valueReference="{i}" causality="{causality}"{kind}'
        value = (f' unit="{unit}"' if unit else "") + f' start="{start}"'
        if fmi == 2:
            lines.append(f"<ScalarVariable {what}><Real{value}/></ScalarVariable>")
        else:
            lines.append(f"<Float64 {what}{value}/>")
    mode = 'name="mode" valueReference="6" causality="parameter" variability="fixed"'
    if fmi == 2:
        lines.append(f'<ScalarVariable {mode}><Integer start="0"/></ScalarVariable>')
        head, outputs = (
            f'"2.0" modelName="lag" guid="{token}"',
            '<Outputs><Unknown index="3"/></Outputs>',
        )
    else:
        lines.append(f'<Int32 {mode} start="0"/>')
        lines.insert(0, '<Float64 name="time" valueReference="99" causality="independent"/>')
        head = f'"3.0" modelName="lag" instantiationToken="{token}"'
        outputs = '<Output valueReference="2"/>'
    slave = 'modelIdentifier="lag" canHandleVariableCommunicationStepSize="true"'
    return (
        f'<?xml version="1.0" encoding="UTF-8"?>\n<fmiModelDescription fmiVersion={head}>'
        f"<CoSimulation {slave}/>{units}<ModelVariables>{chr(10).join(lines)}</ModelVariables>"
        f"<ModelStructure>{outputs}</ModelStructure></fmiModelDescription>"
    )


def compiled(folder: Path, fmi: int) -> bytes:
    """The shared library of `lag.c` for FMI 2 or 3."""
    assert COMPILER is not None
    spec = find_spec("fmpy")
    assert spec is not None and spec.origin is not None
    out = folder / f"lag{fmi}.so"
    subprocess.run(
        [COMPILER, "-shared", "-fPIC", "-O1", "-w", f"-DFMI{fmi}", "-I",
         str(Path(spec.origin).parent / "c-code"), str(SOURCE), "-o", str(out), "-lm"],
        check=True, timeout=60,
    )  # fmt: skip
    return out.read_bytes()


def packed(
    library: bytes | None,
    fmi: int,
    token: str = TOKEN,
    units: str = _UNITS,
    description: str | None = None,
    extra: dict[str, bytes] | None = None,
) -> bytes:
    """The FMU: without a binary where `library` is None."""
    text = _description(fmi, token, units)
    machine = platform.machine()
    place = "linux64" if fmi == 2 and machine == "x86_64" else f"{machine}-linux"
    files = {"modelDescription.xml": (description or text).encode()}
    if library is not None:
        files[f"binaries/{place}/lag.so"] = library
    else:
        files["binaries/win64/lag.dll"] = b"MZ"
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in (files | (extra or {})).items():
            archive.writestr(name, data)
    return out.getvalue()
