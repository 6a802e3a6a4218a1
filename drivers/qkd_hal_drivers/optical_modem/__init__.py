"""BB84 optical modem: ``bb84+tcp://HOST:PORT?credential=FILE``.

The wire is written down in ``docs/modem-protocol.md``. Nothing is imported here, so that
listing devices does not load the driver.
"""
