"""From a stable code on a wire or in a file to its class."""

from __future__ import annotations

from qkd_hal.errors import DeviceError, QKDError

__all__ = ["class_of"]


def class_of(code: str) -> type[QKDError]:
    """Return the class with this stable code; a code of a later version is a device fault."""
    return _BY_CODE.get(code, DeviceError)


def _tree(root: type[QKDError]) -> dict[str, type[QKDError]]:
    found = {root.code: root}
    for child in root.__subclasses__():
        found |= _tree(child)
    return found


_BY_CODE = _tree(QKDError)
