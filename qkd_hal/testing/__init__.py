"""What vendors and users test with: a pytest plug-in and checks that a driver must pass.

The plug-in comes with the package: any test may ask for the fixture
:func:`~qkd_hal.testing.plugin.qkd_link`.
"""
