"""Send a line and print the answer: ``python tls_client.py DEVICE_URL PORT TEXT``."""

import sys

import qkd_hal
from qkd_hal.tls import Policy, connect

device_url, port, text = sys.argv[1:]
policy = Policy(allow_simulated=True)  # for the simulator; leave it out with real devices
with qkd_hal.open_device(device_url) as device:
    source = qkd_hal.DeviceKeySource(device)
    with connect(("127.0.0.1", int(port)), source, peer="bob", policy=policy) as connection:
        print(connection.protection.reason)
        connection.sendall(text.encode())
        print(connection.recv().decode())
