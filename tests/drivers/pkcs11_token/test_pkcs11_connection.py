"""Modules and sessions: found, shared, lost, forked, and closed while others work."""

from __future__ import annotations

import ctypes
import os
import signal
import threading
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import pkcs11
import pytest

from qkd_hal import open_device
from qkd_hal.device import DeviceState
from qkd_hal.errors import (
    ConfigurationError,
    DeadlineError,
    DeviceBusyError,
    DeviceClosedError,
    DeviceError,
    DeviceLostError,
    DeviceNotFoundError,
    DevicePermissionError,
    StateError,
    UnsupportedError,
)
from qkd_hal.sources import Deadline
from qkd_hal_drivers.pkcs11_token import _find, _library
from qkd_hal_drivers.pkcs11_token._errors import translated
from qkd_hal_drivers.pkcs11_token._library import load
from tests.drivers.pkcs11_token.conftest import MODULE

if TYPE_CHECKING:
    from collections.abc import Callable

    from pytest_mock import MockerFixture

    from qkd_hal.errors import QKDError
    from tests.drivers.pkcs11_token.conftest import FilledTokens, TokenPair

pytestmark = pytest.mark.needs("softhsm2-util")


@pytest.fixture
def filled(filled_tokens: FilledTokens, use_tokens: Callable[[Path], TokenPair]) -> TokenPair:
    return use_tokens(filled_tokens(3))


@pytest.fixture
def past_us() -> ctypes.CDLL:
    """The module as another library of this process sees it."""
    return ctypes.CDLL(str(MODULE))


def slot_of(site: str) -> int:
    slot: int = pkcs11.lib(str(MODULE)).get_token(token_label=site).slot.slot_id
    return slot


def test_a_token_is_named_by_any_of_its_attributes(filled: TokenPair) -> None:
    with open_device(filled.url("alice")) as device:
        serial = device.info.serial_number
    version = ".".join(map(str, pkcs11.lib(str(MODULE)).library_version))
    for path in (
        f";serial={serial}",
        f";slot-id=0{slot_of('alice')}",
        ";manufacturer=SoftHSM%20project;model=SoftHSM%20v2",
        f";library-version={version}",
    ):
        with open_device(filled.url("alice", path)) as device:
            assert device.info.serial_number == serial
    for path in (";serial=0", ";slot-id=1", ";library-version=99", ";slot-description=other"):
        with pytest.raises(DeviceNotFoundError), open_device(filled.url("alice", path)):
            pass


def test_a_token_that_is_not_there_lets_those_that_are_be_named(filled: TokenPair) -> None:
    with (
        pytest.raises(
            DeviceNotFoundError, match=r"Present are: pkcs11:token=\w+;serial="
        ) as caught,
        open_device(filled.url("carol")),
    ):
        pass
    assert "token=alice" in str(caught.value)
    assert "token=bob" in str(caught.value)


def test_a_token_that_another_process_writes_to_is_looked_for_again(
    filled: TokenPair, mocker: MockerFixture
) -> None:
    looked = mocker.patch.object(_find, "_initialised", side_effect=[False, False, *[True] * 90])
    with open_device(filled.url("alice")) as device:
        assert device.info
    assert looked.call_count > 2


def test_a_uri_that_fits_two_tokens_is_refused(filled: TokenPair) -> None:
    url = filled.url("alice").replace("token=alice", "model=SoftHSM%20v2")
    with pytest.raises(ConfigurationError, match="2 tokens fit"), open_device(url):
        pass


@pytest.mark.parametrize(
    ("path", "told"),
    [("/nowhere/lib.so", "No such file"), ("/etc/hostname", "file too short|invalid ELF")],
)
def test_a_module_that_does_not_load_says_why(path: str, told: str) -> None:
    with (
        pytest.raises(ConfigurationError, match=told),
        open_device(f"pkcs11:token=alice?module-path={path}"),
    ):
        pass


def test_a_module_that_does_not_start_says_why(
    tokens: TokenPair, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOFTHSM2_CONF", "/nowhere/softhsm2.conf")
    with (
        pytest.raises(ConfigurationError, match=r"does not start.*GeneralError"),
        open_device(tokens.url("alice")),
    ):
        pass
    monkeypatch.setenv("SOFTHSM2_CONF", str(tokens.configuration))


def test_a_module_that_another_library_has_started_is_busy(
    tokens: TokenPair, past_us: ctypes.CDLL
) -> None:
    assert past_us.C_Initialize(None) == 0
    with (
        pytest.raises(DeviceBusyError, match=r"p11-kit-proxy\.so"),
        open_device(tokens.url("alice")),
    ):
        pass
    assert past_us.C_Finalize(None) == 0


def test_one_module_is_never_started_twice(tokens: TokenPair, tmp_path: Path) -> None:
    alias = tmp_path / "alias.so"
    alias.symlink_to(MODULE)
    assert load(alias) is load(MODULE)


def test_two_devices_share_a_login_and_the_last_one_ends_it(filled: TokenPair) -> None:
    with open_device(filled.url("alice")) as first:
        with open_device(filled.url("alice")) as second:
            key_ids = {device.start("bob").key_id for device in (first, second)}
            assert len(key_ids) == 2
        first.start("bob")
        assert len(load(MODULE).sessions) == 1
    assert not load(MODULE).sessions
    with filled.session("alice") as session:  # which fails while we are logged in
        assert session.token.label == "alice"


def test_a_login_of_the_application_is_used_and_left_alone(filled: TokenPair) -> None:
    with filled.session("alice") as session:
        with open_device(filled.url("alice")) as device:
            device.start("bob")
        assert list(session.get_objects({pkcs11.Attribute.PRIVATE: True}))


@pytest.mark.parametrize("how", ["session closed", "module finalised"])
def test_a_token_that_goes_away_is_lost_and_opens_again(
    filled: TokenPair, past_us: ctypes.CDLL, how: str
) -> None:
    with open_device(filled.url("alice")) as device:
        session = device.start("bob")
        if how == "session closed":
            assert past_us.C_CloseAllSessions(ctypes.c_ulong(slot_of("alice"))) == 0
        else:
            pkcs11.lib(str(MODULE)).finalize()
        with pytest.raises(DeviceLostError, match="went away"):
            device.start("bob")
        assert device.state is DeviceState.FAILED
        with pytest.raises(DeviceLostError):
            session.connect()
        device.init()
        with device.start("bob") as again:
            again.connect()
            assert again.key_id != session.key_id


def test_who_notices_a_loss_first_need_not_wait_for_the_others(
    filled: TokenPair, past_us: ctypes.CDLL
) -> None:
    with open_device(filled.url("alice")) as first, open_device(filled.url("alice")) as second:
        assert past_us.C_CloseAllSessions(ctypes.c_ulong(slot_of("alice"))) == 0
        with pytest.raises(DeviceLostError):
            first.start()
        first.init()
        first.start()
        with pytest.raises(DeviceLostError):
            second.start()
        second.init()
        second.start()


def test_calls_wait_for_their_turn_until_their_deadline(filled: TokenPair) -> None:
    driver = filled.driver("alice")
    driver.open(Deadline(10))
    module = load(MODULE)
    module.acquire("testing", Deadline(1), threading.Event(), "")
    try:
        with pytest.raises(DeadlineError, match="reserving"):
            driver.reserve("bob", 32, 1, Deadline(0.01))
    finally:
        module.release()
    assert len(driver.reserve("bob", 32, 1, Deadline(0))) == 1
    driver.close()


def test_close_wakes_a_call_that_waits_and_does_not_wait_itself(filled: TokenPair) -> None:
    driver = filled.driver("alice")
    driver.open(Deadline(10))
    module = load(MODULE)
    module.acquire("testing", Deadline(1), threading.Event(), "")
    told: list[BaseException] = []

    def call() -> None:
        try:
            driver.reserve("bob", 32, 1, Deadline(60))
        except DeviceClosedError as error:
            told.append(error)

    waiting = threading.Thread(target=call)
    waiting.start()
    driver.close()
    waiting.join(10)
    assert len(told) == 1
    assert len(module.sessions) == 1, "the session was ended under a call that uses the module"
    module.release()
    assert not module.sessions, "nobody logged out"


def test_closing_is_idempotent_and_open_comes_first(filled: TokenPair) -> None:
    driver = filled.driver("alice")
    driver.close()
    with pytest.raises(StateError, match="init"):
        driver.status(Deadline(1))
    with open_device(filled.url("alice")) as other:
        driver.open(Deadline(10))
        driver.close()
        driver.close()
        with pytest.raises(DeviceClosedError):
            driver.reserve("bob", 32, 1, Deadline(1))
        assert len(other.start("bob").key_id.uuid.bytes) == 16


def test_a_forked_child_opens_the_token_for_itself(filled: TokenPair) -> None:
    def in_child() -> int:
        with open_device(filled.url("alice")) as own, own.start("bob") as session:
            session.connect()
            return len(session.get_key())

    with open_device(filled.url("alice")) as device:
        assert exit_code_of_child(in_child) == 32
        with device.start("bob") as session:
            session.connect()
            assert len(session.get_key()) == 32


def test_a_module_is_initialised_anew_after_a_fork(
    monkeypatch: pytest.MonkeyPatch, mocker: MockerFixture
) -> None:
    """SoftHSM2 goes on without; PKCS#11 says that other modules need not."""
    path = Path("/vendor.so")
    library = mocker.Mock(initialized=True)
    library.finalize.side_effect = pkcs11.GeneralError
    mocker.patch.object(pkcs11, "lib", return_value=library)
    monkeypatch.setattr(_library, "_TABLE", _library._Table())
    assert load(path) is load(path)
    library.initialize.assert_not_called()
    _library._TABLE.after_fork()
    assert load(path) is load(path)
    library.initialize.assert_called_once_with()


def test_a_forked_child_holds_no_key_of_its_parent(filled: TokenPair) -> None:
    driver = filled.driver("alice")
    driver.open(Deadline(10))
    slot = driver.reserve("bob", 32, 1, Deadline(10))[0]
    held = driver._held
    assert slot.key_id in held
    assert exit_code_of_child(lambda: 7 if slot.key_id not in held else 1) == 7
    driver.fetch(slot, memoryview(bytearray(32)), Deadline(10))
    driver.close()


def test_a_child_forked_while_a_module_loads_can_load_it_too(filled: TokenPair) -> None:
    with _library._TABLE.lock:
        assert exit_code_of_child(lambda: 5 if load(MODULE).tokens() else 1) == 5


@pytest.mark.parametrize(
    ("error", "ours", "told"),
    [
        (pkcs11.DeviceRemoved(), DeviceLostError, "init()"),
        (pkcs11.SessionHandleInvalid(), DeviceLostError, "init()"),
        (pkcs11.PinLocked(), DevicePermissionError, "security officer"),
        (pkcs11.PinExpired(), DevicePermissionError, "no valid PIN"),
        (pkcs11.SessionCount(), DeviceBusyError, "no session left"),
        (pkcs11.AnotherUserAlreadyLoggedIn(), DeviceBusyError, "officer"),
        (pkcs11.TokenWriteProtected(), DevicePermissionError, "write-protected"),
        (pkcs11.DeviceMemory(), DeviceError, "full"),
        (pkcs11.FunctionNotSupported(), UnsupportedError, "docs/pkcs11.md"),
        (pkcs11.GeneralError("says something"), DeviceError, "GeneralError while testing"),
    ],
)
def test_what_a_module_reports_names_the_token(
    error: pkcs11.PKCS11Error, ours: type[QKDError], told: str
) -> None:
    mapped = translated(error, "testing", "pkcs11:token=x")
    assert type(mapped) is ours
    assert told in str(mapped)
    assert "pkcs11:token=x" in str(mapped)
    assert "says something" not in str(mapped)


def exit_code_of_child(work: Callable[[], int]) -> int:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # the process may have threads
        child = os.fork()
    if child == 0:
        code = 99
        try:
            signal.signal(signal.SIGALRM, signal.SIG_DFL)
            signal.alarm(30)  # a lock that the parent held stays locked here
            code = work()
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
