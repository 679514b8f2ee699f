"""The phases only go forward; a task that fails is heard."""

import asyncio
import contextlib

import pytest

from data_plane.lifecycle import Lifecycle, Phase


def test_the_phase_never_goes_back() -> None:
    lifecycle = Lifecycle(lambda _name, _error: None)
    lifecycle.advance(Phase.SERVING)
    lifecycle.advance(Phase.DRAINING)
    assert lifecycle.is_draining
    with pytest.raises(ValueError, match="draining cannot become serving"):
        lifecycle.advance(Phase.SERVING)


async def test_a_failing_task_is_reported_by_its_name() -> None:
    heard: list[tuple[str, BaseException]] = []
    lifecycle = Lifecycle(lambda name, error: heard.append((name, error)))
    failure = RuntimeError("no")

    async def fail() -> None:
        raise failure

    await asyncio.wait([lifecycle.spawn("doomed", fail())])
    await asyncio.sleep(0)
    assert heard == [("doomed", failure)]
    assert lifecycle.task_count == 0


async def test_ending_tasks_cancels_and_awaits_them() -> None:
    lifecycle = Lifecycle(lambda _name, _error: None)
    ended = []

    async def wait() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(True)

    lifecycle.spawn("waiting", wait())
    await asyncio.sleep(0)
    await lifecycle.end_tasks()
    assert ended == [True]
    assert lifecycle.task_count == 0


async def test_a_task_that_loses_its_first_cancellation_is_ended_all_the_same() -> None:
    lifecycle = Lifecycle(lambda _name, _error: None)

    async def deaf_once() -> None:
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.Event().wait()
        await asyncio.Event().wait()

    lifecycle.spawn("deaf", deaf_once())
    await asyncio.sleep(0)
    await lifecycle.end_tasks()
    assert lifecycle.task_count == 0
