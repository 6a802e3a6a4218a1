"""``python -m qkd_hal_firmware_mocks`` is ``qkd-hal-mock``."""

from __future__ import annotations

from qkd_hal_firmware_mocks._cli import main

if __name__ == "__main__":
    main()
