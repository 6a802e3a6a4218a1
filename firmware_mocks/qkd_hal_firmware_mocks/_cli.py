"""``qkd-hal-mock``: devices without hardware, each a process that any language can talk to.

A table of names, lines of help and modules; a module is imported when its device is started.
"""

from __future__ import annotations

import importlib

import click

__all__ = ["main"]

_DEVICES: dict[str, tuple[str, str]] = {
    "serial": (
        "qkd_hal_firmware_mocks.boxlink.command:serial",
        "QKD boxes on serial lines: pseudo-terminals or TCP.",
    ),
    "usb": (
        "qkd_hal_firmware_mocks.boxlink.command:usb",
        "QKD boxes on USB, over USB/IP.",
    ),
    "quantis": (
        "qkd_hal_firmware_mocks.quantis.command:quantis",
        "ID Quantique Quantis USB random generator, over USB/IP.",
    ),
    "tdc1": (
        "qkd_hal_firmware_mocks.tdc1.command:tdc1",
        "S-Fifteen TDC1 time-stamp unit on a pseudo-terminal.",
    ),
    "token": (
        "qkd_hal_firmware_mocks.token.command:token",
        "Key token: a smart card's applet on USB/IP, or in a virtual PC/SC reader.",
    ),
}
"""Name → (``module:command``, the line that ``--help`` shows)."""


class _Devices(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        """Names in the table's order."""
        return list(_DEVICES)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the device *cmd_name*; ``None`` where there is none of that name."""
        if cmd_name not in _DEVICES:
            return None
        module, _, attribute = _DEVICES[cmd_name][0].partition(":")
        command: click.Command = getattr(importlib.import_module(module), attribute)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the table's lines; click's own would import every device."""
        with formatter.section("Devices"):
            formatter.write_dl([(name, line) for name, (_, line) in _DEVICES.items()])


@click.group(
    name="qkd-hal-mock",
    cls=_Devices,
    context_settings={"help_option_names": ["-h", "--help"]},
)
def main() -> None:
    """Firmware mocks: boxes, tokens and instruments to try a driver against."""
