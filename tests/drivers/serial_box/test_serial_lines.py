"""Every way to a box: a session on each, and what each says when it cannot be had."""

from __future__ import annotations

import errno
import gc
import os
import pty
import signal
import socket
import subprocess
import sys
import threading
import time
import warnings
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import serial

import qkd_hal
from qkd_hal.device import DeviceState
from qkd_hal.device_url import DeviceURL
from qkd_hal.errors import (
    ConfigurationError,
    DeadlineError,
    DeviceBusyError,
    DeviceClosedError,
    DeviceError,
    DeviceLostError,
    DeviceNotFoundError,
    DevicePermissionError,
    QKDError,
)
from qkd_hal.sources import Deadline
from qkd_hal_drivers.serial_box.port import LocalPort
from qkd_hal_drivers.serial_box.rfc2217 import Rfc2217Line
from qkd_hal_drivers.serial_box.tcp import TcpLine as BoxTcpLine
from qkd_hal_firmware_mocks.boxlink.byte_line import BoxLine
from qkd_hal_firmware_mocks.boxlink.pair import BoxPair, make_settings
from qkd_hal_firmware_mocks.tcp_line import TcpLine
from tests.drivers.serial_box.servers import free_port, ser2net

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pytest_mock import MockerFixture

    from qkd_hal.device import QKDDevice
    from qkd_hal_drivers.serial_box.line import ByteLine
    from qkd_hal_firmware_mocks.boxlink.emulator import SerialBoxPair
    from tests.drivers.serial_box.servers import PortManagerServer

SHORT = 0.3  # seconds, for what cannot be answered
PSK = bytes(32)


def same_key(first: QKDDevice, second: QKDDevice, size: int = 32) -> bool:
    """Take one key at both ends."""
    with first.start("bob", size=size) as session:
        session.connect()
        return session.get_key().matches(second.get_key_by_id(session.key_id, "alice"))


@pytest.fixture
def credential(tmp_path: Path) -> Path:
    path = tmp_path / "box.psk"
    path.touch(0o600)
    path.write_text(PSK.hex())
    return path


def opened(url: str, within: float = SHORT) -> QKDError:
    """Return the error of opening *url*."""
    device = qkd_hal.open_device(url, timeout=within)
    begin = time.monotonic()
    with pytest.raises(QKDError) as caught:
        device.init()
    assert time.monotonic() - begin < within + 1
    device.close()
    assert caught.value.device == url
    return caught.value


# A local port


def test_a_local_port(boxes: SerialBoxPair) -> None:
    with (
        qkd_hal.open_device(boxes.alice_url) as alice,
        qkd_hal.open_device(boxes.bob_url + "&baud=9600") as bob,
    ):
        assert same_key(alice, bob)
        assert same_key(alice, bob, 65536)


def test_a_port_that_is_not_there(credential: Path) -> None:
    error = opened(f"serial:///dev/ttyNONE7?credential={credential}")
    assert type(error) is DeviceNotFoundError
    assert "/dev/ttyNONE7" in str(error)
    assert "qkd-hal devices" in str(error)


def test_a_port_that_another_process_holds(alice: DeviceURL) -> None:
    with serial.Serial(alice.path, exclusive=True):
        error = opened(alice.text)
    assert type(error) is DeviceBusyError
    assert f"fuser {alice.path}" in str(error)


def test_a_port_is_this_drivers_alone(alice: DeviceURL) -> None:
    with qkd_hal.open_device(alice.text):
        assert type(opened(alice.text)) is DeviceBusyError
    with qkd_hal.open_device(alice.text) as again:
        assert again.status().link_up


@pytest.mark.parametrize("number", [errno.EACCES, errno.EPERM])
def test_a_port_without_the_right(alice: DeviceURL, mocker: MockerFixture, number: int) -> None:
    mocker.patch("os.open", side_effect=OSError(number, os.strerror(number)))  # we may be root
    device = qkd_hal.open_device(alice.text)
    mocker.patch("qkd_hal_drivers.boxlink.driver.load_psk", return_value=bytearray(32))
    with pytest.raises(DevicePermissionError, match=r"udev install.*usermod -aG \w+"):
        device.init()


@pytest.mark.parametrize("path", ["/dev/null", "/etc/passwd"])
def test_what_is_no_serial_port(path: str, credential: Path) -> None:
    error = opened(f"serial://{path}?credential={credential}")
    assert type(error) is DeviceError
    assert "no serial port" in str(error)


@pytest.mark.parametrize("error", [ValueError("baud"), serial.SerialException(5, "I/O")])
def test_a_port_that_breaks_on_opening(
    alice: DeviceURL, mocker: MockerFixture, error: Exception
) -> None:
    mocker.patch.object(serial, "Serial", side_effect=error)
    expected = ConfigurationError if isinstance(error, ValueError) else DeviceError
    assert type(opened(alice.text)) is expected


@pytest.fixture
def line(credential: Path) -> Iterator[tuple[int, str]]:
    """Give the far end of a port, and its URL."""
    master, slave = pty.openpty()
    yield master, f"serial://{os.ttyname(slave)}?credential={credential}&baud=57600"
    os.close(slave)
    os.close(master)


def test_a_silent_port_says_to_check_the_box(line: tuple[int, str]) -> None:
    error = opened(line[1])
    assert type(error) is DeviceNotFoundError
    assert "the box is on" in str(error)


def test_noise_says_to_check_the_baud_rate(line: tuple[int, str]) -> None:
    os.write(line[0], b"")
    stop = threading.Event()
    noise = threading.Thread(target=_flood, args=(line[0], stop))
    noise.start()
    try:
        error = opened(line[1])
    finally:
        stop.set()
        noise.join()
    assert type(error) is DeviceNotFoundError
    assert "bytes came and no answer among them: check the baud rate, which is 57600" in str(error)


def _flood(descriptor: int, stop: threading.Event) -> None:
    os.set_blocking(descriptor, False)
    chance = iter(range(1 << 30))
    while not stop.is_set():
        try:
            os.write(descriptor, bytes((7 * next(chance)) % 251 for _ in range(64)))
        except BlockingIOError:
            time.sleep(0.001)


def test_stale_input_is_passed_over(boxes: SerialBoxPair, alice: DeviceURL) -> None:
    with serial.Serial(alice.path) as port:  # leaves half a frame at the box, and half here
        port.write(b"\0\5half")
    for _ in range(3):
        with qkd_hal.open_device(alice.text) as device:
            assert device.status().link_up
            device.start("bob", size=32)


def test_a_port_that_takes_no_bytes_ends_at_the_deadline(line: tuple[int, str]) -> None:
    port = LocalPort(DeviceURL.parse(line[1]).path, 115200)
    port.open(Deadline(1))
    with pytest.raises(DeadlineError, match="no more bytes"):
        port.write(bytes(1 << 20), Deadline(0.1))
    port.close()


def test_unplugging_wakes_and_init_opens_again(boxes: SerialBoxPair) -> None:
    with qkd_hal.open_device(boxes.alice_url) as alice, qkd_hal.open_device(boxes.bob_url) as bob:
        boxes.fault("alice", "stall")
        cut = threading.Timer(0.1, lambda: boxes.unplug("alice"))
        cut.start()
        begin = time.monotonic()
        with pytest.raises(DeviceLostError, match="broke"):
            alice.status(timeout=20)
        assert time.monotonic() - begin < 5
        cut.join()
        assert alice.state is DeviceState.FAILED
        with pytest.raises(DeviceNotFoundError):
            alice.init(timeout=1)
        boxes.fault("alice", None)
        boxes.plug("alice")
        alice.init()
        assert same_key(alice, bob)


ASK = """
import sys, qkd_hal
device = qkd_hal.open_device(sys.argv[1], timeout=60)
print("ready", flush=True)
device.init()
"""


@pytest.mark.parametrize("kind", ["port", "tcp", "rfc2217"])
def test_ctrl_c_ends_a_wait(line: tuple[int, str], credential: Path, kind: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        number = listener.getsockname()[1]
        url = {
            "port": line[1],
            "tcp": f"serial+socket://127.0.0.1:{number}?credential={credential}",
            "rfc2217": f"serial+rfc2217://127.0.0.1:{number}?credential={credential}",
        }[kind]
        process = subprocess.Popen(
            [sys.executable, "-c", ASK, url], stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        assert process.stdout is not None
        process.stdout.readline()
        if kind == "port":
            os.read(line[0], 1)
        else:
            listener.accept()[0].detach()
        process.send_signal(signal.SIGINT)
        try:
            _, words = process.communicate(timeout=10)
        finally:
            process.kill()
        assert b"KeyboardInterrupt" in words


# TCP


@pytest.fixture
def tcp_box() -> Iterator[TcpLine]:
    with BoxPair(make_settings((PSK, PSK))) as pair:
        line = TcpLine(BoxLine(pair.alice), "127.0.0.1", 0)
        yield line
        line.close()


def test_a_tcp_port(tcp_box: TcpLine, credential: Path) -> None:
    url = f"serial+socket://localhost:{tcp_box.port}?credential={credential}"
    with qkd_hal.open_device(url) as device:
        for size in (32, 65536):
            with device.start("bob", size=size) as session:
                session.connect()
                assert len(session.get_key()) == size


def test_nothing_listens(credential: Path) -> None:
    for scheme in ("serial+socket", "serial+rfc2217"):
        error = opened(f"{scheme}://127.0.0.1:{free_port()}?credential={credential}", 3)
        assert type(error) is DeviceNotFoundError
        assert "serial" in str(error)


def test_a_host_without_an_address(credential: Path) -> None:
    error = opened(f"serial+socket://nobody.invalid:1?credential={credential}", 5)
    assert type(error) is DeviceNotFoundError


@pytest.mark.parametrize("scheme", ["serial+socket", "serial+rfc2217"])
def test_a_host_that_can_have_no_address(scheme: str, credential: Path) -> None:
    error = opened(f"{scheme}://lab..example:1?credential={credential}", 5)
    assert type(error) is DeviceNotFoundError


def test_an_address_of_a_family_that_the_kernel_lacks_is_passed_over(
    tcp_box: TcpLine, mocker: MockerFixture
) -> None:
    stream = socket.SOCK_STREAM
    good = (socket.AF_INET, stream, 0, "", ("127.0.0.1", tcp_box.port))
    alien = (9999, stream, 0, "", ("::1", tcp_box.port))
    find = mocker.patch("socket.getaddrinfo", return_value=[alien, good])
    line = BoxTcpLine("localhost", tcp_box.port)
    line.open(Deadline(5))
    line.close()
    find.return_value = [alien]
    with pytest.raises(DeviceNotFoundError, match="family"):
        BoxTcpLine("localhost", tcp_box.port).open(Deadline(5))


@contextmanager
def _full_listener() -> Iterator[int]:
    """Give a TCP port that takes no more connections, and refuses none."""
    with ExitStack() as stack:
        listener = stack.enter_context(socket.socket())
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        number: int = listener.getsockname()[1]
        for _ in range(3):
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(("127.0.0.1", number))
        yield number


def test_a_connection_that_is_never_taken_ends_at_the_deadline(credential: Path) -> None:
    with _full_listener() as number:
        for scheme in ("serial+socket", "serial+rfc2217"):
            url = f"{scheme}://127.0.0.1:{number}?credential={credential}"
            assert isinstance(opened(url), DeadlineError)


def test_a_server_that_hangs_up_is_a_loss(tcp_box: TcpLine, credential: Path) -> None:
    url = f"serial+socket://127.0.0.1:{tcp_box.port}?credential={credential}"
    with qkd_hal.open_device(url) as device:
        tcp_box.close()
        with pytest.raises(DeviceLostError):
            device.status()


# RFC 2217


def test_a_serial_server(port_manager: PortManagerServer, alice: DeviceURL, bob: DeviceURL) -> None:
    url = f"serial+rfc2217://127.0.0.1:{port_manager.port}?baud=57600"
    url += f"&credential={alice.query['credential']}"
    with qkd_hal.open_device(url) as device, qkd_hal.open_device(bob.text) as other:
        assert same_key(device, other)
        assert same_key(device, other, 10_000)
    assert port_manager.bauds[-1] == 57600


@pytest.mark.needs("ser2net")
def test_ser2net(alice: DeviceURL, bob: DeviceURL, tmp_path: Path) -> None:
    with ser2net(alice.path, tmp_path) as number:
        url = f"serial+rfc2217://127.0.0.1:{number}?credential={alice.query['credential']}"
        with qkd_hal.open_device(url) as device, qkd_hal.open_device(bob.text) as other:
            assert same_key(device, other)
            assert same_key(device, other, 10_000)


def test_a_serial_server_that_goes_away(port_manager: PortManagerServer, alice: DeviceURL) -> None:
    url = f"serial+rfc2217://127.0.0.1:{port_manager.port}"
    with qkd_hal.open_device(f"{url}?credential={alice.query['credential']}") as device:
        port_manager.close()
        with pytest.raises(DeviceLostError):
            device.status()


def test_what_does_not_speak_rfc_2217_ends_at_the_deadline(credential: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        number = listener.getsockname()[1]
        error = opened(f"serial+rfc2217://127.0.0.1:{number}?credential={credential}")
        assert isinstance(error, DeadlineError)
        error = opened(f"serial+rfc2217://127.0.0.1:{number}?credential={credential}", 8)
        assert isinstance(error, DeviceNotFoundError)
        assert "serial+socket://" in str(error)


def test_what_a_serial_server_pours_while_nobody_reads_is_bounded(
    port_manager: PortManagerServer,
) -> None:
    line = Rfc2217Line("127.0.0.1", port_manager.port, 115200)
    line.open(Deadline(10))
    unread = line._port._read_buffer
    for _ in range(300_000):
        unread.put(b"x")
    unread.put(None)
    assert unread.qsize() == (1 << 18) + 1
    line.close()


# All of them


@pytest.fixture
def lines(
    alice: DeviceURL, port_manager: PortManagerServer, tcp_box: TcpLine, line: tuple[int, str]
) -> dict[str, Callable[[], ByteLine]]:
    path = DeviceURL.parse(line[1]).path
    return {
        "port": lambda: LocalPort(path, 115200),
        "tcp": lambda: BoxTcpLine("127.0.0.1", tcp_box.port),
        "rfc2217": lambda: Rfc2217Line("127.0.0.1", port_manager.port, 115200),
    }


@pytest.mark.parametrize("kind", ["port", "tcp", "rfc2217"])
def test_closing_wakes_a_reader(lines: dict[str, Callable[[], ByteLine]], kind: str) -> None:
    line = lines[kind]()
    line.open(Deadline(5))
    assert line.read(Deadline(0.01)) == b""
    closing = threading.Timer(0.1, line.close)
    closing.start()
    begin = time.monotonic()
    with pytest.raises(DeviceClosedError):
        line.read(Deadline(None))
    assert time.monotonic() - begin < 2
    closing.join()
    line.close()
    for call in (line.open, line.read, lambda within: line.write(b"", within)):
        with pytest.raises(DeviceClosedError):
            call(Deadline(1))


@pytest.mark.parametrize("kind", ["tcp", "rfc2217"])
def test_closing_wakes_an_opener(kind: str) -> None:
    with _full_listener() as number:
        tcp, rfc2217 = BoxTcpLine("127.0.0.1", number), Rfc2217Line("127.0.0.1", number, 9600)
        line: ByteLine = tcp if kind == "tcp" else rfc2217
        closing = threading.Timer(0.1, line.close)
        closing.start()
        with pytest.raises(DeviceClosedError):
            line.open(Deadline(20))
        closing.join()


def test_closing_at_the_moment_of_opening_is_seen(
    line: tuple[int, str], mocker: MockerFixture
) -> None:
    port = LocalPort(DeviceURL.parse(line[1]).path, 115200)
    pipe = os.pipe

    def closed_meanwhile() -> tuple[int, int]:
        port._closed = True
        return pipe()

    mocker.patch("os.pipe", side_effect=closed_meanwhile)
    made = mocker.spy(serial, "Serial")
    with pytest.raises(DeviceClosedError):
        port.open(Deadline(5))
    made.assert_not_called()
    port._release()


@pytest.mark.parametrize("kind", ["port", "tcp", "rfc2217"])
def test_a_line_that_was_never_opened_closes(
    lines: dict[str, Callable[[], ByteLine]], kind: str
) -> None:
    line = lines[kind]()
    line.close()
    with pytest.raises(DeviceClosedError):
        line.open(Deadline(1))


def test_no_descriptor_left_is_an_error_of_our_tree(
    lines: dict[str, Callable[[], ByteLine]], mocker: MockerFixture
) -> None:
    line = lines["port"]()
    mocker.patch("os.pipe", side_effect=OSError(errno.EMFILE, "Too many open files"))
    with pytest.raises(DeviceError, match=r"cannot be opened.*Too many"):
        line.open(Deadline(5))
    line.close()


def test_a_line_that_is_dropped_unclosed_keeps_nothing(
    lines: dict[str, Callable[[], ByteLine]],
) -> None:
    line = lines["port"]()
    line.open(Deadline(5))
    assert isinstance(line, LocalPort)
    assert line._pipe is not None
    places = [Path(f"/proc/self/fd/{number}") for number in (line._fd, *line._pipe)]
    held = {place: place.readlink() for place in places}
    del line
    gc.collect()
    for place, target in held.items():  # another thread may have taken the number since
        assert not place.is_symlink() or place.readlink() != target


@pytest.mark.parametrize("kind", ["port", "tcp", "rfc2217"])
def test_a_forked_child_that_drops_a_line_leaves_it_to_the_parent(
    lines: dict[str, Callable[[], ByteLine]], kind: str
) -> None:
    held = [lines[kind]()]
    held[0].open(Deadline(5))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # the process may have threads
        child = os.fork()
    if child == 0:
        held.clear()
        gc.collect()
        os._exit(0)
    os.waitpid(child, 0)
    assert held[0].read(Deadline(0.05)) == b""
    held[0].close()
