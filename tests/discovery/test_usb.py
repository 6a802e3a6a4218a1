"""USB devices are recognised by their descriptors, and say what keeps them from being used."""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING

import pytest

from qkd_hal.keys import Origin
from qkd_hal_drivers.buses import sysfs, usb

if TYPE_CHECKING:
    from qkd_hal.discovery import DiscoveredDevice
    from tests.discovery.conftest import Machine

BOX = ((0xFF, 0x51, 0x4B), "boxlink 1")
CCID = ((0x0B, 0x00, 0x00), "")
DISK = ((0x08, 0x06, 0x50), "")


def found(machine: Machine) -> list[DiscoveredDevice]:
    return usb.recognised(sysfs.usb_devices(machine.root))


def test_a_box_is_named_by_its_own_texts(machine: Machine) -> None:
    machine.usb((0x1234, 0xABCD), DISK, BOX, manufacturer="Acme", product="Link One", serial="A/7")
    (box,) = found(machine)
    assert box.url == "usb://1234:abcd/A%2F7"
    assert (box.vendor, box.model, box.serial_number) == ("Acme", "Link One", "A/7")
    assert box.provenance.origin is Origin.UNKNOWN
    assert (box.usable, box.known) == (True, True)


def test_a_box_that_is_silent_still_has_a_name_and_an_address(machine: Machine) -> None:
    machine.usb((0x1234, 0xABCD), BOX, manufacturer="", product="", serial="")
    (box,) = found(machine)
    assert (box.url, box.vendor, box.model) == ("usb://1234:abcd", "USB vendor 1234", "QKD box")


@pytest.mark.parametrize(
    "alien", [DISK, ((0xFF, 0x51, 0x4B), "bulk"), ((0xFF, 0x51, 0x4C), "boxlink 1")]
)
def test_other_devices_are_left_out(
    alien: tuple[tuple[int, int, int], str], machine: Machine
) -> None:
    machine.usb((0x1234, 0x5678), alien)
    assert found(machine) == []


@pytest.mark.parametrize(("product", "known"), [("QKD key token 2", True), ("Reader 3000", False)])
def test_a_token_is_known_by_its_product_and_any_reader_may_hold_one(
    product: str, known: bool, machine: Machine
) -> None:
    machine.usb((0x1234, 0x5678), CCID, product=product)
    (token,) = found(machine)
    assert (token.url, token.model, token.known) == ("token://1234:5678/A-7", product, known)


def test_instruments_are_known_by_their_numbers(machine: Machine) -> None:
    machine.usb((0x0ABA, 0x0102), ((0xFF, 0, 0), ""), product="Quantis USB", serial="")
    machine.usb((0x1DDC, 0x0330), ((0xFE, 0x03, 1), ""), product="ID120", port="1-2")
    quantis, detector = found(machine)
    assert (quantis.url, quantis.usable) == ("quantis://0aba:0102", True)
    assert (detector.url, detector.usable, "no driver" in detector.reason) == ("", False, True)


@pytest.mark.parametrize(("product", "simulated"), [(0x0001, True), (0x0010, True), (0x11, False)])
def test_what_wears_a_number_for_tests_is_simulated(
    product: int, simulated: bool, machine: Machine
) -> None:
    machine.usb((0x1209, product), BOX)
    assert found(machine)[0].provenance.simulated is simulated


def test_a_box_that_is_plugged_in_again_has_another_change_token(machine: Machine) -> None:
    directory = machine.usb((0x1234, 0x5678), BOX)
    (before,) = found(machine)
    assert found(machine) == [before]
    directory.rename(machine.root / "gone")
    (machine.root / "sys/bus/usb/devices/1-1").unlink()
    assert found(machine) == []
    machine.usb((0x1234, 0x5678), BOX)
    (after,) = found(machine)
    assert (after.url, after.change_token == before.change_token) == (before.url, False)


def test_a_box_that_vanishes_under_our_eyes_is_left_out(machine: Machine) -> None:
    shutil.rmtree(machine.usb((0x1234, 0x5678), BOX))
    (machine.usb((0x1234, 0x5678), BOX, port="1-2") / "idProduct").unlink()
    assert found(machine) == []


@pytest.mark.parametrize("attribute", ["idVendor", "busnum", "bInterfaceClass"])
@pytest.mark.parametrize("nonsense", [b"", b"zz\n", b"\xff" * 9000])
def test_a_hostile_attribute_is_no_device_and_no_crash(
    attribute: str, nonsense: bytes, machine: Machine
) -> None:
    directory = machine.usb((0x1234, 0x5678), BOX)
    for file in [directory / attribute, directory / "1-1:1.0" / attribute]:
        if file.exists():
            file.write_bytes(nonsense)
    assert found(machine) == []


def test_texts_of_a_device_cannot_steer_a_terminal(machine: Machine) -> None:
    machine.usb((0x1234, 0x5678), BOX, product="\x1b[2Jred\x07", serial="\x9b1")
    (box,) = found(machine)
    assert box.model == "\N{REPLACEMENT CHARACTER}[2Jred\N{REPLACEMENT CHARACTER}"
    assert box.url.isascii()
    assert box.url.isprintable()


def test_a_text_that_is_not_utf8_is_shown_as_far_as_it_goes(machine: Machine) -> None:
    (machine.usb((0x1234, 0x5678), BOX) / "product").write_bytes(b"Link\xff\n")
    assert found(machine)[0].model == "Link\N{REPLACEMENT CHARACTER}"


def test_without_right_the_cure_is_the_udev_rule(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine.usb((0x1234, 0x5678), BOX)
    asked = []

    def refuse(path: object, mode: int) -> bool:
        asked.append((str(path), mode))
        return False

    monkeypatch.setattr(os, "access", refuse)  # tests may run as root, whom nothing refuses
    (box,) = found(machine)
    node = str(machine.root / "dev/bus/usb/001/001")
    assert asked == [(node, os.R_OK | os.W_OK)]
    assert (box.usable, node in box.reason, "qkd-hal udev install" in box.cure) == (
        False,
        True,
        True,
    )


def test_in_a_container_without_the_node_the_cure_is_to_pass_it_through(machine: Machine) -> None:
    machine.usb((0x1234, 0x5678), BOX)
    (machine.root / "dev/bus/usb/001/001").unlink()
    (box,) = found(machine)
    assert (box.usable, "is missing" in box.reason, "container" in box.cure) == (False, True, True)


def test_a_box_that_a_program_has_claimed_is_busy(machine: Machine) -> None:
    directory = machine.usb((0x1234, 0x5678), DISK, BOX)
    machine.claim(directory, 0, "usbfs")
    assert found(machine)[0].usable
    machine.claim(directory, 1, "usbfs")
    (box,) = found(machine)
    assert (box.usable, "another program" in box.reason) == (False, True)


def test_a_kernel_driver_is_in_nobodys_way(machine: Machine) -> None:
    directory = machine.usb((0x0ABA, 0x0102), ((0xFF, 0, 0), ""))
    machine.claim(directory, 0, "usb-storage")
    assert found(machine)[0].usable


def test_a_machine_without_usb_has_none(machine: Machine) -> None:
    shutil.rmtree(machine.root / "sys")
    assert found(machine) == []


def test_without_its_library_a_box_names_the_extra(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine.usb((0x1234, 0x5678), BOX)
    machine.usb((0x1234, 0x5678), CCID, port="1-2")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    box, token = found(machine)
    assert "the module usb" in box.reason
    assert "pip install 'qkd-hal[usb]'" in box.cure
    assert "pip install 'qkd-hal[token]'" in token.cure
