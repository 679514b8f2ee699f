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
        """Tick, and begin again after any fault.

        When Redis goes away at the wrong moment, RedBeat fails with an AttributeError (its lock is
        None), and who knows with what else. A schedule that stays silent is worse than any of it.
        """
        self._app.set_current()
        while not self._stopping.is_set():
            self._service = beat.Service(self._app, scheduler_cls=self._app.conf.beat_scheduler)
            try:
                self._service.start()
            except Exception as error:  # noqa: BLE001 - see above
                log.warning("beat_interrupted", error=f"{type(error).__name__}: {error}")
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
