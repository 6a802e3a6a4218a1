"""Which modules are looked into: the URI's, the environment's, p11-kit's."""

from __future__ import annotations

from pathlib import Path

import pytest

from qkd_hal.errors import ConfigurationError
from qkd_hal_drivers.pkcs11_token import _modules
from qkd_hal_drivers.pkcs11_token._modules import candidates
from qkd_hal_drivers.pkcs11_token.uri import TokenUri


@pytest.fixture
def p11_kit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two directories of p11-kit files, the second of which counts more, and one of libraries."""
    for name in ("system", "user", "lib"):
        (tmp_path / name).mkdir()
    monkeypatch.setattr(_modules, "_CONFIGURED", (tmp_path / "system", tmp_path / "user"))
    monkeypatch.setattr(_modules, "_LIBRARIES", (str(tmp_path / "lib"),))
    monkeypatch.delenv("QKD_HAL_PKCS11_MODULE", raising=False)
    return tmp_path


def found(uri: str) -> list[str]:
    return [str(path) for path in candidates(TokenUri.parse(uri))]


def test_a_path_is_taken_as_it_is(p11_kit: Path) -> None:
    assert found("pkcs11:?module-path=/opt/vendor.so") == ["/opt/vendor.so"]


def test_p11_kit_s_files_name_modules(p11_kit: Path) -> None:
    (p11_kit / "system/a.module").write_text("# a comment: x\nmodule: /opt/a.so\npriority: 1\n")
    (p11_kit / "system/b.module").write_text("module: /opt/old.so\n")
    (p11_kit / "user/b.module").write_text("module:/opt/new.so\n")
    (p11_kit / "lib/relative.so").touch()
    (p11_kit / "user/c.module").write_text("module: relative.so\n")
    (p11_kit / "user/gone.module").write_text("module: nowhere.so\n")
    (p11_kit / "user/empty.module").write_text("\n")
    (p11_kit / "user/trust.module").write_text("module: /opt/trust.so\ntrust-policy: yes\n")
    (p11_kit / "user/far.module").write_text("remote: |ssh host\nmodule: /opt/far.so\n")
    assert found("pkcs11:token=x") == ["/opt/a.so", "/opt/new.so", f"{p11_kit}/lib/relative.so"]


def test_the_environment_goes_before_p11_kit(
    p11_kit: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (p11_kit / "system/a.module").write_text("module: /opt/a.so\n")
    monkeypatch.setenv("QKD_HAL_PKCS11_MODULE", "/opt/one.so:/opt/two.so:")
    assert found("pkcs11:token=x") == ["/opt/one.so", "/opt/two.so"]


@pytest.mark.parametrize("name", ["vendor", "VENDOR"])
def test_a_name_is_compared_without_prefix_suffix_and_case(p11_kit: Path, name: str) -> None:
    (p11_kit / "lib/libvendor.so.2").touch()
    (p11_kit / "lib/libvendorette.so").touch()
    assert found(f"pkcs11:?module-name={name}") == [f"{p11_kit}/lib/libvendor.so.2"]
    directory = p11_kit / "lib"
    uri = f"pkcs11:?module-name={name}&module-path={directory}"
    assert found(uri) == [f"{directory}/libvendor.so.2"]


def test_p11_kit_s_name_of_a_module_counts_too(p11_kit: Path) -> None:
    (p11_kit / "system/short.module").write_text("module: /opt/lib-with-a-long-name.so\n")
    assert found("pkcs11:?module-name=Short") == ["/opt/lib-with-a-long-name.so"]


@pytest.mark.parametrize(
    ("query", "told"),
    [
        ("", "no PKCS#11 module is known here"),
        ("?module-name=missing", "called missing"),
        ("?module-path=/etc", "Add &module-name"),
    ],
)
def test_what_is_not_found_is_told_with_its_cure(p11_kit: Path, query: str, told: str) -> None:
    with pytest.raises(ConfigurationError, match=told):
        found(f"pkcs11:{query}")
