"""What tests of several rooms share."""

from __future__ import annotations

import os

import pytest


@pytest.fixture
def bare_environment() -> dict[str, str]:
    """The environment for a child that must not load what coverage needs to measure it."""
    return {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE")}
