"""The hot loops in plain C, where whoever built the package had a C compiler.

`hatch_build.py` compiles every ``*.c`` of this directory into one shared library. Where there is
none, or ``QKD_HAL_NO_NATIVE=1`` is set, each kernel's numpy twin does the work: the same
results, slower. ctypes releases the GIL during a call.

A room binds its kernels once, at import, and checks lengths before each call: the C code
trusts them::

    _hash = bind("toeplitz_hash", array(np.uint64), c_uint64, array(np.uint64, out=True))
"""

from __future__ import annotations

import ctypes
import os
from typing import TYPE_CHECKING, Any

import numpy as np

from qkd_hal.distillation.native import naming

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import DTypeLike, NDArray

__all__ = ["AVAILABLE", "array", "bind"]


def _load() -> ctypes.CDLL | None:
    if os.environ.get("QKD_HAL_NO_NATIVE") == "1":
        return None
    try:
        return ctypes.CDLL(str(naming.library()))
    except OSError:  # not built, or for another kind of machine
        return None


_Octets = ctypes.c_char * 0
_library = _load()
AVAILABLE = _library is not None
"""Whether the compiled kernels are in use."""


class array:  # noqa: N801 - reads as a type of argument
    """An argument type: a contiguous numpy array of *dtype*, writable if it is *out*.

    Anything else raises ctypes.ArgumentError, which would be a mistake of ours.
    """

    def __init__(self, dtype: DTypeLike, *, out: bool = False) -> None:
        self._dtype = np.dtype(dtype)
        self._out = out

    def from_param(self, value: NDArray[Any]) -> ctypes.Array[ctypes.c_char] | ctypes.c_void_p:
        """Return what ctypes passes on: the address. Three times as fast as numpy's ndpointer."""
        flags = value.flags
        if value.dtype != self._dtype or not flags.c_contiguous:
            raise TypeError(f"not a contiguous array of {self._dtype}")
        if flags.writeable:
            return _Octets.from_buffer(value.data)
        if self._out:
            raise TypeError("not a writable array")
        return ctypes.c_void_p(value.ctypes.data)


def bind(
    name: str, *arguments: Any, result: type[ctypes.c_int64] | None = None
) -> Callable[..., Any]:
    """Return the C function *name* that takes *arguments* (ctypes' types and :func:`array`).

    Without the library, calling it raises RuntimeError: look at :data:`AVAILABLE` first.
    """
    if _library is None:
        return _missing
    function = getattr(_library, name)
    function.argtypes = arguments
    function.restype = result
    bound: Callable[..., Any] = function
    return bound


def _missing(*_: object) -> None:
    raise RuntimeError("the compiled kernels are not available")
