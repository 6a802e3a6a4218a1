"""Checks that every device must pass, for vendors and users to run on their own.

On boxes that are plugged in, or on emulated ones::

    pytest --pyargs qkd_hal.testing.conformance --device URL --peer URL --serial-number A-0001 …
    pytest --pyargs qkd_hal.testing.conformance --emulator bb84

Or in a test module, which says what boxes may be used and gives two open devices::

    class TestMyBox(DeviceConformance):
        serial_numbers = frozenset({"A-0001", "B-0001"})

        @pytest.fixture
        def pair(self):
            with open_device("mybox:A") as alice, open_device("mybox:B") as bob:
                yield alice, bob

Each check uses up key material. A device claims what it can do with its capabilities: what it
claims has to work, and what it does not claim has to be refused.
"""

from __future__ import annotations

from qkd_hal.testing.conformance._base import Conformance, Pair
from qkd_hal.testing.conformance.awaiting import Awaiting
from qkd_hal.testing.conformance.capabilities import Capabilities
from qkd_hal.testing.conformance.closing import Closing
from qkd_hal.testing.conformance.deadlines import Deadlines
from qkd_hal.testing.conformance.error_tree import ErrorTree
from qkd_hal.testing.conformance.faults import Faults
from qkd_hal.testing.conformance.forking import Forking
from qkd_hal.testing.conformance.identity import Identity
from qkd_hal.testing.conformance.keys import Keys
from qkd_hal.testing.conformance.leaks import Leaks
from qkd_hal.testing.conformance.life_cycle import LifeCycle
from qkd_hal.testing.conformance.look_up import LookUp
from qkd_hal.testing.conformance.one_delivery import OneDelivery
from qkd_hal.testing.conformance.resources import Resources
from qkd_hal.testing.conformance.sessions import Sessions
from qkd_hal.testing.conformance.status import Status

__all__ = ["Conformance", "DeviceConformance", "FullConformance", "Pair"]


# pytest runs the checks of the last base first: who a device is before what it can stand.
class DeviceConformance(
    Awaiting,
    Forking,
    Resources,
    Leaks,
    ErrorTree,
    Closing,
    Deadlines,
    Capabilities,
    OneDelivery,
    LookUp,
    Keys,
    Sessions,
    LifeCycle,
    Status,
    Identity,
):
    """One check per promise of :class:`~qkd_hal.sources.KeyDriver`, on devices that are well."""


class FullConformance(Faults, DeviceConformance):
    """The same, and what a driver makes of stalls, faults and a pulled plug.

    Override the fixture ``disturb`` as well, with a
    :class:`~qkd_hal.emulators.Disturbable`.
    """
