"""The search for key bytes finds every usual spelling, and nothing else."""

from __future__ import annotations

import base64
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest

from qkd_hal.keys import Origin, Provenance, QuantumKey
from qkd_hal.testing.conformance._secrets import Needle

if TYPE_CHECKING:
    from collections.abc import Callable

KEY = bytes(range(0xE0, 0x100))


@pytest.fixture
def needle() -> Needle:
    return Needle(QuantumKey(KEY, provenance=Provenance(Origin.SIMULATED)))


@pytest.mark.parametrize(
    "spell",
    [
        bytes.hex,
        lambda key: key.hex().upper(),
        lambda key: key.hex(":"),
        lambda key: key.hex("-", 4),
        lambda key: "\n".join(f"{at:04x}  {key[at : at + 8].hex(' ')}" for at in range(0, 32, 8)),
        lambda key: ", ".join(map(hex, key)),
        repr,
        lambda key: "".join(f"\\x{byte:02X}" for byte in key),
        lambda key: str(list(key)),
        lambda key: ",".join(map(str, key)),
        lambda key: base64.b64encode(key).decode(),
        lambda key: base64.urlsafe_b64encode(key).decode(),
        lambda key: key[20:28].hex(),
    ],
)
def test_a_spelt_key_is_found(spell: Callable[[bytes], str], needle: Needle) -> None:
    assert needle.in_text(f"received {spell(KEY)} from the box")


@pytest.mark.parametrize("text", ["", KEY[:7].hex(), bytes(64).hex(), repr(bytes(range(64)))])
def test_nothing_else_is(text: str, needle: Needle) -> None:
    assert not needle.in_text(text)


@pytest.mark.parametrize(
    "holder",
    [
        KEY,
        [bytearray(b"head" + KEY)],
        SimpleNamespace(cache={"last": (KEY,)}),
        memoryview(bytearray(KEY)),
        lambda: KEY,
    ],
)
def test_a_kept_key_is_found_wherever_it_lies(holder: object, needle: Needle) -> None:
    found = needle.held_by(SimpleNamespace(holder=holder))
    assert found is not callable(holder), "code belongs to everybody, and is not searched"


def test_the_search_ends_in_a_loop_and_does_not_find_itself(needle: Needle) -> None:
    loop: list[object] = [needle]
    loop.append(loop)
    assert not needle.held_by(loop)
    assert "e0" not in repr(needle)
