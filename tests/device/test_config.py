"""qkd-hal.toml: what stands in it, where it is looked for, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qkd_hal.config import (
    Configuration,
    DeviceEntry,
    PeerEntry,
    PoolEntry,
    configuration_paths,
    example_configuration,
    load_configuration,
    parse_configuration,
)
from qkd_hal.errors import ConfigurationError

HOME = Path("/srv/qkd/qkd-hal.toml")


def parsed(text: str) -> Configuration:
    return parse_configuration(text, HOME)


def test_the_example_is_complete_and_its_paths_start_at_the_file() -> None:
    config = parsed(example_configuration())
    assert config.site == "alice"
    url = "bb84+tcp://127.0.0.1:7101?credential=/srv/qkd/modem/client.curve"
    assert config.device("lab") == DeviceEntry("lab", url, "bob", 10.0)
    secret = Path("/srv/qkd/bob.link")
    assert config.peer("bob") == PeerEntry("bob", "tcp://192.0.2.7:7200", secret, listen=False)
    pool = PoolEntry("main", "pool+sqlite:///srv/qkd/pool/main.db", "bob", "lab", 1000, 4000)
    assert config.pool("main") == pool
    assert config.policy.tls == "require_quantum"
    assert not config.policy.allow_simulated


def test_an_empty_file_is_the_strict_default() -> None:
    config = parsed("")
    assert (config.site, dict(config.devices)) == (None, {})
    assert config.policy.tls == "require_quantum"


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("pool+sqlite:///var/a.db", "pool+sqlite:///var/a.db"),
        ("pool+sqlite:a b.db", "is wrong"),
        ("pool+sqlite:a.db", "pool+sqlite:///srv/qkd/a.db"),
        ("pool+memory:", "pool+memory:"),
    ],
)
def test_pool_urls(written: str, read: str) -> None:
    text = (
        f'[pools.p]\nurl = "{written}"\npeer = "bob"\n'
        '[peers.bob]\nlink = "tcp://h:1"\nlink_secret_file = "s"'
    )
    if read == "is wrong":
        with pytest.raises(ConfigurationError, match="must be a URL"):
            parsed(text)
    else:
        assert parsed(text).pool("p").url == read


def test_an_absolute_credential_stays() -> None:
    url = "x://h?credential=/a%20b&token_file=c"
    config = parsed(f'[devices.d]\nurl = "{url}"')
    assert config.device("d").url == "x://h?credential=/a%20b&token_file=/srv/qkd/c"


PEER = '[peers.bob]\nlink_secret_file = "s"\nlink = '
POOL = '[peers.bob]\nlink = "tcp://h:1"\nlink_secret_file = "s"\n[pools.p]\nurl = "pool+memory:"\n'


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[devices.lab]\nurll = 'x:'", r"urll in \[devices.lab\] is unknown. Did you mean url\?"),
        ("[device.lab]\nurl = 'x:'", r"device in qkd-hal.toml is unknown. Did you mean devices\?"),
        ("[site]\nnam = 'a'", "Did you mean name"),
        ("[policy]\nzzz = 1", "Known here: tls, allow_simulated"),
        ("[devices.lab]\npeer = 'bob'", r"url in \[devices.lab\] is missing"),
        ("[devices.lab]\nurl = 5", "must be a text"),
        ("[devices.lab]\nurl = ''", "must be a text"),
        ("[devices.lab]\nurl = 'lab'", "must be a URL"),
        ("[devices.lab]\nurl = 'x:'\ntimeout = true", "seconds"),
        ("[devices.lab]\nurl = 'x:'\ntimeout = 0", "seconds"),
        ("[devices.lab]\nurl = 'x:'\ntimeout = nan", "seconds"),
        ("[devices.lab]\nurl = 'x:'\npeer = 'a b'", "peer in"),
        ("[devices.'a b']\nurl = 'x:'", "cannot name a site"),
        ("[site]\nname = ''", "must be a text"),
        ("devices = 1", "must be a table"),
        ("[devices]\nlab = 1", "must be a table"),
        ("[policy]\ntls = 'require_quantun'", "Did you mean require_quantum"),
        ("[policy]\nallow_simulated = 1", "true or false"),
        (PEER + "'udp://h:1'", "tcp://host:port"),
        (PEER + "'tcp://h:0'", "tcp://host:port"),
        (PEER + "'tcp://u@h:1'", "tcp://host:port"),
        (PEER + "'tcp://h:1'\nlisten = 'yes'", "true or false"),
        ("[peers.bob]\nlink = 'tcp://h:1'", "link_secret_file in"),
        (POOL, "peer in .* is missing"),
        (POOL + "peer = 'bobb'", r"no \[peers.bobb\].*Did you mean bob\?"),
        (POOL + "peer = 'bob'\ndevice = 'lab'", r"no \[devices.lab\]"),
        (POOL + "peer = 'bob'\nblock_size = 0", "whole number"),
        (POOL + "peer = 'bob'\nblock_size = true", "whole number"),
        (POOL + "peer = 'bob'\nlow_water_keys = 5\nhigh_water_keys = 5", "less than"),
        (POOL.replace("pool+memory:", "sqlite:a"), "must be a URL, pool"),
        ("= 1", "is not TOML"),
    ],
)
def test_what_is_wrong_is_named(text: str, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        parsed(text)


@pytest.mark.parametrize("key", ["link_secret", "secret", "pin", "user-pin", "password", "psk"])
@pytest.mark.parametrize("table", ["devices.lab", "peers.bob", "pools.p", "policy", "site"])
def test_an_inline_secret_is_refused_and_not_repeated(key: str, table: str) -> None:
    with pytest.raises(ConfigurationError, match=f"{key}_file") as caught:
        parsed(f"[{table}]\n{key} = 'hunter2'")
    assert "hunter2" not in str(caught.value)


@given(st.text(max_size=60) | st.text("[]devics.labur=\"'x:\n 1{}", max_size=60))
def test_any_text_is_read_or_raises_one_exception(text: str) -> None:
    try:
        parsed(text)
    except ConfigurationError:
        return


@pytest.fixture
def bare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working directory and an empty user configuration directory."""
    (tmp_path / "here").mkdir()
    (tmp_path / "user" / "qkd-hal").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "user"))
    monkeypatch.delenv("QKD_HAL_CONFIG", raising=False)
    return tmp_path


def _write(path: Path) -> Path:
    path.write_text(f'[site]\nname = "{path.parent.name}"')
    return path


def test_the_order_of_the_search(bare: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _write(bare / "user" / "qkd-hal" / "qkd-hal.toml")
    assert load_configuration().site == "qkd-hal"
    _write(bare / "here" / "qkd-hal.toml")
    assert load_configuration().site == "here"
    monkeypatch.setenv("QKD_HAL_CONFIG", str(_write(bare / "user" / "x.toml")))
    assert load_configuration().site == "user"
    (bare / "there").mkdir()
    assert load_configuration(_write(bare / "there" / "y.toml")).site == "there"
    assert configuration_paths()[-1] == Path("/etc/qkd-hal/qkd-hal.toml")


def test_relative_paths_start_at_the_file_wherever_we_are(bare: Path) -> None:
    (bare / "user" / "c.toml").write_text(example_configuration())
    config = load_configuration(Path("..") / "user" / "c.toml")
    assert config.peer("bob").link_secret_file == bare / "user" / "bob.link"


def test_no_file_at_all_says_where_it_was_looked_for(bare: Path) -> None:
    with pytest.raises(ConfigurationError, match=rf"{bare}/user/qkd-hal/qkd-hal.toml.*doctor"):
        load_configuration()


@pytest.mark.parametrize("missing", [True, False])
def test_a_named_file_is_not_replaced_by_another(
    missing: bool, bare: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _write(bare / "here" / "qkd-hal.toml")
    named = bare / "nope.toml" if missing else bare
    monkeypatch.setenv("QKD_HAL_CONFIG", str(named))
    with pytest.raises(ConfigurationError, match="cannot be read"):
        load_configuration()


def test_a_file_that_is_no_configuration_is_refused(bare: Path) -> None:
    (bare / "binary").write_bytes(b"\xff")
    (bare / "large").write_bytes(b"#" * ((1 << 20) + 1))
    for name, why in (("binary", "UTF-8"), ("large", "larger")):
        with pytest.raises(ConfigurationError, match=why):
            load_configuration(bare / name)
