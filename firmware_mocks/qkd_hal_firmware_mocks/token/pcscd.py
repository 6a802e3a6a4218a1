"""A PC/SC daemon of one's own, with vsmartcard's virtual reader in it and a private socket.

``pcscd`` has its socket's place compiled in. It takes one that is handed to it, as systemd
does (``sd_listen_fds``), which needs neither root nor that no other daemon runs.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING

from qkd_hal_firmware_mocks.token.vpcd import VpcdCard

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

    from qkd_hal_firmware_mocks.token.mischief import Card

__all__ = ["PcscDaemon"]

_DRIVER = "/usr/lib/pcsc/drivers/serial/libifdvpcd.so"
_CONFIGURATION = """\
FRIENDLYNAME "{name}"
DEVICENAME   /dev/null:{port:#x}
LIBPATH      {driver}
CHANNELID    {port:#x}
"""
_SBIN = "/usr/local/sbin:/usr/sbin:/sbin"  # where pcscd is, on no ordinary user's path
# systemd's protocol names the process that the socket is for, which only itself can know.
_HAND_OVER = 'exec 3<&0 </dev/null; LISTEN_FDS=1 LISTEN_PID=$$ exec "$@"'
_START_SECONDS = 10.0
_STOP_SECONDS = 5.0


class PcscDaemon:
    """Runs until closed. A client has ``PCSCLITE_CSOCK_NAME`` set to ``socket_path``.

    libpcsclite reads that variable once in a process: set it before the first call.
    *directory* is for the socket, the configuration and the log, and has a short name, as the
    path of a socket must have.

    Raises:
        FileNotFoundError: pcscd is not installed.
        TimeoutError: it did not open its reader.
    """

    reader_name = "QKD key token mock"
    slots = 2

    def __init__(self, directory: Path, *, drop_directory: Path | None = None) -> None:
        self.socket_path = directory / "pcscd.sock"
        self.port = _two_free_ports()
        self._log = directory / "pcscd.log"
        configuration = directory / "reader.conf.d"
        configuration.mkdir(exist_ok=True)
        fields = {"name": self.reader_name, "port": self.port, "driver": _DRIVER}
        (configuration / "vpcd").write_text(_CONFIGURATION.format(**fields))
        drop = {} if drop_directory is None else {"PCSCLITE_HP_DROPDIR": str(drop_directory)}
        self._process = self._start(configuration, drop)
        self._wait_for_reader()

    def insert(self, card: Card, slot: int = 0) -> VpcdCard:
        """Put *card* into the reader's *slot*, 0 or 1; close what this returns to pull it out."""
        return VpcdCard(card, self.port + slot)

    def close(self) -> None:
        """Stop the daemon; idempotent."""
        self._process.terminate()
        try:
            self._process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self.socket_path.unlink(missing_ok=True)

    def _start(self, configuration: Path, environment: dict[str, str]) -> subprocess.Popen[bytes]:
        program = shutil.which("pcscd", path=f"{os.environ.get('PATH', '')}:{_SBIN}")
        if program is None:
            raise FileNotFoundError("pcscd is not installed")
        command = [program, "--foreground", "--info", "--config", str(configuration)]
        with socket.socket(socket.AF_UNIX) as listener, self._log.open("wb") as log:
            listener.bind(str(self.socket_path))
            listener.listen()
            return subprocess.Popen(
                ["/bin/sh", "-c", _HAND_OVER, "sh", *command],
                stdin=listener.fileno(),
                stdout=log,
                stderr=subprocess.STDOUT,
                env=os.environ | environment,
            )

    def _wait_for_reader(self) -> None:
        end = time.monotonic() + _START_SECONDS
        while not _listens(self.port + self.slots - 1):
            if self._process.poll() is not None or time.monotonic() > end:
                self.close()
                last = self._log.read_text(errors="replace").strip()[-200:]
                raise TimeoutError(f"pcscd did not open its reader: {last}")
            time.sleep(0.01)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def _two_free_ports() -> int:
    """The reader listens at a port and the one above it, for its second slot."""
    while True:
        with socket.create_server(("127.0.0.1", 0)) as first:
            port: int = first.getsockname()[1]
            try:
                socket.create_server(("127.0.0.1", port + 1)).close()
            except (OSError, OverflowError):
                continue
            return port


def _listens(port: int) -> bool:
    """Look without connecting: the reader would take a connection for a card."""
    lines = Path("/proc/net/tcp").read_text().splitlines()[1:]
    return any(
        line.split()[1].endswith(f":{port:04X}") and line.split()[3] == "0A" for line in lines
    )
