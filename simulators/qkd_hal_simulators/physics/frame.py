"""The light of one frame of pulses, and its bytes on the quantum channel.

Only pulses that hold photons are listed; intensities never are, since no measurement of
one pulse reveals them. Layout (big-endian header, then two arrays)::

    4 magic "QPF1" | 8 first pulse | 4 pulse count | 4 lit pulses | 1 gap width (1, 2 or 4)
    gap width * lit  gaps, little-endian: index of the first lit pulse, then the distance
    1 * lit          states: photons << 2 | basis << 1 | bit

"""

from __future__ import annotations

import struct
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from qkd_hal.errors import ProtocolError
from qkd_hal_simulators.physics.gaps import GAP_WIDTHS, pack_gaps, unpack_gaps

__all__ = ["MAX_FRAME_BYTES", "MAX_FRAME_PULSES", "MAX_PHOTONS", "PhotonFrame"]

MAX_PHOTONS = 15  # per pulse; P(n > 15) is below 1e-13 for mean photon numbers up to 1
MAX_FRAME_PULSES = 1 << 22  # bounds what one message can make a receiver allocate
_HEADER = struct.Struct(">4sQIIB")
_MAGIC = b"QPF1"
MAX_FRAME_BYTES = _HEADER.size + 5 * MAX_FRAME_PULSES
_MAX_FIRST_PULSE = (1 << 63) - 1 - MAX_FRAME_PULSES


@dataclass(frozen=True, slots=True, eq=False)
class PhotonFrame:
    """Light in pulses ``[first_pulse, first_pulse + pulse_count)``.

    ``lit``: int64 indices within the frame of pulses with photons, rising; ``states``:
    ``photons << 2 | basis << 1 | bit`` of each.
    """

    first_pulse: int
    pulse_count: int
    lit: NDArray[np.int64]
    states: NDArray[np.uint8]

    @property
    def photons(self) -> NDArray[np.uint8]:
        """Photon number of each lit pulse, at least 1."""
        return self.states >> np.uint8(2)

    @property
    def bases(self) -> NDArray[np.uint8]:
        """0 = X, 1 = Z."""
        return self.states >> np.uint8(1) & np.uint8(1)

    @property
    def bits(self) -> NDArray[np.uint8]:
        """The bit that the polarisation encodes."""
        return self.states & np.uint8(1)

    def to_bytes(self) -> bytes:
        """Return the frame as it crosses the quantum channel."""
        width, gaps = pack_gaps(self.lit)
        header = _HEADER.pack(_MAGIC, self.first_pulse, self.pulse_count, self.lit.size, width)
        return header + gaps + self.states.tobytes()

    @classmethod
    def from_bytes(cls, raw: bytes | memoryview) -> PhotonFrame:
        """Read a frame.

        Raises:
            ProtocolError: the bytes are not exactly one frame.
        """
        first_pulse, pulse_count, lit_count, width = _read_header(raw)
        if len(raw) != _HEADER.size + (width + 1) * lit_count:
            raise ProtocolError("a photon frame's length does not match its header")
        lit = unpack_gaps(raw, width=width, count=lit_count, offset=_HEADER.size, span=pulse_count)
        states = np.frombuffer(raw, np.uint8, lit_count, _HEADER.size + width * lit_count)
        if lit_count and not 4 <= states.min() <= states.max() < 4 * (MAX_PHOTONS + 1):
            raise ProtocolError("a photon frame lists an impossible photon number")
        return cls(first_pulse, pulse_count, lit, states)


def _read_header(raw: bytes | memoryview) -> tuple[int, int, int, int]:
    if len(raw) < _HEADER.size:
        raise ProtocolError("a photon frame is shorter than its header")
    magic, first_pulse, pulse_count, lit_count, width = _HEADER.unpack_from(raw)
    if magic != _MAGIC:
        raise ProtocolError(
            "not a photon frame of version 1", cure="Light is on the line with --sampler per-pulse"
        )
    counts = lit_count <= pulse_count <= MAX_FRAME_PULSES and pulse_count > 0
    if not counts or first_pulse > _MAX_FIRST_PULSE or width not in GAP_WIDTHS[:3]:
        raise ProtocolError("a photon frame's header is out of bounds")
    return first_pulse, pulse_count, lit_count, width
