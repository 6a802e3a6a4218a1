"""One modem from start to end: what it opens, in which order, and that all of it is closed."""

from __future__ import annotations

__all__ = []
