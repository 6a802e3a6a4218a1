"""Every example is run; the TLS pair and the driver have tests beside their rooms."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

EXAMPLES = Path(__file__).parents[2] / "examples"
TESTED_ELSEWHERE = {
    "tls_client.py": "tests/tls/test_examples.py",
    "tls_server.py": "tests/tls/test_examples.py",
    "fill_tokens.py": "tests/drivers/pkcs11_token/test_pkcs11_example.py",
    "tls_over_devices.py": "tests/examples/test_tls_over_devices.py",
    "write_a_driver": "tests/device/test_third_party_driver.py",
}


def test_an_application_is_tested_against_the_simulated_link() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-W", "error", "."],
        cwd=EXAMPLES / "pytest_simulator",
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "1 passed" in done.stdout


def test_no_example_is_forgotten() -> None:
    found = {path.name for path in EXAMPLES.iterdir()} - {"README.md", "__pycache__"}
    assert found == {"pytest_simulator", *TESTED_ELSEWHERE}
    for name, test in TESTED_ELSEWHERE.items():
        assert name.partition(".")[0] in (EXAMPLES.parent / test).read_text()


def test_every_example_is_in_the_list() -> None:
    text = (EXAMPLES / "README.md").read_text()
    for path in EXAMPLES.iterdir():
        assert path.name in text or path.name in {"README.md", "__pycache__"}
