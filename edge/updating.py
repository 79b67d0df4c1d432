"""Updates, connected: the update client's parts, made from settings.

In: settings and the parts of the daemon. Out: a `FetchChild` and who this aircraft is to TUF.
"""

from __future__ import annotations

from collections.abc import Callable

from edge.config import Settings
from edge.update.child import FetchChild
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
    settings: Settings, ground_time_ns: Callable[[], int | None] = lambda: None
) -> FetchChild:
    """The child that fetches from the repository the profile names."""
    update = settings.profile.update
    assert update is not None
    return FetchChild(
        settings.state_dir / "tuf" / "image", update.url, aircraft(settings),
        update.deadline_s, update.bundle_bytes_max, ground_time_ns,
    )  # fmt: skip
