"""What an installation puts into somebody's site-packages."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
NATIVE = "qkd_hal/distillation/native"
PACKAGES = {"qkd_hal", "qkd_hal_drivers", "qkd_hal_simulators", "qkd_hal_firmware_mocks"}


@pytest.fixture(scope="module")
def names(tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    """The files in a wheel built from this tree."""
    return build_wheel(ROOT, tmp_path_factory.mktemp("wheel"))[1]


def build_wheel(tree: Path, where: Path, **environment: str) -> tuple[str, set[str]]:
    """Return the name of a wheel built from *tree*, and the files in it."""
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(where)]
    surroundings = os.environ | environment
    subprocess.run(build, cwd=tree, check=True, capture_output=True, timeout=100, env=surroundings)
    (wheel,) = where.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        return wheel.name, set(archive.namelist())


def kernels(names: set[str]) -> set[str]:
    return {name for name in names if name.startswith(f"{NATIVE}/_kernels.")}


def test_the_top_level_names_are_ours(names: set[str]) -> None:
    top = {name.partition("/")[0] for name in names}
    assert {name for name in top if not name.endswith(".dist-info")} == PACKAGES


def test_every_package_ships_its_types(names: set[str]) -> None:
    assert {f"{package}/py.typed" for package in PACKAGES} <= names


def test_licence_and_entry_points_are_there(names: set[str]) -> None:
    ends = {name.partition(".dist-info/")[2] for name in names}
    assert {"entry_points.txt", "licenses/LICENSE"} <= ends


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A copy of this tree, as a fresh clone would be: nothing compiled."""
    ignored = shutil.ignore_patterns("_kernels.*", "__pycache__")
    for package in ("qkd_hal", "drivers", "simulators", "firmware_mocks"):
        shutil.copytree(ROOT / package, tmp_path / "tree" / package, ignore=ignored)
    for name in ("pyproject.toml", "hatch_build.py", "README.md", "LICENSE", ".gitignore"):
        shutil.copy(ROOT / name, tmp_path / "tree")
    return tmp_path / "tree"


@pytest.mark.needs("cc")
def test_the_kernels_are_compiled_into_a_wheel_for_this_kind_of_machine(
    tree: Path, tmp_path: Path
) -> None:
    name, names = build_wheel(tree, tmp_path / "out")
    assert len(kernels(names)) == 1
    assert not name.endswith("-any.whl")


@pytest.mark.parametrize("compiler", ["/nowhere/cc", "false"])
def test_without_a_compiler_the_wheel_is_pure(tree: Path, tmp_path: Path, compiler: str) -> None:
    name, names = build_wheel(tree, tmp_path / "out", CC=compiler)
    assert kernels(names) == set()
    assert f"{NATIVE}/cascade.c" in names
    assert name.endswith("-py3-none-any.whl")
    assert not list((tree / NATIVE).glob("_kernels.*"))
