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
from typing import Final, NamedTuple

import structlog
from django.conf import settings
from django.db import transaction
from django.utils.module_loading import import_string
from kombu.exceptions import OperationalError
from redis.exceptions import RedisError

from control_plane.common.requests import TASK_HEADER, current_request_id, request_id_enter

log = structlog.get_logger(__name__)

MAX_WAITING: Final = 1_000
EXPIRES_S: Final = 60
"""A wake-up that lay longer than this is stale: the schedule has been there by then."""


class _Call(NamedTuple):
    task: str
    args: tuple[str, ...]
    request_id: str


def wake_on_commit(task: str, *args: str) -> None:
    """Send the task's name to the workers once the caller's transaction has committed."""
    transaction.on_commit(partial(_wake, _Call(task, args, current_request_id())))


def _wake(call: _Call) -> None:
    _Messenger.of_this_process().send(call)


class _Messenger:
    """The thread that talks to the broker. One for each process, made after the fork."""

    _instance: _Messenger | None = None
    _lock = threading.Lock()

    def __init__(self) -> None:
        self._pid = os.getpid()
        self._waiting: queue.Queue[_Call] = queue.Queue(MAX_WAITING)
        self._thread = threading.Thread(target=self._run, name="wake", daemon=True)
        self._thread.start()

    @property
    def is_ours(self) -> bool:
        """Whether its thread runs, in this process: a fork leaves the thread behind."""
        return self._pid == os.getpid() and self._thread.is_alive()

    @classmethod
    def of_this_process(cls) -> _Messenger:
        """The messenger, made anew when there is none that runs."""
        with cls._lock:
            if cls._instance is None or not cls._instance.is_ours:
                cls._instance = cls()
            return cls._instance

    def send(self, call: _Call) -> None:
        """Queue a wake-up. The same one waiting already is enough."""
        with self._waiting.mutex:
            if any(waiting[:2] == call[:2] for waiting in self._waiting.queue):
                return
        try:
            self._waiting.put_nowait(call)
        except queue.Full:
            log.warning("wake_dropped", task=call.task, reason="queue_full")

    def _run(self) -> None:
        app = import_string(settings.CELERY_APP)
        while True:
            call = self._waiting.get()
            request_id_enter(call.request_id)
            try:
                app.send_task(
                    call.task,
                    args=call.args,
                    expires=EXPIRES_S,
                    retry=False,
                    headers={TASK_HEADER: call.request_id},
                )
            except (OperationalError, RedisError, OSError) as error:
                log.warning("wake_dropped", task=call.task, reason=type(error).__name__)
