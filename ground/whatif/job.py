"""The job of a what-if: a handler of ground/jobs.

In: the JSON of a request. Out: its `Answer`. Raises Rejected when the request will never do.
"""

from __future__ import annotations

from typing import Any

import msgspec

from ground.jobs.handlers import Context, Progress
from ground.whatif.answer import Answer
from ground.whatif.request import parse_request
from ground.whatif.run import run
from ground.whatif.sources import sources_of


def what_if(context: Context, payload: dict[str, Any], progress: Progress) -> Answer:
    """Runs in the child process of its job."""
    request = parse_request(msgspec.json.encode(payload))
    return run(request, sources_of(context.paths), progress)
