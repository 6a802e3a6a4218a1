"""``qkd-hal audit``: derive a recorded session's keys again, and check what it reports."""

from __future__ import annotations

from contextlib import ExitStack, closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from qkd_hal.cli._output import json_option, print_json, print_pairs, print_table
from qkd_hal.errors import ConfigurationError

if TYPE_CHECKING:
    from qkd_hal.distillation.transcript_audit import BlockAudit, PublicAudit
    from qkd_hal.distillation.transcript_replay import Replay

__all__ = ["audit"]

_FILE = click.Path(path_type=Path, dir_okay=False)


@click.command()
@click.argument("file", type=_FILE)
@click.option("--peer", type=_FILE, help="The other end's transcript: are the keys equal?")
@click.option("--redact", type=_FILE, metavar="OUT", help="Write the form without secrets, only.")
@json_option
@click.pass_context
def audit(
    ctx: click.Context, file: Path, peer: Path | None, redact: Path | None, as_json: bool
) -> None:
    """Run the session in the transcript FILE again and check its keys and figures.

    FILE was written by `qkd-hal modem ... --record-session`. A redacted one is checked as far
    as its public messages go. Exits 0 when nothing was found, and 1 otherwise.
    """
    if redact is not None:
        _write_redacted(file, redact)
        return
    with ExitStack() as secrets:
        ends = [_End(path, secrets) for path in (file, peer) if path is not None]
        result = _to_json(ends)
    if as_json:
        print_json(result)
    else:
        _show(result)
    ctx.exit(0 if result["good"] else 1)


class _End:
    """One end's transcript: audited, and replayed if it can be."""

    def __init__(self, path: Path, secrets: ExitStack) -> None:
        from qkd_hal.distillation.transcript_audit import audit_public
        from qkd_hal.distillation.transcript_replay import replay
        from qkd_hal.recording.session_file import open_session

        self.again: Replay | None = None
        with open_session(path) as transcript:
            self.header = transcript.header
            self.public: PublicAudit = audit_public(transcript)
        if self.header.secret:
            with open_session(path) as transcript:
                self.again = replay(transcript)
            secrets.callback(self.again.wipe)

    def findings(self) -> list[str]:
        """Name all that is wrong, in words that hold no secret."""
        blocks = (f"block {b.block}: {what}" for b in self.public.blocks for what in b.findings)
        cut = [] if self.public.complete else ["the transcript was cut short"]
        replayed = self.again.differences if self.again else []
        return [*self.public.findings, *blocks, *replayed, *cut]


def _to_json(ends: list[_End]) -> dict[str, Any]:
    first, *rest = ends
    blocks = [_block(block, first, rest) for block in first.public.blocks]
    findings = {end.header.role.name.lower(): end.findings() for end in ends}
    between = [_between(first, other, blocks) for other in rest]
    good = not any(findings.values()) and not any(found["findings"] for found in between)
    return {
        "good": good,
        "role": first.header.role.name.lower(),
        "redacted": not first.header.secret,
        "blocks": blocks,
        "aborted": {str(number): code for number, code in first.public.aborted.items()},
        "secret_bits": sum(block["secret_bits"] for block in blocks),
        "net_bits": sum(block["net_bits"] for block in blocks),
        "messages_sent": first.public.sent.total(),
        "messages_received": first.public.received.total(),
        "findings": findings,
        **({"peer": between[0]} if between else {}),
    }


def _block(block: BlockAudit, mine: _End, others: list[_End]) -> dict[str, Any]:
    from dataclasses import asdict

    again = mine.again
    row = {**asdict(block), "key_derived": block.block in again.keys if again else None}
    for theirs in (other.again for other in others):
        row["keys_equal"] = again.same_key(block.block, theirs) if again and theirs else None
    return row


def _between(first: _End, other: _End, blocks: list[dict[str, Any]]) -> dict[str, Any]:
    """Compare the two ends."""
    findings = [f"block {b['block']}: the keys differ" for b in blocks if b["keys_equal"] is False]
    if first.header.role is other.header.role:
        findings.append(f"both transcripts are the {first.header.role.name.lower()}'s")
    if first.header.parameters_digest != other.header.parameters_digest:
        findings.append("the two ends ran with different parameters")
    alone = {b.block for b in first.public.blocks} ^ {b.block for b in other.public.blocks}
    return {
        "equal_keys": sum(block["keys_equal"] is True for block in blocks),
        "blocks_at_one_end_only": sorted(alone),
        "foreign_messages": first.public.foreign(other.public) + other.public.foreign(first.public),
        "findings": findings,
    }


def _show(result: dict[str, Any]) -> None:
    columns = ("block", "sifted", "QBER", "leak", "secret", "net", "epsilon", "key", "peer's key")
    print_table(columns, map(_row, result["blocks"]))
    plain = {name: value for name, value in result.items() if type(value) in (int, str, bool)}
    plain["aborted_blocks"] = len(result["aborted"])
    peer = result.get("peer", {})
    plain |= {name: peer[name] for name in ("equal_keys", "foreign_messages") if peer}
    print_pairs(plain, title="audit")
    for end, findings in (*result["findings"].items(), ("both", peer.get("findings", []))):
        for finding in findings:
            click.echo(f"FOUND ({end}): {finding}")


def _row(block: dict[str, Any]) -> tuple[str, ...]:
    derived = {True: "derived", False: "NOT derived", None: "-"}[block["key_derived"]]
    equal = {True: "equal", False: "DIFFER", None: "-"}[block.get("keys_equal")]
    counts = (f"{block[name]:,}" for name in ("leak_bits", "secret_bits", "net_bits"))
    head = (str(block["block"]), f"{block['sifted_bits']:,}", f"{block['qber']:.2%}")
    return (*head, *counts, f"{block['epsilon']:.3g}", derived, equal)


def _write_redacted(file: Path, out: Path) -> None:
    from qkd_hal.distillation.transcript_redaction import redact
    from qkd_hal.recording.session_file import SessionFile, open_session

    with open_session(file) as transcript, closing(SessionFile(out)) as written:
        redact(transcript, written.write)
    if written.gave_up:
        raise ConfigurationError(f"{out} could not be written whole", cure="Make room on the disk")
    click.echo(f"{out} holds no key; sites and settings of the host are left out")
