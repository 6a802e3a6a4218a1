"""S-Fifteen TDC1, the time-stamp unit, as its vendor's host library and documents describe it.

The wire is written down in ``docs/instruments.md``.
"""
