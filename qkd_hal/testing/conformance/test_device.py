"""The suite on the devices that the command line names.

``pytest --pyargs qkd_hal.testing.conformance --device URL [--peer URL]``
"""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest

from qkd_hal.registry import open_device
from qkd_hal.testing.conformance import FullConformance, Pair
from qkd_hal.testing.conformance._target import Target, opened_target

if TYPE_CHECKING:
    from collections.abc import Iterator

    from qkd_hal.emulators import Disturbable

__all__ = ["TestDevice"]


@pytest.fixture(scope="session")
def target(pytestconfig: pytest.Config) -> Iterator[Target]:
    """Give what to test, once it is known to be boxes that may be used."""
    if not hasattr(pytestconfig.option, "qkd_device"):
        pytest.skip("runs as: pytest --pyargs qkd_hal.testing.conformance --device URL")
    with opened_target(pytestconfig) as target:
        yield target


class TestDevice(FullConformance):
    """All checks; those that need more than the command line gives are skipped."""

    @pytest.fixture(autouse=True)
    def _may_be_used(self, target: Target, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(TestDevice, "serial_numbers", target.serial_numbers)

    @pytest.fixture
    def pair(self, target: Target) -> Iterator[Pair]:
        """Open the device and its peer, if there is one."""
        with ExitStack() as stack:
            first, *others = [stack.enter_context(open_device(url)) for url in target.urls]
            yield first, others[0] if others else None

    @pytest.fixture
    def disturb(self, target: Target) -> Disturbable:
        """Give the emulator, or the person at the plug."""
        if target.disturb is None:
            pytest.skip("needs --interactive, or an --emulator that can be unplugged")
        return target.disturb
