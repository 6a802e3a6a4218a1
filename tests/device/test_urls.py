"""Device URLs: every form that DESIGN names, and one exception type for the rest."""

from __future__ import annotations

from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qkd_hal.errors import ConfigurationError
from qkd_hal.registry import DeviceURL


@pytest.mark.parametrize(
    ("text", "scheme", "authority", "path", "query"),
    [
        ("serial:///dev/ttyUSB0", "serial", "", "/dev/ttyUSB0", {}),
        ("serial+rfc2217://host:4000", "serial+rfc2217", "host:4000", "", {}),
        ("usb://16c0:05df/SN%2F1", "usb", "16c0:05df", "/SN/1", {}),
        ("pkcs11:token=a;object=b", "pkcs11", "", "token=a;object=b", {}),
        ("pkcs11:id=%FF%00?module-path=/a%20b", "pkcs11", "", "id=%FF%00", {"module-path": "/a b"}),
        ("etsi014+https://kme:443/BOB", "etsi014+https", "kme:443", "/BOB", {}),
        (
            "BB84+tcp://[::1]:7101?credential=/a+b%20c",
            "bb84+tcp",
            "[::1]:7101",
            "",
            {"credential": "/a+b c"},
        ),
    ],
)
def test_forms(text: str, scheme: str, authority: str, path: str, query: dict[str, str]) -> None:
    url = DeviceURL.parse(text)
    found = (url.scheme, url.authority, url.path, dict(url.query))
    assert found == (scheme, authority, path, query)
    assert str(url) == text


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [("x://kme:443/B", "kme", 443), ("x://[fe80::1]:1", "fe80::1", 1), ("x://kme", "kme", None)],
)
def test_host_and_port(text: str, host: str, port: int | None) -> None:
    url = DeviceURL.parse(text)
    assert (url.host, url.port) == (host, port)


@pytest.mark.parametrize("text", ["x:", "x:///p", "x://a:b", "x://h:123456", "x://:1", "x://h:"])
def test_a_missing_host_is_an_error_only_when_asked_for(text: str) -> None:
    with pytest.raises(ConfigurationError):
        _ = DeviceURL.parse(text).host


@pytest.mark.parametrize("port", ["0", "65536"])
def test_ports_out_of_range(port: str) -> None:
    with pytest.raises(ConfigurationError, match="port"):
        _ = DeviceURL.parse(f"x://h:{port}").port


@pytest.mark.parametrize(
    "text",
    [
        "",
        "lab",
        "://h",
        "1x://h",
        "x://h/a b",
        "x://h#fragment",
        "x://h\n",
        "x://h/%00",
        "x://h/%ff",
        "x://h?a",
        "x://h?=1",
        "x://h?a=1&a=2",
        "x://h?a=1&",
        "x://" + "h" * 2048,
    ],
)
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(ConfigurationError):
        DeviceURL.parse(text)


@pytest.mark.parametrize(
    "text",
    ["x://u:hunter2@h", "x://hunter2@h", "pkcs11:a=b?pin-value=hunter2", "x://h?password=hunter2"],
)
def test_a_secret_is_refused_and_not_repeated(text: str) -> None:
    with pytest.raises(ConfigurationError, match="no secret stands in a URL") as caught:
        DeviceURL.parse(text)
    assert "hunter2" not in str(caught.value)


@given(st.text(max_size=40) | st.text("x:/?&=%@#[]a0 \n", max_size=40))
def test_any_text_parses_or_raises_one_exception(text: str) -> None:
    try:
        url = DeviceURL.parse(text)
    except ConfigurationError:
        return
    assert url == DeviceURL.parse(url.text)


@given(st.dictionaries(st.from_regex(r"[a-z_]{1,8}x", fullmatch=True), st.text(min_size=1)))
def test_any_printable_query_value_survives_quoting(query: dict[str, str]) -> None:
    query = {name: value for name, value in query.items() if value.isprintable()}
    text = "&".join(f"{name}={quote(value, safe='')}" for name, value in query.items())
    if len(text) < 2000:
        assert dict(DeviceURL.parse("x:" + ("?" + text if text else "")).query) == query
