"""The bound on failed takes."""

from __future__ import annotations

from qkd_hal.pool.limits import FailureLimit


class Clock:
    """A clock that stands still until told."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_only_failures_empty_the_bucket_and_time_fills_it() -> None:
    clock = Clock()
    limit = FailureLimit(rate=10, burst=3, clock=clock)
    for _ in range(3):
        assert not limit.exceeded()
        assert not limit.exceeded()
        limit.failed()
    assert limit.exceeded()
    clock.now += 0.09
    assert limit.exceeded()
    clock.now += 0.02
    assert not limit.exceeded()
    limit.failed()
    assert limit.exceeded()
    assert limit.count == 4


def test_the_bucket_never_holds_more_than_its_burst() -> None:
    clock = Clock()
    limit = FailureLimit(rate=10, burst=2, clock=clock)
    clock.now += 1000
    for _ in range(2):
        assert not limit.exceeded()
        limit.failed()
    assert limit.exceeded()
