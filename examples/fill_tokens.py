"""Fill two PKCS#11 tokens: ``python fill_tokens.py DEVICE_URL ALICE_TOKEN BOB_TOKEN COUNT``.

Every other key is alice's to start sessions with, the rest bob's. Afterwards the tokens are
devices that share keys, with no other device in sight.
"""

import sys

import qkd_hal
from qkd_hal.device_url import DeviceURL
from qkd_hal.sources import Deadline
from qkd_hal.token_fill import fill_pair, keys_from
from qkd_hal_drivers.pkcs11_token.fill import Pkcs11Loader

device_url, alice_url, bob_url, count = sys.argv[1:]
soon = Deadline(60)
with (
    qkd_hal.open_device(device_url) as device,
    Pkcs11Loader(DeviceURL.parse(alice_url), "alice", soon) as alice,
    Pkcs11Loader(DeviceURL.parse(bob_url), "bob", soon) as bob,
):
    loaded = fill_pair(keys_from(device, int(count)), alice, bob, soon)
    print(f"{loaded} keys are in both tokens")
