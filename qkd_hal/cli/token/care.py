"""Commands that look after one token: what is on it, its PIN, and erasing."""

from __future__ import annotations

from pathlib import Path

import click

from qkd_hal.cli._device import timeout_option
from qkd_hal.cli._output import json_option, print_json, print_pairs, print_table
from qkd_hal.cli.token._common import new_secret, token_argument, typed_pin, url_of
from qkd_hal.errors import UsageError
from qkd_hal.keys import KeyId, Origin, Provenance
from qkd_hal.sources import Deadline
from qkd_hal.tokens import open_manager

__all__ = ["change_pin", "erase", "init", "list_keys", "status", "unblock", "verify"]

_FILE = click.Path(path_type=Path, dir_okay=False)
_pin_file_option = click.option(
    "--pin-file", type=_FILE, metavar="FILE", help="Private file with the new PIN; else asked for."
)


@click.command()
@token_argument
@timeout_option
@json_option
def status(token_url: str, timeout: float, as_json: bool) -> None:
    """Say what TOKEN is, whose, and how full; needs no PIN and burns no try."""
    url = url_of(token_url)
    facts = open_manager(url).facts(Deadline(timeout))
    if as_json:
        print_json(facts)
    else:
        print_pairs(facts, title=url.partition("?")[0])


@click.command("list")
@token_argument
@timeout_option
@json_option
def list_keys(token_url: str, timeout: float, as_json: bool) -> None:
    """List the IDs of the keys on TOKEN."""
    url = url_of(token_url)
    keys = open_manager(url).keys(typed_pin(url), Deadline(timeout))
    if as_json:
        rows = [
            {"key_id": str(key.key_id), "own": key.own, "claimed": key.claimed, "size": key.size}
            for key in keys
        ]
        print_json({"keys": rows})
        return
    table = [
        (
            str(key.key_id),
            "own" if key.own else "peer",
            "claimed" if key.claimed else "available",
            str(key.size),
        )
        for key in keys
    ]
    print_table(("key ID", "half", "state", "bytes"), table)


@click.command()
@token_argument
@click.option("--site", required=True, help="Whose token it is to be.")
@click.option("--peer", required=True, help="The site that it shares keys with.")
@click.option(
    "--provenance",
    type=click.Choice([origin.value for origin in Origin]),
    help="Of its keys; default: that of the first key.",
)
@_pin_file_option
@click.option(
    "--puk-file", type=_FILE, metavar="FILE", help="Private file with the PUK; else asked for."
)
@click.option("--yes", is_flag=True, help="Do not ask whether to erase keys.")
@timeout_option
@json_option
def init(
    token_url: str,
    site: str,
    peer: str,
    provenance: str | None,
    pin_file: Path | None,
    puk_file: Path | None,
    yes: bool,
    timeout: float,
    as_json: bool,
) -> None:
    """Give TOKEN names, a PIN and a PUK; whatever keys it holds are erased."""
    url = url_of(token_url)
    manager = open_manager(url)
    blank = manager.facts(Deadline(timeout))["life"] == "blank"
    if not blank and not yes:
        click.confirm("All keys on this token will be erased. Go on?", abort=True, err=True)
    old = None if blank else typed_pin(url, "Present PIN")
    manager.initialise(
        old,
        new_pin=new_secret("new PIN", pin_file),
        puk=new_secret("new PUK", puk_file),
        site=site,
        peer=peer,
        provenance=Provenance(Origin(provenance)) if provenance else None,
        deadline=Deadline(timeout),
    )
    _report({"site": site, "peer": peer}, f"The token is {site}'s, for keys with {peer}", as_json)


@click.command()
@token_argument
@timeout_option
@json_option
def verify(token_url: str, timeout: float, as_json: bool) -> None:
    """Ask for the PIN and try it once; success resets the counter of wrong ones.

    Nothing else in qkd-hal sends a PIN once a wrong one was counted.
    """
    url = url_of(token_url)
    manager = open_manager(url)
    tries = manager.facts(Deadline(timeout))["pin_tries"]
    click.echo(f"{tries} tries are left.", err=True)
    pin = click.prompt("PIN", hide_input=True, err=True)
    manager.verify(pin, Deadline(timeout))
    _report({"verified": True}, "The PIN is right", as_json)


@click.command("change-pin")
@token_argument
@_pin_file_option
@timeout_option
@json_option
def change_pin(token_url: str, pin_file: Path | None, timeout: float, as_json: bool) -> None:
    """Ask for the PIN and set another one; a wrong one burns a try."""
    manager = open_manager(url_of(token_url))
    old = click.prompt("Present PIN", hide_input=True, err=True)
    manager.change_pin(old, new_secret("new PIN", pin_file), Deadline(timeout))
    _report({"changed": True}, "The PIN was changed", as_json)


@click.command()
@token_argument
@_pin_file_option
@timeout_option
@json_option
def unblock(token_url: str, pin_file: Path | None, timeout: float, as_json: bool) -> None:
    """Ask for the PUK and set another PIN; the last wrong PUK erases all keys."""
    manager = open_manager(url_of(token_url))
    tries = manager.facts(Deadline(timeout))["puk_tries"]
    click.echo(f"{tries} tries are left.", err=True)
    puk = click.prompt("PUK", hide_input=True, err=True)
    manager.unblock(puk, new_secret("new PIN", pin_file), Deadline(timeout))
    _report({"unblocked": True}, "The token has a new PIN", as_json)


@click.command()
@token_argument
@click.option("--all", "everything", is_flag=True, help="All keys.")
@click.option("--claimed", is_flag=True, help="Own keys of hosts that died before using them.")
@click.option("--key-id", help="One key.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@timeout_option
@json_option
def erase(
    token_url: str,
    everything: bool,
    claimed: bool,
    key_id: str | None,
    yes: bool,
    timeout: float,
    as_json: bool,
) -> None:
    """Erase keys on TOKEN for good."""
    if everything + claimed + bool(key_id) != 1:
        raise UsageError("say what to erase", cure="Give one of --all, --claimed and --key-id")
    wanted = KeyId.parse(key_id) if key_id else None
    if not yes:
        click.confirm("Nobody can bring erased keys back. Go on?", abort=True, err=True)
    url = url_of(token_url)
    open_manager(url).erase(typed_pin(url), wanted, claimed=claimed, deadline=Deadline(timeout))
    _report({"erased": True}, "Erased", as_json)


def _report(facts: dict[str, object], words: str, as_json: bool) -> None:
    if as_json:
        print_json(facts)
    else:
        click.echo(f"{words}.")
