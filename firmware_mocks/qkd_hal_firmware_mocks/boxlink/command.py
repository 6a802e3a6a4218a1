"""``qkd-hal-mock serial`` and ``usb``: boxes that any language can talk to."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from qkd_hal_firmware_mocks.boxlink.byte_line import BoxLine
from qkd_hal_firmware_mocks.boxlink.process import Options, Outside, run_boxes
from qkd_hal_firmware_mocks.boxlink.server import BOX_FAULTS
from qkd_hal_firmware_mocks.boxlink.settings import STREAM_CHUNK, USB_CHUNK
from qkd_hal_firmware_mocks.boxlink.usb import USB_FAULTS, BoxUsb
from qkd_hal_firmware_mocks.lifetime import life_options
from qkd_hal_firmware_mocks.ports import pty_port, tcp_port
from qkd_hal_firmware_mocks.usb.cdc_acm import CdcAcm
from qkd_hal_firmware_mocks.usb.usbip import BUS_ID, UsbIpServer

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import ExitStack

    from qkd_hal_firmware_mocks.boxlink.box import BoxFirmware
    from qkd_hal_firmware_mocks.boxlink.server import BoxServer
    from qkd_hal_firmware_mocks.faults import FaultPlan
    from qkd_hal_firmware_mocks.usb.function import UsbFunction

__all__ = ["serial", "usb"]

_ENDS = ("alice", "bob")
_VENDOR = 0x1209  # pid.codes, whose first products are for tests


def _box_options(command: Callable[..., None]) -> Callable[..., None]:
    for option in (
        click.option("--control", is_flag=True, help="Obey lines of JSON on standard input."),
        click.option("--faults", help="seed=7,rate=0.05[,only=A+B] or drop,-,corrupt@FETCH."),
        click.option("--seed", type=int, help="Replay the keys; for tests."),
        click.option("--keys", default=1 << 20, show_default=True, help="Of 32 bytes, each way."),
        click.option("--sync", is_flag=True, help="Survive a power cut, not only a kill."),
        click.option("--state", type=click.Path(path_type=Path, file_okay=False), help="0700."),
        click.option("--pair", is_flag=True, help="Serve both boxes, not Alice's alone."),
    ):
        command = option(command)
    return life_options(command)


@click.command()
@click.option("--tcp", metavar="HOST:PORT", help="Instead of a pseudo-terminal; Bob's is PORT+1.")
@click.option("--link", type=click.Path(path_type=Path), help="Name of Alice's pseudo-terminal.")
@_box_options
def serial(tcp: str | None, link: Path | None, **options: Any) -> None:
    """Run serial boxes that share keys, on pseudo-terminals or TCP."""

    def serve(stack: ExitStack, box: BoxFirmware, plan: FaultPlan, home: Path) -> Outside:
        line, number = BoxLine(box, plan), _ENDS.index(box.settings.site)
        name = link.absolute() if link and number == 0 else home / box.settings.site
        port = tcp_port(line, *_address(tcp, number)) if tcp else pty_port(line, name)
        stack.callback(port.unplug)
        return Outside(line.server, port.url, port.unplug, port.plug)

    chosen = Options(**options)
    run_boxes("serial", serve, chosen, max_chunk=STREAM_CHUNK, known_faults=BOX_FAULTS)


@click.command()
@click.option("--usbip", metavar="[HOST:]PORT", default="0", show_default=True, help="Bob's: +1.")
@click.option("--acm", is_flag=True, help="As USB serial ports, not with the vendor interface.")
@_box_options
def usb(usbip: str, acm: bool, **options: Any) -> None:
    """Run USB boxes that share keys, for a kernel's vhci-hcd by USB/IP."""

    def serve(stack: ExitStack, box: BoxFirmware, plan: FaultPlan, _: Path) -> Outside:
        number = _ENDS.index(box.settings.site)
        host, port = _address(usbip if ":" in usbip else f"127.0.0.1:{usbip}", number)
        function, server = _usb_function(box, plan, product=1 + number, acm=acm)
        export = stack.enter_context(UsbIpServer(function, host, port))
        url = f"usb://{_VENDOR:04x}:{1 + number:04x}/{box.settings.serial}"
        place = {"usbip": f"{host}:{export.port}", "bus_id": BUS_ID}
        return Outside(server, url, export.unplug, place=place)

    known = BOX_FAULTS if acm else BOX_FAULTS | USB_FAULTS
    chunk = STREAM_CHUNK if acm else USB_CHUNK
    run_boxes("usb", serve, Options(**options), max_chunk=chunk, known_faults=known)


def _usb_function(
    box: BoxFirmware, plan: FaultPlan, *, product: int, acm: bool
) -> tuple[UsbFunction, BoxServer]:
    settings = box.settings
    if not acm:
        vendor_interface = BoxUsb(box, plan, vendor=_VENDOR, product=product)
        return vendor_interface, vendor_interface.server
    line, names = BoxLine(box, plan), (settings.vendor, settings.model, settings.serial)
    return (
        CdcAcm(line, vendor=_VENDOR, product=product, names=names, interface="boxlink"),
        line.server,
    )


def _address(text: str, number: int) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    if not host or not port.isdigit() or int(port) > 65534:
        raise click.UsageError(f"{text!r} is not HOST:PORT")
    return host, int(port) + number if int(port) else 0
