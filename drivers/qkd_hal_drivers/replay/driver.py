"""The driver of a recorded device: every call is answered as it was, in the same order."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from qkd_hal.errors import ConfigurationError
from qkd_hal.keys import Origin, Provenance
from qkd_hal.recording import calls, codec, pseudonym
from qkd_hal.sources import Agreement
from qkd_hal_drivers.replay.keys import derived_stand_in, stand_in
from qkd_hal_drivers.replay.script import Script

if TYPE_CHECKING:
    from collections.abc import Mapping

    from qkd_hal.device_url import DeviceURL
    from qkd_hal.keys import KeyId
    from qkd_hal.sources import Deadline, DeviceInfo, DeviceStatus, Slot

__all__ = ["ReplayDriver"]


class ReplayDriver:
    """A :class:`~qkd_hal.sources.KeyDriver` over the recording that *url* names.

    Its keys are stand-ins that anybody can compute, and it says that it is simulated. Every
    hook raises :class:`~qkd_hal.errors.ProtocolError` with the line where the recording has
    another call next.
    """

    def __init__(self, url: DeviceURL) -> None:
        if url.authority or url.query or not Path(url.path).name:
            raise ConfigurationError(f"{url} names no recording", cure="Write replay:///PATH")
        self._script = Script(Path(url.path), device=url.text)
        self._recorded_names: dict[KeyId, KeyId] = {}
        self._read: defaultdict[KeyId, int] = defaultdict(int)

    def open(self, deadline: Deadline) -> DeviceInfo:
        """Say what the recorded device was; where it derives, :meth:`derive` answers."""
        self._script.load()
        info = self._script.answer("open", {}, codec.info_from_json)
        return replace(info, provenance=Provenance(Origin.SIMULATED, info.provenance.trusted_nodes))

    def close(self) -> None:
        """Nothing is open."""

    def status(self, deadline: Deadline) -> DeviceStatus:
        """Report as recorded."""
        return self._script.answer("status", {}, codec.status_from_json)

    def reserve(self, peer: str, size: int | None, count: int, deadline: Deadline) -> list[Slot]:
        """Reserve as recorded; the keys have their pseudonyms for IDs."""
        arguments = calls.reserve_arguments(peer, size, count)
        return self._script.answer("reserve", arguments, codec.slots_from_json)

    def bind(self, peer: str, key_id: KeyId, deadline: Deadline) -> Slot:
        """Bind as recorded; the peer may name the key by its ID or by its pseudonym."""
        name = pseudonym(key_id)
        if self._script.next_is("bind", calls.bind_arguments(peer, key_id)):
            name = key_id
        self._recorded_names[key_id] = name
        arguments = calls.bind_arguments(peer, name)
        return replace(self._script.answer("bind", arguments, codec.slot_from_json), key_id=key_id)

    def agree(self, slot: Slot, deadline: Deadline) -> Agreement:
        """Agree as recorded."""
        return self._script.answer("agree", self._slot_arguments(slot), Agreement)

    def fetch(self, slot: Slot, out: memoryview, deadline: Deadline) -> None:
        """Fill *out* with what stands in for the recorded key."""
        named = self._named(slot)
        self._script.answer("fetch", calls.fetch_arguments(named, len(out)), lambda _: None)
        begin = 0 if slot.size is not None else self._read[slot.key_id]
        self._read[slot.key_id] = begin + len(out)
        out[:] = stand_in(named.key_id, begin, len(out))

    def confirm(self, slot: Slot, deadline: Deadline) -> None:
        """Confirm as recorded."""
        self._script.answer("confirm", self._slot_arguments(slot), lambda _: None)

    def derive(self, slot: Slot, label: bytes, size: int, deadline: Deadline) -> bytearray:
        """Derive from what stands in for the recorded key."""
        named = self._named(slot)
        arguments = calls.derive_arguments(named, label, size)
        self._script.answer("derive", arguments, lambda _: None)
        return derived_stand_in(named.key_id, slot.size or 0, label, size)

    def _slot_arguments(self, slot: Slot) -> Mapping[str, object]:
        return calls.slot_arguments(self._named(slot))

    def _named(self, slot: Slot) -> Slot:
        return replace(slot, key_id=self._recorded_names.get(slot.key_id, slot.key_id))
