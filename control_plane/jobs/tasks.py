"""Jobs as Celery sees them: woken by name when one is asked for, and on the schedule."""

from __future__ import annotations

from typing import Any

import structlog
from celery import shared_task
from celery.signals import worker_shutting_down

from control_plane.common.outages import postponed_by_outage
from control_plane.jobs import runner, services, warming

log = structlog.get_logger(__name__)


@shared_task(name="jobs.run", ignore_result=True)
@postponed_by_outage
def run() -> int | None:
    """Work off what is due. One run takes everything, so most of these end at once."""
    return runner.jobs_run()


@shared_task(name="jobs.keep_warm", ignore_result=True)
@postponed_by_outage
def keep_warm() -> int | None:
    """Ask for the loads that `warm_models` wishes for: after each model refresh, and when the
    wishes have changed.
    """
    return warming.models_keep_warm()


@shared_task(name="jobs.flush", ignore_result=True)
@postponed_by_outage
def flush() -> None:
    """Forget jobs that were over long ago."""
    log.info("jobs_flushed", jobs=services.jobs_flush())


@worker_shutting_down.connect
def give_jobs_back(**_: Any) -> None:
    """A worker that waited for an hour's pull to end would be killed over it."""
    runner.jobs_stop()
