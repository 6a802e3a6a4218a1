"""Pairs of SoftHSM2 tokens in a directory of their own, filled in two directed halves."""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import pkcs11
import pytest

from qkd_hal.keys import KeyId, Origin, Provenance, QuantumKey
from qkd_hal.registry import DeviceURL
from qkd_hal.sources import Deadline
from qkd_hal.token_fill import fill_pair
from qkd_hal_drivers.pkcs11_token.driver import Pkcs11TokenDriver
from qkd_hal_drivers.pkcs11_token.fill import Pkcs11Loader

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from qkd_hal_drivers.pkcs11_token._label import KeyLabel

MODULE = Path("/usr/lib/softhsm/libsofthsm2.so").resolve()
PIN, OFFICER_PIN = "2718281828", "3141592653"
_INITIALISE = ["softhsm2-util", "--init-token", "--free", "--pin", PIN, "--so-pin", OFFICER_PIN]
SITES = ("alice", "bob")
MEASURED = Provenance(Origin.HARDWARE)


@dataclass(frozen=True)
class TokenPair:
    """Two tokens, labelled alice and bob, behind one module."""

    directory: Path

    @property
    def pin_file(self) -> Path:
        return self.directory / "pin"

    @property
    def configuration(self) -> Path:
        return self.directory / "softhsm2.conf"

    def url(self, site: str, path: str = "", query: str = "") -> str:
        end = f"module-path={MODULE}&pin-source=file:{self.pin_file}{query}"
        return f"pkcs11:token={site}{path}?{end}"

    def loader(self, site: str, *, extractable: bool = True, path: str = "") -> Pkcs11Loader:
        url = DeviceURL.parse(self.url(site, path))
        return Pkcs11Loader(url, site, Deadline(10), extractable=extractable)

    def driver(self, site: str, path: str = "") -> Pkcs11TokenDriver:
        return Pkcs11TokenDriver(DeviceURL.parse(self.url(site, path)))

    @contextmanager
    def session(self, site: str) -> Iterator[pkcs11.Session]:
        """Log in past the driver, to make what it did not and to see what it left."""
        token = pkcs11.lib(str(MODULE)).get_token(token_label=site)
        with token.open(rw=True, user_pin=PIN) as session:
            yield session

    def load(self, site: str, label: KeyLabel, *, extractable: bool = True) -> KeyId:
        """Load one key into one token, also beside keys of another site, as no loader would."""
        key_id = KeyId.random()
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Pkcs11Loader, "_check_site", lambda *_: None)
            loader = self.loader(site, extractable=extractable)
        with loader:
            loader.site = label.site
            loader.load(
                key_id,
                memoryview(os.urandom(32)),
                own=label.own,
                peer=label.peer,
                provenance=label.provenance,
                deadline=Deadline(10),
            )
        return key_id

    def fill(self, each: int, *, size: int = 32, extractable: bool = True, path: str = "") -> None:
        """Load *each* keys for either direction into both tokens."""
        with (
            self.loader("alice", extractable=extractable, path=path) as alice,
            self.loader("bob", extractable=extractable, path=path) as bob,
        ):
            keys = (QuantumKey(os.urandom(size), provenance=MEASURED) for _ in range(2 * each))
            fill_pair(keys, alice, bob, Deadline(60))


class FilledTokens(Protocol):
    def __call__(self, each: int, *, extractable: bool = True, path: str = "") -> Path: ...


@pytest.fixture(scope="session")
def blank_tokens(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two initialised tokens without keys, to be copied: making them takes long."""
    directory = tmp_path_factory.mktemp("softhsm")
    _configure(directory)
    for site in SITES:
        subprocess.run(
            [*_INITIALISE, "--label", site],
            env={**os.environ, "SOFTHSM2_CONF": str(directory / "softhsm2.conf")},
            check=True,
            capture_output=True,
        )
    return directory


@pytest.fixture(scope="session")
def filled_tokens(blank_tokens: Path, tmp_path_factory: pytest.TempPathFactory) -> FilledTokens:
    """Make pairs with keys, each kind once: storing a key is what takes long."""

    @functools.cache
    def filled(each: int, *, extractable: bool = True, path: str = "") -> Path:
        directory = tmp_path_factory.mktemp("filled") / "softhsm"
        with pytest.MonkeyPatch.context() as patch, _copied(blank_tokens, directory, patch) as pair:
            pair.fill(each, extractable=extractable, path=path)
        return directory

    return filled


@pytest.fixture
def use_tokens(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[[Path], TokenPair]]:
    """Let the module in this process see a copy of the tokens in a directory."""
    with ExitStack() as stack:
        yield lambda source: stack.enter_context(_copied(source, tmp_path / "softhsm", monkeypatch))


@pytest.fixture
def tokens(blank_tokens: Path, use_tokens: Callable[[Path], TokenPair]) -> TokenPair:
    """A pair of empty tokens."""
    return use_tokens(blank_tokens)


@contextmanager
def _copied(source: Path, directory: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[TokenPair]:
    shutil.copytree(source, directory)
    _configure(directory)
    pair = TokenPair(directory)
    monkeypatch.setenv("SOFTHSM2_CONF", str(pair.configuration))
    monkeypatch.delenv("QKD_HAL_PIN", raising=False)
    pkcs11.lib(str(MODULE)).finalize()  # the module reads its configuration when it starts
    yield pair
    pkcs11.lib(str(MODULE)).finalize()


def _configure(directory: Path) -> None:
    (directory / "tokens").mkdir(exist_ok=True)
    lines = [f"directories.tokendir = {directory}/tokens", "objectstore.backend = file"]
    (directory / "softhsm2.conf").write_text("\n".join([*lines, "log.level = ERROR", ""]))
    descriptor = os.open(directory / "pin", os.O_WRONLY | os.O_CREAT, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(PIN + "\n")
