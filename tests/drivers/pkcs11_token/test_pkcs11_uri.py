"""RFC 7512 URIs: its examples, its grammar, and what is refused."""

from __future__ import annotations

import contextlib
from pathlib import Path
from urllib.parse import quote_from_bytes

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qkd_hal.errors import ConfigurationError
from qkd_hal.keys import KeyId
from qkd_hal.registry import DeviceURL, known_schemes
from qkd_hal_drivers.pkcs11_token.uri import TokenUri

ID = KeyId.from_bytes(bytes(range(240, 256)))


def test_the_examples_of_rfc_7512_that_name_tokens() -> None:
    assert TokenUri.parse("pkcs11:").matches == {}
    uri = TokenUri.parse(
        "pkcs11:token=The%20Software%20PKCS%2311%20Softtoken;"
        "manufacturer=Snake%20Oil,%20Inc.;"
        "model=1.0;"
        "object=my-certificate;"
        "type=secret-key;"
        "id=%f0%f1%f2%f3%f4%f5%f6%f7%f8%f9%fa%fb%fc%fd%fe%ff"
        "?pin-source=file:/etc/token_pin"
    )
    assert uri.matches == {
        "token": "The Software PKCS#11 Softtoken",
        "manufacturer": "Snake Oil, Inc.",
        "model": "1.0",
    }
    assert (uri.object_label, uri.object_class, uri.key_id) == ("my-certificate", "secret-key", ID)
    assert uri.pin_file == Path("/etc/token_pin")


def test_slots_libraries_and_modules() -> None:
    uri = TokenUri.parse(
        "pkcs11:slot-description=Sun%20Metaslot;slot-manufacturer=A;slot-id=327;"
        "library-manufacturer=B;library-description=C;library-version=3.1;serial=DECC0401648"
        "?module-path=/mnt/libmypkcs11.so.1"
    )
    assert uri.matches == {
        "slot-description": "Sun Metaslot",
        "slot-manufacturer": "A",
        "slot-id": "327",
        "library-manufacturer": "B",
        "library-description": "C",
        "library-version": "3.1",
        "serial": "DECC0401648",
    }
    assert uri.module_path == Path("/mnt/libmypkcs11.so.1")
    assert TokenUri.parse("PKCS11:?module-name=softhsm2").module_name == "softhsm2"


@pytest.mark.parametrize("source", ["file:/a/pin", "file:///a/pin", "/a/pin", "file:%2Fa%2Fpin"])
def test_a_pin_source_is_a_file(source: str) -> None:
    assert TokenUri.parse(f"pkcs11:?pin-source={source}").pin_file == Path("/a/pin")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("serial:///dev/ttyS0", "not a PKCS#11 URI"),
        ("pkcs11:" + "token=x;" * 300, "not a PKCS#11 URI"),
        ("pkcs11:token=a;token=b", "twice"),
        ("pkcs11:?pin-source=file:/a&pin-source=file:/b", "twice"),
        ("pkcs11:colour=red", "'colour' is no attribute"),
        ("pkcs11:token", "'token' is no attribute"),
        ("pkcs11:token=a;", "'' is no attribute"),
        ("pkcs11:pin-source=file:/a", "'pin-source' is no attribute"),
        ("pkcs11:?token=a", "'token' is no attribute"),
        ("pkcs11:?x-vendor=a", "'x-vendor' is no attribute"),
        ("pkcs11:token=a b", "percent-encoded"),
        ("pkcs11:token=a/b", "percent-encoded"),
        ("pkcs11:token=%4", "percent-encoded"),
        ("pkcs11:token=é", "percent-encoded"),
        ("pkcs11:?module-path=/a#b", "percent-encoded"),
        ("pkcs11:token=", "empty"),
        ("pkcs11:token=%FF", "not UTF-8"),
        ("pkcs11:token=%00", "control characters"),
        ("pkcs11:type=private", "hold no keys"),
        ("pkcs11:id=%01%02", "16 bytes, not 2"),
        ("pkcs11:slot-id=zero", "no number"),
        ("pkcs11:slot-id=%D9%A1", "no number"),
        ("pkcs11:library-version=3.", "no number"),
        ("pkcs11:?module-path=lib.so", "no absolute path"),
        ("pkcs11:?module-name=../evil", "without path"),
        ("pkcs11:?pin-source=|/usr/bin/pin", "not run"),
        ("pkcs11:?pin-source=https://host/pin", "no absolute path"),
        ("pkcs11:?pin-value=1234", "no secret stands in a URL"),
        ("pkcs11:pin-value=1234", "no secret stands in a URL"),
    ],
)
def test_what_is_not_understood_is_refused(text: str, told: str) -> None:
    with pytest.raises(ConfigurationError, match="PKCS#11 URI") as caught:
        TokenUri.parse(text)
    assert told in str(caught.value)
    assert "1234" not in str(caught.value)


def test_the_uri_of_a_token_names_it_again() -> None:
    text = TokenUri.of_token(
        token="A;b?c&d/e 100% é", serial="0 #1", module_path=Path("/opt/v x/lib?&.so")
    )
    uri = TokenUri.parse(DeviceURL.parse(text).text)
    assert uri.matches == {"token": "A;b?c&d/e 100% é", "serial": "0 #1"}
    assert uri.module_path == Path("/opt/v x/lib?&.so")


@given(st.text(min_size=1, max_size=32).filter(str.isprintable))
def test_any_label_survives_the_round_trip(label: str) -> None:
    text = TokenUri.of_token(token=label, serial="1", module_path=Path("/lib.so"))
    assert TokenUri.parse(text).matches["token"] == label


@given(st.text(max_size=60) | st.text("pkcs1:;=?&%/token0id-", max_size=60))
def test_nothing_but_a_configuration_error_leaves_the_parser(text: str) -> None:
    with contextlib.suppress(ConfigurationError):
        TokenUri.parse("pkcs11:" + text)


@given(st.binary(min_size=16, max_size=16))
def test_any_key_id_can_be_named(raw: bytes) -> None:
    uri = TokenUri.parse(f"pkcs11:id={quote_from_bytes(raw, safe='')}")
    assert uri.key_id == KeyId.from_bytes(raw)


def test_the_scheme_is_known() -> None:
    assert "pkcs11" in known_schemes()
