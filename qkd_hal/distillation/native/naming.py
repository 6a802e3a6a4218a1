"""What the compiled library is called: by its sources, so that a stale one is never loaded.

Only the standard library: the build hook runs this file where nothing of ours is installed.
"""

import hashlib
import sysconfig
from pathlib import Path

__all__ = ["HERE", "library", "sources"]

HERE = Path(__file__).parent


def sources() -> list[Path]:
    """Return the C files that make the library."""
    return sorted(HERE.glob("*.c"))


def library() -> Path:
    """Return where the library of these sources belongs on this kind of machine."""
    digest = hashlib.sha256()
    for source in sorted(HERE.glob("*.[ch]")):
        digest.update(source.name.encode() + b"\0" + source.read_bytes() + b"\0")
    return HERE / f"_kernels.{digest.hexdigest()[:16]}.{sysconfig.get_platform()}.so"
