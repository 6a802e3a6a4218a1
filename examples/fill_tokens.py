"""Fill two key tokens: ``python fill_tokens.py DEVICE_URL ALICE_TOKEN BOB_TOKEN COUNT``.

Every other key is alice's to start sessions with, the rest bob's. Afterwards the tokens are
devices that share keys, with no other device in sight.
"""

import sys
from contextlib import closing

import qkd_hal
from qkd_hal.sources import Deadline
from qkd_hal.token_fill import fill_pair, keys_from
from qkd_hal.tokens import open_loader

device_url, alice_url, bob_url, count = sys.argv[1:]
soon = Deadline(60)
with (
    qkd_hal.open_device(device_url) as device,
    closing(open_loader(alice_url, "alice", soon)) as alice,
    closing(open_loader(bob_url, "bob", soon)) as bob,
):
    loaded = fill_pair(keys_from(device, int(count)), alice, bob, soon)
    print(f"{loaded} keys are in both tokens")
