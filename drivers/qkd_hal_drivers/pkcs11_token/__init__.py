"""Any vendor's PKCS#11 token, filled with quantum keys: ``pkcs11:token=NAME?module-path=…``.

What the token must hold and be able to do is written down in ``docs/pkcs11.md``. Nothing is
imported here, so that listing devices does not load the driver.
"""
