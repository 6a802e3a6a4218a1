"""``python -m qkd_hal`` is the ``qkd-hal`` command."""

from qkd_hal.cli import main

if __name__ == "__main__":
    main()
