"""HKDF-Expand with the HMAC of a token gives what RFC 5869, appendix A, says."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from qkd_hal import open_device
from qkd_hal.keys import Origin, Provenance, QuantumKey
from qkd_hal.sources import Deadline
from qkd_hal.token_fill import fill_pair
from qkd_hal_drivers.pkcs11_token._hkdf import expand

if TYPE_CHECKING:
    from tests.drivers.pkcs11_token.conftest import TokenPair

# PRK, info, OKM of the test cases 1 to 3.
CASES = [
    (
        "077709362c2e32df0ddc3f0dc47bba6390b6c73bb50f9c3122ec844ad7c2b3e5",
        "f0f1f2f3f4f5f6f7f8f9",
        "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865",
    ),
    (
        "06a6b88c5853361a06104c9ceb35b45cef760014904671014a193f40c15fc244",
        bytes(range(0xB0, 0x100)).hex(),
        "b11e398dc80327a1c8e7f78c596a49344f012eda2d4efad8a050cc4c19afa97c"
        "59045a99cac7827271cb41c65e590e09da3275600c2f09b8367793a9aca3db71"
        "cc30c58179ec3e87c14c01d5c1f3434f1d87",
    ),
    (
        "19ef24a32c717b167f33a91d6f648bdf96596776afdb6377ac434c1c293ccb04",
        "",
        "8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d9d201395faa4b61a96c8",
    ),
]


@pytest.mark.needs("softhsm2-util")
@pytest.mark.parametrize(("prk", "info", "okm"), CASES)
@pytest.mark.parametrize("extractable", [True, False], ids=["extractable", "inside"])
def test_the_known_answers_come_out_of_a_token(
    tokens: TokenPair, prk: str, info: str, okm: str, extractable: bool
) -> None:
    expected = bytes.fromhex(okm)
    with (
        tokens.loader("alice", extractable=extractable) as alice,
        tokens.loader("bob", extractable=extractable) as bob,
    ):
        fill_pair(
            [QuantumKey(bytes.fromhex(prk), provenance=Provenance(Origin.HARDWARE))],
            alice,
            bob,
            Deadline(10),
        )
    with open_device(tokens.url("alice")) as device, device.start("bob") as session:
        session.connect()
        assert session.derive(bytes.fromhex(info), len(expected)).matches(expected)


def test_blocks_are_chained_and_cut() -> None:
    seen = []

    def mac(message: bytes) -> bytes:
        seen.append(message)
        return bytes([len(seen)]) * 32

    assert expand(mac, b"i", 65) == b"\1" * 32 + b"\2" * 32 + b"\3"
    assert seen == [b"i\1", b"\1" * 32 + b"i\2", b"\2" * 32 + b"i\3"]
    assert expand(mac, b"", 32) == b"\4" * 32
