"""A driver from another package: installed by pip, found by its entry point, used."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from uuid import uuid4

import pytest

EXAMPLE = Path(__file__).parents[2] / "examples" / "write_a_driver"

PROGRAM = """
import sys
import qkd_hal
from qkd_hal.device import DeviceKeySource

alice, bob = (qkd_hal.open_device(url) for url in sys.argv[1:])
with alice, bob:
    with DeviceKeySource(alice).reserve("bob", 32) as reservation:
        with DeviceKeySource(bob).take(reservation.ref, 32) as key:
            print("same", key.matches(reservation.key))
        try:
            bob.get_key_by_id(reservation.ref.key_id)
        except qkd_hal.KeyNotFoundError:
            print("once")
    try:
        alice.start()
    except qkd_hal.KeysExhaustedError:
        print("exhausted")
"""


@pytest.fixture(scope="session")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Install the example as a user would, without network, into a directory of its own."""
    target = tmp_path_factory.mktemp("site-packages")
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    offline = ["--no-index", "--no-deps", "--no-build-isolation"]
    subprocess.run([*pip, *offline, "--target", str(target), str(EXAMPLE)], check=True, timeout=100)
    return target


def _run(installed: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PYTHONPATH": str(installed)}
    return subprocess.run(
        [sys.executable, "-W", "error", *arguments],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def _key_directories(root: Path) -> list[Path]:
    """Two equal copies with one key of alice's."""
    name, material = f"{uuid4()}.key", os.urandom(32)
    sites = [root / "at-alice", root / "at-bob"]
    for site in sites:
        for owner in ("alice", "bob"):
            (site / owner).mkdir(parents=True)
        (site / "alice" / name).write_bytes(material)
    return sites


def test_an_installed_driver_serves_both_ends_and_erases(installed: Path, tmp_path: Path) -> None:
    at_alice, at_bob = _key_directories(tmp_path)
    done = _run(
        installed,
        "-c",
        PROGRAM,
        f"filekey:{at_alice}?site=alice&peer=bob",
        f"filekey:{at_bob}?site=bob&peer=alice",
    )
    assert done.stdout.split("\n")[:3] == ["same True", "once", "exhausted"], done.stderr
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_the_example_passes_the_checks_for_drivers(installed: Path) -> None:
    options = ("-q", "-p", "no:cacheprovider", "-W", "error", "--rootdir", str(EXAMPLE))
    done = _run(installed, "-m", "pytest", *options, str(EXAMPLE))
    assert done.returncode == 0, done.stdout
    assert " passed" in done.stdout
    assert "skipped" not in done.stdout


def test_the_scheme_is_listed_without_importing_its_driver(installed: Path) -> None:
    program = (
        "import sys, qkd_hal.registry as r;"
        "print('filekey' in r.known_schemes(), 'qkd_hal_filekey' in sys.modules)"
    )
    assert _run(installed, "-c", program).stdout == "True False\n"


def test_the_example_stays_short() -> None:
    assert len((EXAMPLE / "qkd_hal_filekey.py").read_text().splitlines()) < 60
