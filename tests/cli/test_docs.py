"""The documents say what the code does."""

from __future__ import annotations

import re
from pathlib import Path

from qkd_hal import errors
from qkd_hal.cli.commands import COMMANDS
from qkd_hal.config import example_configuration

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"


def test_the_configuration_in_the_docs_is_the_example() -> None:
    assert example_configuration() in (DOCS / "configuration.md").read_text()


def test_every_command_and_exit_code_is_documented() -> None:
    text = (DOCS / "cli.md").read_text()
    for name in COMMANDS:
        assert f"`{name}" in text
    table = text[text.index("| exit code") : text.index("Every `qkd-hal` process")]
    documented = {int(number) for number in re.findall(r"\b(\d+)\b", table)}
    assert {getattr(errors, name).exit_code for name in errors.__all__} <= documented


def test_links_between_documents_lead_somewhere() -> None:
    for document in [*DOCS.glob("*.md"), ROOT / "README.md", ROOT / "examples" / "README.md"]:
        for target in re.findall(r"\]\(([^)#:]+)\)", document.read_text()):
            assert (document.parent / target).exists(), f"{document.name}: {target}"
