"""Runs tests in a guest with a real Linux USB stack, and reports each file as a test here."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable


@pytest.mark.needs("qemu-system-x86_64")
@pytest.mark.timeout(600)  # the first of these boots for all
def test_in_the_guest(guest_cases: Callable[[str], list[Any]], guest_file: str) -> None:
    cases = guest_cases(guest_file)
    failed = [case for case in cases if case.outcome in ("failed", "error")]
    assert not failed, "\n\n".join(f"{case.name}\n{case.text}" for case in failed)
    skipped = [case for case in cases if case.outcome == "skipped"]
    if skipped:
        pytest.skip("; ".join(f"{case.name}: {case.text}" for case in skipped))
