"""A box behind its wire: whole frames in, messages of the wire out, with the faults of a plan.

What the byte line and USB share.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING

from qkd_hal_firmware_mocks.boxlink.frame import REQ, read_frame
from qkd_hal_firmware_mocks.boxlink.mischief import DEVICE_FAULTS, Mischief
from qkd_hal_firmware_mocks.boxlink.operations import NAMES
from qkd_hal_firmware_mocks.faults import FaultPlan
from qkd_hal_firmware_mocks.outlet import WIRE_FAULTS, Outlet

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from qkd_hal_firmware_mocks.boxlink.box import BoxFirmware

__all__ = ["BOX_FAULTS", "BoxServer"]

BOX_FAULTS = WIRE_FAULTS | DEVICE_FAULTS | {"stall"}
_LOSES_REQUESTS = ("drop", "corrupt")


class BoxServer:
    """Serves *box*. *encode* turns a frame into what the wire carries; *own_faults* are those
    that only this kind of wire has: they begin, and the request is answered."""

    def __init__(
        self,
        box: BoxFirmware,
        encode: Callable[[bytes], bytes],
        plan: FaultPlan | None = None,
        *,
        divisible: bool,
        own_faults: Mapping[str, Callable[[], None]] = MappingProxyType({}),
    ) -> None:
        self.box = box
        self.plan = plan or FaultPlan()
        self.outlet = Outlet(self.plan.random, divisible=divisible)
        self._encode = encode
        self._own_faults = own_faults
        self._mischief = Mischief(box, self.plan.random)

    @property
    def faults(self) -> frozenset[str]:
        """The names of all faults that the plan may hold."""
        return BOX_FAULTS | self._own_faults.keys()

    def attach(self, send: Callable[[bytes], None]) -> None:
        """Take the function that sends a message to the host."""
        self.outlet.attach(send)
        self.box.attach(lambda frame: send(self._encode(frame)))

    def serve(self, frame: bytes) -> None:
        """Take one frame of the host and send what answers it."""
        fault = self._draw(frame) if self.plan.active else None
        if fault is not None and fault in self._own_faults:
            self._own_faults[fault]()
            fault = None
        if fault == "stall" or (fault in _LOSES_REQUESTS and self.plan.random.random() < 0.5):
            return  # lost on the way here, rather than on the way back
        if fault in DEVICE_FAULTS:
            frames, rest = self._mischief.serve(fault, frame)
            messages = [self._encode(each) for each in frames]
            if rest:
                messages.append(self._encode(rest)[: len(rest) // 2])
            self.outlet.deliver(messages, None)
        else:
            self.outlet.deliver([self._encode(each) for each in self.box.feed(frame)], fault)

    def _draw(self, data: bytes) -> str | None:
        frame = read_frame(data)
        if frame is None or frame.kind != REQ:
            return None
        return self.plan.draw(NAMES.get(frame.operation, "?"))
