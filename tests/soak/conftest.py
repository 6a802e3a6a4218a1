"""What holds for every soak."""

from __future__ import annotations

from pathlib import Path

import pytest

HERE = Path(__file__).parent
# pyusb lets a finaliser of its own fail when the collector meets a device half-way.
FINALISER = (
    "ignore:Exception ignored in. <function _AutoFinalizedObjectBase.__del__"
    ":pytest.PytestUnraisableExceptionWarning"
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Measure no coverage: other tests reach the same lines, and it takes half the time."""
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.no_cover)
            item.add_marker(pytest.mark.filterwarnings(FINALISER))
