"""Every decoder of bytes from outside: any bytes are taken or refused by a typed error, bounded.

The decoders and their seeds are bench/fuzz/targets.py, which `python -m bench.fuzz` runs for longer.
"""

from __future__ import annotations

import random
import resource
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from bench.fuzz.mutate import mutate
from bench.fuzz.targets import TARGETS, Target
from shared.errors import ConfigError, TailTwinError

EXAMPLES = 50
SLOW_S = 1.0  # of one input, on a busy machine
GROWTH_MB = 200


def decode(target: Target, data: bytes) -> bool:
    """Whether it was taken; any other error goes up."""
    start_s = time.process_time()
    try:
        target.decode(data)
    except TailTwinError:
        return False
    finally:
        assert time.process_time() - start_s < SLOW_S
    return True


def rss_peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


@pytest.mark.parametrize("name", TARGETS)
def test_any_bytes_are_taken_or_refused(name: str) -> None:
    target = TARGETS[name]
    seeds = target.seeds()
    before_mb = rss_peak_mb()

    @settings(
        max_examples=EXAMPLES, deadline=None, database=None, derandomize=True,
        suppress_health_check=[HealthCheck.too_slow],
    )  # fmt: skip
    @given(st.one_of(st.integers(0, 1 << 32), st.binary(max_size=300)))
    @example(b"")
    @example(b"\x91" * 5000)
    @example(b"[" * 5000)
    def each(drawn: int | bytes) -> None:
        if isinstance(drawn, int):
            drawn = mutate(seeds, random.Random(drawn), is_text=target.is_text)
        decode(target, drawn)

    each()
    assert rss_peak_mb() - before_mb < GROWTH_MB


@pytest.mark.parametrize("name", sorted(set(TARGETS) - {"status"}))
def test_what_a_fuzzer_begins_with_is_taken(name: str) -> None:
    """Else its mutations would not get past the door."""
    if name == "profile with its set":
        pytest.skip("the set of the bench's template is filled in by the bench")
    for seed in TARGETS[name].seeds():
        assert TARGETS[name].decode(seed) is not None or TARGETS[name].is_text


@pytest.mark.parametrize(
    "name", ["profile", "tail", "tail at the ground", "enrolment", "scenario", "ground settings"]
)
@pytest.mark.parametrize("text", [b"x = " + b"[" * 3000, b"x = " + b"9" * 5000, b'x = "\xff"'])
def test_a_settings_file_beyond_the_limits_of_the_parser_is_refused(
    name: str, text: bytes, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError):
        TARGETS[name].decode(text)
