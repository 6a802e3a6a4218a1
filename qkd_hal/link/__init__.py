"""The protocol between the two sites of a link: blocks stored, leases, voids, reconciliation.

Without I/O: :mod:`qkd_hal.pool` brings the store, the sockets and the threads.
"""

from qkd_hal.link.channel import SecureChannel, key_id_secret
from qkd_hal.link.messages import Message, decode, encode
from qkd_hal.link.owner import SpaceOwner
from qkd_hal.link.ranges import RangeSet
from qkd_hal.link.records import BlockRecord, BlockState, Space, SpaceRecord
from qkd_hal.link.responder import SpaceResponder

__all__ = [
    "BlockRecord",
    "BlockState",
    "Message",
    "RangeSet",
    "SecureChannel",
    "Space",
    "SpaceOwner",
    "SpaceRecord",
    "SpaceResponder",
    "decode",
    "encode",
    "key_id_secret",
]
