"""Waking a task by name when the transaction has committed.

The schedule runs every task anyway; waking only makes it sooner. So it must never delay or fail the
request: one daemon thread talks to the broker, and what it cannot deliver is logged and left to the
schedule.
"""

from __future__ import annotations

import os
import queue
import threading
from functools import partial
from typing import Final

import structlog
from django.conf import settings
from django.db import transaction
from django.utils.module_loading import import_string
from kombu.exceptions import OperationalError
from redis.exceptions import RedisError

log = structlog.get_logger(__name__)

MAX_WAITING: Final = 1_000
EXPIRES_S: Final = 60
"""A wake-up that lay longer than this is stale: the schedule has been there by then."""

Call = tuple[str, tuple[str, ...]]


def wake_on_commit(task: str, *args: str) -> None:
    """Send the task's name to the workers once the caller's transaction has committed."""
    transaction.on_commit(partial(_messenger, task, args))


def _messenger(task: str, args: tuple[str, ...]) -> None:
    _Messenger.of_this_process().send(task, args)


class _Messenger:
    """The thread that talks to the broker. One for each process, made after the fork."""

    _instance: _Messenger | None = None
    _lock = threading.Lock()

    def __init__(self) -> None:
        self._pid = os.getpid()
        self._waiting: queue.Queue[Call] = queue.Queue(MAX_WAITING)
        threading.Thread(target=self._run, name="wake", daemon=True).start()

    @classmethod
    def of_this_process(cls) -> _Messenger:
        """The messenger, made anew when this process was forked from one that had it."""
        with cls._lock:
            if cls._instance is None or cls._instance._pid != os.getpid():
                cls._instance = cls()
            return cls._instance

    def send(self, task: str, args: tuple[str, ...]) -> None:
        """Queue a wake-up. The same one waiting already is enough."""
        if (task, args) in self._waiting.queue:
            return
        try:
            self._waiting.put_nowait((task, args))
        except queue.Full:
            log.warning("wake_dropped", task=task, reason="queue_full")

    def _run(self) -> None:
        app = import_string(settings.CELERY_APP)
        while True:
            task, args = self._waiting.get()
            try:
                app.send_task(task, args=args, expires=EXPIRES_S, retry=False)
            except (OperationalError, RedisError, OSError) as error:
                log.warning("wake_dropped", task=task, reason=type(error).__name__)
