"""The life of the process: starting, ready, draining, closing. And the tasks it keeps.

Nothing else calls `asyncio.create_task`: a task that nobody holds may vanish in the middle of its
work, and one that nobody names cannot be found in a dump.
"""

from __future__ import annotations

import asyncio
import time
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine


CANCEL_AGAIN_S: Final = 0.1


class Phase(StrEnum):
    """Where the process stands. It only moves forward."""

    STARTING = "starting"
    SERVING = "serving"
    DRAINING = "draining"
    """Still answers whatever reaches it, each answer with `Connection: close`."""

    CLOSING = "closing"
    """The drain deadline has passed: what still arrives is refused."""


_ORDER = tuple(Phase)


class Lifecycle:
    """One per process."""

    def __init__(self, on_task_failure: Callable[[str, BaseException], None]) -> None:
        self.phase = Phase.STARTING
        self.is_draining = False
        """Whether answers should ask the client to go elsewhere next time."""

        self.started_at = time.time()
        self._tasks: set[asyncio.Task[Any]] = set()
        self._on_task_failure = on_task_failure

    def advance(self, phase: Phase) -> None:
        """Move forward; going back is a mistake in the program."""
        if _ORDER.index(phase) < _ORDER.index(self.phase):
            msg = f"{self.phase} cannot become {phase}"
            raise ValueError(msg)
        self.phase = phase
        self.is_draining = phase in {Phase.DRAINING, Phase.CLOSING}

    def spawn(self, name: str, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Run `work` as a task that is named, kept until it ends, and heard when it fails."""
        task = asyncio.get_running_loop().create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if task.cancelled():
            return
        error = task.exception()
        if error is not None:
            self._on_task_failure(task.get_name(), error)

    @property
    def task_count(self) -> int:
        """Tasks alive now, for the metric and for leak tests."""
        return len(self._tasks)

    async def end_tasks(self) -> None:
        """Cancel what still runs and wait until it has ended.

        More than once if need be: redis-py loses a cancellation that comes together with an answer.
        """
        while self._tasks:
            for task in self._tasks:
                task.cancel()
            await asyncio.wait(self._tasks, timeout=CANCEL_AGAIN_S)
            await asyncio.sleep(0)  # for `_ended` to have been called
