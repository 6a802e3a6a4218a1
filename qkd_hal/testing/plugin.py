"""The pytest plug-in. It loads in every pytest run that has qkd-hal installed: keep it light."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from qkd_hal.testing.link import QKDLink

__all__ = ["qkd_box", "qkd_link", "qkd_token"]

_FIRST_KEYS = 512  # bytes in store at each end before the first test runs
_ENOUGH = "65536"  # bytes in store at which the modems rest, and leave the machine to the tests


@pytest.fixture(scope="session")
def qkd_link() -> Iterator[QKDLink]:
    """Two simulated BB84 modems in processes of their own, and their open devices.

    One link serves the whole test session; every key is handed out once, so tests do not
    disturb one another. Needs ``pip install 'qkd-hal[sim,test]'``.
    """
    from qkd_hal.testing.link import QKDLink  # nothing of it loads in tests that do not ask

    with QKDLink("bb84", preset="short", options=("--high-water", _ENOUGH)) as link:
        link.wait_for_keys(_FIRST_KEYS)
        yield link


@pytest.fixture
def qkd_box(_qkd_boxes: QKDLink) -> QKDLink:
    """Two emulated QKD boxes, and their open devices, which the test may cut off and disturb.

    ``qkd_box.unplug("alice")``, ``.plug("alice")``, ``.fault("alice", "stall")``: see
    :class:`~qkd_hal.emulators.Disturbable`. The next test finds them well again. The
    processes serve the whole test session.
    """
    _qkd_boxes.heal()
    return _qkd_boxes


@pytest.fixture
def qkd_token(_qkd_tokens: QKDLink) -> QKDLink:
    """Two emulated key tokens, filled in two directed halves; otherwise as ``qkd_box``."""
    _qkd_tokens.heal()
    return _qkd_tokens


@pytest.fixture(scope="session")
def _qkd_boxes() -> Iterator[QKDLink]:
    from qkd_hal.testing.link import QKDLink

    with QKDLink("box") as link:
        yield link


@pytest.fixture(scope="session")
def _qkd_tokens() -> Iterator[QKDLink]:
    from qkd_hal.testing.link import QKDLink

    with QKDLink("token") as link:
        yield link


def pytest_load_initial_conftests(parser: pytest.Parser, args: list[str]) -> None:
    """Add the options of the conformance suite, in its own runs."""
    from qkd_hal.testing._options import add_options, is_run_of_the_suite

    if is_run_of_the_suite(args):
        add_options(parser)


def pytest_configure(config: pytest.Config) -> None:
    """Refuse a run of the suite that has nothing to test."""
    from qkd_hal.testing._options import check_options

    check_options(config)
