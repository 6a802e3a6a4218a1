"""``qkd-hal get-key``: one key into a file that only its owner can read."""

from __future__ import annotations

import base64
import os
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from qkd_hal.cli._device import device_argument, opened, record_option, timeout_option
from qkd_hal.cli._output import json_option, print_json
from qkd_hal.errors import UsageError
from qkd_hal.keys import KeyId, wipe
from qkd_hal.sources import Capability

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from qkd_hal.device import QKDDevice
    from qkd_hal.keys import QuantumKey

__all__ = ["get_key"]

_FORMATS: dict[str, Callable[[memoryview], bytearray]] = {
    "raw": bytearray,
    "hex": lambda view: bytearray(view.hex().encode() + b"\n"),
    "base64": lambda view: bytearray(base64.b64encode(view) + b"\n"),
}
_STDOUT = "-"
_DEFAULT_SIZE = 32  # bytes: what TLS takes


@click.command("get-key")
@device_argument
@click.option("--peer", help="The site that holds the same key; default: the device's only peer.")
@click.option(
    "--size", type=click.IntRange(min=1), help="Bytes of key; default: 32, or what the peer took."
)
@click.option("--key-id", help="Take the key that the peer named, instead of a fresh one.")
@click.option(
    "--out", required=True, metavar="FILE", help="New file for the key; '-' for a pipe on stdout."
)
@click.option("--format", "form", type=click.Choice(list(_FORMATS)), default="raw")
@timeout_option
@record_option
@json_option
def get_key(
    device_url: str,
    peer: str | None,
    size: int | None,
    key_id: str | None,
    out: str,
    form: str,
    timeout: float,
    record: str | None,
    as_json: bool,
) -> None:
    """Fetch one key from the device at URL into FILE, and print its key ID.

    FILE is created with mode 0600 and never overwritten. At the other site, run the same
    with --key-id to get the same bytes. A key is given once: a second try fails.
    """
    wanted = KeyId.parse(key_id) if key_id else None
    # The file comes first: a key must not be taken for a file that cannot be written.
    with (
        _private_output(out, as_json=as_json) as descriptor,
        opened(device_url, timeout, record) as device,
    ):
        key = _obtain(device, peer, size, wanted)
        size = len(key)
        _write(descriptor, key, form)
    _announce(key, size, out, as_json=as_json)


def _obtain(
    device: QKDDevice, peer: str | None, size: int | None, wanted: KeyId | None
) -> QuantumKey:
    if wanted and Capability.LOOK_UP in device.info.capabilities:
        return device.get_key_by_id(wanted, peer, size=size)
    with device.start(peer, size=size or _DEFAULT_SIZE, key_id=wanted) as session:
        session.connect()
        return session.get_key(size)


def _write(descriptor: int, key: QuantumKey, form: str) -> None:
    with key.exposed() as view:
        text = _FORMATS[form](view)
    try:
        with memoryview(text) as rest:
            written = 0
            while written < len(rest):
                written += os.write(descriptor, rest[written:])
    finally:
        wipe(text)


@contextmanager
def _private_output(out: str, *, as_json: bool) -> Iterator[int]:
    if out != _STDOUT:
        with _private_file(out) as descriptor:
            yield descriptor
        return
    if as_json or sys.stdout.isatty():
        raise UsageError(
            "a key is not printed on a terminal or among JSON", cure="Name a file after --out"
        )
    yield sys.stdout.fileno()


@contextmanager
def _private_file(path: str) -> Iterator[int]:
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        cure = "Name a new file after --out"
        raise UsageError(f"{path} exists and a key overwrites nothing", cure=cure) from None
    try:
        yield descriptor
        os.fsync(descriptor)
    except BaseException:
        Path(path).unlink()  # half a key, or none: nobody may take it for one
        raise
    finally:
        os.close(descriptor)


def _announce(key: QuantumKey, size: int, out: str, *, as_json: bool) -> None:
    key_id = str(key.ref.key_id) if key.ref else None
    if as_json:
        owner = key.ref.source if key.ref else None
        facts = {"key_id": key_id, "owner": owner, "size": size, "out": out}
        print_json(facts | {"provenance": str(key.provenance)})
    else:
        click.echo(key_id, err=out == _STDOUT)
