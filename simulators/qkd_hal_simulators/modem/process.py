"""One modem from start to end: what it opens, in which order, and that all of it is closed."""

from __future__ import annotations

from contextlib import ExitStack
from importlib.metadata import version
from typing import TYPE_CHECKING, cast
from urllib.parse import quote

import zmq

from qkd_hal.distillation.session import Role
from qkd_hal.entropy import SystemEntropy
from qkd_hal.instruments import open_entropy_source
from qkd_hal.key_ids import KeyIdSealer
from qkd_hal.private_files import private_directory
from qkd_hal.sources import Alarm
from qkd_hal_simulators.modem.advertisement import advertised
from qkd_hal_simulators.modem.app_server import AppServer, AppSocket
from qkd_hal_simulators.modem.appetite import Appetite
from qkd_hal_simulators.modem.block_store import BlockStore
from qkd_hal_simulators.modem.classical import QUEUED_MESSAGES, ClassicalChannel
from qkd_hal_simulators.modem.credential import issue_credential
from qkd_hal_simulators.modem.database import Database
from qkd_hal_simulators.modem.distiller import Distiller
from qkd_hal_simulators.modem.key_service import KeyService
from qkd_hal_simulators.modem.key_store import KeyStore
from qkd_hal_simulators.modem.light import EmittingEnd, ReceivingEnd, shared_parameters
from qkd_hal_simulators.modem.pad_store import PadStore
from qkd_hal_simulators.modem.quantum import MAX_FRAME_BYTES, QUEUED_FRAMES
from qkd_hal_simulators.modem.record import LinkRecord
from qkd_hal_simulators.modem.role import note_role
from qkd_hal_simulators.modem.session_recording import engine_of
from qkd_hal_simulators.modem.shared_secret import take_in_secret
from qkd_hal_simulators.modem.single_instance import exclusive
from qkd_hal_simulators.modem.sockets import Waker, attach, link_socket
from qkd_hal_simulators.modem.workers import Workers

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Mapping

    from qkd_hal.distillation.session import DistillationParameters, DistillationSession
    from qkd_hal.sources import EntropySource
    from qkd_hal_simulators.settings import ModemSettings

__all__ = ["run_modem"]

_KEY_BYTES = 32
_KEYS_LOW = 4  # keys below which applications are warned
_RING_PART = 4  # a space holds this many times its high water before the oldest block goes


class Modem:
    """Everything that one modem has open. Made and closed within :func:`run_modem`."""

    def __init__(self, settings: ModemSettings, cleanup: ExitStack) -> None:
        self._settings = settings
        self._record = LinkRecord()
        self._entropy = _open_entropy(settings.entropy, cleanup)
        directory = private_directory(settings.directory)
        cleanup.enter_context(exclusive(directory / "modem.lock"))
        self._database = Database(directory / "store.sqlite3")
        cleanup.callback(self._database.close)
        self._pad = PadStore(self._database, first=settings.first)
        self._id_secret = take_in_secret(self._database, self._pad, settings.secret)
        self._keys = KeyStore(self._database, capacity=_RING_PART * settings.high_water)
        self._appetite = Appetite(self._keys, high_water=settings.high_water)
        self._open_link(cleanup)
        self._server = AppServer(
            self._key_service(), identity=self._identity(), status=self._status
        )
        self._app = AppSocket(settings.app, issue_credential(directory))
        cleanup.callback(self._app.close)

    def run(self, stop: threading.Event) -> None:
        """Serve and distil until *stop* is set; re-raise what ended one of the threads."""
        with Workers(stop) as workers:
            workers.start("quantum", self._light.thread.run)
            workers.start("app", lambda stop: self._app.serve(self._server, stop))
            self._distiller.run(stop)

    def endpoints(self) -> dict[str, str]:
        """Return where this modem can be reached: for the ready file and for discovery."""
        credential = str((self._settings.directory / "client.curve").absolute())
        return {
            **self._link_addresses,
            "app": self._app.address,
            "site": self._settings.site,
            "url": f"bb84+tcp://{self._app.address}?credential={quote(credential)}",
        }

    def _open_link(self, cleanup: ExitStack) -> None:
        context = cleanup.enter_context(zmq.Context())
        waker = Waker()
        cleanup.callback(waker.close)
        parameters = shared_parameters(self._settings)
        classical = link_socket(
            context,
            zmq.DEALER,
            max_message=parameters.max_message_bytes + 1,
            queue=QUEUED_MESSAGES,
        )
        cleanup.callback(classical.close)
        kind = zmq.PUSH if self._settings.emits else zmq.PULL
        quantum = link_socket(context, kind, max_message=MAX_FRAME_BYTES, queue=QUEUED_FRAMES)
        cleanup.callback(quantum.close)
        channel = ClassicalChannel(classical)
        self._light = self._make_light(quantum, channel, waker)
        self._distiller = Distiller(
            self._session(parameters, cleanup),
            channel,
            BlockStore(self._database, self._keys, self._pad, first=self._settings.first),
            self._record,
            self._appetite,
            self._light.work,
            waker,
            answer_seconds=self._settings.preset.answer_seconds,
        )
        self._link_addresses = {
            name: attach(made, address, bind=self._settings.first)
            for name, made, address in (
                ("quantum", quantum, self._settings.quantum),
                ("classical", classical, self._settings.classical),
            )
        }

    def _make_light(
        self, socket: zmq.Socket[bytes], channel: ClassicalChannel, waker: Waker
    ) -> EmittingEnd | ReceivingEnd:
        if not self._settings.emits:
            return ReceivingEnd(self._settings, self._entropy, socket, self._record, waker)
        return EmittingEnd(
            self._settings,
            self._entropy,
            socket,
            self._record,
            lambda: self._record.link_up and (self._appetite.hungry or channel.peer_hungry),
        )

    def _session(
        self, parameters: DistillationParameters, cleanup: ExitStack
    ) -> DistillationSession:
        unconfirmed = self._keys.unconfirmed()
        note_role(self._database, emits=self._settings.emits, unconfirmed=unconfirmed)
        engine = engine_of(self._settings.site, self._settings.record_session, cleanup)
        session = engine(
            Role.EMITTER if self._settings.emits else Role.DETECTOR,
            parameters,
            pad=self._pad,
            entropy=self._entropy,
            first_block=self._keys.next_block(),
            unconfirmed=unconfirmed,
            holds=self._keys.ever_stored,
        )
        self._light.attach(session)
        return session

    def _key_service(self) -> KeyService:
        site, peer = self._settings.site, self._settings.peer
        return KeyService(
            self._keys,
            peer=peer,
            own_ids=KeyIdSealer(self._id_secret, f"{site}>{peer}".encode()),
            peer_ids=KeyIdSealer(self._id_secret, f"{peer}>{site}".encode()),
        )

    def _identity(self) -> dict[str, object]:
        return {
            "vendor": "qkd-hal",
            "model": "simulated BB84 optical modem",
            "serial_number": f"sim-{self._settings.site}",
            "firmware": version("qkd-hal"),
            "simulated": True,
            "site": self._settings.site,
            "peer": self._settings.peer,
        }

    def _status(self) -> dict[str, object]:
        status = self._record.snapshot()
        held = self._keys.remaining(own=True)
        low = [Alarm.KEYS_LOW.value] if held < _KEYS_LOW * _KEY_BYTES else []
        alarms = sorted([*cast("list[str]", status["alarms"]), *low])
        return {**status, "alarms": alarms, "stored_bytes": held, "stored_keys": held // _KEY_BYTES}


def _open_entropy(url: str | None, cleanup: ExitStack) -> EntropySource:
    if url is None:
        return SystemEntropy()
    return cleanup.enter_context(open_entropy_source(url))


def run_modem(
    settings: ModemSettings,
    stop: threading.Event,
    *,
    ready: Callable[[Mapping[str, str]], None],
) -> None:
    """Run one modem until *stop* is set; *ready* hears where it listens.

    Raises:
        ConfigurationError: it cannot start as it was told to.
        DeviceBusyError: another modem runs in its directory.
        DeviceError, DeadlineError: its random generator fails, now or later.
    """
    with ExitStack() as cleanup:
        modem = Modem(settings, cleanup)
        endpoints = modem.endpoints()
        cleanup.enter_context(advertised(settings.site, endpoints))
        ready(endpoints)
        modem.run(stop)
