"""qkd-hal: any quantum key distribution device behind five calls.

::

    import qkd_hal

    with qkd_hal.open_device("bb84+tcp://127.0.0.1:7101?credential=alice/client.curve") as device:
        session = device.start(peer="bob", size=32)
        session.connect()
        key = session.get_key(32)

Names load on first use: importing the package loads no driver and no heavy library.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from qkd_hal import aio as aio
    from qkd_hal.config import Configuration, load_configuration
    from qkd_hal.device import DeviceKeySource, Event, EventKind, QKDDevice, QKDSession
    from qkd_hal.discovery import DiscoveredDevice, discover
    from qkd_hal.errors import (
        AuthenticationError,
        ConfigurationError,
        DeadlineError,
        DeviceBusyError,
        DeviceClosedError,
        DeviceError,
        DeviceLostError,
        DeviceNotFoundError,
        DevicePermissionError,
        DistillationError,
        KeyConsumedError,
        KeyMaterialError,
        KeyMismatchError,
        KeyNotFoundError,
        KeysExhaustedError,
        LinkError,
        MissingExtraError,
        NoSecretKeyError,
        PadExhaustedError,
        PolicyError,
        ProtocolError,
        QBERError,
        QKDError,
        StateError,
        StoreError,
        TLSError,
        UnsupportedError,
        UsageError,
        VerificationError,
    )
    from qkd_hal.hotplug import Changed, Plugged, Unplugged, watch_devices
    from qkd_hal.instruments import open_detection_source, open_entropy_source
    from qkd_hal.keys import KeyId, KeyRef, Origin, Provenance, QuantumKey
    from qkd_hal.registry import open_device
    from qkd_hal.sources import (
        Agreement,
        Alarm,
        Capability,
        DeviceInfo,
        DeviceStatus,
        KeyDriver,
        KeySource,
        Reservation,
    )

__version__ = "0.1.0"

_HOMES = {
    "qkd_hal.config": ("Configuration", "load_configuration"),
    "qkd_hal.device": ("DeviceKeySource", "Event", "EventKind", "QKDDevice", "QKDSession"),
    "qkd_hal.discovery": ("DiscoveredDevice", "discover"),
    "qkd_hal.errors": (
        "AuthenticationError",
        "ConfigurationError",
        "DeadlineError",
        "DeviceBusyError",
        "DeviceClosedError",
        "DeviceError",
        "DeviceLostError",
        "DeviceNotFoundError",
        "DevicePermissionError",
        "DistillationError",
        "KeyConsumedError",
        "KeyMaterialError",
        "KeyMismatchError",
        "KeyNotFoundError",
        "KeysExhaustedError",
        "LinkError",
        "MissingExtraError",
        "NoSecretKeyError",
        "PadExhaustedError",
        "PolicyError",
        "ProtocolError",
        "QBERError",
        "QKDError",
        "StateError",
        "StoreError",
        "TLSError",
        "UnsupportedError",
        "UsageError",
        "VerificationError",
    ),
    "qkd_hal.instruments": ("open_detection_source", "open_entropy_source"),
    "qkd_hal.hotplug": ("Changed", "Plugged", "Unplugged", "watch_devices"),
    "qkd_hal.keys": ("KeyId", "KeyRef", "Origin", "Provenance", "QuantumKey"),
    "qkd_hal.registry": ("open_device",),
    "qkd_hal.sources": (
        "Agreement",
        "Alarm",
        "Capability",
        "DeviceInfo",
        "DeviceStatus",
        "KeyDriver",
        "KeySource",
        "Reservation",
    ),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}

__all__ = [
    "Agreement",
    "Alarm",
    "AuthenticationError",
    "Capability",
    "Changed",
    "Configuration",
    "ConfigurationError",
    "DeadlineError",
    "DeviceBusyError",
    "DeviceClosedError",
    "DeviceError",
    "DeviceInfo",
    "DeviceKeySource",
    "DeviceLostError",
    "DeviceNotFoundError",
    "DevicePermissionError",
    "DeviceStatus",
    "DiscoveredDevice",
    "DistillationError",
    "Event",
    "EventKind",
    "KeyConsumedError",
    "KeyDriver",
    "KeyId",
    "KeyMaterialError",
    "KeyMismatchError",
    "KeyNotFoundError",
    "KeyRef",
    "KeySource",
    "KeysExhaustedError",
    "LinkError",
    "MissingExtraError",
    "NoSecretKeyError",
    "Origin",
    "PadExhaustedError",
    "Plugged",
    "PolicyError",
    "ProtocolError",
    "Provenance",
    "QBERError",
    "QKDDevice",
    "QKDError",
    "QKDSession",
    "QuantumKey",
    "Reservation",
    "StateError",
    "StoreError",
    "TLSError",
    "Unplugged",
    "UnsupportedError",
    "UsageError",
    "VerificationError",
    "__version__",
    "discover",
    "load_configuration",
    "open_detection_source",
    "open_device",
    "open_entropy_source",
    "watch_devices",
]


def __getattr__(name: str) -> object:
    if name == "aio":
        return importlib.import_module("qkd_hal.aio")
    if name not in _HOME_OF:
        raise AttributeError(f"module 'qkd_hal' has no attribute {name!r}")
    value: object = getattr(importlib.import_module(_HOME_OF[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOME_OF, "aio"})
