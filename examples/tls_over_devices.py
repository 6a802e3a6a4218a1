"""One TLS session keyed by any two devices that share keys: ``python tls_over_devices.py URL URL``.

Serial boxes, USB boxes, filled tokens, PKCS#11 tokens, boxes behind a serial server: only the
URLs differ. The first device's site is the client, the second's the server.
"""

import sys

import qkd_hal
from qkd_hal.tls import Policy, Protection, QKDSocket, connect, serve


def shout(connection: QKDSocket) -> None:
    while text := connection.recv():
        connection.sendall(text.upper())


def run(client_url: str, server_url: str) -> tuple[str, Protection]:
    policy = Policy(allow_simulated=True)  # for emulated devices; leave it out with real ones
    with qkd_hal.open_device(client_url) as ours, qkd_hal.open_device(server_url) as theirs:
        client, server = qkd_hal.DeviceKeySource(ours), qkd_hal.DeviceKeySource(theirs)
        us, them = ours.info.site, theirs.info.site
        with (
            serve(("127.0.0.1", 0), server, shout, peers=[us], policy=policy) as listener,
            connect(listener.address, client, peer=them, policy=policy) as connection,
        ):
            connection.sendall(b"keyed by quantum light")
            return connection.recv().decode(), connection.protection


if __name__ == "__main__":
    answer, protection = run(*sys.argv[1:])
    print(answer)
    print(protection.reason)
