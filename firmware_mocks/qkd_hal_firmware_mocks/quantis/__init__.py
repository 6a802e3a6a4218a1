"""ID Quantique Quantis USB, as its maker's library, which is published, addresses it.

The wire is written down in ``docs/instruments.md``.
"""
