"""What is plugged in or running here. Opens nothing, and never gives a shorter list in silence."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from qkd_hal import plugins
from qkd_hal.errors import QKDError
from qkd_hal.keys import Origin, Provenance

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from importlib.metadata import EntryPoint

__all__ = ["DiscoveredDevice", "discover"]

_GROUP = "qkd_hal.discovery"


@dataclass(frozen=True, slots=True)
class DiscoveredDevice:
    """One device that was seen, or one bus that could not be searched.

    ``url`` opens it (empty for a bus, and for a device without a driver). Where ``usable`` is
    false, ``reason`` says why and ``cure`` what to do. ``change_token`` changes when the device
    was unplugged, restarted or replaced, even if all else looks the same. ``known`` is false
    for what could be a key device as well as anything else: a serial port, a card reader.
    """

    url: str
    vendor: str
    model: str
    serial_number: str
    provenance: Provenance
    usable: bool = True
    reason: str = ""
    cure: str = ""
    change_token: str = ""
    known: bool = True


def discover(*, simulators: bool = False, unknown: bool = False) -> list[DiscoveredDevice]:
    """List the devices that installed drivers can see; opens none of them.

    Simulated devices stay hidden unless *simulators* is true, so that nobody keys a
    production system from one by accident; and what may be no key device at all, unless
    *unknown* is true. A bus that fails, or whose extra is missing, is an entry with its
    reason and cure.
    """
    seen = [device for point in plugins.found(_GROUP) for device in _searched(point)]
    shown = [device for device in seen if simulators or not device.provenance.simulated]
    return [device for device in shown if unknown or device.known]


def _searched(point: EntryPoint) -> Iterator[DiscoveredDevice]:
    try:
        search = cast("Callable[[], Iterable[DiscoveredDevice]]", plugins.load(point))
        yield from search()
    except QKDError as error:
        yield _failed(point, error.what, error.cure or "")
    except Exception as error:  # noqa: BLE001 - one bad bus must not hide the others
        reason = f"the search failed with {type(error).__name__}"
        yield _failed(point, reason, f"Report it to the authors of {plugins.owner(point)}")


def _failed(point: EntryPoint, reason: str, cure: str) -> DiscoveredDevice:
    return DiscoveredDevice(
        url="",
        vendor=plugins.owner(point),
        model=point.name,
        serial_number="",
        provenance=Provenance(Origin.UNKNOWN),
        usable=False,
        reason=reason,
        cure=cure,
    )
