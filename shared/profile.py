"""The compute profile: what one flight computer may spend, and what a model may ask of it.

In: a section of a configuration. Out: a frozen `ComputeProfile`.
Always holds: an unknown key, a missing one or a value out of its range is refused by name.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

import msgspec
from msgspec import Meta

from shared.errors import ConfigError

Positive = Annotated[int, Meta(ge=1)]


class ModelBounds(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What admission and the model worker allow. The defaults are assumptions: about 100 times
    the size of the EGT model, and still nothing that could starve the recorder."""

    bundle_bytes_max: Positive = 4 << 20
    """Of the `.tar.zst`."""
    unpacked_bytes_max: Positive = 16 << 20
    """Of the three files in it together."""
    tensor_elements_max: Positive = 1 << 20
    """Of any one tensor of the graph, 4 bytes each."""
    nodes_max: Positive = 512
    instances_max: Positive = 16
    worker_address_space_mb: Positive = 512
    """RLIMIT_AS of the worker and of admission. Address space, not memory: the EGT model still
    loads at 200 MB and touches under 50."""
    admission_cpu_s: Positive = 10
    admission_deadline_s: Annotated[float, Meta(gt=0, le=600)] = 30.0
    operations_max: Positive = 50_000_000
    """Multiplications and other element operations of one step of one bundle, counted from its
    shapes: about 50 ms on one core of 1 GFLOP/s, an assumption."""
    bundle_cpu_percent_max: Annotated[float, Meta(gt=0, le=100)] = 5.0
    """Of one core, by one bundle at its own rate: the median step of its self-test, measured."""
    session_mb_max: Positive = 48
    """What one bundle's session may add to the peak of resident memory, its steps included."""
    worker_growth_mb: Positive = 48
    """Resident memory of the worker over what it had when its set was loaded; beyond it the
    worker is started again."""
    seccomp_required: bool = True
    """Where the kernel cannot filter system calls, no model runs; false runs them without."""


class ComputeProfile(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One flight computer. The budgets are those of docs/architecture.md."""

    name: str
    arch: str
    cpu_percent_max: Annotated[float, Meta(gt=0, le=6400)] = 15.0
    """Of one core, all processes aboard, at 1,000 messages a second."""
    memory_mb_max: Positive = 256
    """Of all processes aboard; a page that two share counts once (PSS)."""
    storage_mb_max: Positive = 1000
    """State directory: outbox, models, cache."""
    models: ModelBounds = ModelBounds()


def compute_profile(section: Mapping[str, object], where: str) -> ComputeProfile:
    """The profile of a configuration section; ConfigError names the key."""
    try:
        return msgspec.convert(section, ComputeProfile, strict=True)
    except msgspec.ValidationError as error:
        raise ConfigError(str(error), where, "see shared/profile.py for keys and ranges") from None
