"""``qkd-hal-mock token``: the key token on USB/IP, or in vsmartcard's virtual reader."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import click

from qkd_hal_firmware_mocks.faults import FaultPlan, FaultSpecError
from qkd_hal_firmware_mocks.lifetime import announce, ending, life_options
from qkd_hal_firmware_mocks.token.applet import KeyApplet
from qkd_hal_firmware_mocks.token.ccid import CcidToken
from qkd_hal_firmware_mocks.token.control import Control
from qkd_hal_firmware_mocks.token.faults import CARD_FAULTS, Fault
from qkd_hal_firmware_mocks.token.medium import FileMedium, MemoryMedium
from qkd_hal_firmware_mocks.token.mischief import FaultyCard
from qkd_hal_firmware_mocks.token.model import DEFAULT_SERIAL_NUMBER, Model
from qkd_hal_firmware_mocks.token.sockets import OnUsbIp, VirtualReader
from qkd_hal_firmware_mocks.token.state import MediumError
from qkd_hal_firmware_mocks.token.vpcd import DEFAULT_PORT

if TYPE_CHECKING:
    from collections.abc import Iterable

    from qkd_hal_firmware_mocks.token.state import Medium

__all__ = ["token"]

_PORT = click.IntRange(0, 65535)
_FILE = click.Path(path_type=Path, dir_okay=False)


@click.command()
@click.option("--usbip", type=_PORT, help="Serve USB/IP at this port; 0 picks one.")
@click.option("--vpcd", type=_PORT, help=f"Enter vpcd's reader at this port ({DEFAULT_PORT}).")
@click.option("--state", type=_FILE, help="Keep keys and PIN here, 0600; else in memory.")
@click.option("--serial", default=DEFAULT_SERIAL_NUMBER, show_default=True, help="Serial number.")
@click.option("--faults", help="seed=7,rate=0.05[,only=A+B] or drop,-,cut-after@CONFIRM.")
@click.option("--control", is_flag=True, help="Obey lines of JSON on standard input.")
@life_options
def token(
    usbip: int | None,
    vpcd: int | None,
    state: Path | None,
    serial: str,
    faults: str | None,
    control: bool,
    ready_file: Path | None,
    die_with_parent: bool,
) -> None:
    """Run a key token."""
    if (usbip is None) == (vpcd is None):
        raise click.UsageError("say --usbip PORT or --vpcd PORT")
    known = [fault.value for fault in (CARD_FAULTS if usbip is None else Fault)]
    plan = _plan(faults, known)
    with ExitStack() as stack:
        applet = KeyApplet(_medium(state, stack), Model(serial_number=serial))
        socket: OnUsbIp | VirtualReader
        if usbip is not None:
            socket = stack.enter_context(OnUsbIp(CcidToken(applet, plan), usbip))
        else:
            socket = _in_reader(FaultyCard(applet, plan), vpcd or DEFAULT_PORT, stack)
        orders = Control(socket, plan, known)

        def obey(line: bytes) -> None:
            click.echo(orders.obey(line))

        hear = obey if control else None
        stop = stack.enter_context(ending(with_parent=die_with_parent, hear=hear))
        announce({"device": "token", "serial_number": serial, **socket.place}, ready_file)
        stop.wait()


def _plan(text: str | None, known: Iterable[str]) -> FaultPlan:
    if text is None:
        return FaultPlan()
    try:
        return FaultPlan.parse(text, known)
    except FaultSpecError as error:
        raise click.BadParameter(str(error)) from None


def _medium(path: Path | None, stack: ExitStack) -> Medium:
    if path is None:
        return MemoryMedium()
    try:
        return stack.enter_context(FileMedium(path))
    except (MediumError, OSError) as error:
        raise click.ClickException(str(error)) from None


def _in_reader(card: FaultyCard, port: int, stack: ExitStack) -> VirtualReader:
    try:
        return stack.enter_context(VirtualReader(card, port))
    except OSError as error:
        fault = f"no virtual reader listens at port {port}: {error.strerror}"
        raise click.ClickException(f"{fault}. Start pcscd with vsmartcard's vpcd") from None
