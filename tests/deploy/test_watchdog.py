"""A worker that lives and consumes nothing any more is found by what it does not finish."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest
from fakes.valkey import Engine

from deploy.local.watchdog import CHECK_EVERY_S, TOLERATED_S, SweepWatchdog
from shared import keys

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

CHECKS = int(TOLERATED_S / CHECK_EVERY_S)


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    server = Engine(tmp_path)
    server.start()
    yield server
    server.client.close()
    server.kill()


class Watched:
    """A watchdog whose clock the test turns."""

    def __init__(self, engine: Engine) -> None:
        self._watchdog = SweepWatchdog(engine.url)
        self._now = time.monotonic() + 1.0

    def checks(self, count: int) -> list[bool]:
        """What it says at each of its next looks."""
        said = []
        for _ in range(count):
            self._now += CHECK_EVERY_S
            said.append(self._watchdog.is_overdue(self._now))
        return said


def test_a_worker_that_finishes_nothing_is_overdue_and_then_has_its_time_again(
    engine: Engine,
) -> None:
    """F59."""
    engine.client.set(keys.SWEEP_FINISHED_AT, "1")
    watched = Watched(engine)
    assert watched.checks(1 + CHECKS) == [False] * CHECKS + [True]
    assert watched.checks(CHECKS) == [False] * (CHECKS - 1) + [True]


def test_a_worker_that_finishes_its_sweeps_is_left_alone(engine: Engine) -> None:
    """F59."""
    watched = Watched(engine)
    for number in range(4 * CHECKS):
        engine.client.set(keys.SWEEP_FINISHED_AT, str(number // (CHECKS - 1)))
        assert watched.checks(1) == [False]


def test_while_redis_cannot_be_asked_nothing_is_held_against_the_worker(engine: Engine) -> None:
    """F59."""
    engine.client.set(keys.SWEEP_FINISHED_AT, "1")
    watched = Watched(engine)
    assert watched.checks(1) == [False]
    engine.kill()
    assert not any(watched.checks(2 * CHECKS))
    engine.start()
    engine.client.set(keys.SWEEP_FINISHED_AT, "1")
    assert watched.checks(CHECKS) == [False] * (CHECKS - 1) + [True]
