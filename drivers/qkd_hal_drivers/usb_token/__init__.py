"""Key tokens behind the applet of ``docs/key-token.md``: sticks and smart cards.

Nothing is imported here, so that listing devices does not load the driver.
"""
