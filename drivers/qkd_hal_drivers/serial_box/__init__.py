"""QKD boxes behind a serial port, a serial server (RFC 2217) or a TCP port: ``docs/serial-box.md``.

Nothing is imported here, so that listing devices does not load the driver.
"""
