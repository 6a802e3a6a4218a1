"""Keys that a box made reach a TLS session by way of two tokens, in either direction."""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner

from qkd_hal.cli.commands import root as command
from qkd_hal.emulators import start_emulator
from qkd_hal_firmware_mocks.token.ccid import CcidToken
from tests.drivers.usb_token.conftest import initialised

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.drivers.usb_token.conftest import UsbTokens

EXAMPLE = Path(__file__).parents[3] / "examples" / "tls_over_devices.py"


@pytest.fixture
def boxes() -> Iterator[Any]:
    pair = start_emulator("box")
    yield pair
    pair.close()


def test_keys_by_courier(tokens: UsbTokens, boxes: Any) -> None:
    session = runpy.run_path(str(EXAMPLE))["run"]
    for site, peer in (("carol", "dave"), ("dave", "carol")):
        tokens.world.plug(CcidToken(initialised(site, peer)))
    carol, dave = tokens.url("carol"), tokens.url("dave")
    devices = ["--from", boxes.alice_url, "--from-peer", boxes.bob_url]
    order = ["token", "fill", carol, dave, *devices, "--keys", "4"]
    done = CliRunner().invoke(command, order, catch_exceptions=False)
    assert "Loaded 4 keys" in done.stdout
    boxes.close()  # from here on there is no device
    for ends in ((carol, dave), (dave, carol)):
        answer, protection = session(*ends)
        assert answer == "KEYED BY QUANTUM LIGHT"
        assert (protection.mode, protection.psk_used) == ("quantum+hybrid", True)
