"""The compiled kernels: found, refused when stale, and dispensable."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from qkd_hal.distillation import native
from qkd_hal.distillation.native import naming


@pytest.mark.needs("cc")
def test_the_kernels_are_compiled_here() -> None:
    assert naming.library().exists(), "after a change in C, run: python hatch_build.py"


def test_the_kernels_can_be_turned_off() -> None:
    code = "from qkd_hal.distillation import native; print(native.AVAILABLE)"
    off = os.environ | {"QKD_HAL_NO_NATIVE": "1"}
    run = subprocess.run([sys.executable, "-c", code], env=off, capture_output=True, check=True)
    assert run.stdout == b"False\n"


def test_another_source_is_another_library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(naming, "HERE", tmp_path)
    names = {naming.library()}
    for name, text in (("a.c", "x"), ("a.c", "y"), ("b.h", "x")):
        (tmp_path / name).write_text(text)
        names.add(naming.library())
    assert len(names) == 4


def test_a_missing_library_is_no_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(naming, "HERE", tmp_path)
    monkeypatch.delenv("QKD_HAL_NO_NATIVE", raising=False)
    assert native._load() is None
    monkeypatch.setattr(native, "_library", None)
    with pytest.raises(RuntimeError, match="not available"):
        native.bind("anything")(1)


@pytest.mark.needs("cc")
@pytest.mark.parametrize(
    "wrong",
    [np.zeros(4, np.int8), np.zeros(8, np.uint8)[::2], np.frombuffer(bytes(4), np.uint8), bytes(4)],
)
def test_arrays_are_checked_before_c_sees_them(
    wrong: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("QKD_HAL_NO_NATIVE", raising=False)
    monkeypatch.setattr(native, "_library", native._load())
    types = (native.array(np.uint64), ctypes.c_int64, ctypes.c_int64)
    parities = native.bind("cascade_block_parities", *types, native.array(np.uint8, out=True))
    bits, out = np.array([0b1101], np.uint64), np.zeros(2, np.uint8)
    bits.flags.writeable = False
    parities(bits, 4, 2, out)
    assert out.tolist() == [1, 0]
    with pytest.raises(ctypes.ArgumentError):
        parities(bits, 4, 2, wrong)


@pytest.mark.needs("cc")
def test_the_c_code_compiles_without_a_warning(tmp_path: Path) -> None:
    strict = ["-std=c11", "-O2", "-Wall", "-Wextra", "-Wpedantic", "-Wconversion", "-Werror"]
    sources = [str(source) for source in naming.sources()]
    out = ["-fPIC", "-shared", "-o", str(tmp_path / "strict.so")]
    subprocess.run(["cc", *strict, *sources, *out], check=True)
