"""The ten-line client and server, each with its own simulated modem."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from qkd_hal.testing.link import QKDLink

EXAMPLES = Path(__file__).parents[2] / "examples"


def python(script: str, *arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-W", "error", str(EXAMPLES / script), *arguments]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def test_client_and_server(qkd_link: QKDLink) -> None:
    with python("tls_server.py", qkd_link.bob_url, "0") as server:
        assert server.stdout is not None
        found = re.search(r"port (\d+)", server.stdout.readline())
        assert found
        with python("tls_client.py", qkd_link.alice_url, found[1], "quantum") as client:
            shown, _ = client.communicate(timeout=30)
        server.communicate("\n", timeout=30)
    assert client.returncode == server.returncode == 0
    reason, answer = shown.splitlines()
    assert reason.startswith("quantum key alice/")
    assert reason.endswith("(simulated) together with X25519MLKEM768")
    assert answer == "QUANTUM"
