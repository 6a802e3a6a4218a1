"""A process that is one box or a pair: what the commands share."""

from __future__ import annotations

import tempfile
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import quote

import click

from qkd_hal_firmware_mocks.boxlink.control import Control
from qkd_hal_firmware_mocks.boxlink.pair import BoxPair, make_settings
from qkd_hal_firmware_mocks.boxlink.state import StateError, open_state, read_psk
from qkd_hal_firmware_mocks.faults import FaultPlan, FaultSpecError
from qkd_hal_firmware_mocks.lifetime import announce, ending

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from qkd_hal_firmware_mocks.boxlink.box import BoxFirmware
    from qkd_hal_firmware_mocks.boxlink.server import BoxServer

    Serve = Callable[[ExitStack, BoxFirmware, FaultPlan, Path], "Outside"]

__all__ = ["Options", "Outside", "run_boxes"]

_KEY_BYTES = 32


def _nothing() -> None:
    """A device that comes back when its bus asks for it."""


class Outside(NamedTuple):
    """A box as a host finds it: what serves it, where, its plug, and more about the place."""

    server: BoxServer
    url: str
    unplug: Callable[[], None] = _nothing
    plug: Callable[[], None] = _nothing
    place: Mapping[str, str] = {}


@dataclass(frozen=True, slots=True)
class Options:
    """What the commands' options say; `command` has their meaning."""

    pair: bool
    state: Path | None
    sync: bool
    keys: int
    seed: int | None
    faults: str | None
    control: bool
    ready_file: Path | None
    die_with_parent: bool


def run_boxes(
    device: str, serve: Serve, options: Options, *, max_chunk: int, known_faults: Iterable[str]
) -> None:
    """Run until told to end. *serve* brings one box to where a host finds it."""
    servers: dict[str, BoxServer] = {}
    orders = Control(servers)

    def obey(line: bytes) -> None:
        click.echo(orders.obey(line))

    with ExitStack() as stack:
        hear = obey if options.control else None
        stop = stack.enter_context(ending(with_parent=options.die_with_parent, hear=hear))
        ends: dict[str, Any] = {}
        try:
            home = _home(stack, options.state)
            for box in _boxes(stack, home, options, max_chunk):
                plan = _plan(options.faults, known_faults)
                outside = serve(stack, box, plan, home)
                servers[box.settings.site] = _connected(stack, outside)
                ends[box.settings.site] = _described(outside, home)
        except (StateError, FaultSpecError, OSError) as error:
            raise click.ClickException(str(error)) from None
        announce({"device": device, "ends": ends}, options.ready_file)
        stop.wait()


def _home(stack: ExitStack, state: Path | None) -> Path:
    if state is None:
        state = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="qkd-hal-mock-")))
    return stack.enter_context(open_state(state))


def _boxes(stack: ExitStack, home: Path, options: Options, max_chunk: int) -> list[BoxFirmware]:
    psks = (read_psk(home / "alice.psk"), read_psk(home / "bob.psk"))
    settings = make_settings(psks, max_chunk=max_chunk)
    stored = options.keys * _KEY_BYTES
    pair = BoxPair(settings, home, stored=stored, seed=options.seed, sync=options.sync)
    stack.enter_context(pair)
    return [pair.alice, pair.bob] if options.pair else [pair.alice]


def _plan(text: str | None, known: Iterable[str]) -> FaultPlan:
    return FaultPlan() if text is None else FaultPlan.parse(text, known)


def _connected(stack: ExitStack, outside: Outside) -> BoxServer:
    outlet = outside.server.outlet
    outlet.unplug, outlet.plug = outside.unplug, outside.plug
    stack.callback(outlet.close)
    return outside.server


def _described(outside: Outside, home: Path) -> dict[str, str]:
    settings = outside.server.box.settings
    credential = str(home / f"{settings.site}.psk")
    return {
        "url": f"{outside.url}?credential={quote(credential)}",
        "serial_number": settings.serial,
        "credential": credential,
        **outside.place,
    }
