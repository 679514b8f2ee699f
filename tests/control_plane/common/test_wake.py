from __future__ import annotations

import json
import queue
import threading
import time

import pytest
from celery import Celery
from django.db import transaction

from control_plane.common import wake
from control_plane.common.requests import TASK_HEADER, request_id_enter
from control_plane.config import celery as ours
from shared import keys

TASK = "tests.nobody"


@pytest.fixture
def broker(redis, redis_url, settings, monkeypatch):
    """The broker's queue, with a messenger of this test that talks to it."""
    app = Celery("tests")
    app.conf.update(ours.app.conf.changes)
    app.conf.broker_url = redis_url
    monkeypatch.setattr(wake, "import_string", lambda _: app)
    monkeypatch.setattr(wake._Messenger, "_instance", None)
    yield redis
    app.close()


def messages(broker, count: int) -> list[dict]:
    """What arrives within a moment: `count` messages."""
    found: list[dict] = []
    deadline = time.monotonic() + 5
    while len(found) < count and time.monotonic() < deadline:
        raw = broker.lpop(f"{keys.PREFIX}{keys.CELERY_QUEUE}")
        if raw is None:
            time.sleep(0.01)
        else:
            found.append(json.loads(raw))
    return found


@pytest.mark.django_db(transaction=True)
def test_a_task_is_woken_once_the_transaction_has_committed(broker):
    request_id_enter("req-9")
    with transaction.atomic():
        wake.wake_on_commit(TASK, "an-id")
        assert wake._Messenger._instance is None
    [message] = messages(broker, 1)
    headers = message["headers"]
    assert headers["task"] == TASK
    assert headers["argsrepr"] == "('an-id',)"
    assert headers["expires"]
    assert headers[TASK_HEADER] == "req-9"


@pytest.mark.django_db(transaction=True)
def test_a_transaction_that_is_rolled_back_wakes_nobody(broker):
    with transaction.atomic():
        wake.wake_on_commit(TASK)
        transaction.set_rollback(True)
    assert wake._Messenger._instance is None


def test_a_broker_that_is_away_delays_nobody(monkeypatch):
    monkeypatch.setattr(wake._Messenger, "_instance", None)
    app = Celery("tests", broker="redis://127.0.0.1:1/0")
    monkeypatch.setattr(wake, "import_string", lambda _: app)
    begun_at = time.monotonic()
    for number in range(50):
        wake._wake(wake._Call(TASK, (str(number),), ""))
    # Celery itself would try each of them for 0.6 s and more.
    assert time.monotonic() - begun_at < 5.0
    app.close()


class Idle(wake._Messenger):
    """One whose thread takes nothing until told."""

    def __init__(self) -> None:
        self.stopping = threading.Event()
        super().__init__()

    def _run(self) -> None:
        self.stopping.wait(10)

    @property
    def waiting(self) -> queue.Queue:
        return self._waiting


@pytest.fixture
def idle():
    messenger = Idle()
    yield messenger
    messenger.stopping.set()


def test_the_same_wake_up_waits_once_whoever_asks(idle):
    for request_id in ("a", "b", "c"):
        idle.send(wake._Call(TASK, ("x",), request_id))
    idle.send(wake._Call(TASK, ("y",), "d"))
    assert idle.waiting.qsize() == 2


def test_more_than_can_wait_is_dropped_and_not_an_error(idle):
    for number in range(wake.MAX_WAITING + 5):
        idle.send(wake._Call(TASK, (str(number),), ""))
    assert idle.waiting.qsize() == wake.MAX_WAITING


def test_a_messenger_whose_thread_ended_is_replaced(idle, monkeypatch):
    monkeypatch.setattr(wake._Messenger, "_instance", idle)
    assert Idle.of_this_process() is idle
    idle.stopping.set()
    idle._thread.join()
    replacement = Idle.of_this_process()
    assert replacement is not idle
    replacement.stopping.set()
