"""The example fill_tokens.py, and then TLS off-line on what it loaded, as users run them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from qkd_hal import open_device
from qkd_hal.keys import Origin, Provenance

if TYPE_CHECKING:
    from qkd_hal.testing.link import QKDLink
    from tests.drivers.pkcs11_token.conftest import TokenPair

EXAMPLES = Path(__file__).parents[3] / "examples"


@pytest.mark.needs("softhsm2-util")
def test_two_filled_tokens_key_tls_with_no_other_device(
    tokens: TokenPair, qkd_link: QKDLink
) -> None:
    alice, bob = tokens.url("alice"), tokens.url("bob")
    qkd_link.wait_for_keys(128)
    assert run("fill_tokens.py", qkd_link.alice_url, alice, bob, "4") == (
        "4 keys are in both tokens\n"
    )
    with open_device(alice) as device:
        assert device.info.provenance == Provenance(Origin.SIMULATED)
        assert device.status().stored_keys == 2
    for owner, client, server in (("alice", alice, bob), ("bob", bob, alice)):
        answer = run("tls_over_devices.py", client, server)
        assert answer.startswith(f"KEYED BY QUANTUM LIGHT\nquantum key {owner}/")
    with open_device(alice) as device:
        assert (device.status().stored_keys, device.status().details) == (1, {"peer_keys": 1})


def run(example: str, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, str(EXAMPLES / example), *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout
