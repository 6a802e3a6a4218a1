"""The pytest plug-in. It loads in every pytest run that has qkd-hal installed: keep it light."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from qkd_hal.testing.link import QKDLink

__all__ = ["qkd_link"]

_FIRST_KEYS = 512  # bytes in store at each end before the first test runs


@pytest.fixture(scope="session")
def qkd_link() -> Iterator[QKDLink]:
    """Two simulated BB84 modems in processes of their own, and their open devices.

    One link serves the whole test session; every key is handed out once, so tests do not
    disturb one another. Needs ``pip install 'qkd-hal[sim,test]'``.
    """
    from qkd_hal.testing.link import QKDLink  # nothing of it loads in tests that do not ask

    with QKDLink("bb84", preset="short") as link:
        link.wait_for_keys(_FIRST_KEYS)
        yield link
