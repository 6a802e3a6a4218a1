"""The host's end of boxlink, the wire that serial and USB boxes share: ``docs/boxlink.md``.

``frame``, ``strict_cbor``, ``messages``, ``seal`` and ``link`` do no I/O; ``client`` adds time,
``driver`` the hooks of a device. A box on another kind of line needs a ``FrameTransport`` only.
"""
