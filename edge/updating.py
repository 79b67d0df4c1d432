"""Updates, connected: the update client's parts, made from settings.

In: settings and the parts of the daemon. Out: a `FetchChild` and who this aircraft is to TUF.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from edge.config import Settings
from edge.update.child import FetchChild
from edge.update.verified import FetchRequest
from signing.verify import Aircraft


def aircraft(settings: Settings) -> Aircraft:
    """Who is asking, for applicability."""
    tail = settings.tail
    return Aircraft(
        tail=tail.tail, type=tail.type,
        esns=tuple(engine.esn for engine in tail.engines),
        part_numbers=tuple(engine.part_number for engine in tail.engines),
    )  # fmt: skip


def fetch_child(
    settings: Settings,
    ground_time_ns: Callable[[], int | None] = lambda: None,
    bus_utc_ns: Callable[[], int | None] = lambda: None,
) -> FetchChild:
    """The child that fetches what the director says, from the sources of the profile."""
    profile = settings.profile
    update = profile.update
    assert update is not None
    asked = FetchRequest(
        folder=str(trust_folder(settings.state_dir)), sources=update.sources,
        aircraft=aircraft(settings), attestation=update.attestation,
        deadline_s=update.deadline_s, step_s=update.step_s, bytes_max=update.bundle_bytes_max,
        staging_may_be_memory=profile.bench,
    )  # fmt: skip
    return FetchChild(asked, ground_time_ns, bus_utc_ns)


def trust_folder(state_dir: Path) -> Path:
    """Of both repositories' trust, below the state folder."""
    return state_dir / "tuf"
