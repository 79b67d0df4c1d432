"""The hydrogen tank over hours of steady inputs. (Placeholder until the model is here.)"""

from __future__ import annotations

from ground.whatif.answer import Scenario
from ground.whatif.request import Request
from shared.errors import Rejected


def scenario(request: Request) -> Scenario:
    raise Rejected("the tank model is not here yet", "model", "ask for model engine")
