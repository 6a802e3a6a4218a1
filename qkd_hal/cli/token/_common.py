"""What the commands for tokens share: their URL, and secrets that a person types."""

from __future__ import annotations

import os
from pathlib import Path

import click

from qkd_hal import schemes
from qkd_hal.config import load_configuration
from qkd_hal.device_url import DeviceURL
from qkd_hal.errors import UsageError
from qkd_hal.keys import wipe
from qkd_hal.private_files import read_private

__all__ = ["new_secret", "token_argument", "typed_pin", "url_of"]

_PIN_VARIABLE = "QKD_HAL_PIN"
_MOST_BYTES = 64  # of a PIN or PUK in a file; tokens take fewer

token_argument = click.argument("token_url", metavar="TOKEN")


def url_of(url_or_name: str) -> str:
    """Return the URL of a token, or of a device of that name in ``qkd-hal.toml``."""
    if ":" in url_or_name:
        return url_or_name
    return load_configuration().device(url_or_name).url


def typed_pin(url: str, name: str = "PIN", *, group: str = schemes.TOKEN_MANAGERS) -> str | None:
    """Ask for the PIN of the token at *url*, unless it comes from elsewhere.

    Raises:
        ConfigurationError: nothing of *group* opens *url*: then no PIN is asked for.
    """
    parsed = DeviceURL.parse(url)
    schemes.require(group, parsed)
    if "pin-source" in parsed.query or os.environ.get(_PIN_VARIABLE):
        return None
    return str(click.prompt(f"{name} of {url}", hide_input=True, err=True))


def new_secret(what: str, file: Path | None) -> str:
    """Return a new PIN or PUK: from *file*, or typed twice.

    Raises:
        ConfigurationError: the file is missing or open to others.
        UsageError: it holds no line of text.
    """
    if file is None:
        return str(click.prompt(what, hide_input=True, confirmation_prompt=True, err=True))
    raw = read_private(file, f"the file of the {what}", at_most=_MOST_BYTES, cure="Write it")
    try:
        text = raw.decode("ascii").rstrip("\r\n")
    except UnicodeDecodeError:
        text = ""
    wipe(raw)
    if not text.isprintable() or not text:
        raise UsageError(f"{file} holds no {what}", cure="Write it on one line")
    return text
