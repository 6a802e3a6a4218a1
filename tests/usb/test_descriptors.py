"""Descriptors: what is built is read back, and no bytes lead out of bounds."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qkd_hal_firmware_mocks.usb import descriptors
from qkd_hal_firmware_mocks.usb.descriptors import DescriptorError, Endpoint, Interface

BYTE = st.integers(0, 255)
ENDPOINTS = st.builds(
    Endpoint,
    address=BYTE,
    attributes=st.integers(0, 3),
    max_packet=st.integers(1, 1024),
    interval=BYTE,
)
# A class descriptor: a length, a type that is neither interface nor endpoint, and bytes.
EXTRA = st.binary(max_size=20).map(lambda data: bytes([2 + len(data), 0x24]) + data)
INTERFACES = st.builds(
    Interface,
    number=BYTE,
    alternate=BYTE,
    triple=st.tuples(BYTE, BYTE, BYTE),
    string=BYTE,
    endpoints=st.lists(ENDPOINTS, max_size=4).map(tuple),
    extra=EXTRA,
)

# A serial port laid out as Linux's gadget does, by hand: association, both interfaces, four
# class descriptors, three endpoints.
ACM = bytes.fromhex(
    "09024b00020100c000"
    "080b000202020100"
    "0904000001020201000524001001052401000104240202052406000107058203080010"
    "09040100020a0000000705810240000007050102400000"
)


def build(interface: Interface) -> bytes:
    ends = [
        descriptors.endpoint(each.address, each.attributes, each.max_packet, interval=each.interval)
        for each in interface.endpoints
    ]
    return descriptors.interface(
        interface.number,
        interface.triple,
        ends,
        string=interface.string,
        alternate=interface.alternate,
        extra=interface.extra,
    )


@given(st.lists(INTERFACES, max_size=4))
def test_what_is_built_is_read_back(interfaces: list[Interface]) -> None:
    built = descriptors.configuration(*map(build, interfaces))
    assert descriptors.parse(built) == interfaces
    assert built[4] == len({each.number for each in interfaces})


@given(st.lists(INTERFACES, max_size=3), st.data())
def test_a_part_or_more_is_refused(interfaces: list[Interface], data: st.DataObject) -> None:
    built = descriptors.configuration(*map(build, interfaces))
    cut = data.draw(st.integers(0, len(built) - 1))
    for wrong in (built[:cut], built + b"\2\x24"):
        with pytest.raises(DescriptorError):
            descriptors.parse(wrong)


@given(st.binary(max_size=64))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    head = b"\x09\x02" + (9 + len(data)).to_bytes(2, "little") + bytes([1, 1, 0, 0xC0, 0])
    for candidate in (data, head + data):
        try:
            descriptors.parse(candidate)
        except DescriptorError:
            continue


def test_a_foreign_configuration_is_read() -> None:
    control, data = descriptors.parse(ACM)
    assert (control.triple, data.triple) == ((2, 2, 1), (0x0A, 0, 0))
    assert control.extra == bytes.fromhex("05240010010524010001042402020524060001")
    assert control.endpoints == (Endpoint(0x82, 3, 8, 16),)
    assert [end.address for end in data.endpoints] == [0x81, 0x01]
    assert not descriptors.is_high_speed([control, data])


def test_what_follows_an_endpoint_belongs_to_it() -> None:
    ends = [descriptors.endpoint(0x81, 2, 512) + b"\2\x30", descriptors.endpoint(0x01, 2, 512)]
    (interface,) = descriptors.parse(
        descriptors.configuration(descriptors.interface(0, (0xFF, 0, 0), ends))
    )
    assert [end.extra for end in interface.endpoints] == [b"\2\x30", b""]
    assert descriptors.is_high_speed([interface])


@pytest.mark.parametrize(
    ("tail", "what"),
    [
        (descriptors.endpoint(0x81, 2, 64), "before any interface"),
        (bytes([9, 4, 0, 0, 1, 0, 0, 0, 0]), "bNumEndpoints"),
        (bytes([2, 4]), "too short"),
        (bytes([9, 4, 0, 0, 1, 0, 0, 0, 0, 2, 5]), "too short"),
        (descriptors.interface(0, (0, 0, 0), [descriptors.endpoint(0x81, 2, 0)]), "packet size"),
        (b"\0", "0 bytes"),
        (b"\5\x24", "5 bytes"),
    ],
)
def test_a_fault_is_named(tail: bytes, what: str) -> None:
    with pytest.raises(DescriptorError, match=what):
        descriptors.parse(descriptors.configuration(prefix=tail))
