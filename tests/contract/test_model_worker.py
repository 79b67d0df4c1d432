"""What the model worker answers: the same in this process and as the filtered child it is."""

from __future__ import annotations

import hashlib
import io
import os
import subprocess
import sys
from collections.abc import Callable

import msgspec
import numpy as np
import pytest

from edge.models.confine import ENVIRONMENT
from edge.models.frames import (
    Load,
    Loaded,
    Named,
    Rows,
    Step,
    Stepped,
    body_size,
    frame,
    reply,
)
from edge.models.worker import Worker, serve
from shared.bundlefile import pack_declared
from shared.profile import ModelBounds
from tests.fakes.bundles import bundle, packed

BOUNDS = ModelBounds()
SLOW = packed()[1]
FAST = pack_declared(msgspec.structs.replace(bundle(), name="fast", rate_hz=10.0))[1]
ROWS = Rows(np.full((2, 5), 30.0, "<f4").tobytes())

Ask = Callable[[bytes], tuple[list[Loaded | Stepped], int]]


def answers(data: bytes) -> list[Loaded | Stepped]:
    source, out = io.BytesIO(data), []
    while header := source.read(4):
        out.append(reply(source.read(body_size(header))))
    return out


def here(data: bytes) -> tuple[list[Loaded | Stepped], int]:
    sink = io.BytesIO()
    try:
        serve(io.BytesIO(data), sink, Worker())
    except Exception:
        return answers(sink.getvalue()), 1
    return answers(sink.getvalue()), 0


def child(data: bytes) -> tuple[list[Loaded | Stepped], int]:
    command = [sys.executable, "-I", "-m", "edge.models.worker", str(os.getpid())]
    done = subprocess.run(
        [*command, msgspec.json.encode(BOUNDS).decode()],
        input=data, capture_output=True, env=ENVIRONMENT, timeout=30, check=False,
    )  # fmt: skip
    return answers(done.stdout), done.returncode


def loading(*files: bytes, seq: int = 1, sha256: str = "") -> bytes:
    named = [Named(f"b{i}", sha256 or hashlib.sha256(x).hexdigest(), len(x))
             for i, x in enumerate(files)]  # fmt: skip
    return frame(Load(seq, named, BOUNDS)) + b"".join(files)


@pytest.fixture(params=[here, child], ids=["here", "child"])
def ask(request: pytest.FixtureRequest) -> Ask:
    asked: Ask = request.param
    return asked


def test_step_after_load_answers_every_bundle_in_order(ask: Ask) -> None:
    said, code = ask(loading(SLOW, FAST) + frame(Step(2, 0.0, [ROWS, ROWS])))
    assert code == 0 and said[0] == Loaded(1, "")
    stepped = said[1]
    assert isinstance(stepped, Stepped) and stepped.seq == 2 and stepped.restarted == []
    assert [len(x) for x in stepped.outputs] == [16, 16]
    assert np.isfinite(np.frombuffer(stepped.outputs[0], "<f4")).all()


def test_step_names_its_rate(ask: Ask) -> None:
    said, code = ask(
        loading(SLOW, FAST) + frame(Step(2, 10.0, [ROWS])) + frame(Step(3, 1.0, [ROWS]))
        + frame(Step(4, 7.0, []))
    )  # fmt: skip
    assert code == 0
    assert [len(x.outputs) for x in said[1:] if isinstance(x, Stepped)] == [1, 1, 0]


def test_bytes_of_another_hash_are_refused_and_the_old_set_stays(ask: Ask) -> None:
    bad = loading(FAST, seq=2, sha256="0" * 64)
    said, code = ask(loading(SLOW) + bad + frame(Step(3, 0.0, [ROWS])))
    assert code == 0 and isinstance(said[1], Loaded) and "sha-256" in said[1].reason
    assert isinstance(said[2], Stepped) and len(said[2].outputs) == 1


def test_bytes_that_are_no_bundle_are_refused_by_name(ask: Ask) -> None:
    said, code = ask(loading(b"none"))
    assert code == 0 and isinstance(said[0], Loaded) and said[0].reason.startswith("b0: not one")


def test_nonsense_ends_the_worker(ask: Ask) -> None:
    for data in (
        b"\x05\0\0\0hello", (1 << 30).to_bytes(4, "little") + b"x",
        loading(SLOW) + frame(Step(2, 0.0, [ROWS, ROWS])),
        frame(Load(1, [Named("huge", "", 1 << 40)], BOUNDS)),
    ):  # fmt: skip
        said, code = ask(data)
        assert code != 0 and len(said) <= 1


def test_end_of_input_is_the_end(ask: Ask) -> None:
    assert ask(b"") == ([], 0)
