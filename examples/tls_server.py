"""Answer every client in upper case: ``python tls_server.py DEVICE_URL PORT``."""

import sys

import qkd_hal
from qkd_hal.tls import Policy, QKDSocket, serve


def shout(connection: QKDSocket) -> None:
    while text := connection.recv():
        connection.sendall(text.upper())


device_url, port = sys.argv[1:]
policy = Policy(allow_simulated=True)  # for the simulator; leave it out with real devices
with qkd_hal.open_device(device_url) as device:
    source = qkd_hal.DeviceKeySource(device)
    with serve(("127.0.0.1", int(port)), source, shout, peers=["alice"], policy=policy) as server:
        print(f"listening on port {server.address[1]}; Enter ends", flush=True)
        sys.stdin.readline()
