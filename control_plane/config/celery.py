"""Celery: the worker's application and the schedule.

The schedule only ticks. How often a node is checked is decided by the tasks themselves from the
proxy config, so that a changed interval needs no restart. A tick that could not run in time
expires, so that an outage is not followed by a burst.
"""

from __future__ import annotations

import os
import ssl
from typing import Any

from celery import Celery
from celery.signals import setup_logging, task_prerun
from django.conf import settings

from control_plane.common.requests import TASK_HEADER, request_id_enter
from control_plane.config.beat import BeatStep
from shared import keys

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "control_plane.config.settings")

BROKER_TIMEOUT_S = 1.0
IS_TLS = settings.REDIS_URL.startswith("rediss:")
VISIBILITY_TIMEOUT_S = 300

app = Celery("control_plane")


def tick(task: str, every_s: float) -> dict[str, Any]:
    """A schedule entry that expires when the next one is due."""
    return {"task": task, "schedule": every_s, "options": {"expires": every_s}}


app.conf.update(
    broker_url=settings.REDIS_URL,
    # Left to itself, kombu takes any certificate for Redis'. RedBeat goes by this as well.
    broker_use_ssl={"ssl_cert_reqs": ssl.CERT_REQUIRED} if IS_TLS else None,
    broker_connection_retry_on_startup=True,
    broker_connection_max_retries=None,
    broker_transport_options={
        "visibility_timeout": VISIBILITY_TIMEOUT_S,
        "socket_timeout": 5,
        "socket_connect_timeout": BROKER_TIMEOUT_S,
        "global_keyprefix": keys.PREFIX,
    },
    task_publish_retry=False,
    task_ignore_result=True,
    result_backend=None,
    task_serializer="json",
    accept_content=["json"],
    task_default_queue=keys.CELERY_QUEUE,
    task_acks_late=False,
    task_time_limit=None,
    worker_prefetch_multiplier=1,
    worker_hijack_root_logger=False,
    worker_send_task_events=False,
    worker_cancel_long_running_tasks_on_connection_loss=False,
    timezone="UTC",
    enable_utc=True,
    beat_scheduler="redbeat.RedBeatScheduler",
    beat_max_loop_interval=1,
    redbeat_redis_url=settings.REDIS_URL,
    redbeat_key_prefix=keys.REDBEAT_PREFIX,
    redbeat_lock_timeout=10,
    redbeat_redis_options={"socket_timeout": 5, "socket_connect_timeout": BROKER_TIMEOUT_S},
    beat_schedule={
        "sweep": tick("nodes.sweep_health", 2.0),
        "refresh": tick("nodes.refresh_models", 2.0),
        "reconcile": tick("publishing.reconcile", 5.0),
        "jobs": tick("jobs.run", 2.0),
        "flush-jobs": tick("jobs.flush", 3_600.0),
        "flush-tokens": tick("accounts.flush_expired", 3_600.0),
    },
)
app.steps["worker"].add(BeatStep)
app.autodiscover_tasks()


@task_prerun.connect
def go_on_with_the_request(task: Any, **_: Any) -> None:
    """Log under the id of the request that woke the task, or under a new one."""
    request_id_enter((task.request.headers or {}).get(TASK_HEADER))


@setup_logging.connect
def keep_our_logging(**_: Any) -> None:
    """Celery would install its own handlers; Django has configured ours."""
