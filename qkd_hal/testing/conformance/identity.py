"""What a device says about itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qkd_hal.sources import Capability, Derives
from qkd_hal.testing.conformance._base import Conformance
from qkd_hal.testing.conformance._ends import SIZE, End, Ends, driver_of

if TYPE_CHECKING:
    from qkd_hal.device import QKDDevice

__all__ = ["Identity"]

_LONGEST = 128  # characters: a name goes into log lines and tables


class Identity(Conformance):
    """Identity is complete, fit to print and stays the same."""

    def test_says_what_it_is(self, devices: list[QKDDevice]) -> None:
        """Vendor, model, serial number and firmware are there, in plain text."""
        for device in devices:
            for field in ("vendor", "model", "serial_number", "firmware"):
                text = getattr(device.info, field)
                assert text.strip(), f"{device.name} does not tell its {field}"
                plain = text.isprintable() and len(text) <= _LONGEST
                assert plain, f"the {field} of {device.name} is no plain text: {text!a:.200}"

    def test_two_boxes_can_be_told_apart(self, ends: Ends) -> None:
        """Serial numbers differ, and so do the names of the two sites."""
        first, second = (device.info for device in ends.devices)
        assert first.serial_number != second.serial_number, "both ends have one serial number"
        assert not first.site or first.site != second.site, "both ends claim to be one site"

    def test_names_the_other_end(self, ends: Ends) -> None:
        """Who lists peers lists the site at the other end."""
        first, second = (device.info for device in ends.devices)
        for ours, theirs in ((first, second), (second, first)):
            listed = not ours.peers or not theirs.site or theirs.site in ours.peers
            assert listed, f"{theirs.site} is not among the peers {ours.peers}"

    def test_is_the_same_when_opened_again(self, end: End) -> None:
        """No field of the identity changes from one opening to the next."""
        before = end.device.info
        end.device.close()
        with self.reopen(end.device) as again:
            assert again.info == before, "the device says something else when it is opened again"

    def test_claims_are_of_use(self, devices: list[QKDDevice]) -> None:
        """Keys can be had somehow, in the size that TLS asks for."""
        for device in devices:
            claims, driver = device.info.capabilities, driver_of(device)
            usable = claims & {Capability.EXTRACT, Capability.DERIVE}
            assert usable, f"{device.name} neither lets keys out nor derives"
            derives = Capability.DERIVE not in claims or isinstance(driver, Derives)
            assert derives, f"{device.name} claims derive, and its driver has no derive()"
            assert device.info.max_key_size >= SIZE, f"{device.name} has no key of {SIZE} bytes"
