"""The shape of delegations, where types alone let more through than we take."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from tuf.api.metadata import DelegatedRole, Delegations, Targets

from shared.errors import Rejected
from signing.verify.delegations import check_director_top, check_image_top


def test_a_role_whose_name_is_no_text_is_refused() -> None:
    role = DelegatedRole(7, [], 1, True, paths=["egt/*"])  # type: ignore[arg-type]
    top = Targets(expires=datetime(2030, 1, 1, tzinfo=UTC))
    top.delegations = Delegations({}, {7: role})  # type: ignore[dict-item]
    for check in (check_image_top, check_director_top):
        with pytest.raises(Rejected, match="no text"):
            check(top, "a test")
