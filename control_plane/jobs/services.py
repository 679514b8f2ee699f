"""What operators do with jobs: ask for one, cancel it, retry what failed. How a job runs is in
`runs` and `runner`, which this module only wakes, by name.
"""

from __future__ import annotations

import datetime as dt
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

from django.conf import settings
from django.db import IntegrityError, transaction
from django.utils import timezone

from control_plane.accounts.services import audit_record
from control_plane.common.wake import wake_on_commit
from control_plane.jobs.errors import (
    JobFinishedError,
    ModelBusyError,
    NothingToRetryError,
    RegistryNotAllowedError,
    TooManyJobsError,
)
from control_plane.jobs.models import OPEN, Job, JobPart, State
from control_plane.jobs.placement import left_out_of, nodes_for
from control_plane.nodes.orders import Kind
from shared.model_names import ModelName

if TYPE_CHECKING:
    import uuid
    from collections.abc import Iterator, Mapping, Sequence

    from rest_framework.request import Request

    from control_plane.accounts.models import User
    from shared.registries import Registries

RUN_TASK: Final = "jobs.run"
MAX_OPEN: Final = 200
"""Jobs that are not over. An operator at a console has a handful; more is a script gone wild."""

WARMTH: Final = "warmth"
"""Who asks for loads by `warm_models`, in the audit log."""

WARM_KEEP_ALIVE: Final = "24h"
"""Of these loads. Ollama evicts the shortest first, so this one outlives what clients load; and a
model that is no longer wished for leaves by itself, which "for ever" would not."""

_FLUSH_BATCH: Final = 200
"""Jobs forgotten in one transaction: on SQLite it keeps every other writer waiting."""

_RETRIABLE: Final = (State.FAILED.value, State.CANCELLED.value)


def job_create(
    kind: Kind, values: Mapping[str, Any], actor: User, request: Request | None = None
) -> Job:
    """Ask for something to be done with a model. It begins once this has committed."""
    name = ModelName.parse(values["model"])
    _refuse_strange(kind, name.canonical)
    destination = values.get("destination", "")
    job = Job(
        kind=kind.value,
        model=name.display,
        canonical=name.canonical,
        destination=ModelName.parse(destination).display if destination else "",
        keep_alive=values.get("keep_alive"),
        created_by=actor,
    )
    where = (kind, name.canonical, values.get("nodes"), values.get("replicas"))
    nodes, job.left_out = nodes_for(*where), left_out_of(*where)
    parts = [
        JobPart(job=job, node_id=node.pk, node_name=node.name, canonical=job.canonical)
        for node in nodes
    ]
    _save(job, parts, actor, request)
    return job


def job_create_warm(canonical: str, node_id: uuid.UUID, node_name: str) -> Job:
    """Ask, in the name of the policy, for a load of a model at one node."""
    job = Job(
        kind=Kind.LOAD.value,
        model=ModelName.parse(canonical).display,
        canonical=canonical,
        keep_alive=WARM_KEEP_ALIVE,
        is_warmth=True,
    )
    part = JobPart(job=job, node_id=node_id, node_name=node_name, canonical=canonical)
    _save(job, [part], WARMTH, None)
    return job


def _save(job: Job, parts: Sequence[JobPart], actor: User | str, request: Request | None) -> None:
    """Write a new job down. Raises ModelBusyError and TooManyJobsError."""
    with _told_if_busy(job.canonical, [part.node_id for part in parts]), transaction.atomic():
        if Job.objects.filter(state__in=OPEN).count() >= MAX_OPEN:
            raise TooManyJobsError(MAX_OPEN)
        job.save(force_insert=True)
        JobPart.objects.bulk_create(parts)
        said = _public(job) | {"nodes": [part.node_name for part in parts]}
        audit_record(actor, f"model.{job.kind}", f"model:{job.model}", None, said, request)
        wake_on_commit(RUN_TASK)


def job_cancel(job_id: uuid.UUID, actor: User, request: Request | None = None) -> Job:
    """Stop a job. What is done stays done; the worker closes the nodes' streams within a second.
    Raises Job.DoesNotExist.
    """
    with transaction.atomic():
        job = Job.objects.select_for_update().get(pk=job_id)
        if job.state not in OPEN:
            raise JobFinishedError
        if job.is_cancelling:
            return job
        now = timezone.now()
        job.is_cancelling = True
        if job.state == State.QUEUED:  # nobody works on it, so nobody has to be told
            job.parts.filter(state__in=OPEN).update(state=State.CANCELLED.value, finished_at=now)
            job.state, job.finished_at, job.is_cancelling = State.CANCELLED.value, now, False
        job.save(update_fields=["is_cancelling", "state", "finished_at"])
        audit_record(actor, "job.cancel", f"job:{job.pk}", None, _public(job), request)
        wake_on_commit(RUN_TASK)
    return job


def job_retry(job_id: uuid.UUID, actor: User, request: Request | None = None) -> Job:
    """Do again what failed or was cancelled; nodes that are done are left alone. Raises
    Job.DoesNotExist.
    """
    job = Job.objects.get(pk=job_id)
    _refuse_strange(Kind(job.kind), job.canonical)
    again = job.parts.filter(state__in=_RETRIABLE)
    node_ids = list(again.values_list("node_id", flat=True))
    with _told_if_busy(job.canonical, node_ids), transaction.atomic():
        job = Job.objects.select_for_update().get(pk=job_id)
        if job.state in OPEN:
            raise NothingToRetryError
        if not again.update(state=State.QUEUED.value, code="", step="", finished_at=None):
            raise NothingToRetryError
        job.state, job.finished_at = State.QUEUED.value, None
        job.is_cancelling, job.lost = False, 0
        job.save(update_fields=["state", "finished_at", "is_cancelling", "lost"])
        audit_record(actor, "job.retry", f"job:{job.pk}", None, _public(job), request)
        wake_on_commit(RUN_TASK)
    return job


def jobs_flush(now: dt.datetime | None = None) -> int:
    """Forget jobs that were over `AIVONX_JOB_RETENTION_DAYS` ago; returns how many."""
    edge = (now or timezone.now()) - dt.timedelta(days=settings.JOB_RETENTION_DAYS)
    old = Job.objects.filter(finished_at__lt=edge).order_by("finished_at")
    flushed = 0
    while batch := list(old.values_list("pk", flat=True)[:_FLUSH_BATCH]):
        with transaction.atomic():
            Job.objects.filter(pk__in=batch).delete()
        flushed += len(batch)
    return flushed


def _refuse_strange(kind: Kind, canonical: str) -> None:
    """A node fetches what it shall pull; a retry may be of a time when more was allowed."""
    registries: Registries = settings.REGISTRIES
    if kind is Kind.PULL and not registries.allow(canonical):
        raise RegistryNotAllowedError(registries.hosts)


def _public(job: Job) -> dict[str, Any]:
    """What the audit log holds of a job."""
    said = {"job": str(job.pk), "kind": job.kind, "model": job.model, "state": job.state}
    return said | ({"destination": job.destination} if job.destination else {})


@contextmanager
def _told_if_busy(canonical: str, node_ids: Sequence[uuid.UUID]) -> Iterator[None]:
    """Turn the constraint "one open part for a model at a node" into an answer with the job."""
    try:
        yield
    except IntegrityError as error:
        busy = Job.objects.filter(
            parts__canonical=canonical, parts__node_id__in=node_ids, parts__state__in=OPEN
        )
        raise ModelBusyError(busy.first()) from error
