"""The schedule, as a thread of the worker.

RedBeat's lock in Redis lets one beat tick however many workers there are. A thread of our own,
rather than Celery's embedded process, for three reasons: it dies with the worker whatever kills
that, it shares the worker's memory, and it begins again when Redis was away (a beat that loses its
lock ends, and nobody would start it again).
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any, Final

import structlog
from celery import beat, bootsteps
from kombu.exceptions import OperationalError
from redis.exceptions import RedisError

if TYPE_CHECKING:
    from celery import Celery

log = structlog.get_logger(__name__)

RESTART_AFTER_S: Final = 1.0


class BeatThread(threading.Thread):
    """Ticks until stopped."""

    def __init__(self, app: Celery) -> None:
        super().__init__(name="beat", daemon=True)
        self._app = app
        self._stopping = threading.Event()
        self._service: beat.Service | None = None

    def run(self) -> None:
        """Tick, and begin again after a fault of Redis."""
        self._app.set_current()
        while not self._stopping.is_set():
            self._service = beat.Service(self._app, scheduler_cls=self._app.conf.beat_scheduler)
            try:
                self._service.start()
            except (RedisError, OperationalError, OSError) as error:
                log.warning("beat_interrupted", error=type(error).__name__)
            self._stopping.wait(RESTART_AFTER_S)

    def stop(self) -> None:
        """End after the tick at hand."""
        self._stopping.set()
        if self._service is not None:
            self._service.stop(wait=False)


class BeatStep(bootsteps.StartStopStep):
    """Starts the thread with the worker."""

    requires: Final = {"celery.worker.components:Pool"}

    def __init__(self, parent: Any, **_: Any) -> None:
        self._thread = BeatThread(parent.app)
        super().__init__(parent)

    def start(self, parent: Any) -> None:  # noqa: ARG002 - Celery's signature
        """Begin to tick."""
        self._thread.start()

    def stop(self, parent: Any) -> None:  # noqa: ARG002 - Celery's signature
        """Stop ticking."""
        self._thread.stop()
