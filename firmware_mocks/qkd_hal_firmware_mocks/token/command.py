"""``qkd-hal-mock token``: the key token on USB/IP, or in vsmartcard's virtual reader."""

from __future__ import annotations

import random
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import click

from qkd_hal_firmware_mocks.lifetime import announce, ending, life_options
from qkd_hal_firmware_mocks.token.applet import KeyApplet
from qkd_hal_firmware_mocks.token.ccid import CcidToken
from qkd_hal_firmware_mocks.token.faults import Fault, FaultPlan, FaultyCard
from qkd_hal_firmware_mocks.token.medium import FileMedium, MemoryMedium
from qkd_hal_firmware_mocks.token.model import DEFAULT_SERIAL_NUMBER, Model
from qkd_hal_firmware_mocks.token.state import MediumError
from qkd_hal_firmware_mocks.token.vpcd import DEFAULT_PORT, VpcdCard
from qkd_hal_firmware_mocks.usb.usbip import UsbIpServer

if TYPE_CHECKING:
    from qkd_hal_firmware_mocks.token.state import Medium

__all__ = ["token"]

_PORT = click.IntRange(0, 65535)
_FILE = click.Path(path_type=Path, dir_okay=False)


@click.command()
@click.option("--usbip", type=_PORT, help="Serve USB/IP at this port; 0 picks one.")
@click.option("--vpcd", type=_PORT, help=f"Enter vpcd's reader at this port ({DEFAULT_PORT}).")
@click.option("--state", type=_FILE, help="Keep keys and PIN here, 0600; else in memory.")
@click.option("--serial", default=DEFAULT_SERIAL_NUMBER, show_default=True, help="Serial number.")
@click.option("--fault", "faults", multiple=True, metavar="NAME[@INS]", help="Repeat for more.")
@click.option("--fault-rate", type=click.FloatRange(0, 1), default=0.0, help="Chance per command.")
@click.option("--seed", type=int, default=1, show_default=True, help="Of the faults by chance.")
@life_options
def token(
    usbip: int | None,
    vpcd: int | None,
    state: Path | None,
    serial: str,
    faults: tuple[str, ...],
    fault_rate: float,
    seed: int,
    ready_file: Path | None,
    die_with_parent: bool,
) -> None:
    """Run a key token.

    A fault befalls the next command, or the next with the instruction byte INS, as in
    cut-after@1C: the power goes when CONFIRM is done and before its answer.
    """
    if (usbip is None) == (vpcd is None):
        raise click.UsageError("say --usbip PORT or --vpcd PORT")
    plan = FaultPlan(map(_fault, faults), rng=random.Random(seed), rate=fault_rate)  # noqa: S311
    with ExitStack() as stack:
        model = Model(serial_number=serial)
        card = FaultyCard(KeyApplet(_medium(state, stack), model), plan)
        fields: dict[str, object] = {"device": "token", "serial_number": serial}
        if usbip is not None:
            fields |= _on_usbip(CcidToken(card, model, plan), usbip, stack)
        else:
            fields |= _in_reader(card, vpcd or DEFAULT_PORT, stack)
        stop = stack.enter_context(ending(with_parent=die_with_parent))
        announce(fields, ready_file)
        stop.wait()


def _medium(path: Path | None, stack: ExitStack) -> Medium:
    if path is None:
        return MemoryMedium()
    try:
        return stack.enter_context(FileMedium(path))
    except (MediumError, OSError) as error:
        raise click.ClickException(str(error)) from None


def _on_usbip(device: CcidToken, port: int, stack: ExitStack) -> dict[str, object]:
    server = stack.enter_context(UsbIpServer(device, port=port))
    device.power_cut = server.unplug
    return {"usbip": f"127.0.0.1:{server.port}"}


def _in_reader(card: FaultyCard, port: int, stack: ExitStack) -> dict[str, object]:
    try:
        stack.enter_context(VpcdCard(card, port))
    except OSError as error:
        fault = f"no virtual reader listens at port {port}: {error.strerror}"
        raise click.ClickException(f"{fault}. Start pcscd with vsmartcard's vpcd") from None
    return {"vpcd": f"127.0.0.1:{port}"}


def _fault(text: str) -> tuple[Fault, int | None]:
    name, _, instruction = text.partition("@")
    try:
        return Fault(name), int(instruction, 16) if instruction else None
    except ValueError:
        known = ", ".join(fault.value for fault in Fault)
        raise click.BadParameter(f"{text!r} is no fault; known are {known}") from None
