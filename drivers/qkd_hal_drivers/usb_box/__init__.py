"""QKD boxes on USB bulk endpoints: ``docs/usb-box.md``.

Nothing is imported here, so that listing devices does not load the driver.
"""
