"""Keys from files: ``filekey:/media/keys?site=alice&peer=bob``, equal copies at both sites."""

import os
from pathlib import Path

from qkd_hal.errors import DeviceNotFoundError, KeyNotFoundError, KeysExhaustedError
from qkd_hal.keys import KeyId, Origin, Provenance, check_name
from qkd_hal.registry import DeviceURL
from qkd_hal.sources import Agreement, Capability, Deadline, DeviceInfo, DeviceStatus, Slot


class FileKeyDriver:
    def __init__(self, url: DeviceURL) -> None:
        site, self.peer = (check_name(url.query.get(end, "")) for end in ("site", "peer"))
        self.ours, self.theirs = Path(url.path, site), Path(url.path, self.peer)

    def open(self, deadline: Deadline) -> DeviceInfo:
        if not self.ours.is_dir():
            raise DeviceNotFoundError(f"no key directory {self.ours}", cure="Insert the medium")
        self.fresh = list(self.ours.glob("*.key"))
        can = frozenset({Capability.LOOK_UP, Capability.EXTRACT, Capability.RESERVE_AHEAD})
        origin, site = Provenance(Origin.UNKNOWN), self.ours.name
        return DeviceInfo("Example", "filekey", site, "0.1.0", can, origin, site, (self.peer,))

    def close(self) -> None: ...

    def status(self, deadline: Deadline) -> DeviceStatus:
        return DeviceStatus(stored_keys=len(self.fresh))

    def reserve(self, peer: str, size: int | None, count: int, deadline: Deadline) -> list[Slot]:
        fit = [file for file in self.fresh if file.stat().st_size == size][:count]
        if peer != self.peer or len(fit) < count:
            raise KeysExhaustedError(f"fewer than {count} keys of {size} bytes for {peer}")
        self.fresh = [file for file in self.fresh if file not in fit]
        return [Slot(KeyId.parse(file.stem), peer, size, bytes(file)) for file in fit]

    def bind(self, peer: str, key_id: KeyId, deadline: Deadline) -> Slot:
        file = self.theirs / f"{key_id}.key"
        if peer != self.peer or not file.is_file():
            raise KeyNotFoundError("unknown or taken", key_id=key_id)
        return Slot(key_id, peer, file.stat().st_size, bytes(file))

    def agree(self, slot: Slot, deadline: Deadline) -> Agreement:
        return Agreement.UNCHECKED

    def fetch(self, slot: Slot, out: memoryview, deadline: Deadline) -> None:
        file = Path(os.fsdecode(slot.handle))
        try:
            out[:] = file.rename(file.with_suffix(".taken")).read_bytes()
        except FileNotFoundError:  # another process was faster
            raise KeyNotFoundError("taken", key_id=slot.key_id) from None

    def confirm(self, slot: Slot, deadline: Deadline) -> None:
        file = Path(os.fsdecode(slot.handle)).with_suffix(".taken")
        if file.exists():
            with file.open("r+b") as taken:
                taken.write(bytes(slot.size or 0))
                os.fsync(taken.fileno())
            file.unlink()
