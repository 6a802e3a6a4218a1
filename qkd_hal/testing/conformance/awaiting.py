"""The same device with ``await``."""

from __future__ import annotations

import asyncio
import time

from qkd_hal.aio import AsyncQKDDevice
from qkd_hal.testing.conformance._base import Conformance
from qkd_hal.testing.conformance._ends import Ends

__all__ = ["Awaiting"]

_MOMENTS = (0, 0.001, 0.005, 0.02)  # seconds: before, while and after a device answers


class Awaiting(Conformance):
    """Hooks run in threads of an executor, a different one for each call."""

    def test_both_ends_get_the_same_key_with_await(self, ends: Ends) -> None:
        """Opened in one thread, used in others."""

        async def main() -> bool:
            alice, bob = (AsyncQKDDevice(device) for device in ends.devices)
            try:
                async with await alice.start(ends.alice.peer) as ours:
                    await ours.connect()
                    async with await bob.start(ends.bob.peer, key_id=ours.key_id) as theirs:
                        await theirs.connect()
                        values = asyncio.to_thread(ends.alice.value, ours.session)
                        return await values == ends.bob.value(theirs.session)
            finally:
                await alice.close()
                await bob.close()

        assert asyncio.run(main()), "the two ends got different bytes"

    def test_a_cancelled_call_harms_nothing(self, ends: Ends) -> None:
        """The call runs on in its thread; the device serves the next one."""
        ends.exchange()

        async def main() -> None:
            device = AsyncQKDDevice(ends.alice.device)
            for seconds in _MOMENTS:
                task = asyncio.ensure_future(device.start(ends.alice.peer))
                await asyncio.sleep(seconds)
                task.cancel()
                await asyncio.wait([task])
            await device.status()

        begin = time.monotonic()
        asyncio.run(main())
        assert time.monotonic() - begin < self.at_once * 5, "cancelled calls hold up the next"
        ends.exchange()
