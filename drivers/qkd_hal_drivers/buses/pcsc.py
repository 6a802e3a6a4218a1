"""Card readers as the PC/SC service shows them, without a connection to any card.

A card is told by the reader's name and by the bytes that it answers to its reset. Any other
card may hold the applet as well, so that its reader is listed as unknown.
"""

from __future__ import annotations

import importlib.util
from contextlib import contextmanager
from typing import TYPE_CHECKING
from urllib.parse import quote

from qkd_hal.discovery import DiscoveredDevice
from qkd_hal.keys import Origin, Provenance
from qkd_hal_drivers.buses.obstacles import NONE, Obstacle, first
from qkd_hal_drivers.buses.usb import APPLET_PRODUCT

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["discover"]

_EMULATED = b"QKDHAL"  # in the answer to reset of the emulator of docs/key-token.md


def discover() -> list[DiscoveredDevice]:
    """List the readers; none where the extra ``pcsc`` is missing: most machines need it not."""
    if importlib.util.find_spec("smartcard") is None:
        return []
    from smartcard import scard

    with _service() as service:
        if service is None:
            return [_no_service()]
        outcome, readers = scard.SCardListReaders(service, [])
        return [_entry(service, reader) for reader in readers] if outcome == 0 else []


@contextmanager
def _service() -> Iterator[int | None]:
    from smartcard import scard

    outcome, service = scard.SCardEstablishContext(scard.SCARD_SCOPE_USER)
    if outcome != scard.SCARD_S_SUCCESS:
        yield None
        return
    try:
        yield service
    finally:
        scard.SCardReleaseContext(service)


def _no_service() -> DiscoveredDevice:
    obstacle = Obstacle("the PC/SC service does not run", "Run as root: systemctl start pcscd")
    return _described("", "PC/SC", obstacle, known=False)


def _entry(service: int, reader: str) -> DiscoveredDevice:
    from smartcard import scard

    asked = [(reader, scard.SCARD_STATE_UNAWARE)]
    outcome, states = scard.SCardGetStatusChange(service, 0, asked)
    _, state, reset = states[0] if outcome == 0 else (reader, 0, [])
    emulated = _EMULATED in bytes(reset)
    named = APPLET_PRODUCT in reader and state & scard.SCARD_STATE_PRESENT
    return _described(
        f"token+pcsc:///{quote(reader, safe='')}",
        reader,
        first(_no_card(state), _in_use(state)),
        known=emulated or bool(named),
        emulated=emulated,
        change_token=f"pcsc-{reader}-{state >> 16}",
    )


def _no_card(state: int) -> Obstacle:
    from smartcard import scard

    if state & scard.SCARD_STATE_MUTE:
        return Obstacle("the card in this reader does not answer", "Insert it the right way up")
    if not state & scard.SCARD_STATE_PRESENT:
        return Obstacle("no card is in this reader", "Insert the token")
    return NONE


def _in_use(state: int) -> Obstacle:
    from smartcard import scard

    if state & scard.SCARD_STATE_EXCLUSIVE:
        return Obstacle("another program has the card for itself", "Close that program")
    return NONE


def _described(
    url: str,
    model: str,
    obstacle: Obstacle,
    *,
    known: bool,
    emulated: bool = False,
    change_token: str = "",
) -> DiscoveredDevice:
    return DiscoveredDevice(
        url=url,
        vendor="",
        model=model,
        serial_number="",
        provenance=Provenance(Origin.SIMULATED if emulated else Origin.UNKNOWN),
        usable=obstacle == NONE,
        reason=obstacle.reason,
        cure=obstacle.cure,
        change_token=change_token,
        known=known,
    )
