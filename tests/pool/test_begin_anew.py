"""Two sites that begin anew with empty stores and the link secret of before."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from qkd_hal.errors import KeyNotFoundError

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.pool.conftest import TwoSites


def test_the_ids_of_before_name_nothing(two_sites: Callable[..., TwoSites]) -> None:
    before, after = two_sites(), two_sites()
    for sites in (before, after):
        sites.fill(1)
    old = before.alice.source.reserve("bob").ref
    assert after.alice.source.reserve("bob").ref != old
    with pytest.raises(KeyNotFoundError):
        after.bob.source.take(old)
