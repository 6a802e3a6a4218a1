"""Boxes in this process, offered as an installed package would offer them."""

from __future__ import annotations

from importlib.metadata import EntryPoint

import pytest

from qkd_hal import plugins

_HERE = "tests.testing.memory_pair"
_OFFERED = {
    "qkd_hal.drivers": {"memory": f"{_HERE}:open_line"},
    "qkd_hal.emulators": dict.fromkeys(["memory", "box", "token"], f"{_HERE}:MemoryEmulator"),
}


@pytest.fixture
def memory_boxes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let ``memory:`` URLs, and emulators over them, be found."""

    def found(group: str) -> list[EntryPoint]:
        return [EntryPoint(name, value, group) for name, value in _OFFERED[group].items()]

    monkeypatch.setattr(plugins, "found", found)


@pytest.fixture
def bare_pytester(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, memory_boxes: None
) -> pytest.Pytester:
    """A pytest with our plug-in alone, which starts in a third of the time."""
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    monkeypatch.setenv("PYTEST_ADDOPTS", "-p qkd_hal.testing.plugin")
    return pytester
